//! A task's tokenizers as a run folder keeps them: name and configuration, fitted state included.

#[cfg(any(feature = "text", feature = "image", feature = "audio", feature = "trajectory"))]
use super::TaskError;
use crate::task::Task;
use serde::{Deserialize, Serialize};
use smalti_contract::TokenizeError;
#[cfg(any(feature = "text", feature = "image", feature = "audio", feature = "trajectory"))]
use smalti_contract::Tokenizer;
use std::collections::BTreeMap;

/// The fitted state of one task.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SavedTask {
    /// Its tokenizers, by what each is for.
    pub tokenizers: BTreeMap<String, SavedTokenizer>,
    /// Its lists of names, by what each is for: the classes.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub names: BTreeMap<String, Vec<String>>,
}

/// One tokenizer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SavedTokenizer {
    /// Its name in the registry.
    pub tokenizer: String,
    /// Its configuration.
    pub config: serde_json::Value,
}

/// What to save of a task.
///
/// # Errors
/// Where a configuration has no JSON form.
pub fn save(task: &dyn Task) -> Result<SavedTask, TokenizeError> {
    let tokenizers = task.tokenizers().into_iter().map(|(role, tokenizer)| {
        let saved = SavedTokenizer { tokenizer: tokenizer.name().into(), config: tokenizer.config_json()? };
        Ok((role.to_string(), saved))
    });
    let names = task.names().into_iter().map(|(role, names)| (role.to_string(), names.to_vec())).collect();
    Ok(SavedTask { tokenizers: tokenizers.collect::<Result<_, TokenizeError>>()?, names })
}

/// The names for `role`.
#[cfg(any(feature = "image", feature = "audio"))]
pub(super) fn names(task: &str, role: &str, saved: &SavedTask) -> Result<Vec<String>, TaskError> {
    let missing = || TaskError::Saved { task: task.into(), problem: format!("come without its {role}") };
    saved.names.get(role).cloned().ok_or_else(missing)
}

/// The tokenizer for `role`, of the type that the task wants.
#[cfg(any(feature = "text", feature = "image", feature = "audio", feature = "trajectory"))]
pub(super) fn restore<T: Tokenizer>(task: &str, role: &str, saved: &SavedTask) -> Result<T, TaskError> {
    let refuse = |problem: String| TaskError::Saved { task: task.into(), problem };
    let saved = saved.tokenizers.get(role).ok_or_else(|| refuse(format!("have none for {role}")))?;
    if saved.tokenizer != T::NAME {
        return Err(refuse(format!("have {} for {role}; expected {}", saved.tokenizer, T::NAME)));
    }
    let config = serde_json::from_value(saved.config.clone())
        .map_err(|e| refuse(format!("for {role} cannot be read: {e}")))?;
    Ok(T::new(config)?)
}
