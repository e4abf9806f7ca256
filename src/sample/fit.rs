//! Fits a task's tokenizers and heads to the training rows, or restores them from a run.

use super::OpenError;
use super::part::Role;
use super::plan::{OtherTaskPart, Plan, PlannedPart, fields};
use super::rows::Rows;
use super::settings::{OutputSettings, TaskSettings};
use super::spans::sentinel;
use super::values::{ConcatenatedValues, FieldValues};
use crate::head::{Classify, FitData, Head, HeadError, HeadInput, HeadKind, only_class};
use crate::notice::{Notice, notify};
use crate::registry::Modalities;
use crate::table::Derivation;
use crate::task::{SavedTask, SavedTokenizer};
use serde_json::{Map, Value};
use smalti_contract::{AnyTokenizer, ContentSpec, RegistryError, TokenizeError, Value as Cell, Values};
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The modality of texts, and the token that ends a document of windows.
const TEXT: &str = "text";
const END_TOKEN: &str = "<|endoftext|>";

/// A task's fitted tokenizers and heads.
#[derive(Default)]
pub(super) struct Fitted {
    /// In the order of the plan's parts.
    pub tokenizers: Vec<Arc<dyn AnyTokenizer>>,
    /// The tokenizers of targets without tokens in the sample (`ctc`), in the order of the settings' outputs.
    pub labels: Vec<Option<Arc<dyn AnyTokenizer>>>,
    /// In the order of the settings' outputs.
    pub heads: Vec<Arc<dyn Head>>,
    /// The state that a run saves.
    pub saved: SavedTask,
    /// What the fit chose, each in one line that begins with the part.
    pub notes: Vec<String>,
}

/// Fits tokenizers and heads to the training rows.
pub(super) fn fit(
    settings: &TaskSettings,
    modalities: &Modalities,
    (train, validation): (&Rows, &Rows),
    before: Option<&SavedTask>,
    others: &BTreeMap<String, SavedTask>,
) -> Result<(Plan, Fitted), OpenError> {
    let series = series(settings, modalities, train)?;
    let find_other = |_: &str, shared: &str| {
        let (task, part) = shared.split_once('.')?;
        others.get(task)?.tokenizers.get(part).cloned()
    };
    let plan = Plan::new(settings, modalities, &series, &find_other)?;
    let values = plan.parts.iter().map(|part| part_values(part, train));
    let values = values.collect::<Result<Vec<_>, _>>()?;
    let has_documents = train.sources.iter().any(|&(n, _)| n > 1);
    let was_separated =
        |part: &PlannedPart| before.is_some_and(|before| before.separated.contains(&part.name));
    let has_end = |part: &PlannedPart| match part.completions.is_empty() {
        true => has_documents,
        false => was_separated(part),
    };
    let is_separated = |part: &&PlannedPart| part.windows && part.append_eos.unwrap_or(has_end(part));
    let saved = SavedTask {
        separated: plan.parts.iter().filter(is_separated).map(|part| part.name.clone()).collect(),
        max_steps: max_steps(settings, train, validation)?,
        largest_returns: largest_returns(settings, train),
        series,
        ..SavedTask::default()
    };
    let fitted = Fitted { saved, ..Fitted::default() };
    let mut fitting = Fitting { plan: &plan, modalities, train, before, fitted };
    fitting.fit_parts(&values)?;
    for (number, (name, output)) in settings.outputs.iter().enumerate() {
        fitting.fit_output(number, name, output)?;
    }
    let fitted = fitting.fitted;
    Ok((plan, fitted))
}

/// The values that a part is fitted to: of all its fields together, and of each completion of a pair.
fn part_values(part: &PlannedPart, train: &Rows) -> Result<Vec<FieldValues>, OpenError> {
    let of_completions = part.completions.iter().filter(|field| !part.fields.contains(field));
    let of_completions = of_completions.map(std::slice::from_ref);
    let all = std::iter::once(&part.fields[..]).chain(of_completions);
    all.map(|fields| train.values(&part.key(), fields)).collect()
}

/// The names of the parts whose fields are series.
fn series(
    settings: &TaskSettings,
    modalities: &Modalities,
    train: &Rows,
) -> Result<BTreeSet<String>, OpenError> {
    let inputs = settings.inputs.iter().map(|(name, input)| ("inputs", name, &input.field));
    let has_field =
        |output: &OutputSettings| modalities.heads().input(&output.head).map_or(true, HeadInput::has_field);
    let outputs = settings.outputs.iter().filter(|(_, output)| has_field(output));
    let outputs = outputs.map(|(name, output)| ("outputs", name, &output.field));
    let mut series = BTreeSet::new();
    for (table, name, field) in inputs.chain(outputs) {
        if train.values(&format!("{table}.{name}"), &fields(name, field))?.is_series() {
            series.insert(name.clone());
        }
    }
    Ok(series)
}

