//! The plan of a task: its parts and outputs from the settings, before tokenizers and heads are fitted.

use super::OpenError;
use super::part::Role;
use super::settings::{OneOrMany, OutputSettings, TaskSettings};
use crate::data::Stream;
use crate::head::{HeadError, HeadInput};
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

/// A part with tokens.
#[derive(Clone)]
pub(super) struct PlannedPart {
    pub name: String,
    pub fields: Vec<String>,
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
    pub end: Option<u32>,
    pub mask_id: Option<u32>,
    pub windows: bool,
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

/// The default modality of a predicted series.
const NUMBERS: &str = "numbers";

impl Plan {
    /// The plan of a task; `series` has the names of the parts whose fields are series.
    pub(super) fn new(
        settings: &TaskSettings,
        modalities: &Modalities,
        series: &BTreeSet<String>,
        find_other: FindOtherTaskPart,
    ) -> Result<Self, OpenError> {
        let refuse = |setting: String, problem: String| Err(OpenError::Setting { setting, problem });
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
        let is_coded = |output: &OutputSettings| {
            modalities.heads().input(&output.head).is_ok_and(|input| input == HeadInput::Codes)
        };
        let coded = settings.outputs.iter().find(|(_, output)| is_coded(output)).map(|(name, _)| name);
        let (inputs, outputs) = (settings.inputs.len(), settings.outputs.len());
        if let Some(name) = coded.filter(|_| inputs != 1 || outputs != 1) {
            let problem = format!(
                "expected one input and no other output in a task with a codebook; found {inputs} inputs and {outputs} \
                 outputs: train the codebook in a separate run"
            );
            return refuse(format!("outputs.{name}"), problem);
        }
        if let Some(series) = settings.inputs.keys().find(|name| coded.is_some() && series.contains(*name)) {
            let problem = "expected one value in each row for a codebook; the field is a series".into();
            return refuse(format!("inputs.{series}.field"), problem);
        }
        let cross = coded.is_some() || settings.outputs.values().any(|output| output.cross_attention);
        let stream = if cross { Stream::Encoder } else { Stream::Main };
        let mut plan = Self { parts: vec![], outputs: vec![] };
        for (name, input) in &settings.inputs {
            if !(0.0..1.0).contains(&input.drop) {
                let problem = format!("expected 0 or more and less than 1; found {}", input.drop);
                return refuse(format!("inputs.{name}.drop"), problem);
            }
            plan.parts.push(PlannedPart {
                name: name.clone(),
                fields: fields(name, &input.field),
                modality: input.modality.clone(),
                settings: input.settings.clone(),
                role: Role::Input,
                series: series.contains(name),
                stream,
                drop: input.drop,
                positions: input.positions,
                required: input.required,
                feedback: true,
                begin: vec![],
                end: None,
                mask_id: None,
                windows: false,
                share: None,
                other_task_part: None,
            });
        }
        for (number, (name, output)) in settings.outputs.iter().enumerate() {
            plan.add_output(number, name, output, modalities, series)?;
        }
        let needs_no_input = |output: &PlannedOutput| {
            matches!(output.head_input, HeadInput::NextTokens | HeadInput::MaskedTokens)
        };
        if settings.inputs.is_empty() && !plan.outputs.iter().all(needs_no_input) {
            return refuse(
                "inputs".into(),
                "expected at least one input; found none: add a table [inputs.NAME]".into(),
            );
        }
        let windows = plan.parts.iter().find(|part| part.windows);
        if let Some(part) = windows.filter(|_| plan.parts.len() + plan.outputs.len() > 2) {
            let problem = "expected no input and no other output in a task with windows = true".into();
            return refuse(format!("outputs.{}.windows", part.name), problem);
        }
        plan.resolve_shares(settings, find_other)?;
        plan.check_streams(settings, cross && coded.is_none())?;
        Ok(plan)
    }

