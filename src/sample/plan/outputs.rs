//! The outputs of a plan: checks of their settings, and the parts that they have.

use super::{Plan, PlannedOutput, PlannedPart, fields, refuse};
use crate::data::Stream;
use crate::head::{Dense, HeadError, HeadInput, Hidden};
use crate::registry::Modalities;
use crate::sample::OpenError;
use crate::sample::part::Role;
use crate::sample::settings::{OutputSettings, Pool};
use serde_json::{Map, Value};

/// Most register tokens of an output; published models have 4.
const MOST_REGISTERS: usize = 1 << 12;
/// The default modality of a predicted series.
const NUMBERS: &str = "numbers";

impl Plan {
    /// Checks an output, and adds it and the part that it may have.
    pub(super) fn add_output(
        &mut self,
        number: usize,
        name: &str,
        output: &OutputSettings,
        modalities: &Modalities,
        series: bool,
    ) -> Result<(), OpenError> {
        let heads = modalities.heads();
        let unknown = |problem: HeadError| OpenError::Head { output: name.into(), problem: problem.into() };
        let known = heads.keys(&output.head).map_err(unknown)?;
        let head_input = heads.input(&output.head).map_err(unknown)?;
        let role = match head_input {
            HeadInput::NextTokens | HeadInput::Completions => Some(Role::Generated(number)),
            HeadInput::MaskedTokens => Some(Role::Masked(number)),
            HeadInput::ClassToken if series => Some(Role::Series(number)),
            HeadInput::ClassToken | HeadInput::InputTokens | HeadInput::PooledState | HeadInput::Codes => {
                None
            }
        };
        check(name, output, head_input, role, series)?;
        let (head_settings, mut rest): (Map<_, _>, Map<_, _>) =
            output.settings.clone().into_iter().partition(|(key, _)| known.contains(key));
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
        let refuse = |key: &str, problem: String| refuse(format!("outputs.{name}{key}"), problem);
        let mut labels = None;
        match (role, modality) {
            (Some(_), None) if output.share.is_none() => {
                return refuse(
                    ".modality",
                    format!("expected a modality, because head {} predicts tokens; found none", output.head),
                );
            }
            // A part that shares another's vocabulary has the modality of that part.
            (Some(role), modality) => {
                let modality = modality.unwrap_or_default();
                let mut part = PlannedPart::output(name, output, modality, rest, role, series);
                if head_input == HeadInput::Completions {
                    part.set_completions(&output.prompt);
                }
                self.parts.push(part);
            }
            (None, Some(modality)) if head_input == HeadInput::InputTokens => {
                labels = Some(PlannedPart::output(name, output, modality, rest, Role::Input, series));
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
                    return refuse(&format!(".{key}"), unknown_setting(&output.head, &known));
                }
            }
        }
        let input = self.input_of(name, output, head_input)?;
        self.outputs.push(PlannedOutput { labels, head: head_settings, head_input, input });
        Ok(())
    }

    /// The number of the input whose tokens an output's head reads; 0 if it reads no input.
    fn input_of(
        &self,
        name: &str,
        output: &OutputSettings,
        head_input: HeadInput,
    ) -> Result<usize, OpenError> {
        let found = self.parts.iter().position(|part| match &output.reads {
            Some(wanted) => part.name == *wanted && part.role == Role::Input,
            None => part.role == Role::Input,
        });
        match (found, head_input, &output.reads) {
            (Some(part), _, _) => Ok(part),
            (None, HeadInput::InputTokens, None) => {
                let problem = format!(
                    "expected an input for head {}; found none: add a table [inputs.NAME]",
                    output.head
                );
                refuse(format!("outputs.{name}"), problem)
            }
            (None, _, Some(wanted)) => {
                let problem = format!("no input is named {wanted:?}; the parts are {}", self.names());
                refuse(format!("outputs.{name}.reads"), problem)
            }
            (None, _, None) => Ok(0),
        }
    }
}

impl PlannedPart {
    /// The part of an output.
    fn output(
        name: &str,
        output: &OutputSettings,
        modality: String,
        settings: Map<String, Value>,
        role: Role,
        series: bool,
    ) -> Self {
        Self {
            name: name.into(),
            fields: fields(name, &output.field),
            completions: vec![],
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
            end: output.end.as_ref().map_or(vec![], |ids| ids.as_slice().to_vec()),
            mask_id: output.mask_id,
            windows: output.windows,
            append_eos: output.append_eos,
            sentinels: 0,
            share: None,
            other_task_part: None,
        }
    }

    /// Sets the value of the part of a preference: the prompt, which is continued, or else the chosen completion.
    fn set_completions(&mut self, prompt: &Option<String>) {
        self.completions = std::mem::take(&mut self.fields);
        self.fields = prompt.iter().chain(self.completions.first()).take(1).cloned().collect();
    }
}

