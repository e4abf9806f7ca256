//! Several sources of one task, and the cache of what they become.

use super::{Builtin, SavedTask, Splits, TaskConfig, TaskError, save};
use crate::data::{Cached, Dataset, Sources};
use serde::{Deserialize, Serialize};
use smalti_contract::TokenizeError;
use std::path::Path;
use std::sync::Arc;

/// More data for a task: `[[data.more]]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct More {
    /// Where they are; every other setting is that of the task.
    pub path: String,
    /// Their share of the draws, relative to 1 for `data.path`, however many samples either has.
    #[serde(default = "one")]
    pub weight: f64,
}

fn one() -> f64 {
    1.0
}

#[cfg_attr(
    not(any(feature = "text", feature = "image", feature = "audio", feature = "trajectory")),
    allow(
        unreachable_code,
        unused_mut,
        unused_variables,
        reason = "without a modality there are no settings"
    )
)]
impl TaskConfig {
    /// The task of `data.path`, whose tokenizers then read what `data.more` adds.
    pub(super) fn of_all_sources(
        &self,
        name: &str,
        loss_weight: f64,
        saved: Option<&SavedTask>,
    ) -> Result<(Builtin, Splits), TaskError> {
        let mut first = self.clone();
        let more = std::mem::take(first.shared_settings().1);
        let cache = first.shared_settings().2.and_then(Option::take).filter(|folder| !folder.is_empty());
        let paths = more.iter().map(|more| &more.path).chain([&*first.shared_settings().0]);
        if paths.into_iter().any(|path| path.trim().is_empty()) {
            let problem = "is empty; say a file or folder, or builtin:NAME".into();
            return Err(TaskError::Setting { setting: "path", problem });
        }
        let (task, splits) = first.build(name, loss_weight, saved)?;
        let fitted = save(task.as_task().as_ref())?;
        let mut skipped = Vec::new();
        let (mut train, mut valid) = (vec![(splits.train, 1.0)], vec![(splits.valid, 1.0)]);
        for More { path, weight } in more {
            if !(weight > 0.0 && weight.is_finite()) {
                let problem = format!("the weight of {path} must be a positive number; found {weight}");
                return Err(TaskError::Setting { setting: "more", problem });
            }
            let mut config = first.clone();
            *config.shared_settings().0 = path;
            let (task, splits) = config.build(name, loss_weight, Some(&fitted))?;
            skipped.extend_from_slice(task.as_task().skipped());
            train.push((splits.train, weight));
            valid.push((splits.valid, weight));
        }
        let kept = |dataset: Arc<dyn Dataset>| -> Result<Arc<dyn Dataset>, TaskError> {
            let Some(folder) = &cache else { return Ok(dataset) };
            Ok(Arc::new(Cached::new(dataset, Path::new(folder), &first.making(&fitted)?)))
        };
        let joined = |parts: Vec<(Arc<dyn Dataset>, f64)>| -> Result<Arc<dyn Dataset>, TaskError> {
            let mut kept_parts = Vec::with_capacity(parts.len());
            for (dataset, weight) in parts {
                kept_parts.push((kept(dataset)?, weight));
            }
            match kept_parts.len() {
                1 => Ok(kept_parts.remove(0).0),
                _ => Ok(Arc::new(Sources::new(kept_parts, skipped.clone()))),
            }
        };
        Ok((task, Splits { train: joined(train)?, valid: joined(valid)? }))
    }

    /// Everything that tokens follow from, but for the sample that they are made of: the fitted tokenizers, and the
    /// settings, without those that only choose among samples.
    fn making(&self, fitted: &SavedTask) -> Result<String, TaskError> {
        let unwritable = |e: serde_json::Error| TokenizeError::Input(e.to_string());
        let mut settings = serde_json::to_value(self).map_err(unwritable)?;
        if let Some(settings) = settings.as_object_mut() {
            for choice in ["path", "train", "valid", "holdout", "bad"] {
                settings.remove(choice);
            }
        }
        let fitted = serde_json::to_value(fitted).map_err(unwritable)?;
        Ok(serde_json::json!([settings, fitted]).to_string())
    }
}
