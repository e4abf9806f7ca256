//! Building the task of a checkpoint: its settings, and the state that a run saves.

use super::PretrainedError;
use crate::head::{HeadKind, SavedHead};
use crate::registry::Modalities;
use crate::sample::{Composition, DataSettings, InputSettings, OutputSettings, TaskSettings};
use crate::task::{SavedTask, SavedTokenizer};
use indexmap::IndexMap;
use serde::de::DeserializeOwned;
use serde_json::Value;
use smalti_contract::{AnyTokenizer, TokenizeError};
use std::sync::Arc;

/// The task of a checkpoint.
pub(super) struct ImportedTask {
    /// Its settings, as in `run.toml`.
    pub settings: TaskSettings,
    pub task: Arc<Composition>,
}

impl ImportedTask {
    /// The name of the kind of a part's tokens.
    pub fn kind(&self, part: &str) -> &str {
        let part = self.task.parts().iter().find(|known| known.name == part);
        part.and_then(|part| part.kinds.first()).map_or("", |kind| &kind.name)
    }

    /// The name of a parameter of a part's embedding.
    pub fn embedding(&self, part: &str, parameter: &str) -> String {
        format!("embed.{}.{parameter}", self.kind(part))
    }
}

/// Builds a task without reading data: each part comes with its fitted tokenizer and head.
pub(super) struct TaskBuilder {
    pub settings: TaskSettings,
    saved: SavedTask,
}

impl TaskBuilder {
    /// A task whose rows come from `source`, unless a user sets another source.
    pub fn new(source: &str) -> Self {
        let (inputs, outputs) = (IndexMap::new(), IndexMap::new());
        let settings = TaskSettings { data: DataSettings::of(source), inputs, outputs };
        Self { settings, saved: SavedTask::default() }
    }

    /// Set the parts with these names to be series of at most `max_steps` steps.
    pub fn series(mut self, names: &[&str], max_steps: usize) -> Self {
        self.saved.series = names.iter().map(|name| name.to_string()).collect();
        self.saved.max_steps = max_steps;
        self
    }

    /// Add an input.
    ///
    /// # Errors
    /// [`PretrainedError::Format`] if an input has no such setting.
    pub fn input(
        mut self,
        name: &str,
        settings: Value,
        tokenizer: &dyn AnyTokenizer,
    ) -> Result<Self, PretrainedError> {
        let input: InputSettings = parsed(&format!("inputs.{name}"), settings)?;
        self.settings.inputs.insert(name.into(), input);
        self.tokenizer(name, tokenizer)
    }

    /// Add an output, with a tokenizer if it has its own tokens.
    ///
    /// # Errors
    /// [`PretrainedError::Format`] if an output has no such setting.
    pub fn output<H: HeadKind>(
        mut self,
        name: &str,
        mut settings: Value,
        head: &H,
        tokenizer: Option<&dyn AnyTokenizer>,
    ) -> Result<Self, PretrainedError> {
        settings["head"] = H::NAME.into();
        let output: OutputSettings = parsed(&format!("outputs.{name}"), settings)?;
        self.settings.outputs.insert(name.into(), output);
        let state = serde_json::to_value(head)
            .map_err(|e| TokenizeError::Config { tokenizer: H::NAME, problem: e.to_string() })?;
        self.saved.heads.insert(name.into(), SavedHead { name: H::NAME.into(), state });
        match tokenizer {
            Some(tokenizer) => self.tokenizer(name, tokenizer),
            None => Ok(self),
        }
    }

    fn tokenizer(mut self, part: &str, tokenizer: &dyn AnyTokenizer) -> Result<Self, PretrainedError> {
        let saved =
            SavedTokenizer { tokenizer: tokenizer.name().into(), config: tokenizer.config_json()?.into() };
        self.saved.tokenizers.insert(part.into(), saved);
        Ok(self)
    }

    /// Build the task.
    ///
    /// # Errors
    /// [`PretrainedError::Task`] if the begin, end or mask id is outside the vocabulary.
    pub fn finish(self) -> Result<ImportedTask, PretrainedError> {
        let task = Composition::restore(("", 1.0), &self.settings, &Modalities::builtin(), &self.saved)?;
        Ok(ImportedTask { settings: self.settings, task: Arc::new(task) })
    }
}

/// Settings without those that are null, which TOML does not have.
fn without_nulls(settings: Value) -> Value {
    match settings {
        Value::Object(object) => {
            let set = object.into_iter().filter(|(_, value)| !value.is_null());
            Value::Object(set.map(|(key, value)| (key, without_nulls(value))).collect())
        }
        other => other,
    }
}

fn parsed<T: DeserializeOwned>(table: &str, settings: Value) -> Result<T, PretrainedError> {
    serde_json::from_value(without_nulls(settings))
        .map_err(|e| PretrainedError::Format { file: format!("[{table}]"), problem: e.to_string() })
}
