//! What the settings ask for: the parts with their modalities, before any tokenizer is there.

use super::OpenError;
use super::part::Role;
use super::settings::{OneOrMany, OutputSettings, TaskSettings};
use crate::data::Stream;
use crate::head::{HeadError, Reads};
use crate::registry::Modalities;
use crate::task::SavedTokenizer;
use serde_json::{Map, Value};
use std::collections::BTreeSet;

/// The parts that have tokens, in order, and what else the outputs need.
pub(super) struct Plan {
    pub parts: Vec<Planned>,
    /// What else each output needs.
    pub outputs: Vec<PlannedOutput>,
}

/// One output, beside the part that it may have.
pub(super) struct PlannedOutput {
    /// What makes the ids of a target that is no part of the tokens.
    pub labels: Option<Planned>,
    /// The settings of its head.
    pub head: Map<String, Value>,
    /// Which tokens its head reads.
    pub reads: Reads,
    /// The part whose tokens they are, if it reads an input's.
    pub input: usize,
}

/// One part that has tokens.
#[derive(Clone)]
pub(super) struct Planned {
    pub name: String,
    pub fields: Vec<String>,
    pub modality: String,
    pub settings: Map<String, Value>,
    pub role: Role,
    pub series: bool,
    pub stream: Stream,
    pub drop: f64,
    pub required: bool,
    /// Whether a series is an input of its later steps; otherwise it has no tokens.
    pub feedback: bool,
    pub begin: Vec<u32>,
    pub end: Option<u32>,
    pub mask_id: Option<u32>,
    pub windows: bool,
    /// The part whose vocabulary it uses.
    pub share: Option<usize>,
    /// The part of another task of the mix whose vocabulary it uses.
    pub outside: Option<Outside>,
}

/// A part of another task of a mix, and its tokenizer.
#[derive(Clone)]
pub(super) struct Outside {
    /// `TASK.PART`.
    pub name: String,
    pub tokenizer: SavedTokenizer,
}

/// The tokenizer that part `.0` shares with the part `TASK.PART` named `.1`, as far as the task is there.
pub(super) type FindOutside<'a> = &'a dyn Fn(&str, &str) -> Option<SavedTokenizer>;

/// The fields that a part of this name reads.
pub(super) fn fields(name: &str, field: &Option<OneOrMany<String>>) -> Vec<String> {
    field.as_ref().map_or_else(|| vec![name.to_string()], |fields| fields.as_slice().to_vec())
}

/// The modality of a series of classes or numbers.
const NUMBERS: &str = "numbers";

