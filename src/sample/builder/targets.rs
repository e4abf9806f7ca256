//! The targets of outputs that have no tokens of their own.

use super::SampleBuilder;
use crate::data::{Output, Stream, Target};
use crate::head::TargetContext;
use crate::sample::compose::{GetField, Purpose};
use crate::sample::composition::ReadSite;
use crate::sample::part::{Part, Role, ids};
use smalti_contract::{Content, Group, TokenizeError, Value};

impl SampleBuilder<'_> {
    /// Adds the target of an output that reads a class token, pooled inputs, the tokens of an input or codes.
    pub(in crate::sample) fn add_output(
        &mut self,
        number: usize,
        get: GetField,
    ) -> Result<(), TokenizeError> {
        let output = &self.composition.outputs[number];
        let places = match output.site {
            ReadSite::ClassToken { .. } => self.class_tokens[number].into_iter().collect(),
            ReadSite::ClassTokenAndMean { .. } => {
                self.class_tokens[number].into_iter().chain(self.input_orders()).collect()
            }
            // The registers follow the class token.
            ReadSite::ClassTokenAndRegisters { .. } | ReadSite::LearnedMean { .. } => self.class_tokens
                [number]
                .map_or(vec![], |class| (class..=class + output.registers as u32).collect()),
            ReadSite::Mean | ReadSite::Attention => self.input_orders(),
            ReadSite::FirstToken => self.input_orders().into_iter().min().into_iter().collect(),
            ReadSite::LastToken => output.last(self.input_groups()).into_iter().collect(),
            ReadSite::InputTokens { part } => self.orders[part].clone(),
            ReadSite::OwnTokens { .. } => return Ok(()),
            ReadSite::Codes { part, .. } => {
                return self.add_reconstruction(number, self.composition.first_kinds[part]);
            }
        };
        if places.is_empty() {
            return Ok(()); // the head's input is missing
        }
        if output.head.is_representation() && self.purpose != Purpose::Predict {
            return Ok(()); // the head has no target
        }
        if self.purpose == Purpose::Predict {
            self.outputs.push(Output { head: number, places: Some(places), target: Target::Unknown });
            return Ok(());
        }
        let value = Part::value(&output.fields, get)?;
        if value.is_missing() {
            return self.check_required(output.required);
        }
        let tokens = if matches!(output.site, ReadSite::InputTokens { .. }) { places.len() } else { 1 };
        let target_of = |value: Value| match &output.labels {
            Some(labels) => {
                let ids = ids(labels.as_ref(), value)?;
                output
                    .head
                    .target(Value::Missing, &TargetContext { tokens, content: Some(Content::Ids(ids)) })
            }
            None => output.head.target(value, &TargetContext { tokens, content: None }),
        };
        let mut target = target_of(value)?;
        if let Some(partner) = self.partner.filter(|_| self.share < 1.0) {
            let other = Part::value(&output.fields, partner)?;
            if other.is_missing() {
                return Ok(());
            }
            target = target.blended(target_of(other)?, self.share).map_err(TokenizeError::Input)?;
        }
        if let Some(field) = &output.weight_field {
            target.weigh(&weights(get(field)?, tokens)?).map_err(TokenizeError::Input)?;
        }
        self.outputs.push(Output { head: number, places: Some(places), target });
        Ok(())
    }

    /// Adds the target of an input that is reconstructed from its codes.
    fn add_reconstruction(&mut self, number: usize, kind: usize) -> Result<(), TokenizeError> {
        let input = self.encoder.group(kind);
        if !input.order.is_sorted() {
            return Err(TokenizeError::Input(
                "expected the tokens of a codebook's input in ascending order".into(),
            ));
        }
        if input.is_empty() {
            return self.check_required(self.composition.outputs[number].required);
        }
        let target = match self.purpose {
            Purpose::Predict => Target::Unknown,
            Purpose::Train(_) | Purpose::Evaluate(_) => {
                let context = TargetContext { tokens: input.len(), content: Some(input.content.clone()) };
                self.composition.outputs[number].head.target(Value::Missing, &context)?
            }
        };
        self.outputs.push(Output { head: number, places: None, target });
        Ok(())
    }

    /// The tokens of all inputs in the main stream.
    fn input_groups(&self) -> impl Iterator<Item = &Group> + Clone {
        let parts = self.composition.parts.iter().zip(&self.composition.first_kinds);
        let read = parts.filter(|(part, _)| part.role == Role::Input && part.stream == Stream::Main);
        read.flat_map(move |(part, &first)| {
            (first..first + part.kinds.len()).map(move |kind| self.main.group(kind))
        })
    }

    /// The places of all inputs' tokens in the main stream.
    fn input_orders(&self) -> Vec<u32> {
        let inputs = self.composition.parts.iter().zip(&self.orders);
        let read = inputs.filter(|(part, _)| part.role == Role::Input && part.stream == Stream::Main);
        read.flat_map(|(_, orders)| orders.iter().copied()).collect()
    }
}

/// The weights of `tokens` targets: one number for all, a text of 0 and 1, an array of numbers, or a series of them. A missing
/// weight is 1.
pub(super) fn weights(value: Value, tokens: usize) -> Result<Vec<f32>, TokenizeError> {
    let weights: Vec<f32> = match value {
        Value::Missing => vec![1.0; tokens],
        Value::Number(weight) => vec![weight as f32; tokens],
        Value::Series(steps) => steps.into_iter().map(weight_of_step).collect::<Result<_, _>>()?,
        Value::Text(text) => {
            let weight = |c: char| c.to_digit(2).map(|digit| digit as f32);
            let weights = text.trim().chars().map(weight).collect::<Option<_>>();
            weights.ok_or_else(|| {
                TokenizeError::Input(format!("expected a weight of 0 or 1 for each token; found {text:?}"))
            })?
        }
        other => other.into_numbers()?,
    };
    if weights.len() != tokens {
        let found = weights.len();
        return Err(TokenizeError::Input(format!(
            "expected {tokens} weights, one for each token; found {found}"
        )));
    }
    match weights.iter().find(|weight| !(**weight >= 0.0 && weight.is_finite())) {
        Some(weight) => Err(TokenizeError::Input(format!("expected weights of 0 or more; found {weight}"))),
        None => Ok(weights),
    }
}

fn weight_of_step(step: Value) -> Result<f32, TokenizeError> {
    match step {
        Value::Missing => Ok(1.0),
        Value::Number(weight) => Ok(weight as f32),
        other => Err(other.unexpected("a weight for each step")),
    }
}
