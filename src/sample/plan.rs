//! The plan of a task: its parts and outputs from the settings, before tokenizers and heads are fitted.

mod outputs;
mod shares;

use super::OpenError;
use super::part::Role;
use super::settings::{InputSettings, OneOrMany, OutputSettings, TaskSettings};
use crate::data::Stream;
use crate::head::HeadInput;
use crate::registry::Modalities;
use crate::task::SavedTokenizer;
use serde_json::{Map, Value};
use std::collections::BTreeSet;

/// The parts with tokens, and the outputs.
pub(super) struct Plan {
    pub parts: Vec<PlannedPart>,
    /// In the order of the settings.
    pub outputs: Vec<PlannedOutput>,
}

/// An output, in addition to its part if it has tokens.
pub(super) struct PlannedOutput {
    /// The modality of targets that have no tokens in the sample (`ctc`).
    pub labels: Option<PlannedPart>,
    /// The settings of the head.
    pub head: Map<String, Value>,
    /// The tokens that the head reads.
    pub head_input: HeadInput,
    /// The number of the input whose tokens the head reads, if it reads an input.
    pub input: usize,
}

impl PlannedOutput {
    /// Whether the targets are pairs of completions.
    pub fn is_preference(&self) -> bool {
        self.head_input == HeadInput::Completions
    }
}

/// A part with tokens.
#[derive(Clone)]
pub(super) struct PlannedPart {
    pub name: String,
    pub fields: Vec<String>,
    /// The fields of the completions of a pair, to whose values it is fitted too; empty for any other part.
    pub completions: Vec<String>,
    pub modality: String,
    pub settings: Map<String, Value>,
    pub role: Role,
    pub series: bool,
    pub stream: Stream,
    pub drop: f64,
    /// Whether its tokens have position embeddings.
    pub positions: bool,
    pub required: bool,
    /// Whether a predicted series is an input of its later steps; otherwise it has no tokens.
    pub feedback: bool,
    pub begin: Vec<u32>,
    pub end: Vec<u32>,
    pub mask_id: Option<u32>,
    pub windows: bool,
    /// Whether windows have an end token after each row; by default, if there are several.
    pub append_eos: Option<bool>,
    /// Number of sentinels that its vocabulary gets, for span corruption.
    pub sentinels: usize,
    /// The number of the part whose vocabulary it shares.
    pub share: Option<usize>,
    /// The part of another task of the mix whose vocabulary it shares.
    pub other_task_part: Option<OtherTaskPart>,
}

/// A part of another task of a mix, and its tokenizer.
#[derive(Clone)]
pub(super) struct OtherTaskPart {
    /// `TASK.PART`.
    pub name: String,
    pub tokenizer: SavedTokenizer,
}

/// Finds the tokenizer that a part (first argument) shares with a `TASK.PART` (second argument), if the task has it.
pub(super) type FindOtherTaskPart<'a> = &'a dyn Fn(&str, &str) -> Option<SavedTokenizer>;

/// The fields that a part reads.
pub(super) fn fields(name: &str, field: &Option<OneOrMany<String>>) -> Vec<String> {
    field.as_ref().map_or_else(|| vec![name.to_string()], |fields| fields.as_slice().to_vec())
}

impl Plan {
    /// The plan of a task; `series` has the names of the parts whose fields are series.
    pub(super) fn new(
        settings: &TaskSettings,
        modalities: &Modalities,
        series: &BTreeSet<String>,
        find_other: FindOtherTaskPart,
    ) -> Result<Self, OpenError> {
        check_names(settings)?;
        let has_codebook = check_codebook(settings, modalities, series)?;
        let cross = has_codebook || settings.outputs.values().any(|output| output.cross_attention);
        let stream = if cross { Stream::Encoder } else { Stream::Main };
        let mut plan = Self { parts: vec![], outputs: vec![] };
        for (name, input) in &settings.inputs {
            if !(0.0..1.0).contains(&input.drop) {
                let problem = format!("expected 0 or more and less than 1; found {}", input.drop);
                return refuse(format!("inputs.{name}.drop"), problem);
            }
            plan.parts.push(PlannedPart::input(name, input, series.contains(name), stream));
        }
        for (number, (name, output)) in settings.outputs.iter().enumerate() {
            plan.add_output(number, name, output, modalities, series.contains(name))?;
        }
        plan.check_parts(settings)?;
        plan.resolve_shares(settings, find_other)?;
        plan.add_sentinels(settings)?;
        plan.check_streams(settings, cross && !has_codebook)?;
        Ok(plan)
    }

    /// Fails if a task lacks an input that it needs, or has another part beside windows.
    fn check_parts(&self, settings: &TaskSettings) -> Result<(), OpenError> {
        let needs_no_input = |output: &PlannedOutput| {
            matches!(
                output.head_input,
                HeadInput::NextTokens | HeadInput::MaskedTokens | HeadInput::Completions
            )
        };
        if settings.inputs.is_empty() && !self.outputs.iter().all(needs_no_input) {
            return refuse(
                "inputs".into(),
                "expected at least one input; found none: add a table [inputs.NAME]".into(),
            );
        }
        let windows = self.parts.iter().find(|part| part.windows);
        if let Some(part) = windows.filter(|_| self.parts.len() + self.outputs.len() > 2) {
            let problem = "expected no input and no other output in a task with windows = true".into();
            return refuse(format!("outputs.{}.windows", part.name), problem);
        }
        Ok(())
    }

