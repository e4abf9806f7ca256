//! A task's tokenizers as a run folder keeps them: name and configuration, fitted state included.

#[cfg(any(feature = "text", feature = "image", feature = "audio", feature = "trajectory"))]
use super::TaskError;
use crate::task::{SavedTask, Task};
use smalti_contract::TokenizeError;
#[cfg(any(feature = "text", feature = "image", feature = "audio", feature = "trajectory"))]
use smalti_contract::Tokenizer;

/// What to save of a task.
///
/// # Errors
/// Where a configuration has no JSON form.
pub fn save(task: &dyn Task) -> Result<SavedTask, TokenizeError> {
    task.saved()
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
