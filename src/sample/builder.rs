//! Builds a sample: appends the tokens of its parts, and collects the targets of its heads.

use super::compose::{GetField, Purpose};
use super::composition::{Composition, ReadSite};
use super::document::Document;
use super::named;
use super::part::{Part, Role, ids};
use crate::data::{Output, Sample, Stream, Target};
use crate::head::TargetContext;
use crate::random::{self, mix};
use crate::task::learned_tokens;
use smalti_contract::{Content, Group, TokenizeError, Tokens, Value};
use std::ops::Range;

/// Mixed into seeds of modality dropout and of masking in evaluation, which must differ from the seeds of augmentation.
const DROPOUT_KEY: u64 = 0x6472_6f70;

/// An unfinished sample.
pub(super) struct SampleBuilder<'a> {
    composition: &'a Composition,
    purpose: Purpose,
    /// Unique among the samples of the data set.
    id: u64,
    pub(super) main: Document,
    encoder: Document,
    /// For each part, the places of its tokens in their stream.
    orders: Vec<Vec<u32>>,
    /// For each output, the place of its class token.
    class_tokens: Vec<Option<u32>>,
    pub(super) outputs: Vec<Output>,
    /// The row that the sample is blended with.
    pub(super) partner: Option<GetField<'a>>,
    /// Share of the sample's own row in the blend.
    share: f32,
}

impl<'a> SampleBuilder<'a> {
    pub(super) fn new(composition: &'a Composition, purpose: Purpose, id: u64) -> Self {
        Self {
            composition,
            purpose,
            id,
            main: Document::new(Stream::Main, &composition.main),
            encoder: Document::new(Stream::Encoder, &composition.encoder),
            orders: vec![vec![]; composition.parts.len()],
            class_tokens: vec![None; composition.outputs.len()],
            outputs: vec![],
            partner: None,
            share: 1.0,
        }
    }

    pub(super) fn append(&mut self, number: usize, mut tokens: Tokens, time: Option<u32>) {
        if !self.composition.parts[number].positions {
            tokens.groups.iter_mut().for_each(|group| group.positions.clear());
        }
        let first = self.composition.first_kinds[number];
        let document = match self.composition.parts[number].stream {
            Stream::Main => &mut self.main,
            Stream::Encoder => &mut self.encoder,
        };
        let orders = document.append(first, tokens, time);
        self.orders[number].extend(orders);
    }

    /// The seed of a part's augmentation, in training.
    fn seed(&self, number: usize) -> Option<u64> {
        match self.purpose {
            Purpose::Train(seed) => Some(mix(seed, number as u64)),
            Purpose::Evaluate | Purpose::Predict => None,
        }
    }

    /// Whether modality dropout removes a part from this sample.
    fn is_dropped(&self, number: usize) -> bool {
        let share = self.composition.parts[number].drop;
        let Some(seed) = self.seed(number).filter(|_| share > 0.0) else { return false };
        random::uniform(&mut random::generator(mix(seed, DROPOUT_KEY))) < share
    }

    /// Appends a part without time steps.
    pub(super) fn append_value(&mut self, number: usize, get: GetField) -> Result<(), TokenizeError> {
        let part = &self.composition.parts[number];
        if self.is_dropped(number) {
            return Ok(());
        }
        let value = Part::value(&part.fields, get)?;
        if let Role::Masked(output) = part.role {
            return self.append_masked(number, output, value);
        }
        if let (Some(partner), Some(seed)) = (self.partner, self.seed(number))
            && self.share == 1.0
            && part.tokenizer.blends(seed)
        {
            let other = Part::value(&part.fields, partner)?;
            if !value.is_missing() && !other.is_missing() {
                let (tokens, share) = part.tokenizer.encode_blended(value, other, seed)?;
                self.share = share;
                self.append(number, tokens, None);
                return Ok(());
            }
        }
        match part.tokens(value, self.seed(number))? {
            Some(tokens) => self.append(number, tokens, None),
            None => self.check_required(part.required)?,
        }
        Ok(())
    }

