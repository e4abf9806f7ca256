//! Actions from the outputs of a policy.

use super::RolloutError;
use crate::env::{Action, ActionSpec, VectorEnvironment};
use crate::sample::{Composition, OutputPart};
use crate::task::Task;
use smalti_contract::{TokenizeError, Value};
use std::collections::BTreeMap;

/// An output that is an action, or a part of one.
pub(super) struct ActionHead {
    /// The output's number.
    pub(super) output: usize,
    /// The name of the action's part; empty for an action without parts.
    pub(super) name: String,
    /// The environment's specification of the action or part.
    pub(super) spec: ActionSpec,
    /// Whether the output has learned such actions.
    pub(super) fits: bool,
    /// Whether the next output reads this action.
    pub(super) feedback: bool,
}

/// The outputs that are actions, in the order of the settings, and a description of the actions that they have learned.
///
/// # Errors
/// [`RolloutError::Part`] if no output is an action.
pub(super) fn heads(
    task: &Composition,
    environments: &dyn VectorEnvironment,
) -> Result<(Vec<ActionHead>, String), RolloutError> {
    let mut outputs = vec![];
    for (number, output) in task.outputs().iter().enumerate() {
        // A derived field, such as the next state, is no action.
        let computed = output.fields.iter().any(|field| task.derived().contains_key(field));
        if output.is_series(task.parts()) && task.spec().heads[number].is_trained() && !computed {
            outputs.push((number, output, learned(output)?));
        }
    }
    if outputs.is_empty() {
        let problem = "expected an output that is a series of actions; found none".into();
        return Err(RolloutError::Part { part: "outputs".into(), problem });
    }
    let spec = environments.action_spec();
    let parts: BTreeMap<&str, &ActionSpec> = match &spec {
        ActionSpec::Parts(parts) => parts.iter().map(|(name, part)| (name.as_str(), part)).collect(),
        single => [("", single)].into(),
    };
    let alone = outputs.len() == 1 && !matches!(spec, ActionSpec::Parts(_));
    let name = |output| if alone { String::new() } else { part_name(output).to_string() };
    let learned: BTreeMap<String, ActionSpec> =
        outputs.iter().map(|(_, output, learned)| (name(output), learned.clone())).collect();
    let words = match outputs.first() {
        Some((_, _, learned)) if alone => words(learned),
        _ => words(&ActionSpec::Parts(learned.clone())),
    };
    let all = parts.len() == outputs.len() && learned.len() == outputs.len();
    let heads = outputs.into_iter().map(|(number, output, learned)| {
        let spec = parts.get(name(output).as_str()).filter(|spec| fit(&learned, spec));
        ActionHead {
            output: number,
            name: name(output),
            fits: all && spec.is_some(),
            spec: spec.map_or(learned, |spec| (*spec).clone()),
            feedback: output.feedback,
        }
    });
    Ok((heads.collect(), words))
}

/// The part of an action that an output predicts: `grip` for the field `actions.grip`.
fn part_name(output: &OutputPart) -> &str {
    match &output.fields[..] {
        [field] => field.strip_prefix("actions.").unwrap_or(&output.name),
        _ => &output.name,
    }
}

/// The actions that an output has learned; continuous ones without bounds.
fn learned(output: &OutputPart) -> Result<ActionSpec, RolloutError> {
    let refuse = |problem| Err(RolloutError::Part { part: format!("outputs.{}", output.name), problem });
    if output.fields.len() != 1 {
        return refuse(format!("expected an action of one field; found {}", output.fields.join(", ")));
    }
    let labels = output.head.labels();
    if labels.is_empty() {
        let dim = output.head.width();
        return Ok(ActionSpec::Continuous {
            low: vec![f32::NEG_INFINITY; dim],
            high: vec![f32::INFINITY; dim],
        });
    }
    let mut n = 0;
    for label in labels {
        let Some(number) = number(label) else {
            return refuse(format!("expected the numbers of actions as classes; found {label:?}"));
        };
        n = n.max(number.saturating_add(1));
    }
    Ok(ActionSpec::Discrete { n })
}

/// The number of the action that is a class with this label.
fn number(label: &str) -> Option<u32> {
    let number: f64 = label.parse().ok()?;
    (number >= 0.0 && number < f64::from(u32::MAX) && number.fract() == 0.0).then_some(number as u32)
}

fn fit(learned: &ActionSpec, spec: &ActionSpec) -> bool {
    match (learned, spec) {
        (ActionSpec::Discrete { n: learned }, ActionSpec::Discrete { n }) => learned == n,
        (ActionSpec::Continuous { low: learned, .. }, ActionSpec::Continuous { low, .. }) => {
            learned.len() == low.len()
        }
        _ => false,
    }
}

/// A description of actions, without their bounds.
pub(super) fn words(actions: &ActionSpec) -> String {
    match actions {
        ActionSpec::Discrete { n } => format!("{n} actions"),
        ActionSpec::Continuous { low, .. } => format!("actions of {} numbers", low.len()),
        ActionSpec::Parts(parts) => {
            let parts: Vec<String> =
                parts.iter().map(|(name, part)| format!("{name}: {}", words(part))).collect();
            format!("actions of parts ({})", parts.join("; "))
        }
    }
}

impl ActionHead {
    /// The action of a prediction, within the environment's bounds.
    pub(super) fn action(&self, predicted: Value) -> Result<Action, TokenizeError> {
        Ok(match (&self.spec, predicted) {
            (ActionSpec::Discrete { .. }, Value::Text(label)) => {
                let refuse =
                    || TokenizeError::Input(format!("expected the number of an action; found {label:?}"));
                Action::Discrete(number(&label).ok_or_else(refuse)?)
            }
            (spec, predicted) => spec.clip(Action::Continuous(predicted.into_numbers()?)),
        })
    }
}

/// An action without parts as a value of a log.
pub(super) fn logged(action: &Action) -> Value {
    match action {
        Action::Discrete(number) => Value::Number(f64::from(*number)),
        Action::Continuous(numbers) => vector(numbers),
        Action::Parts(_) => Value::Missing,
    }
}

/// Numbers as a value of a table: a single one is a number, several are an array.
pub(super) fn vector(numbers: &[f32]) -> Value {
    match numbers {
        [number] => Value::Number(f64::from(*number)),
        numbers => Value::vector(numbers),
    }
}