impl Plan {
    /// The plan of a task in which these parts are series.
    pub(super) fn new(
        settings: &TaskSettings,
        modalities: &Modalities,
        series: &BTreeSet<String>,
        outside: FindOutside,
    ) -> Result<Self, OpenError> {
        let refuse = |setting: String, problem: String| Err(OpenError::Setting { setting, problem });
        if settings.outputs.is_empty() {
            return refuse("outputs".into(), "a task predicts something; add a table [outputs.NAME]".into());
        }
        if let Some(name) = settings.inputs.keys().find(|name| settings.outputs.contains_key(*name)) {
            let problem = "an output has the same name; names of parts must differ".into();
            return refuse(format!("inputs.{name}"), problem);
        }
        let is_coded = |output: &OutputSettings| {
            modalities.heads().reads(&output.head).is_ok_and(|reads| reads == Reads::Codes)
        };
        let coded = settings.outputs.iter().find(|(_, output)| is_coded(output)).map(|(name, _)| name);
        let (inputs, outputs) = (settings.inputs.len(), settings.outputs.len());
        if let Some(name) = coded.filter(|_| inputs != 1 || outputs != 1) {
            let problem = format!(
                "a task with a codebook has one input and this output alone; found {inputs} inputs and {outputs} \
                 outputs: make the codebook a run of its own"
            );
            return refuse(format!("outputs.{name}"), problem);
        }
        if let Some(series) = settings.inputs.keys().find(|name| coded.is_some() && series.contains(*name)) {
            let problem = "a codebook reads one value of a row; the field is a series".into();
            return refuse(format!("inputs.{series}.field"), problem);
        }
        let cross = coded.is_some() || settings.outputs.values().any(|output| output.cross_attention);
        let stream = if cross { Stream::Encoder } else { Stream::Main };
        let mut plan = Self { parts: vec![], outputs: vec![] };
        for (name, input) in &settings.inputs {
            if !(0.0..1.0).contains(&input.drop) {
                let problem = format!("expected a share from 0 to below 1; found {}", input.drop);
                return refuse(format!("inputs.{name}.drop"), problem);
            }
            plan.parts.push(Planned {
                name: name.clone(),
                fields: fields(name, &input.field),
                modality: input.modality.clone(),
                settings: input.settings.clone(),
                role: Role::Input,
                series: series.contains(name),
                stream,
                drop: input.drop,
                required: input.required,
                feedback: true,
                begin: vec![],
                end: None,
                mask_id: None,
                windows: false,
                share: None,
                outside: None,
            });
        }
        for (number, (name, output)) in settings.outputs.iter().enumerate() {
            plan.output(number, name, output, modalities, series)?;
        }
        let alone = |output: &PlannedOutput| matches!(output.reads, Reads::Next | Reads::Own);
        if settings.inputs.is_empty() && !plan.outputs.iter().all(alone) {
            return refuse("inputs".into(), "a task reads something; add a table [inputs.NAME]".into());
        }
        let windows = plan.parts.iter().find(|part| part.windows);
        if let Some(part) = windows.filter(|_| plan.parts.len() + plan.outputs.len() > 2) {
            let problem = "a task whose values are cut into windows has this one output and no input".into();
            return refuse(format!("outputs.{}.windows", part.name), problem);
        }
        plan.find_shares(settings, outside)?;
        plan.check_streams(settings, cross && coded.is_none())?;
        Ok(plan)
    }