    /// Checks an output, and adds it and the part that it may have.
    fn add_output(
        &mut self,
        number: usize,
        name: &str,
        output: &OutputSettings,
        modalities: &Modalities,
        series: &BTreeSet<String>,
    ) -> Result<(), OpenError> {
        let refuse = |key: &str, problem: String| {
            Err(OpenError::Setting { setting: format!("outputs.{name}{key}"), problem })
        };
        let heads = modalities.heads();
        let unknown = |problem: HeadError| OpenError::Head { output: name.into(), problem: problem.into() };
        let known = heads.keys(&output.head).map_err(unknown)?;
        let head_input = heads.input(&output.head).map_err(unknown)?;
        if !(output.weight >= 0.0 && output.weight.is_finite()) {
            return refuse(".weight", format!("expected 0 or more; found {}", output.weight));
        }
        let series = series.contains(name);
        let (head_settings, mut rest): (Map<_, _>, Map<_, _>) =
            output.settings.clone().into_iter().partition(|(key, _)| known.contains(key));
        let role = match head_input {
            HeadInput::NextTokens => Some(Role::Generated(number)),
            HeadInput::MaskedTokens => Some(Role::Masked(number)),
            HeadInput::ClassToken if series => Some(Role::Series(number)),
            HeadInput::ClassToken | HeadInput::InputTokens | HeadInput::PooledState | HeadInput::Codes => {
                None
            }
        };
        if output.cross_attention && head_input != HeadInput::NextTokens {
            let problem =
                format!("expected a generated output; head {} cannot use cross-attention", output.head);
            return refuse(".cross_attention", problem);
        }
        if output.windows && !matches!(head_input, HeadInput::NextTokens | HeadInput::MaskedTokens) {
            return refuse(
                ".windows",
                format!(
                    "expected a generated or masked output; head {} has no tokens to cut into windows",
                    output.head
                ),
            );
        }
        let unused = [
            (".field", output.field.is_some()),
            (".weight_field", output.weight_field.is_some()),
            (".pool", output.pool.is_some()),
            (".class_token_position", output.class_token_position),
            (".register_tokens", output.register_tokens > 0),
        ];
        if let Some((key, _)) = unused.iter().find(|(_, set)| *set && head_input == HeadInput::Codes) {
            return refuse(
                key,
                format!(
                    "head {} reads the codes of its input and does not use this setting; remove it",
                    output.head
                ),
            );
        }
        if series && matches!(head_input, HeadInput::NextTokens | HeadInput::MaskedTokens) {
            return refuse(
                ".field",
                format!("expected one value in each row for head {}; the field is a series", output.head),
            );
        }
        if role.is_some() && output.weight_field.is_some() {
            return refuse(
                ".weight_field",
                format!("head {} gives all its tokens weight 1; remove this setting", output.head),
            );
        }
        let mut modality = output.modality.clone();
        if let Some(Role::Series(_)) = role {
            if modality.is_none() {
                // The tokens of a series are ids for classes, and numbers normalized as by the head for numbers.
                let classes = heads.predicts_labels(&output.head).map_err(unknown)?;
                rest.entry("ids").or_insert(Value::Bool(classes));
                if let (false, Some(normalize)) = (classes, head_settings.get("normalize")) {
                    rest.insert("normalize".into(), normalize.clone());
                }
            }
            modality.get_or_insert_with(|| NUMBERS.into());
        }
        let planned = |modality: String, settings, role| PlannedPart {
            name: name.into(),
            fields: fields(name, &output.field),
            modality,
            settings,
            role,
            series,
            stream: Stream::Main,
            drop: 0.0,
            positions: true,
            required: output.required,
            feedback: output.feedback,
            begin: output.begin.as_ref().map_or(vec![], |ids| ids.as_slice().to_vec()),
            end: output.end,
            mask_id: output.mask_id,
            windows: output.windows,
            share: None,
            other_task_part: None,
        };
        let mut labels = None;
        match (role, modality) {
            (Some(role), Some(modality)) => self.parts.push(planned(modality, rest, role)),
            (Some(_), None) if output.share.is_none() => {
                return refuse(
                    ".modality",
                    format!("expected a modality, because head {} predicts tokens; found none", output.head),
                );
            }
            (Some(role), None) => self.parts.push(planned(String::new(), rest, role)),
            (None, Some(modality)) if head_input == HeadInput::InputTokens => {
                labels = Some(planned(modality, rest, Role::Input))
            }
            (None, Some(_)) => {
                return refuse(
                    ".modality",
                    format!(
                        "head {} has no tokens, so it needs no modality; remove this setting",
                        output.head
                    ),
                );
            }
            (None, None) => {
                if let Some(key) = rest.keys().next() {
                    let known = if known.is_empty() { "none".into() } else { known.join(", ") };
                    let problem =
                        format!("unknown setting; the settings of head {} are: {known}", output.head);
                    return refuse(&format!(".{key}"), problem);
                }
            }
        }
        let found = self.parts.iter().position(|part| match &output.reads {
            Some(wanted) => part.name == *wanted && part.role == Role::Input,
            None => part.role == Role::Input,
        });
        let input = match (found, head_input, &output.reads) {
            (Some(part), _, _) => part,
            (None, HeadInput::InputTokens, None) => {
                return refuse(
                    "",
                    format!(
                        "expected an input for head {}; found none: add a table [inputs.NAME]",
                        output.head
                    ),
                );
            }
            (None, _, Some(wanted)) => {
                return refuse(
                    ".reads",
                    format!("no input is named {wanted:?}; the parts are {}", self.names()),
                );
            }
            (None, _, None) => 0,
        };
        self.outputs.push(PlannedOutput { labels, head: head_settings, head_input, input });
        Ok(())
    }

