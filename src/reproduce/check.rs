//! Checks of an experiment's file, before any run is trained.

use super::data::USERS;
use super::experiment::{Experiment, Measure, WhichWeights};
use super::forms::FigureKind;
use super::points::{MeasureId, MeasurePoint, RunPoint};
use super::texts::TextSpec;
use crate::inference::Sampling;

impl Experiment {
    /// The problem of the file, if it has one.
    pub(super) fn check(&self) -> Result<(), String> {
        if self.seeds == 0 {
            return Err("seeds: expected 1 or more, found 0".into());
        }
        if let Some(name) = self.data.make.keys().find(|name| *name == USERS) {
            return Err(format!("data.make.{name}: {{{name}}} is the folder of --data; choose another name"));
        }
        self.check_quick()?;
        let points = self.points()?;
        let ids: Vec<MeasureId> = points.iter().flat_map(RunPoint::ids).collect();
        if ids.is_empty() {
            return Err("runs: expected a measure, such as [runs.NAME.measures.loss]; found none".into());
        }
        check_dependencies(&points)?;
        points.iter().flat_map(|point| &point.measures).try_for_each(MeasurePoint::check)?;
        for point in &points {
            let check = || match point.measures.is_empty() && !point.texts.is_empty() {
                true => Err("expected a measure of the run too; found none".to_string()),
                false => point.texts.iter().try_for_each(TextSpec::check),
            };
            check().map_err(|problem| format!("runs.{}.texts: {problem}", point.name.name))?;
        }
        for (place, bound) in self.bounds.iter().enumerate() {
            let in_bound = |problem: String| format!("bounds[{place}]: {problem}");
            bound.check().map_err(in_bound)?;
            check_names(&ids, bound.measures()).map_err(in_bound)?;
        }
        self.check_matrices(&points)?;
        let drawn = self.figures.iter().flat_map(|figure| &figure.measures);
        check_names(&ids, drawn).map_err(|problem| format!("figure: {problem}"))?;
        for (name, baseline) in &self.baselines {
            check_names(&ids, [&baseline.of]).map_err(|problem| format!("baselines.{name}.of: {problem}"))?;
        }
        Ok(())
    }

    /// Fails if `[quick]` names a run, a data set or a swept setting that the experiment does not have.
    fn check_quick(&self) -> Result<(), String> {
        let runs = || self.runs.keys();
        let made = self.data.make.keys();
        let measures = self.runs.values().flat_map(|run| run.measures.values());
        let swept = self.runs.values().flat_map(|run| run.sweep.keys());
        let swept: Vec<&String> = swept.chain(measures.flat_map(|measure| measure.sweep.keys())).collect();
        let quick = &self.quick;
        check_known("quick.runs", quick.runs.keys(), runs())?;
        check_known("quick.make", quick.make.keys(), made)?;
        check_known("quick.sweep", quick.sweep.keys(), swept)
    }

    /// Fails if a figure of kind `matrix` has another measure than one of an alignment or of positions.
    fn check_matrices(&self, points: &[RunPoint]) -> Result<(), String> {
        let measures = points.iter().flat_map(|point| point.ids().zip(&point.measures));
        let views: Vec<MeasureId> =
            measures.filter(|(_, point)| point.measure.is_view()).map(|(id, _)| id).collect();
        for figure in self.figures.iter().filter(|figure| figure.kind == FigureKind::Matrix) {
            match &figure.measures[..] {
                [name] if views.iter().any(|id| id.is(name)) => {}
                others => {
                    let expected = "expected one measure with alignment or positions";
                    return Err(format!("figure: matrix: {expected}; found {:?}", others.join(", ")));
                }
            }
        }
        Ok(())
    }
}