    fn output(
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
        let reads = heads.reads(&output.head).map_err(unknown)?;
        if !(output.weight >= 0.0 && output.weight.is_finite()) {
            return refuse(".weight", format!("expected 0 or more; found {}", output.weight));
        }
        let series = series.contains(name);
        let (of_head, mut rest): (Map<_, _>, Map<_, _>) =
            output.settings.clone().into_iter().partition(|(key, _)| known.contains(key));
        let role = match reads {
            Reads::Next => Some(Role::Generated(number)),
            Reads::Own => Some(Role::Masked(number)),
            Reads::ClassToken if series => Some(Role::Series(number)),
            Reads::ClassToken | Reads::Input | Reads::Nothing | Reads::Codes => None,
        };
        if output.cross_attention && reads != Reads::Next {
            let problem = format!(
                "head {} reads tokens of the main stack; only generated outputs attend across",
                output.head
            );
            return refuse(".cross_attention", problem);
        }
        if output.windows && !matches!(reads, Reads::Next | Reads::Own) {
            return refuse(".windows", format!("head {} has no tokens of its own to cut", output.head));
        }
        let unread = [
            (".field", output.field.is_some()),
            (".weight_field", output.weight_field.is_some()),
            (".pool", output.pool.is_some()),
            (".class_token_position", output.class_token_position),
            (".register_tokens", output.register_tokens > 0),
        ];
        if let Some((key, _)) = unread.iter().find(|(_, set)| *set && reads == Reads::Codes) {
            return refuse(key, format!("head {} reads the codes of its input; leave this out", output.head));
        }
        if series && matches!(reads, Reads::Next | Reads::Own) {
            return refuse(
                ".field",
                format!("head {} predicts one value of a row; the field is a series", output.head),
            );
        }
        if role.is_some() && output.weight_field.is_some() {
            return refuse(
                ".weight_field",
                format!("head {} predicts tokens of its own, which all have weight 1", output.head),
            );
        }
        let mut modality = output.modality.clone();
        if let Some(Role::Series(_)) = role {
            if modality.is_none() {
                // The tokens of a series of classes are their ids, of numbers the numbers as the head has them.
                let classes = heads.predicts_labels(&output.head).map_err(unknown)?;
                rest.entry("ids").or_insert(Value::Bool(classes));
                if let (false, Some(normalize)) = (classes, of_head.get("normalize")) {
                    rest.insert("normalize".into(), normalize.clone());
                }
            }
            modality.get_or_insert_with(|| NUMBERS.into());
        }
        let planned = |modality: String, settings, role| Planned {
            name: name.into(),
            fields: fields(name, &output.field),
            modality,
            settings,
            role,
            series,
            stream: Stream::Main,
            drop: 0.0,
            required: output.required,
            feedback: output.feedback,
            begin: output.begin.as_ref().map_or(vec![], |ids| ids.as_slice().to_vec()),
            end: output.end,
            mask_id: output.mask_id,
            windows: output.windows,
            share: None,
            outside: None,
        };
        let mut labels = None;
        match (role, modality) {
            (Some(role), Some(modality)) => self.parts.push(planned(modality, rest, role)),
            (Some(_), None) if output.share.is_none() => {
                return refuse(
                    ".modality",
                    format!("head {} predicts tokens; say of which modality", output.head),
                );
            }
            (Some(role), None) => self.parts.push(planned(String::new(), rest, role)),
            (None, Some(modality)) if reads == Reads::Input => {
                labels = Some(planned(modality, rest, Role::Input))
            }
            (None, Some(_)) => {
                return refuse(
                    ".modality",
                    format!("head {} has no tokens of its own; leave it out", output.head),
                );
            }
            (None, None) => {
                if let Some(key) = rest.keys().next() {
                    let known = if known.is_empty() { "none".into() } else { known.join(", ") };
                    let problem = format!("unknown setting; head {} has {known}", output.head);
                    return refuse(&format!(".{key}"), problem);
                }
            }
        }
        let inputs = self.parts.iter().position(|part| match &output.reads {
            Some(wanted) => part.name == *wanted && part.role == Role::Input,
            None => part.role == Role::Input,
        });
        let input = match (inputs, reads, &output.reads) {
            (Some(part), _, _) => part,
            (None, Reads::Input, None) => {
                return refuse("", format!("head {} reads an input; there is none", output.head));
            }
            (None, _, Some(wanted)) => {
                return refuse(".reads", format!("no input is named {wanted:?}; there is {}", self.names()));
            }
            (None, _, None) => 0,
        };
        self.outputs.push(PlannedOutput { labels, head: of_head, reads, input });
        Ok(())
    }

    fn names(&self) -> String {
        self.parts.iter().map(|part| part.name.as_str()).collect::<Vec<_>>().join(", ")
    }