    /// The names of the parts, for messages.
    fn names(&self) -> String {
        self.parts.iter().map(|part| part.name.as_str()).collect::<Vec<_>>().join(", ")
    }

    /// Resolves `share`: the part, or the part of another task, whose vocabulary a part uses.
    fn resolve_shares(
        &mut self,
        settings: &TaskSettings,
        find_other: FindOtherTaskPart,
    ) -> Result<(), OpenError> {
        let inputs = settings.inputs.iter().map(|(name, input)| (name, &input.share));
        let outputs = settings.outputs.iter().map(|(name, output)| (name, &output.share));
        for (name, share) in inputs.chain(outputs) {
            let Some(wanted) = share else { continue };
            let place = |name: &str| self.parts.iter().position(|part| part.name == name);
            let setting = |part: Option<&PlannedPart>| {
                format!("{}.share", part.map_or_else(|| name.clone(), PlannedPart::key))
            };
            let (part, other) = (place(name), place(wanted));
            let refuse =
                |problem| Err(OpenError::Setting { setting: setting(part.map(|p| &self.parts[p])), problem });
            if let (Some(part), None, Some(tokenizer)) = (part, other, find_other(name, wanted)) {
                let part = &mut self.parts[part];
                if !part.modality.is_empty() && part.modality != tokenizer.tokenizer {
                    let (here, there) = (&part.modality, &tokenizer.tokenizer);
                    let problem = format!("expected modality {there}, which {wanted} has; found {here}");
                    return Err(OpenError::Setting { setting: setting(Some(part)), problem });
                }
                part.modality = tokenizer.tokenizer.clone();
                part.other_task_part = Some(OtherTaskPart { name: wanted.clone(), tokenizer });
                continue;
            }
            let (Some(part), Some(other)) = (part, other.filter(|other| Some(*other) != part)) else {
                return refuse(format!(
                    "no other part with tokens is named {wanted:?}; the parts are {}",
                    self.names()
                ));
            };
            let (here, there) = (&self.parts[part], &self.parts[other]);
            if !here.modality.is_empty() && here.modality != there.modality {
                return refuse(format!(
                    "expected modality {}, which {wanted} has; found {}",
                    there.modality, here.modality
                ));
            }
            if !here.settings.is_empty() && here.settings != there.settings {
                return refuse(format!(
                    "the vocabulary and its settings are those of {wanted}; remove the settings of this part"
                ));
            }
            if here.series != there.series || !here.feedback {
                return refuse(format!(
                    "expected two parts with tokens, both series or neither, to share an embedding; {wanted} differs"
                ));
            }
            if there.modality.is_empty() || there.share.is_some() {
                return refuse(format!("{wanted} itself shares another part's vocabulary; name that part"));
            }
            let (modality, settings) = (there.modality.clone(), there.settings.clone());
            let part = &mut self.parts[part];
            (part.modality, part.settings, part.share) = (modality, settings, Some(other));
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
        Err(OpenError::Setting { setting: format!("outputs.{name}.cross_attention"), problem })
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
            Role::Generated(_) => usize::from(part.begin.is_empty()) + usize::from(part.end.is_none()),
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
    /// The table of the part's settings: `inputs.camera`.
    pub(super) fn key(&self) -> String {
        let table = if self.role == Role::Input { "inputs" } else { "outputs" };
        format!("{table}.{}", self.name)
    }
}