/// Fails at a name that is none of the known ones.
fn check_known<'a>(
    setting: &str,
    names: impl IntoIterator<Item = &'a String>,
    known: impl IntoIterator<Item = &'a String>,
) -> Result<(), String> {
    let known: Vec<&str> = known.into_iter().map(String::as_str).collect();
    match names.into_iter().find(|name| !known.contains(&name.as_str())) {
        Some(name) if known.is_empty() => Err(format!("{setting}: expected none; found {name:?}")),
        Some(name) => Err(format!("{setting}: expected one of {}; found {name:?}", known.join(", "))),
        None => Ok(()),
    }
}

/// Fails at a name that stands for no measure.
fn check_names<'a>(ids: &[MeasureId], names: impl IntoIterator<Item = &'a String>) -> Result<(), String> {
    let known = || ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    match names.into_iter().find(|name| !ids.iter().any(|id| id.is(name))) {
        Some(name) => Err(format!("expected one of {}; found {name:?}", known())),
        None => Ok(()),
    }
}

impl MeasurePoint {
    fn check(&self) -> Result<(), String> {
        self.measure.check().map_err(|problem| format!("measure {}: {problem}", self.name))?;
        match self.measure.weights {
            WhichWeights::Last if !self.is_of_data() => Err(format!(
                "measure {}: weights: expected best, as its settings build the model anew; found last",
                self.name
            )),
            _ => Ok(()),
        }
    }
}

impl Measure {
    fn check(&self) -> Result<(), String> {
        self.pattern()?;
        if self.generate == 0 && (self.matches.is_some() || self.judge.is_some()) {
            return Err("generate: expected 1 or more rows for `matches` and `judge`; found 0".into());
        }
        let ways = [
            ("prediction", self.prediction.is_some()),
            ("rollout", self.rollout.is_some()),
            ("alignment", self.alignment.is_some()),
            ("positions", self.positions.is_some()),
            ("generate", self.generate > 0),
        ];
        let ways: Vec<&str> = ways.into_iter().filter(|(_, set)| *set).map(|(name, _)| name).collect();
        if let [first, second, ..] = ways[..] {
            let expected = "expected only one of prediction, rollout, alignment, positions and generate";
            return Err(format!("{expected}; found {first} and {second}"));
        }
        let sampling = Sampling { temperature: self.temperature, ..Sampling::default() };
        sampling.check().map_err(|error| format!("temperature: {}", error.problem))
    }
}

/// Fails if a run depends on a run that is unknown, has several trainings, or depends on this run; or if such a run judges a
/// measure.
fn check_dependencies(points: &[RunPoint]) -> Result<(), String> {
    for point in points {
        let (mut next, mut seen) = (point.depends_on(), vec![]);
        while let Some(name) = next.pop() {
            if name == point.name.name {
                return Err(format!(
                    "runs.{name}: it needs itself, by `from` or {{runs.NAME}}; remove one of the circle"
                ));
            }
            if !seen.contains(&name) {
                let other = single(points, &name);
                let other =
                    other.map_err(|e| format!("runs.{}: from, {{runs.NAME}}: {e}", point.name.name))?;
                next.extend(other.depends_on());
                seen.push(name);
            }
        }
        for measure in &point.measures {
            if let Some(judge) = &measure.measure.judge {
                single(points, &judge.run)
                    .map_err(|e| format!("measure {}: judge.run: {e}", measure.name))?;
            }
        }
    }
    Ok(())
}

/// The only training of a run.
fn single<'a>(points: &'a [RunPoint], name: &str) -> Result<&'a RunPoint, String> {
    let mut found = points.iter().filter(|point| point.name.name == name);
    match (found.next(), found.next()) {
        (Some(point), None) if point.name.values.is_empty() => Ok(point),
        (Some(_), _) => Err(format!("expected a run without sweep; found {name:?}")),
        (None, _) => {
            let mut known: Vec<&str> = points.iter().map(|point| point.name.name.as_str()).collect();
            known.dedup();
            Err(format!("expected one of the runs {}; found {name:?}", known.join(", ")))
        }
    }
}
