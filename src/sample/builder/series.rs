//! The series of a sample: their tokens step by step, and the targets of each step.

use super::SampleBuilder;
use super::targets::weights;
use crate::data::{Output, Target};
use crate::head::TargetContext;
use crate::random::mix;
use crate::sample::compose::{GetField, Purpose};
use crate::sample::composition::OutputPart;
use crate::sample::part::{Part, Role};
use smalti_contract::{TokenizeError, Value};
use std::ops::Range;

impl SampleBuilder<'_> {
    /// Appends the series, step by step, within a step in the order of parts. The prediction of a step is read at the last
    /// token before it.
    pub(in crate::sample) fn append_series(
        &mut self,
        get: GetField,
        steps: Range<usize>,
    ) -> Result<(), TokenizeError> {
        let composition = self.composition;
        let mut values: Vec<Vec<Value>> = Vec::with_capacity(composition.parts.len());
        for (number, part) in composition.parts.iter().enumerate() {
            let value = match part.series && !self.is_dropped(number) {
                true => Part::value(&part.fields, get).map_err(|e| part.error(e))?,
                false => Value::Missing,
            };
            values.push(match value {
                Value::Series(steps) => steps,
                Value::Missing => {
                    let required = part.required && part.series && part.drop == 0.0;
                    self.check_required(required).map_err(|e| part.error(e))?;
                    vec![]
                }
                other => return Err(part.error(other.unexpected("a series, as in the other rows"))),
            });
        }
        let length = values.iter().map(Vec::len).max().unwrap_or(0);
        let weights = self.step_weights(get, length)?;
        let mut targets: Vec<(Vec<u32>, Option<Target>)> = vec![(vec![], None); composition.outputs.len()];
        for step in 0..length {
            for (number, part) in composition.parts.iter().enumerate().filter(|(_, part)| part.series) {
                let value = values[number].get_mut(step).map(std::mem::take).unwrap_or_default();
                let in_step = |e: TokenizeError| {
                    part.error(TokenizeError::Input(format!("step {}: {e}", steps.start + step)))
                };
                if let Role::Series(output) = part.role {
                    let weight = weights[output].get(step).copied();
                    self.add_step_target(output, &value, weight, &mut targets[output]).map_err(in_step)?;
                    if !composition.outputs[output].feedback {
                        continue;
                    }
                }
                let seed = self.seed(number).map(|seed| mix(seed, step as u64));
                if let Some(tokens) = part.tokens(value, seed).map_err(in_step)? {
                    self.append(number, tokens, Some((steps.start + step) as u32));
                }
            }
        }
        for (head, (places, target)) in targets.into_iter().enumerate() {
            if let Some(target) = target {
                self.outputs.push(Output { head, places: Some(places), target });
            }
        }
        Ok(())
    }

    /// For each output, the loss weights of its steps; empty for an output without them.
    fn step_weights(&self, get: GetField, length: usize) -> Result<Vec<Vec<f32>>, TokenizeError> {
        let parts = &self.composition.parts;
        let of_output = |output: &OutputPart| match &output.weight_field {
            Some(field) if self.purpose != Purpose::Predict && output.is_series(parts) => {
                let problem = |e| TokenizeError::Input(format!("outputs.{}.weight_field: {e}", output.name));
                weights(get(field)?, length).map_err(problem)
            }
            _ => Ok(vec![]),
        };
        self.composition.outputs.iter().map(of_output).collect()
    }

    /// Adds the place and the target of one step of a predicted series.
    fn add_step_target(
        &self,
        number: usize,
        value: &Value,
        weight: Option<f32>,
        (places, target): &mut (Vec<u32>, Option<Target>),
    ) -> Result<(), TokenizeError> {
        let Some(before) = self.main.len().checked_sub(1) else {
            return Err(TokenizeError::Input(
                "expected a token before the first step of a predicted series; found none: add an input"
                    .into(),
            ));
        };
        if self.purpose == Purpose::Predict {
            places.push(before);
            *target = Some(Target::Unknown);
            return Ok(());
        }
        if value.is_missing() {
            return Ok(());
        }
        let context = TargetContext { tokens: 1, content: None };
        let mut step = self.composition.outputs[number].head.target(value.clone(), &context)?;
        if let Some(weight) = weight {
            step.weigh(&[weight]).map_err(TokenizeError::Input)?;
        }
        places.push(before);
        *target = Some(match target.take() {
            None => step,
            Some(earlier) => earlier.then(step).map_err(TokenizeError::Input)?,
        });
        Ok(())
    }
}