/// The fitting of a task, part by part.
struct Fitting<'a> {
    plan: &'a Plan,
    modalities: &'a Modalities,
    train: &'a Rows,
    /// The task of another run, whose vocabularies are kept.
    before: Option<&'a SavedTask>,
    /// The tokenizers and heads so far.
    fitted: Fitted,
}

impl Fitting<'_> {
    /// Fits the tokenizers of all parts to their values; parts that share a vocabulary have one.
    fn fit_parts(&mut self, values: &[Vec<FieldValues>]) -> Result<(), OpenError> {
        let plan = self.plan;
        let mut by_owner: BTreeMap<usize, Arc<dyn AnyTokenizer>> = BTreeMap::new();
        for (number, part) in plan.parts.iter().enumerate() {
            let owner = plan.owner(number);
            if let Entry::Vacant(vacant) = by_owner.entry(owner) {
                let members = (0..plan.parts.len()).filter(|&n| plan.owner(n) == owner);
                let members = members.flat_map(|n| &values[n]);
                let values = ConcatenatedValues::new(members.collect());
                let part = &plan.parts[owner];
                vacant.insert(self.fit_tokenizer(part, &part.key(), &values)?);
            }
            let tokenizer = by_owner[&owner].clone();
            if let Some(shared) = self.fitted.saved.tokenizers.get(&plan.parts[owner].name).cloned() {
                self.fitted.saved.tokenizers.insert(part.name.clone(), shared);
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
            self.fitted.tokenizers.push(tokenizer);
        }
        Ok(())
    }

    /// Fits the tokenizer of a part, whose settings are the table `key`, and adds it to the saved state.
    fn fit_tokenizer(
        &mut self,
        part: &PlannedPart,
        key: &str,
        values: &ConcatenatedValues,
    ) -> Result<Arc<dyn AnyTokenizer>, OpenError> {
        let refuse = |problem: RegistryError| match problem {
            RegistryError::Unknown { name, known } => OpenError::Setting {
                setting: format!("{key}.modality"),
                problem: format!("no modality is named {name:?}; known: {known}"),
            },
            problem => OpenError::Modality { part: key.into(), problem: problem.into() },
        };
        if let Some(OtherTaskPart { tokenizer, .. }) = &part.other_task_part {
            self.fitted.saved.tokenizers.insert(part.name.clone(), tokenizer.clone());
            let built = self.modalities.tokenizers().build(&tokenizer.tokenizer, &tokenizer.config);
            return Ok(built.map_err(refuse)?.into());
        }
        let known = self.before.and_then(|before| before.tokenizers.get(&part.name));
        let known = known.filter(|known| known.tokenizer == part.modality).map(|known| &*known.config);
        let settings = Value::Object(self.with_special_tokens(part));
        let fitted = loop {
            match self.modalities.tokenizers().fit(&part.modality, &settings, known, values) {
                Err(RegistryError::Tokenizer(TokenizeError::Input(_) | TokenizeError::Format { .. }))
                    if values.skip_last() => {}
                Err(RegistryError::Tokenizer(
                    error @ (TokenizeError::Input(_) | TokenizeError::Format { .. }),
                )) => {
                    return Err(refuse(
                        TokenizeError::Input(values.with_location(&error.to_string())).into(),
                    ));
                }
                fitted => break fitted.map_err(refuse)?,
            }
        };
        self.fitted.notes.extend(values.take_notes().iter().map(|note| format!("{}: {note}", part.key())));
        let config = fitted.config_json().map_err(|e| refuse(e.into()))?;
        self.fitted.saved.tokenizers.insert(
            part.name.clone(),
            SavedTokenizer { tokenizer: part.modality.clone(), config: config.into() },
        );
        Ok(fitted.into())
    }

    /// The settings of a part, with the special tokens that texts need: the end token of windows, and the sentinels of spans.
    fn with_special_tokens(&self, part: &PlannedPart) -> Map<String, Value> {
        let mut settings = part.settings.clone();
        let needs_end = part.end.is_empty() && self.fitted.saved.separated.contains(&part.name);
        // As in T5, the first sentinel has the last id.
        let sentinels = (0..part.sentinels).rev().map(sentinel);
        let mut missing: Vec<String> =
            needs_end.then(|| END_TOKEN.to_string()).into_iter().chain(sentinels).collect();
        if part.modality != TEXT || missing.is_empty() {
            return settings;
        }
        let specials = settings.entry("specials").or_insert_with(|| Value::Array(vec![]));
        // Any other value is an error of the modality.
        if let Value::Array(specials) = specials {
            missing.retain(|token| !specials.iter().any(|known| known == token));
            specials.extend(missing.into_iter().map(Value::from));
        }
        settings
    }

    /// Fits the head of an output, and the tokenizer of its targets if they have no tokens in the sample.
    fn fit_output(&mut self, number: usize, name: &str, output: &OutputSettings) -> Result<(), OpenError> {
        let refuse = |problem: HeadError| OpenError::Head { output: name.into(), problem: problem.into() };
        let (heads, planned) = (self.modalities.heads(), &self.plan.outputs[number]);
        let values = match heads.input(&output.head).map_err(refuse)? {
            input if input.has_field() => {
                Some(self.train.values(&format!("outputs.{name}"), &fields(name, &output.field))?)
            }
            _ => None,
        };
        let label = match (&planned.labels, &values) {
            (Some(planned), Some(values)) => {
                let values = ConcatenatedValues::new(vec![values]);
                Some(self.fit_tokenizer(planned, &format!("outputs.{name}"), &values)?)
            }
            _ => None,
        };
        let tokenizers = &self.fitted.tokenizers;
        let own = self.plan.own(number);
        let own = own.map(|part| (tokenizers[part].clone(), self.plan.n_special_ids(part)));
        let vocabulary = own
            .or(label.clone().map(|label| (label, 0)))
            .and_then(|(of, added)| vocabulary_size(of.as_ref(), added));
        let none: Vec<Cell> = vec![];
        let fit = FitData {
            values: values.as_ref().map_or(&none as &dyn Values, |values| values),
            classes: values.as_ref().and_then(FieldValues::classes),
            vocabulary,
            features: tokenizers.get(planned.input).and_then(|of| feature_dim(of.as_ref())),
        };
        let fitted = heads.fit(&output.head, Value::Object(planned.head.clone()), &fit);
        let (state, head) = fitted.map_err(|error| match (error, &values) {
            (HeadError::Head(TokenizeError::Input(problem)), Some(values)) => {
                refuse(TokenizeError::Input(values.with_location(&problem)).into())
            }
            (error, _) => refuse(error),
        })?;
        if let Some(values) = values.as_ref().filter(|_| output.head == Classify::NAME)
            && let Some(class) = only_class(values)
        {
            notify(Notice::Note(&format!(
                "outputs.{name}: all training rows have the class {class:?}: a model that predicts it alone is always right; \
                 check data.source, data.train and the field of the labels"
            )));
        }
        self.fitted.saved.heads.insert(name.into(), state);
        self.fitted.labels.push(label);
        self.fitted.heads.push(head);
        Ok(())
    }
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
fn vocabulary_size(tokenizer: &dyn AnyTokenizer, added: usize) -> Option<usize> {
    match &tokenizer.spec().kinds[..] {
        [kind] => match kind.content {
            ContentSpec::Ids { vocabulary } => Some(vocabulary + added),
            _ => None,
        },
        _ => None,
    }
}

/// The number of features of each token of a tokenizer with one kind of token on a grid of fixed size.
fn feature_dim(tokenizer: &dyn AnyTokenizer) -> Option<usize> {
    match &tokenizer.spec().kinds[..] {
        [kind] => match kind.content {
            ContentSpec::Features { dim } if !kind.axes.is_empty() => Some(dim),
            _ => None,
        },
        _ => None,
    }
}

/// Restores tokenizers and heads from a run.
pub(super) fn restore(
    settings: &TaskSettings,
    modalities: &Modalities,
    saved: &SavedTask,
) -> Result<(Plan, Fitted), OpenError> {
    // The saved tokenizers of parts that share a vocabulary with another task.
    let find_other =
        |part: &str, shared: &str| saved.tokenizers.get(part).filter(|_| shared.contains('.')).cloned();
    let plan = Plan::new(settings, modalities, &saved.series, &find_other)?;
    let build = |part: &PlannedPart| -> Result<Arc<dyn AnyTokenizer>, OpenError> {
        let missing = || OpenError::Saved { part: part.key() };
        let saved = saved
            .tokenizers
            .get(&part.name)
            .filter(|saved| saved.tokenizer == part.modality)
            .ok_or_else(missing)?;
        let tokenizer = modalities.tokenizers().build(&saved.tokenizer, &saved.config);
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
    Ok((plan, Fitted { tokenizers, labels, heads, saved: saved.clone(), notes: vec![] }))
}
