//! What runs need and may lack: a GPU, data, environments.

use super::ReproduceError;
use super::evaluation::environments;
use super::experiment::Need;
use super::lab::Session;
use super::points::RunPoint;
use indexmap::IndexMap;
use std::collections::BTreeMap;

/// By the command of an environment, the reason why it does not start; `None` if it starts.
type Tried = BTreeMap<String, Option<String>>;

impl Session<'_, '_> {
    /// Tries what all runs need before the first one is trained. Returns the runs to leave out, each with the reason.
    ///
    /// # Errors
    /// If something is missing that a run does not list in `needs`.
    pub(super) fn left_out(&mut self) -> Result<IndexMap<String, String>, ReproduceError> {
        let (mut left_out, mut tried) = (IndexMap::new(), Tried::new());
        for point in self.points.clone() {
            if let Some(reason) = self.missing(&point, &mut tried)?
                && !left_out.contains_key(&point.name.name)
            {
                // A traceback is long: it is shown once.
                let reason = match left_out.iter().find(|(_, other)| **other == reason) {
                    Some((run, _)) => format!("it lacks the same as {run}"),
                    None => reason,
                };
                let name = point.name.name;
                self.lab.host.note(&format!("{}: {name} is left out: {reason}", self.experiment.name));
                left_out.insert(name, reason);
            }
        }
        Ok(left_out)
    }

    /// The reason to leave a run out: its own, or that of a run that it depends on.
    fn missing(&mut self, point: &RunPoint, tried: &mut Tried) -> Result<Option<String>, ReproduceError> {
        for other in point.depends_on().iter().filter_map(|name| self.named(name)).collect::<Vec<_>>() {
            if let Some(reason) = self.missing(&other, tried)? {
                return Ok(Some(reason));
            }
        }
        if point.needs.contains(&Need::Cuda) && !self.lab.device.is_cuda() {
            return Ok(Some("it needs a GPU (CUDA)".into()));
        }
        match self.settings(point, 0) {
            Err(error @ ReproduceError::NoData { .. }) if point.needs.contains(&Need::Data) => {
                return Ok(Some(error.to_string()));
            }
            settings => drop(settings?),
        }
        for spec in point.measures.iter().filter_map(|measure| measure.measure.rollout.as_ref()) {
            let problem = match tried.get(&spec.env) {
                Some(known) => known.clone(),
                None => environments(spec).err().map(|error| error.to_string()),
            };
            tried.insert(spec.env.clone(), problem.clone());
            match problem {
                Some(reason) if point.needs.contains(&Need::Environment) => return Ok(Some(reason)),
                Some(problem) => {
                    return Err(ReproduceError::Environment { run: point.name.to_string(), problem });
                }
                None => {}
            }
        }
        Ok(None)
    }
}