    fn find_shares(&mut self, settings: &TaskSettings, outside: FindOutside) -> Result<(), OpenError> {
        let inputs = settings.inputs.iter().map(|(name, input)| (name, &input.share));
        let outputs = settings.outputs.iter().map(|(name, output)| (name, &output.share));
        for (name, share) in inputs.chain(outputs) {
            let Some(wanted) = share else { continue };
            let place = |name: &str| self.parts.iter().position(|part| part.name == name);
            let setting =
                |part: Option<&Planned>| format!("{}.share", part.map_or_else(|| name.clone(), Planned::key));
            let (part, other) = (place(name), place(wanted));
            let refuse =
                |problem| Err(OpenError::Setting { setting: setting(part.map(|p| &self.parts[p])), problem });
            if let (Some(part), None, Some(tokenizer)) = (part, other, outside(name, wanted)) {
                let part = &mut self.parts[part];
                if !part.modality.is_empty() && part.modality != tokenizer.tokenizer {
                    let (here, there) = (&part.modality, &tokenizer.tokenizer);
                    let problem = format!("{wanted} is of modality {there}; this part is of {here}");
                    return Err(OpenError::Setting { setting: setting(Some(part)), problem });
                }
                part.modality = tokenizer.tokenizer.clone();
                part.outside = Some(Outside { name: wanted.clone(), tokenizer });
                continue;
            }
            let (Some(part), Some(other)) = (part, other.filter(|other| Some(*other) != part)) else {
                return refuse(format!(
                    "no other part with tokens is named {wanted:?}; there is {}",
                    self.names()
                ));
            };
            let (here, there) = (&self.parts[part], &self.parts[other]);
            if !here.modality.is_empty() && here.modality != there.modality {
                return refuse(format!(
                    "{wanted} is of modality {}; this part is of {}",
                    there.modality, here.modality
                ));
            }
            if !here.settings.is_empty() && here.settings != there.settings {
                return refuse(format!(
                    "the vocabulary is that of {wanted}; its settings hold, leave out those here"
                ));
            }
            if here.series != there.series || !here.feedback {
                return refuse(format!(
                    "a series and a part without a clock cannot share an embedding, nor one without tokens ({wanted})"
                ));
            }
            if there.modality.is_empty() || there.share.is_some() {
                return refuse(format!("{wanted} shares another part's vocabulary itself; name that part"));
            }
            let (modality, settings) = (there.modality.clone(), there.settings.clone());
            let part = &mut self.parts[part];
            (part.modality, part.settings, part.share) = (modality, settings, Some(other));
        }
        Ok(())
    }

    /// What reads the inputs must be in their stack.
    fn check_streams(&self, settings: &TaskSettings, cross: bool) -> Result<(), OpenError> {
        let other = settings.outputs.iter().find(|(_, output)| cross && !output.cross_attention);
        let Some((name, _)) = other else { return Ok(()) };
        let problem =
            "another output attends to the inputs by cross-attention, which puts them into a stack of their \
                       own; all outputs of a task must, or none"
                .into();
        Err(OpenError::Setting { setting: format!("outputs.{name}.cross_attention"), problem })
    }

    /// The part whose vocabulary part `number` uses: its own, or that of the part that it shares.
    pub(super) fn owner(&self, number: usize) -> usize {
        self.parts[number].share.unwrap_or(number)
    }

    /// The parts that use one vocabulary, for each vocabulary that several use.
    pub(super) fn groups(&self) -> Vec<Vec<usize>> {
        let members =
            |owner: usize| (0..self.parts.len()).filter(|&n| self.owner(n) == owner).collect::<Vec<_>>();
        (0..self.parts.len()).map(members).filter(|group| group.len() > 1).collect()
    }

    /// How many ids are added to the vocabulary of a part: those that begin and end a generated value, or hide a token.
    pub(super) fn added_ids(&self, number: usize) -> usize {
        let owner = self.owner(number);
        let of_part = |part: &Planned| match part.role {
            // A window of a longer value neither begins nor ends.
            Role::Generated(_) if part.windows => 0,
            Role::Generated(_) => usize::from(part.begin.is_empty()) + usize::from(part.end.is_none()),
            Role::Masked(_) => usize::from(part.mask_id.is_none()),
            Role::Input | Role::Series(_) => 0,
        };
        let members = (0..self.parts.len()).filter(|&n| self.owner(n) == owner);
        members.map(|n| of_part(&self.parts[n])).max().unwrap_or(0)
    }

    /// The part of an output that has tokens of its own.
    pub(super) fn own(&self, output: usize) -> Option<usize> {
        self.parts.iter().position(|part| match part.role {
            Role::Generated(of) | Role::Masked(of) | Role::Series(of) => of == output,
            Role::Input => false,
        })
    }
}

impl Planned {
    /// The table of its settings: `inputs.camera`.
    pub(super) fn key(&self) -> String {
        let table = if self.role == Role::Input { "inputs" } else { "outputs" };
        format!("{table}.{}", self.name)
    }
}