/// Fails if a setting of an output does not fit its head.
fn check(
    name: &str,
    output: &OutputSettings,
    head_input: HeadInput,
    role: Option<Role>,
    series: bool,
) -> Result<(), OpenError> {
    let refuse = |key: &str, problem: String| refuse(format!("outputs.{name}{key}"), problem);
    let is_preference = head_input == HeadInput::Completions;
    let has_ids = is_preference || matches!(head_input, HeadInput::NextTokens | HeadInput::MaskedTokens);
    let head = &output.head;
    if !(output.weight >= 0.0 && output.weight.is_finite()) {
        return refuse(".weight", format!("expected 0 or more; found {}", output.weight));
    }
    let is_generated = is_preference || head_input == HeadInput::NextTokens;
    if output.cross_attention && !is_generated {
        let problem = format!("expected a generated output; head {head} cannot use cross-attention");
        return refuse(".cross_attention", problem);
    }
    if output.hidden.is_some() && !matches!(head_input, HeadInput::ClassToken | HeadInput::InputTokens) {
        let problem = format!("expected a head of classes or numbers; head {head} has no hidden layer");
        return refuse(".hidden", problem);
    }
    if output.windows && !has_ids {
        let problem =
            format!("expected a generated or masked output; head {head} has no tokens to cut into windows");
        return refuse(".windows", problem);
    }
    if output.append_eos.is_some() && !output.windows {
        let problem =
            "expected windows = true with this setting; a value of its own has an end token anyway".into();
        return refuse(".append_eos", problem);
    }
    if let Some(spans) = output.spans {
        if head_input != HeadInput::NextTokens || output.windows {
            let problem =
                "expected a generated output without windows, whose input is a text in each row".into();
            return refuse(".spans", problem);
        }
        spans.check().map_err(|(key, problem)| OpenError::Setting {
            setting: format!("outputs.{name}.spans.{key}"),
            problem,
        })?;
    }
    if let Some(Hidden::Layer(Dense { width: 0, .. })) = output.hidden {
        return refuse(".hidden.width", "expected 1 or more; found 0".into());
    }
    match output.pool {
        Some(Pool::ClassTokenAndMean | Pool::ClassTokenAndRegisters | Pool::LearnedMean)
            if head_input == HeadInput::PooledState =>
        {
            let problem = format!(
                "expected class_token, mean, first, last or attention, one of which head {head} reads"
            );
            return refuse(".pool", problem);
        }
        _ if output.register_tokens > MOST_REGISTERS => {
            let problem = format!("expected at most {MOST_REGISTERS}; found {}", output.register_tokens);
            return refuse(".register_tokens", problem);
        }
        Some(Pool::ClassTokenAndRegisters) if output.register_tokens == 0 => {
            let problem = "expected 1 or more for pool = class_token_and_registers; found 0".into();
            return refuse(".register_tokens", problem);
        }
        _ => {}
    }
    check_preference(name, output, is_preference)?;
    let unused = [
        (".field", output.field.is_some()),
        (".weight_field", output.weight_field.is_some()),
        (".pool", output.pool.is_some()),
        (".class_token_position", output.class_token_position),
        (".register_tokens", output.register_tokens > 0),
    ];
    if let Some((key, _)) = unused.iter().find(|(_, set)| *set && head_input == HeadInput::Codes) {
        let problem =
            format!("head {head} reads the codes of its input and does not use this setting; remove it");
        return refuse(key, problem);
    }
    if series && has_ids {
        let problem = format!("expected one value in each row for head {head}; the field is a series");
        return refuse(".field", problem);
    }
    if role.is_some() && !series && output.weight_field.is_some() {
        let problem = format!("head {head} gives all its tokens weight 1; remove this setting");
        return refuse(".weight_field", problem);
    }
    Ok(())
}

/// Fails if the fields of an output are not those of a preference, or a `prompt` is not continued.
fn check_preference(name: &str, output: &OutputSettings, is_preference: bool) -> Result<(), OpenError> {
    let found = output.field.as_ref().map_or(&[][..], |fields| fields.as_slice());
    if is_preference && found.len() != 2 {
        let problem = format!(
            "expected two fields, of the chosen and of the rejected completion, such as [\"chosen\", \"rejected\"]; found {}",
            if found.is_empty() { "none".into() } else { found.join(", ") }
        );
        return refuse(format!("outputs.{name}.field"), problem);
    }
    match (&output.prompt, is_preference, output.windows) {
        (None, ..) | (Some(_), true, true) => Ok(()),
        (Some(prompt), true, false) => {
            let problem = format!(
                "expected windows = true with this setting, for a model that continues texts; for any other, the prompt is \
                 an input: add [inputs.{prompt}]"
            );
            refuse(format!("outputs.{name}.prompt"), problem)
        }
        (Some(_), false, _) => {
            let problem = format!("head {} has no pairs of completions; remove this setting", output.head);
            refuse(format!("outputs.{name}.prompt"), problem)
        }
    }
}

/// The problem of an unknown setting of an output; `of_head` are the settings of its head.
fn unknown_setting(head: &str, of_head: &[String]) -> String {
    let schema: Value = schemars::schema_for!(OutputSettings).into();
    let of_all = schema["properties"].as_object().into_iter().flatten().map(|(key, _)| key.as_str());
    let of_head = if of_head.is_empty() { "none of its own".into() } else { of_head.join(", ") };
    format!(
        "unknown setting; the settings of head {head} are: {of_head}; every output has {}",
        of_all.collect::<Vec<_>>().join(", ")
    )
}
