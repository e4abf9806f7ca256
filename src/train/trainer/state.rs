//! What a run folder keeps of a training.

use super::{MODEL_FILE, STATE_FILE, Trainer};
use crate::train::{SaveError, TrainError, checkpoint};
use candle_core::Tensor;
use serde_json::json;
use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
};

impl Trainer {
    /// Goes on from the state that a run folder keeps.
    ///
    /// # Errors
    /// [`SaveError`], or [`TrainError::State`] where the state is of another run.
    pub fn resume(&mut self, folder: &Path) -> Result<(), TrainError> {
        let (tensors, texts) = checkpoint::load(&folder.join(STATE_FILE), self.model.device())?;
        let number = |name: &str| {
            let text = texts.get(name).ok_or_else(|| TrainError::State(format!("it has no {name}")))?;
            text.parse::<u64>().map_err(|_| TrainError::State(format!("its {name} is {text:?}")))
        };
        let step = number("step")?;
        if step > self.steps {
            return Err(TrainError::State(format!("it is of step {step}; the run ends at {}", self.steps)));
        }
        let misfit = |e| checkpoint::misfit(&folder.join(STATE_FILE), e);
        self.model.params().load(&weights_of(&tensors)).map_err(misfit)?;
        self.optimizer.load(&tensors)?;
        self.best = f64::from_bits(number("best")?);
        self.skipped = number("skipped")?;
        self.draws = self.saved_draws(&texts)?;
        let bad = texts.get("bad").map(|text| serde_json::from_str(text));
        self.bad = match bad {
            Some(Ok(bad)) => bad,
            _ => return Err(TrainError::State("it has no record of bad samples".into())),
        };
        self.step = step;
        self.begun = None;
        Ok(())
    }

    /// Where each rank goes on.
    fn saved_draws(&self, texts: &BTreeMap<String, String>) -> Result<Vec<u64>, TrainError> {
        let text = texts.get("draw").ok_or_else(|| TrainError::State("it has no draw".into()))?;
        let draws = text.split(',').map(|draw| draw.parse()).collect::<Result<Vec<u64>, _>>();
        let draws = draws.map_err(|_| TrainError::State(format!("its draw is {text:?}")))?;
        match (draws.len(), self.ranks.size()) {
            (found, expected) if found != expected => Err(TrainError::State(format!(
                "it is of {found} ranks; this training has {expected}: start as many processes as then"
            ))),
            _ => Ok(draws),
        }
    }

    /// Saves everything that [`resume`](Self::resume) needs as one file, and a model where there is none yet.
    pub(super) fn save(&self, folder: &Path) -> Result<(), SaveError> {
        let mut tensors = self.optimizer.tensors();
        let params = self.model.params().tensors();
        tensors.extend(params.iter().map(|(name, tensor)| (format!("{PARAM}{name}"), tensor.clone())));
        let numbers = [("step", self.step), ("best", self.best.to_bits()), ("skipped", self.skipped)];
        let mut texts = BTreeMap::from(numbers.map(|(name, number)| (name.to_string(), number.to_string())));
        let draws: Vec<String> = self.draws.iter().map(u64::to_string).collect();
        texts.insert("draw".into(), draws.join(","));
        texts.insert("bad".into(), json!(self.bad).to_string());
        checkpoint::save(&folder.join(STATE_FILE), &tensors, &texts)?;
        if !folder.join(MODEL_FILE).exists() {
            self.optimizer.with_average(self.model.params(), || self.save_model(folder))?;
        }
        Ok(())
    }

    /// Saves the weights that are in place as the run's model.
    pub(super) fn save_model(&self, folder: &Path) -> Result<(), SaveError> {
        let texts = BTreeMap::from([("step".to_string(), self.step.to_string())]);
        checkpoint::save(&folder.join(MODEL_FILE), &self.model.params().tensors(), &texts)
    }
}

const PARAM: &str = "param.";

/// The weights among the tensors of a saved state, by their parameters' names.
pub(crate) fn weights_of(state: &HashMap<String, Tensor>) -> HashMap<String, Tensor> {
    let named = state.iter().filter_map(|(name, t)| Some((name.strip_prefix(PARAM)?.to_string(), t.clone())));
    named.collect()
}
