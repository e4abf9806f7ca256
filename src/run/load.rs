//! The model and the tasks of a run, for prediction.

use super::{CONFIG_FILE, Run, RunError};
use crate::config::TaskEntry;
use crate::model::{Model, ModelError, Params};
use crate::ops::QuantizedType;
use crate::sample::Composition;
use crate::task::{Task, TaskSpec};
use crate::train::{MODEL_FILE, PARAM, SETTINGS, STATE_FILE, TensorFile, checkpoint, memory};
use candle_core::Device;
use std::sync::Arc;

/// Which of a run's weights to use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weights {
    /// The best weights by validation loss, averaged if `train.ema_decay` is set.
    Best,
    /// The weights of the last checkpoint.
    Last,
}

/// One task of a run, for prediction.
#[derive(Clone)]
pub struct NamedTask {
    /// The task's name.
    pub name: String,
    /// The task.
    pub task: Arc<Composition>,
}

impl NamedTask {
    /// The task of this name and its number; without a name, the only task. `None` without such a task, or if several fit.
    pub fn choose<'a>(tasks: &'a [Self], name: Option<&str>) -> Option<(usize, &'a Composition)> {
        let mut found =
            tasks.iter().enumerate().filter(|(_, named)| name.is_none_or(|name| name == named.name));
        let (number, named) = found.next().filter(|_| found.next().is_none())?;
        Some((number, &named.task))
    }
}

impl Run {
    /// The model with its weights, and its tasks without data. On a CPU the model computes in the run's `train.precision`, on a
    /// GPU in `f32`.
    ///
    /// # Errors
    /// [`RunError::NoWeights`] before the first checkpoint; [`SettingsError::Edited`](crate::config::SettingsError::Edited) if
    /// `run.toml` has other settings of the model's computation than the weights were trained with; if the weights do not fit.
    pub fn load(&self, weights: Weights, device: &Device) -> Result<(Model, Vec<NamedTask>), RunError> {
        self.load_in(weights, device, None)
    }

    /// As [`load`](Self::load), with the weights of linear maps [rounded](Params::quantized) to a type, for inference on the CPU.
    /// The weights in f32 are in memory one at a time.
    ///
    /// # Errors
    /// As for `load`, and if the device is not the CPU.
    pub fn load_in(
        &self,
        weights: Weights,
        device: &Device,
        quantized: Option<QuantizedType>,
    ) -> Result<(Model, Vec<NamedTask>), RunError> {
        let (file, prefix) = match weights {
            Weights::Best => (MODEL_FILE, ""),
            Weights::Last => (STATE_FILE, PARAM),
        };
        let path = self.folder.join(file);
        if !path.exists() {
            return Err(RunError::NoWeights { folder: self.folder.clone(), file });
        }
        let saved = TensorFile::open_in(&self.folder, file, self.checks)?.below(prefix);
        let tasks = self.tasks()?;
        let specs: Vec<TaskSpec> = tasks.iter().map(|named| named.task.spec().clone()).collect();
        // A size in the settings or the tokenizers is held against the header of the weights before it is allocated.
        let outline = Model::outline(&self.config.model, &specs)?;
        outline.check(&saved).map_err(|e| checkpoint::misfit(&path, e))?;
        if let Some(settings) = saved.texts().get(SETTINGS).filter(|_| self.checks.checksums) {
            let origin = self.folder.join(CONFIG_FILE).display().to_string();
            self.config.check_computation(&origin, settings)?;
        }
        memory::check_weights(&outline, device, quantized)?;
        let params = Params::blank(device);
        let params = match quantized {
            Some(dtype) => params.quantized(dtype).map_err(ModelError::from)?,
            None => params,
        };
        let mut model = Model::with_params(&self.config.model, &specs, params)?;
        model.params().load(&saved).map_err(|e| checkpoint::misfit(&path, e))?;
        // Predictions are those that training evaluated; products of rounded weights have inputs in f32.
        if device.is_cpu() && quantized.is_none() {
            model.compute_in(self.config.train.precision.dtype());
        }
        Ok((model, tasks))
    }

    /// Its tasks, without data.
    ///
    /// # Errors
    /// If a saved tokenizer or head cannot be restored.
    pub fn tasks(&self) -> Result<Vec<NamedTask>, RunError> {
        let restore = |entry: TaskEntry| {
            let task = entry.restore(&self.modalities, self.saved(&entry.name)?)?;
            Ok(NamedTask { name: entry.name, task: Arc::new(task) })
        };
        self.config.tasks().into_iter().map(restore).collect()
    }
}