    /// Appends the tokens without a value in the row: class tokens and registers, and codes, whose ids the model computes.
    pub(super) fn append_learned_tokens(&mut self) {
        for (number, output) in self.composition.outputs.iter().enumerate() {
            let kind = match output.site {
                ReadSite::ClassToken { kind } => kind,
                ReadSite::Codes { part, kind } => {
                    let input = self.encoder.group(self.composition.first_kinds[part]);
                    let codes = Group { content: Content::Ids(vec![0; input.len()]), ..input.clone() };
                    self.main.append(kind, Tokens::new(vec![codes]), None);
                    continue;
                }
                _ => continue,
            };
            let mut append = |kind: usize, n: usize| {
                let positions = !self.composition.main[kind].axes.is_empty();
                self.main.append(kind, learned_tokens(n, positions), None).start
            };
            self.class_tokens[number] = Some(append(kind, 1));
            if output.registers > 0 {
                append(kind + 1, output.registers);
            }
        }
    }

    /// Appends the series, step by step, within a step in the order of parts. The prediction of a step is read at the last
    /// token before it.
    pub(super) fn append_series(&mut self, get: GetField, steps: Range<usize>) -> Result<(), TokenizeError> {
        let composition = self.composition;
        let mut values: Vec<Vec<Value>> = Vec::with_capacity(composition.parts.len());
        for (number, part) in composition.parts.iter().enumerate() {
            let value = match part.series && !self.is_dropped(number) {
                true => Part::value(&part.fields, get).map_err(|e| in_part(part, e))?,
                false => Value::Missing,
            };
            values.push(match value {
                Value::Series(steps) => steps,
                Value::Missing => {
                    let required = part.required && part.series && part.drop == 0.0;
                    self.check_required(required).map_err(|e| in_part(part, e))?;
                    vec![]
                }
                other => return Err(in_part(part, other.unexpected("a series, as in the other rows"))),
            });
        }
        let length = values.iter().map(Vec::len).max().unwrap_or(0);
        let mut targets: Vec<(Vec<u32>, Option<Target>)> = vec![(vec![], None); composition.outputs.len()];
        for step in 0..length {
            for (number, part) in composition.parts.iter().enumerate().filter(|(_, part)| part.series) {
                let value = values[number].get_mut(step).map(std::mem::take).unwrap_or_default();
                let in_step = |e: TokenizeError| {
                    in_part(part, TokenizeError::Input(format!("step {}: {e}", steps.start + step)))
                };
                if let Role::Series(output) = part.role {
                    self.add_step_target(output, &value, &mut targets[output]).map_err(in_step)?;
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

    /// Adds the place and the target of one step of a predicted series.
    fn add_step_target(
        &self,
        number: usize,
        value: &Value,
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
        let step = self.composition.outputs[number].head.target(value.clone(), &context)?;
        places.push(before);
        *target = Some(match target.take() {
            None => step,
            Some(earlier) => earlier.then(step).map_err(TokenizeError::Input)?,
        });
        Ok(())
    }

    /// Appends a generated value after its begin ids; the targets are the next ids, up to the end id.
    pub(super) fn append_generated(
        &mut self,
        number: usize,
        output: usize,
        get: GetField,
    ) -> Result<(), TokenizeError> {
        let part = &self.composition.parts[number];
        let begin = &part.special_ids.begin;
        if self.purpose == Purpose::Predict {
            self.append(number, part.sequence(begin.clone())?, None);
            self.outputs.push(Output { head: output, places: None, target: Target::Unknown });
            return Ok(());
        }
        let Some(ids) = part.ids(Part::value(&part.fields, get)?)? else {
            return self.check_required(self.composition.outputs[output].required);
        };
        // A tokenizer may have added the begin and end ids already.
        let ids = ids.strip_prefix(&begin[..]).unwrap_or(&ids);
        let ids = ids.strip_suffix(part.special_ids.end.as_slice()).unwrap_or(ids);
        let read = [&begin[..], ids].concat();
        let ids: Vec<u32> = read.iter().skip(1).copied().chain(part.special_ids.end).collect();
        // Begin ids are given in generation: the first prediction follows the last of them.
        let weights = (0..ids.len()).map(|place| if place + 1 < begin.len() { 0.0 } else { 1.0 }).collect();
        self.append(number, part.sequence(read)?, None);
        self.outputs.push(Output { head: output, places: None, target: Target::Ids { ids, weights } });
        Ok(())
    }

    /// Appends a value with some tokens masked; for prediction, unmasked.
    fn append_masked(&mut self, number: usize, output: usize, value: Value) -> Result<(), TokenizeError> {
        let part = &self.composition.parts[number];
        let required = self.composition.outputs[output].required;
        let Some(ids) = part.ids(value)? else { return self.check_required(required) };
        if self.purpose == Purpose::Predict {
            self.append(number, part.sequence(ids)?, None);
            return Ok(());
        }
        self.mask(number, output, ids)
    }

    /// Masks some of these ids and appends them.
    pub(super) fn mask(&mut self, number: usize, output: usize, ids: Vec<u32>) -> Result<(), TokenizeError> {
        let part = &self.composition.parts[number];
        let rate = self.composition.outputs[output].mask;
        let seed = self.seed(number).unwrap_or(mix(DROPOUT_KEY, self.id));
        let (masked, weights) = part.mask(&ids, rate, seed);
        self.append(number, part.sequence(masked)?, None);
        self.outputs.push(Output { head: output, places: None, target: Target::Ids { ids, weights } });
        Ok(())
    }

    /// Adds the target of an output that reads a class token, pooled inputs, the tokens of an input or codes.
    pub(super) fn add_output(&mut self, number: usize, get: GetField) -> Result<(), TokenizeError> {
        let output = &self.composition.outputs[number];
        let places = match output.site {
            ReadSite::ClassToken { .. } => self.class_tokens[number].into_iter().collect(),
            ReadSite::Mean => self.input_orders(),
            ReadSite::FirstToken => self.input_orders().into_iter().min().into_iter().collect(),
            ReadSite::InputTokens { part } => self.orders[part].clone(),
            ReadSite::OwnTokens { .. } => return Ok(()),
            ReadSite::Codes { part, .. } => {
                return self.add_reconstruction(number, self.composition.first_kinds[part]);
            }
        };
        if places.is_empty() {
            return Ok(()); // the head's input is missing
        }
        if output.head.width() == 0 && self.purpose != Purpose::Predict {
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
            Purpose::Train(_) | Purpose::Evaluate => {
                let context = TargetContext { tokens: input.len(), content: Some(input.content.clone()) };
                self.composition.outputs[number].head.target(Value::Missing, &context)?
            }
        };
        self.outputs.push(Output { head: number, places: None, target });
        Ok(())
    }

    /// The places of all inputs' tokens in the main stream.
    fn input_orders(&self) -> Vec<u32> {
        let inputs = self.composition.parts.iter().zip(&self.orders);
        let read = inputs.filter(|(part, _)| part.role == Role::Input && part.stream == Stream::Main);
        read.flat_map(|(_, orders)| orders.iter().copied()).collect()
    }

    /// Fails if a missing value is required, except in prediction.
    fn check_required(&self, required: bool) -> Result<(), TokenizeError> {
        match required && self.purpose != Purpose::Predict {
            true => Err(TokenizeError::Input(
                "expected a value, because required = true; the row has none".into(),
            )),
            false => Ok(()),
        }
    }

    pub(super) fn finish(self) -> Sample {
        let mut inputs = vec![];
        if !self.composition.encoder.is_empty() {
            inputs.push(self.encoder.finish());
        }
        inputs.push(self.main.finish());
        let mut outputs = self.outputs;
        outputs.sort_by_key(|output| output.head);
        Sample { inputs, outputs, id: self.id }
    }
}

/// The weights of `tokens` targets: one number for all, a text of 0 and 1, or an array of numbers.
fn weights(value: Value, tokens: usize) -> Result<Vec<f32>, TokenizeError> {
    let weights: Vec<f32> = match value {
        Value::Missing => vec![1.0; tokens],
        Value::Number(weight) => vec![weight as f32; tokens],
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

/// An error with the name of its part.
pub(crate) fn in_part(part: &Part, error: TokenizeError) -> TokenizeError {
    let table = if part.role == Role::Input { "inputs" } else { "outputs" };
    named(table, &part.name, &part.fields, error)
}