    /// Fails if some outputs use cross-attention and others do not.
    fn check_streams(&self, settings: &TaskSettings, cross: bool) -> Result<(), OpenError> {
        let other = settings.outputs.iter().find(|(_, output)| cross && !output.cross_attention);
        let Some((name, _)) = other else { return Ok(()) };
        let problem =
            "expected cross_attention = true for all outputs of a task or for none; another output has it"
                .into();
        refuse(format!("outputs.{name}.cross_attention"), problem)
    }

    /// The names of the parts, for messages.
    fn names(&self) -> String {
        self.parts.iter().map(|part| part.name.as_str()).collect::<Vec<_>>().join(", ")
    }

    /// The part that owns the vocabulary of part `number`: itself, or the part that it shares with.
    pub(super) fn owner(&self, number: usize) -> usize {
        self.parts[number].share.unwrap_or(number)
    }

    /// The parts of each vocabulary that several parts share.
    pub(super) fn groups(&self) -> Vec<Vec<usize>> {
        let members =
            |owner: usize| (0..self.parts.len()).filter(|&n| self.owner(n) == owner).collect::<Vec<_>>();
        (0..self.parts.len()).map(members).filter(|group| group.len() > 1).collect()
    }

    /// The number of special ids added to the vocabulary of a part: begin and end ids of a generated value, or the mask id.
    pub(super) fn n_special_ids(&self, number: usize) -> usize {
        let owner = self.owner(number);
        let added = |part: &PlannedPart| match part.role {
            // A window of a longer value has no begin and no end.
            Role::Generated(_) if part.windows => 0,
            Role::Generated(_) => usize::from(part.begin.is_empty()) + usize::from(part.end.is_empty()),
            Role::Masked(_) => usize::from(part.mask_id.is_none()),
            Role::Input | Role::Series(_) => 0,
        };
        let members = (0..self.parts.len()).filter(|&n| self.owner(n) == owner);
        members.map(|n| added(&self.parts[n])).max().unwrap_or(0)
    }

    /// The part of an output that is generated, masked or a series.
    pub(super) fn own(&self, output: usize) -> Option<usize> {
        self.parts.iter().position(|part| match part.role {
            Role::Generated(of) | Role::Masked(of) | Role::Series(of) => of == output,
            Role::Input => false,
        })
    }
}

impl PlannedPart {
    /// The part of an input.
    fn input(name: &str, input: &InputSettings, series: bool, stream: Stream) -> Self {
        Self {
            name: name.into(),
            fields: fields(name, &input.field),
            completions: vec![],
            modality: input.modality.clone(),
            settings: input.settings.clone(),
            role: Role::Input,
            series,
            stream,
            drop: input.drop,
            positions: input.positions,
            required: input.required,
            feedback: true,
            begin: vec![],
            end: vec![],
            mask_id: None,
            windows: false,
            append_eos: None,
            sentinels: 0,
            share: None,
            other_task_part: None,
        }
    }

    /// The table of the part's settings: `inputs.camera`.
    pub(super) fn key(&self) -> String {
        let table = if self.role == Role::Input { "inputs" } else { "outputs" };
        format!("{table}.{}", self.name)
    }
}

/// An invalid setting.
fn refuse<T>(setting: String, problem: String) -> Result<T, OpenError> {
    Err(OpenError::Setting { setting, problem })
}

/// Fails without outputs, or if an input and an output have the same name.
fn check_names(settings: &TaskSettings) -> Result<(), OpenError> {
    if settings.outputs.is_empty() {
        return refuse(
            "outputs".into(),
            "expected at least one output; found none: add a table [outputs.NAME]".into(),
        );
    }
    if let Some(name) = settings.inputs.keys().find(|name| settings.outputs.contains_key(*name)) {
        let problem = "expected different names for all parts; an output has the same name".into();
        return refuse(format!("inputs.{name}"), problem);
    }
    Ok(())
}

/// Whether an output has a codebook; fails if it is not the only output, of one input that is no series.
fn check_codebook(
    settings: &TaskSettings,
    modalities: &Modalities,
    series: &BTreeSet<String>,
) -> Result<bool, OpenError> {
    let is_coded = |output: &OutputSettings| {
        modalities.heads().input(&output.head).is_ok_and(|input| input == HeadInput::Codes)
    };
    let Some((name, _)) = settings.outputs.iter().find(|(_, output)| is_coded(output)) else {
        return Ok(false);
    };
    let (inputs, outputs) = (settings.inputs.len(), settings.outputs.len());
    if inputs != 1 || outputs != 1 {
        let problem = format!(
            "expected one input and no other output in a task with a codebook; found {inputs} inputs and {outputs} \
             outputs: train the codebook in a separate run"
        );
        return refuse(format!("outputs.{name}"), problem);
    }
    if let Some(series) = settings.inputs.keys().find(|name| series.contains(*name)) {
        let problem = "expected one value in each row for a codebook; the field is a series".into();
        return refuse(format!("inputs.{series}.field"), problem);
    }
    Ok(true)
}
