//! The state of training in a run folder.

use super::{MODEL_FILE, STATE_FILE, TrainTask, Trainer};
use crate::train::schedule::SavedSchedule;
use crate::train::watch::Watch;
use crate::train::{Checks, SaveError, Storage, TensorFile, TrainConfigError, TrainError, checkpoint};
use serde_json::json;
use std::{collections::BTreeMap, path::Path};

impl Trainer {
    /// Resumes from the state in a run folder.
    ///
    /// # Errors
    /// [`SaveError`] if it cannot be read, [`TrainError::State`] if it belongs to another run, or [`TrainError::Config`] if the
    /// settings have fewer steps than it has made.
    pub fn resume(&mut self, folder: &Path) -> Result<(), TrainError> {
        self.resume_checked(folder, Checks::default())
    }

    /// As [`resume`](Self::resume), with only these checks of the state.
    ///
    /// # Errors
    /// As for [`resume`](Self::resume).
    pub fn resume_checked(&mut self, folder: &Path, checks: Checks) -> Result<(), TrainError> {
        let saved = TensorFile::open_in(folder, STATE_FILE, checks)?;
        let texts = saved.texts().clone();
        let number = |name: &str| {
            let text = texts
                .get(name)
                .ok_or_else(|| TrainError::State(format!("expected a value of {name:?}; found none")))?;
            text.parse::<u64>()
                .map_err(|_| TrainError::State(format!("{name}: expected an integer; found {text:?}")))
        };
        let step = number("step")?;
        self.check_length(step)?;
        let misfit = |e| checkpoint::misfit(&folder.join(STATE_FILE), e);
        let saved = saved.below(PARAM);
        self.model.params().load(&saved).map_err(misfit)?;
        // Moments may overflow where weights do not.
        self.optimizer.load(&saved.below("").any_numbers()).map_err(misfit)?;
        self.best = f64::from_bits(number("best")?);
        self.skipped = number("skipped")?;
        // States of earlier versions have neither this number nor the schedule.
        self.evaluations_since_best = texts.get(SINCE_BEST).map_or(Ok(0), |_| number(SINCE_BEST))?;
        self.further = self.saved_schedule(&texts, step)?.resumed(&self.config, self.steps, step);
        self.draws = self.saved_draws(&texts)?;
        let corrupt = texts.get("corrupt_samples").map(|text| serde_json::from_str(text));
        self.corrupt = match corrupt {
            Some(Ok(corrupt)) => corrupt,
            _ => return Err(TrainError::State("corrupt_samples: expected a count; found none".into())),
        };
        let watch = texts.get("watch").map_or(Ok(Watch::default()), |text| serde_json::from_str(text));
        self.watch = watch.map_err(|e| TrainError::State(format!("watch: {e}")))?;
        self.audited = step > 0;
        self.step = step;
        self.launched = None;
        Ok(())
    }

    /// Fails if the settings have fewer steps than were made.
    fn check_length(&self, made: u64) -> Result<(), TrainConfigError> {
        if made <= self.steps {
            return Ok(());
        }
        let (setting, found) = match self.config.max_steps {
            0 => ("epochs", format!("{}, which is {} steps", self.config.epochs, self.steps)),
            steps => ("max_steps", steps.to_string()),
        };
        let problem = format!("expected at least the {made} steps that the run has made; found {found}");
        Err(TrainConfigError { setting, problem })
    }

    /// The schedule of the steps that were made.
    fn saved_schedule(
        &self,
        texts: &BTreeMap<String, String>,
        made: u64,
    ) -> Result<SavedSchedule, TrainError> {
        match texts.get(SCHEDULE) {
            Some(text) => {
                serde_json::from_str(text).map_err(|e| TrainError::State(format!("{SCHEDULE}: {e}")))
            }
            None => Ok(SavedSchedule::new(&self.config, made, None)),
        }
    }

    /// The next draw of each rank.
    fn saved_draws(&self, texts: &BTreeMap<String, String>) -> Result<Vec<u64>, TrainError> {
        let text = texts
            .get("draw")
            .ok_or_else(|| TrainError::State("expected a value of \"draw\"; found none".into()))?;
        let draws = text.split(',').map(|draw| draw.parse()).collect::<Result<Vec<u64>, _>>();
        let draws =
            draws.map_err(|_| TrainError::State(format!("draw: expected integers; found {text:?}")))?;
        match (draws.len(), self.ranks.world_size()) {
            (expected, found) if found != expected => Err(TrainError::State(format!(
                "expected {expected} ranks, as when it was saved; found {found}: start {expected} processes"
            ))),
            _ => Ok(draws),
        }
    }

    /// Saves all that [`resume`](Self::resume) needs in one file, and the model if none is saved yet.
    pub(super) fn save(&self, folder: &Path) -> Result<(), SaveError> {
        let mut tensors = self.optimizer.tensors();
        let params = self.model.params().tensors();
        tensors.extend(params.iter().map(|(name, tensor)| (format!("{PARAM}{name}"), tensor.clone())));
        let since_best = (SINCE_BEST, self.evaluations_since_best);
        let numbers =
            [("step", self.step), ("best", self.best.to_bits()), since_best, ("skipped", self.skipped)];
        let mut texts = BTreeMap::from(numbers.map(|(name, number)| (name.to_string(), number.to_string())));
        let draws: Vec<String> = self.draws.iter().map(u64::to_string).collect();
        texts.insert("draw".into(), draws.join(","));
        let schedule = SavedSchedule::new(&self.config, self.steps, self.further);
        texts.insert(SCHEDULE.into(), json!(schedule).to_string());
        texts.insert("watch".into(), json!(self.watch).to_string());
        texts.insert(SETTINGS.into(), self.settings.clone());
        texts.insert("corrupt_samples".into(), json!(self.corrupt).to_string());
        checkpoint::save_in(folder, STATE_FILE, &tensors, &texts, Storage::F32)?;
        self.save_missing_model(folder)
    }

    /// Saves the current weights, averaged if there are averages, as the run's model if it has none.
    pub(crate) fn save_missing_model(&self, folder: &Path) -> Result<(), SaveError> {
        match folder.join(MODEL_FILE).exists() {
            true => Ok(()),
            false => self.optimizer.with_average(self.model.params(), || self.save_model(folder)),
        }
    }

    /// Saves the current weights as the run's model.
    pub(super) fn save_model(&self, folder: &Path) -> Result<(), SaveError> {
        let samples = self.tasks.iter().map(|TrainTask { task, train, validation, .. }| {
            (task.spec().name.as_str(), [train.len(), validation.len()])
        });
        let samples = json!(samples.collect::<BTreeMap<_, _>>()).to_string();
        let texts =
            [("step", self.step.to_string()), (SETTINGS, self.computation.clone()), (SAMPLE_COUNTS, samples)];
        let texts = texts.map(|(name, text)| (name.to_string(), text)).into();
        checkpoint::save_in(folder, MODEL_FILE, &self.model.params().tensors(), &texts, Storage::F32)
    }
}

/// The name of the numbers of training and validation samples of each task in a saved model.
pub(crate) const SAMPLE_COUNTS: &str = "samples";
/// The names of the evaluations since the best one, and of the schedule, in a saved state.
const SINCE_BEST: &str = "evaluations_since_best";
const SCHEDULE: &str = "schedule";
/// The name of the settings in a saved state or model.
pub(crate) const SETTINGS: &str = "settings";
/// The prefix of the names of weights in a saved state.
pub(crate) const PARAM: &str = "param.";
