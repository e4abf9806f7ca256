//! Opens a task: reads its rows, and fits its tokenizers and heads or restores them from a run.

use super::fit::{fit, restore};
use super::rows::{BothSplits, Rows, percent};
use super::settings::{DataSettings, OutputSettings, TaskSettings};
use super::windows::{Sequences, TokenWindows};
use super::{Composition, OpenError, Opened, Samples};
use crate::data::{Cached, Dataset, OnCorruptSample};
use crate::head::{HeadInput, TargetContext};
use crate::notice::{Notice, notify};
use crate::registry::Modalities;
use crate::task::SavedTask;
use smalti_contract::Values;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// The fitted state that a task starts from.
#[derive(Clone, Copy)]
pub enum Start<'a> {
    /// None: tokenizers and heads are fitted to the training rows.
    New,
    /// The task of another run: tokenizers of the same part and modality keep its vocabularies; the rest is fitted.
    From(&'a SavedTask),
    /// The task's own run: tokenizers and heads are restored.
    Run(&'a SavedTask),
}

impl Composition {
    /// Opens a task's data, and fits its tokenizers and heads to the training rows or restores them from a run.
    ///
    /// # Errors
    /// [`OpenError`], which names the file or the setting.
    pub fn open(
        named: (&str, f64),
        settings: &TaskSettings,
        modalities: &Modalities,
        start: Start,
    ) -> Result<Opened, OpenError> {
        Self::open_beside(named, settings, modalities, start, &BTreeMap::new())
    }

    /// Opens a task of a mix, as [`open`](Self::open) does; its parts may share vocabularies of `others` (`share = "TASK.PART"`).
    ///
    /// # Errors
    /// As for [`open`](Self::open).
    pub fn open_beside(
        named: (&str, f64),
        settings: &TaskSettings,
        modalities: &Modalities,
        start: Start,
        others: &BTreeMap<String, SavedTask>,
    ) -> Result<Opened, OpenError> {
        let settings = &settings.with_spans()?;
        // The rows of a preference are samples, whose texts are those of windows.
        let is_preference = |output: &OutputSettings| {
            modalities.heads().input(&output.head).is_ok_and(|input| input == HeadInput::Completions)
        };
        let windows = settings.outputs.values().any(|output| output.windows && !is_preference(output));
        let BothSplits { train, validation, note } = Rows::split(settings, modalities.sources(), !windows)?;
        let (plan, mut fitted) = match start {
            Start::Run(saved) => restore(settings, modalities, saved)?,
            Start::New => fit(settings, modalities, (&train, &validation), None, others)?,
            Start::From(before) => fit(settings, modalities, (&train, &validation), Some(before), others)?,
        };
        let notes = note.into_iter().chain(std::mem::take(&mut fitted.notes));
        if !matches!(start, Start::Run(_)) {
            // The table of the task's settings in a mix.
            let table = if named.0.is_empty() { String::new() } else { format!("mix.{}.", named.0) };
            notes.for_each(|note| notify(Notice::Note(&format!("{table}{note}"))));
        }
        let task = Arc::new(Self::assemble(named, settings, &plan, fitted)?);
        if !matches!(start, Start::Run(_)) {
            task.check_labels(&validation)?;
        }
        let samples = |rows: Rows| Samples::new(task.clone(), rows, settings).map(Arc::new);
        let (train, validation) = match windows {
            true => task.windows(train, validation, &settings.data)?,
            false => (samples(train)?, samples(validation)?),
        };
        let folder = settings.data.cache.as_deref().filter(|folder| !folder.is_empty());
        // Cached tokens are valid for these settings and this fitted state.
        let (inputs, outputs) = (&settings.inputs, &settings.outputs);
        let cache_key = serde_json::json!([inputs, outputs, settings.data.derived, task.saved()]).to_string();
        let cached = |samples: &Arc<Samples>| -> Arc<dyn Dataset> {
            match folder {
                Some(folder) => Arc::new(Cached::new(samples.clone(), Path::new(folder), &cache_key)),
                None => samples.clone(),
            }
        };
        Ok(Opened {
            train: cached(&train),
            validation: cached(&validation),
            train_rows: train,
            validation_rows: validation,
            task,
        })
    }

    /// The windows of tokens of both splits. Unless the settings name the validation rows, the last share `holdout` of each
    /// source's tokens becomes the validation split.
    fn windows(
        self: &Arc<Self>,
        mut train: Rows,
        mut validation: Rows,
        data: &DataSettings,
    ) -> Result<(Arc<Samples>, Arc<Samples>), OpenError> {
        let samples = |rows: &Rows, sequences: &Sequences, share| {
            let windows = TokenWindows::new(self, rows.table.name(), sequences, share)?;
            Ok::<_, OpenError>(Arc::new(Samples::of_tokens(self.clone(), rows.clone(), windows)))
        };
        let sequences = TokenWindows::sequences(self, &train)?;
        let (same, holdout) = (train.is_same(&validation), data.holdout);
        match same && data.validation_source.is_none() {
            true if !(holdout > 0.0 && holdout < 1.0) => {
                let problem = format!("expected a share between 0 and 1; found {holdout}");
                Err(OpenError::Setting { setting: "data.holdout".into(), problem })
            }
            true => {
                let share = 1.0 - holdout;
                let cut = |end: &str, share: f64| {
                    format!("the {end} {}% of the tokens of {}", percent(share), train.chosen)
                };
                (train.chosen, validation.chosen) = (cut("first", share), cut("last", holdout));
                Ok((samples(&train, &sequences, 0.0..share)?, samples(&validation, &sequences, share..1.0)?))
            }
            false => {
                let others = if same { None } else { Some(TokenWindows::sequences(self, &validation)?) };
                let others = others.as_ref().unwrap_or(&sequences);
                Ok((samples(&train, &sequences, 0.0..1.0)?, samples(&validation, others, 0.0..1.0)?))
            }
        }
    }

    /// Fails if a validation row has a label that no training row has.
    fn check_labels(&self, validation: &Rows) -> Result<(), OpenError> {
        for output in self.outputs.iter().filter(|output| !output.head.labels().is_empty()) {
            if !output.site.is_whole() || validation.corrupt == OnCorruptSample::Skip {
                continue;
            }
            let values = validation.values(&format!("outputs.{}", output.name), &output.fields)?;
            for index in 0..values.len() {
                let checked = values.get(index).and_then(|value| match value.is_missing() {
                    true => Ok(()),
                    false => output.head.target(value, &TargetContext { tokens: 1, content: None }).map(drop),
                });
                checked.map_err(|e| OpenError::Setting {
                    setting: format!("outputs.{}", output.name),
                    problem: values.with_location(&e.to_string()),
                })?;
            }
        }
        Ok(())
    }

    /// Restores a run's task without its data, for prediction.
    ///
    /// # Errors
    /// [`OpenError`] if the saved state does not match the settings.
    pub fn restore(
        named: (&str, f64),
        settings: &TaskSettings,
        modalities: &Modalities,
        saved: &SavedTask,
    ) -> Result<Self, OpenError> {
        let settings = &settings.with_spans()?;
        let (plan, fitted) = restore(settings, modalities, saved)?;
        Self::assemble(named, settings, &plan, fitted)
    }
}
