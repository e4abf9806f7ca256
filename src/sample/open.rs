//! Opens a task: reads its rows, and fits its tokenizers and heads or restores them from a run.

use super::part::Role;
use super::plan::{OtherTaskPart, Plan, PlannedPart, fields};
use super::rows::Rows;
use super::settings::TaskSettings;
use super::values::{ConcatenatedValues, FieldValues};
use super::windows::{Sequences, TokenWindows};
use super::{Composition, OpenError, Opened, ReadSite, Samples};
use crate::data::{Cached, Dataset, OnCorruptSample};
use crate::head::{FitData, Head, HeadError, HeadInput, TargetContext};
use crate::registry::Modalities;
use crate::table::Derivation;
use crate::task::{SavedTask, SavedTokenizer};
use serde_json::Value;
use smalti_contract::{AnyTokenizer, RegistryError, TokenizeError, Value as Cell, Values};
use std::collections::{BTreeMap, BTreeSet};
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

/// A task's fitted tokenizers and heads, in the order of its plan.
struct Fitted {
    tokenizers: Vec<Arc<dyn AnyTokenizer>>,
    labels: Vec<Option<Arc<dyn AnyTokenizer>>>,
    heads: Vec<Arc<dyn Head>>,
    saved: SavedTask,
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
        (name, loss_weight): (&str, f64),
        settings: &TaskSettings,
        modalities: &Modalities,
        start: Start,
        others: &BTreeMap<String, SavedTask>,
    ) -> Result<Opened, OpenError> {
        let windows = settings.outputs.values().any(|output| output.windows);
        let (train, validation) = Rows::split(settings, modalities.sources(), !windows)?;
        let (plan, fitted) = match start {
            Start::Run(saved) => {
                let plan = Plan::new(settings, modalities, &saved.series, &saved_shared_tokenizers(saved))?;
                let fitted = restore(&plan, settings, modalities, saved)?;
                (plan, fitted)
            }
            Start::New => fit(settings, modalities, (&train, &validation), None, others)?,
            Start::From(before) => fit(settings, modalities, (&train, &validation), Some(before), others)?,
        };
        let Fitted { tokenizers, labels, heads, saved } = fitted;
        let task = Self::assemble((name, loss_weight), settings, &plan, tokenizers, labels, heads, saved)?;
        let task = Arc::new(task);
        if !matches!(start, Start::Run(_)) {
            task.check_labels(&validation)?;
        }
        let samples = |rows: Rows| Samples::new(task.clone(), rows, settings).map(Arc::new);
        let (train, validation) = match windows {
            true => task.windows(train, validation, settings.data.holdout)?,
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

    /// The windows of tokens of both splits. If both have the same rows, the last share `holdout` of each source's tokens
    /// becomes the validation split.
    fn windows(
        self: &Arc<Self>,
        train: Rows,
        validation: Rows,
        holdout: f64,
    ) -> Result<(Arc<Samples>, Arc<Samples>), OpenError> {
        let samples = |rows: &Rows, sequences: &Sequences, share| {
            let windows = TokenWindows::new(self, rows.table.name(), sequences, share)?;
            Ok::<_, OpenError>(Arc::new(Samples::of_tokens(self.clone(), rows.clone(), windows)))
        };
        let sequences = TokenWindows::sequences(self, &train)?;
        let same = Arc::ptr_eq(&train.table, &validation.table) && train.rows == validation.rows;
        match same {
            true if !(holdout > 0.0 && holdout < 1.0) => {
                let problem = format!("expected a share between 0 and 1; found {holdout}");
                Err(OpenError::Setting { setting: "data.holdout".into(), problem })
            }
            true => {
                let share = 1.0 - holdout;
                Ok((samples(&train, &sequences, 0.0..share)?, samples(&validation, &sequences, share..1.0)?))
            }
            false => {
                let others = TokenWindows::sequences(self, &validation)?;
                Ok((samples(&train, &sequences, 0.0..1.0)?, samples(&validation, &others, 0.0..1.0)?))
            }
        }
    }

    /// Fails if a validation row has a label that no training row has.
    fn check_labels(&self, validation: &Rows) -> Result<(), OpenError> {
        for output in self.outputs.iter().filter(|output| !output.head.labels().is_empty()) {
            let whole = matches!(output.site, ReadSite::ClassToken { .. } | ReadSite::Mean);
            if !whole || validation.corrupt == OnCorruptSample::Skip {
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
        (name, loss_weight): (&str, f64),
        settings: &TaskSettings,
        modalities: &Modalities,
        saved: &SavedTask,
    ) -> Result<Self, OpenError> {
        let plan = Plan::new(settings, modalities, &saved.series, &saved_shared_tokenizers(saved))?;
        let Fitted { tokenizers, labels, heads, saved } = restore(&plan, settings, modalities, saved)?;
        Self::assemble((name, loss_weight), settings, &plan, tokenizers, labels, heads, saved)
    }
}

/// The saved tokenizers of parts that share a vocabulary with another task.
fn saved_shared_tokenizers(saved: &SavedTask) -> impl Fn(&str, &str) -> Option<SavedTokenizer> + '_ {
    |part, shared| saved.tokenizers.get(part).filter(|_| shared.contains('.')).cloned()
}

/// Fits tokenizers and heads to the training rows.
fn fit(
    settings: &TaskSettings,
    modalities: &Modalities,
    (train, validation): (&Rows, &Rows),
    before: Option<&SavedTask>,
    others: &BTreeMap<String, SavedTask>,
) -> Result<(Plan, Fitted), OpenError> {
    let values = |name: &str, of: &[String]| train.values(name, of);
    let mut series = BTreeSet::new();
    let inputs = settings.inputs.iter().map(|(name, input)| ("inputs", name, &input.field));
    let outputs = settings.outputs.iter().map(|(name, output)| ("outputs", name, &output.field));
    for (table, name, field) in inputs.chain(outputs) {
        let has_field = table == "inputs"
            || modalities.heads().input(&settings.outputs[name].head).map_or(true, HeadInput::has_field);
        if has_field && values(&format!("{table}.{name}"), &fields(name, field))?.is_series() {
            series.insert(name.clone());
        }
    }
    let find_other = |_: &str, shared: &str| {
        let (task, part) = shared.split_once('.')?;
        others.get(task)?.tokenizers.get(part).cloned()
    };
    let plan = Plan::new(settings, modalities, &series, &find_other)?;
    let part_values =
        plan.parts.iter().map(|part| values(&part.key(), &part.fields)).collect::<Result<Vec<_>, _>>()?;
    let mut saved = SavedTask {
        max_steps: max_steps(settings, train, validation)?,
        largest_returns: largest_returns(settings, train),
        series,
        ..SavedTask::default()
    };
    let mut by_owner: BTreeMap<usize, Arc<dyn AnyTokenizer>> = BTreeMap::new();
    let mut tokenizers: Vec<Arc<dyn AnyTokenizer>> = vec![];
    for (number, part) in plan.parts.iter().enumerate() {
        let owner = plan.owner(number);
        if let std::collections::btree_map::Entry::Vacant(vacant) = by_owner.entry(owner) {
            let members = (0..plan.parts.len()).filter(|&n| plan.owner(n) == owner).map(|n| &part_values[n]);
            let values = ConcatenatedValues(members.collect());
            vacant.insert(tokenizer(&plan.parts[owner], &values, modalities, before, &mut saved)?);
        }
        let tokenizer = by_owner[&owner].clone();
        if let Some(shared) = saved.tokenizers.get(&plan.parts[owner].name).cloned() {
            saved.tokenizers.insert(part.name.clone(), shared);
        }
        if matches!(part.role, Role::Generated(_) | Role::Masked(_))
            && vocabulary_size(tokenizer.as_ref(), 0).is_none()
        {
            let problem = format!(
                "expected a modality whose tokens are ids of one vocabulary; found {}",
                part.modality
            );
            return Err(OpenError::Setting { setting: format!("{}.modality", part.key()), problem });
        }
        tokenizers.push(tokenizer);
    }
    let (mut labels, mut heads) = (vec![], vec![]);
    for (number, (name, output)) in settings.outputs.iter().enumerate() {
        let refuse = |problem: HeadError| OpenError::Head { output: name.clone(), problem: problem.into() };
        let of = fields(name, &output.field);
        let output_values = match modalities.heads().input(&output.head).map_err(refuse)? {
            input if input.has_field() => Some(values(&format!("outputs.{name}"), &of)?),
            _ => None,
        };
        let label = match (&plan.outputs[number].labels, &output_values) {
            (Some(planned), Some(values)) => {
                Some(tokenizer(planned, &ConcatenatedValues(vec![values]), modalities, before, &mut saved)?)
            }
            _ => None,
        };
        let own = plan.own(number).map(|part| (tokenizers[part].clone(), plan.n_special_ids(part)));
        let vocabulary = own
            .or(label.clone().map(|label| (label, 0)))
            .and_then(|(of, added)| vocabulary_size(of.as_ref(), added));
        let features = tokenizers.get(plan.outputs[number].input).and_then(|of| feature_dim(of.as_ref()));
        let none: Vec<smalti_contract::Value> = vec![];
        let fit = FitData {
            values: output_values.as_ref().map_or(&none as &dyn Values, |values| values),
            classes: output_values.as_ref().and_then(FieldValues::classes),
            vocabulary,
            features,
        };
        let (state, head) = modalities
            .heads()
            .fit(&output.head, Value::Object(plan.outputs[number].head.clone()), &fit)
            .map_err(|error| match (error, &output_values) {
                (HeadError::Head(TokenizeError::Input(problem)), Some(values)) => {
                    refuse(TokenizeError::Input(values.with_location(&problem)).into())
                }
                (error, _) => refuse(error),
            })?;
        saved.heads.insert(name.clone(), state);
        heads.push(head);
        labels.push(label);
    }
    Ok((plan, Fitted { tokenizers, labels, heads, saved }))
}

/// `data.max_steps`, or the number of time steps of the longest row of both splits.
fn max_steps(settings: &TaskSettings, train: &Rows, validation: &Rows) -> Result<usize, OpenError> {
    let (longest, set) =
        (train.steps().chain(validation.steps()).max().unwrap_or(0), settings.data.max_steps);
    if set > 0 && set < longest {
        let problem =
            format!("expected 0, or at least {longest}, the time steps of the longest row; found {set}");
        return Err(OpenError::Setting { setting: "data.max_steps".into(), problem });
    }
    Ok(set.max(longest))
}

/// The largest magnitude of each discounted return-to-go in the training rows; a rollout clamps its returns to it.
fn largest_returns(settings: &TaskSettings, train: &Rows) -> BTreeMap<String, f64> {
    let discounted = settings.data.derived.iter().filter(
        |(_, derivation)| matches!(derivation, Derivation::ReturnToGo { discount, .. } if *discount < 1.0),
    );
    // An unreadable row is reported when a part reads it.
    let steps = |row: u32, field: &str| match train.table.value(row as usize, field) {
        Ok(Cell::Series(steps)) => steps,
        _ => vec![],
    };
    let largest = |field: &str| {
        let all = train.rows.iter().flat_map(|&row| steps(row, field));
        all.fold(
            0.0_f64,
            |most, step| if let Cell::Number(to_go) = step { most.max(to_go.abs()) } else { most },
        )
    };
    discounted.map(|(field, _)| (field.clone(), largest(field))).collect()
}

/// The vocabulary size, with `added` special ids, of a tokenizer whose tokens are ids of one kind.
pub(super) fn vocabulary_size(tokenizer: &dyn AnyTokenizer, added: usize) -> Option<usize> {
    use smalti_contract::ContentSpec::Ids;
    match &tokenizer.spec().kinds[..] {
        [kind] => match kind.content {
            Ids { vocabulary } => Some(vocabulary + added),
            _ => None,
        },
        _ => None,
    }
}

/// The number of features of each token of a tokenizer with one kind of token on a grid of fixed size.
fn feature_dim(tokenizer: &dyn AnyTokenizer) -> Option<usize> {
    use smalti_contract::ContentSpec::Features;
    match &tokenizer.spec().kinds[..] {
        [kind] => match kind.content {
            Features { dim } if !kind.axes.is_empty() => Some(dim),
            _ => None,
        },
        _ => None,
    }
}

/// Fits a part's tokenizer and adds it to the saved state.
fn tokenizer(
    part: &PlannedPart,
    values: &ConcatenatedValues,
    modalities: &Modalities,
    before: Option<&SavedTask>,
    saved: &mut SavedTask,
) -> Result<Arc<dyn AnyTokenizer>, OpenError> {
    let refuse = |problem: RegistryError| match problem {
        RegistryError::Unknown { name, known } => OpenError::Setting {
            setting: format!("{}.modality", part.key()),
            problem: format!("no modality is named {name:?}; known: {known}"),
        },
        problem => OpenError::Modality { part: part.key(), problem: problem.into() },
    };
    if let Some(OtherTaskPart { tokenizer, .. }) = &part.other_task_part {
        saved.tokenizers.insert(part.name.clone(), tokenizer.clone());
        let built = modalities.tokenizers().build(&tokenizer.tokenizer, tokenizer.config.clone());
        return Ok(built.map_err(refuse)?.into());
    }
    let known = before.and_then(|before| before.tokenizers.get(&part.name));
    let known = known.filter(|known| known.tokenizer == part.modality).map(|known| known.config.clone());
    let settings = Value::Object(part.settings.clone());
    let fitted = loop {
        match modalities.tokenizers().fit(&part.modality, settings.clone(), known.clone(), values) {
            Err(RegistryError::Tokenizer(TokenizeError::Input(_) | TokenizeError::Format { .. }))
                if values.skip_last() => {}
            Err(RegistryError::Tokenizer(
                error @ (TokenizeError::Input(_) | TokenizeError::Format { .. }),
            )) => {
                return Err(refuse(TokenizeError::Input(values.with_location(&error.to_string())).into()));
            }
            fitted => break fitted.map_err(refuse)?,
        }
    };
    let config = fitted.config_json().map_err(|e| refuse(e.into()))?;
    saved.tokenizers.insert(part.name.clone(), SavedTokenizer { tokenizer: part.modality.clone(), config });
    Ok(fitted.into())
}

/// Restores tokenizers and heads from a run.
fn restore(
    plan: &Plan,
    settings: &TaskSettings,
    modalities: &Modalities,
    saved: &SavedTask,
) -> Result<Fitted, OpenError> {
    let build = |part: &PlannedPart| -> Result<Arc<dyn AnyTokenizer>, OpenError> {
        let missing = || OpenError::Saved { part: part.key() };
        let saved = saved
            .tokenizers
            .get(&part.name)
            .filter(|saved| saved.tokenizer == part.modality)
            .ok_or_else(missing)?;
        let tokenizer = modalities.tokenizers().build(&saved.tokenizer, saved.config.clone());
        Ok(tokenizer
            .map_err(|problem| OpenError::Modality { part: part.key(), problem: problem.into() })?
            .into())
    };
    let tokenizers = plan.parts.iter().map(build).collect::<Result<_, _>>()?;
    let labels = plan.outputs.iter().map(|output| output.labels.as_ref().map(build).transpose());
    let labels = labels.collect::<Result<_, _>>()?;
    let head = |name: &String| {
        let head =
            saved.heads.get(name).ok_or_else(|| OpenError::Saved { part: format!("outputs.{name}") })?;
        modalities
            .heads()
            .restore(head)
            .map_err(|problem| OpenError::Head { output: name.clone(), problem: problem.into() })
    };
    let heads = settings.outputs.keys().map(head).collect::<Result<_, _>>()?;
    Ok(Fitted { tokenizers, labels, heads, saved: saved.clone() })
}
