//! A sample under way: the tokens of its parts, one part after another, and what each head reads of them.

use super::compose::{Get, Purpose};
use super::composition::{Composition, Site};
use super::document::Document;
use super::named;
use super::part::{Part, Role, ids};
use crate::data::{Output, Sample, Stream, Target};
use crate::head::Asked;
use crate::random::{self, mix};
use crate::task::learned_tokens;
use smalti_contract::{Content, Group, TokenizeError, Tokens, Value};
use std::ops::Range;

/// Tells the seeds of a sample's parts apart, and their dropout from their variation.
const DROP: u64 = 0x6472_6f70;

/// A sample under way.
pub(super) struct SampleBuilder<'a> {
    of: &'a Composition,
    purpose: Purpose,
    /// What tells the sample from every other.
    id: u64,
    pub(super) main: Document,
    encoder: Document,
    /// The orders of each part's tokens.
    orders: Vec<Vec<u32>>,
    /// The order of each output's class token.
    classes: Vec<Option<u32>>,
    pub(super) outputs: Vec<Output>,
    /// The row that the sample is blended with, and the share of its own row.
    pub(super) partner: Option<Get<'a>>,
    share: f32,
}

impl<'a> SampleBuilder<'a> {
    pub(super) fn new(of: &'a Composition, purpose: Purpose, id: u64) -> Self {
        Self {
            of,
            purpose,
            id,
            main: Document::new(Stream::Main, &of.main),
            encoder: Document::new(Stream::Encoder, &of.encoder),
            orders: vec![vec![]; of.parts.len()],
            classes: vec![None; of.outputs.len()],
            outputs: vec![],
            partner: None,
            share: 1.0,
        }
    }

    pub(super) fn append(&mut self, number: usize, tokens: Tokens, time: Option<u32>) {
        let first = self.of.first_kinds[number];
        let document = match self.of.parts[number].stream {
            Stream::Main => &mut self.main,
            Stream::Encoder => &mut self.encoder,
        };
        let orders = document.append(first, tokens, time);
        self.orders[number].extend(orders);
    }

    /// The seed of a part's variation, in training.
    fn seed(&self, number: usize) -> Option<u64> {
        match self.purpose {
            Purpose::Train(seed) => Some(mix(seed, number as u64)),
            Purpose::Evaluate | Purpose::Predict => None,
        }
    }

    /// Whether modality dropout leaves a part out of this sample.
    fn drops(&self, number: usize) -> bool {
        let share = self.of.parts[number].drop;
        let Some(seed) = self.seed(number).filter(|_| share > 0.0) else { return false };
        random::uniform(&mut random::generator(mix(seed, DROP))) < share
    }

    /// A part without a clock.
    pub(super) fn whole(&mut self, number: usize, get: Get) -> Result<(), TokenizeError> {
        let part = &self.of.parts[number];
        if self.drops(number) {
            return Ok(());
        }
        let value = Part::value(&part.fields, get)?;
        if let Role::Masked(output) = part.role {
            return self.masked(number, output, value);
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

    /// The tokens that stand for no value: class tokens, and codes, which the model finds.
    pub(super) fn learned_tokens(&mut self) {
        for (number, output) in self.of.outputs.iter().enumerate() {
            let kind = match output.site {
                Site::ClassToken { kind } => kind,
                Site::Codes { part, kind } => {
                    let input = self.encoder.group(self.of.first_kinds[part]);
                    let codes = Group { content: Content::Ids(vec![0; input.len()]), ..input.clone() };
                    self.main.append(kind, Tokens::new(vec![codes]), None);
                    continue;
                }
                _ => continue,
            };
            let mut append = |kind: usize, n: usize| {
                let positions = !self.of.main[kind].axes.is_empty();
                self.main.append(kind, learned_tokens(n, positions), None).start
            };
            self.classes[number] = Some(append(kind, 1));
            if output.registers > 0 {
                append(kind + 1, output.registers);
            }
        }
    }

    /// The series, step by step, within a step in the order of parts. What is predicted of a step is read at the last
    /// token before its place.
    pub(super) fn series(&mut self, get: Get, steps: Range<usize>) -> Result<(), TokenizeError> {
        let of = self.of;
        let mut values: Vec<Vec<Value>> = Vec::with_capacity(of.parts.len());
        for (number, part) in of.parts.iter().enumerate() {
            let value = match part.series && !self.drops(number) {
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
        let mut asked: Vec<(Vec<u32>, Option<Target>)> = vec![(vec![], None); of.outputs.len()];
        for step in 0..length {
            for (number, part) in of.parts.iter().enumerate().filter(|(_, part)| part.series) {
                let value = values[number].get_mut(step).map(std::mem::take).unwrap_or_default();
                let in_step = |e: TokenizeError| {
                    in_part(part, TokenizeError::Input(format!("step {}: {e}", steps.start + step)))
                };
                if let Role::Series(output) = part.role {
                    self.ask(output, &value, &mut asked[output]).map_err(in_step)?;
                    if !of.outputs[output].feedback {
                        continue;
                    }
                }
                let seed = self.seed(number).map(|seed| mix(seed, step as u64));
                if let Some(tokens) = part.tokens(value, seed).map_err(in_step)? {
                    self.append(number, tokens, Some((steps.start + step) as u32));
                }
            }
        }
        for (head, (places, target)) in asked.into_iter().enumerate() {
            if let Some(target) = target {
                self.outputs.push(Output { head, places: Some(places), target });
            }
        }
        Ok(())
    }

    /// Asks for one step of a series.
    fn ask(
        &self,
        number: usize,
        value: &Value,
        (places, target): &mut (Vec<u32>, Option<Target>),
    ) -> Result<(), TokenizeError> {
        let Some(before) = self.main.len().checked_sub(1) else {
            return Err(TokenizeError::Input("no token comes before its first step; add an input".into()));
        };
        if self.purpose == Purpose::Predict {
            places.push(before);
            *target = Some(Target::Unknown);
            return Ok(());
        }
        if value.is_missing() {
            return Ok(());
        }
        let asked = Asked { tokens: 1, content: None };
        let of_step = self.of.outputs[number].head.target(value.clone(), &asked)?;
        places.push(before);
        *target = Some(match target.take() {
            None => of_step,
            Some(before) => before.then(of_step).map_err(TokenizeError::Input)?,
        });
        Ok(())
    }

    /// A value that is predicted token by token, with the id that begins it and the one that ends it.
    pub(super) fn generated(&mut self, number: usize, output: usize, get: Get) -> Result<(), TokenizeError> {
        let part = &self.of.parts[number];
        let begin = &part.added.begin;
        if self.purpose == Purpose::Predict {
            self.append(number, part.sequence(begin.clone())?, None);
            self.outputs.push(Output { head: output, places: None, target: Target::Unknown });
            return Ok(());
        }
        let Some(ids) = part.ids(Part::value(&part.fields, get)?)? else {
            return self.check_required(self.of.outputs[output].required);
        };
        // Ids that the modality itself puts around a value are not put there again.
        let ids = ids.strip_prefix(&begin[..]).unwrap_or(&ids);
        let ids = ids.strip_suffix(part.added.end.as_slice()).unwrap_or(ids);
        let read = [&begin[..], ids].concat();
        let ids: Vec<u32> = read.iter().skip(1).copied().chain(part.added.end).collect();
        // What begins a value is given: only after its last id is the next one predicted.
        let weights = (0..ids.len()).map(|place| if place + 1 < begin.len() { 0.0 } else { 1.0 }).collect();
        self.append(number, part.sequence(read)?, None);
        self.outputs.push(Output { head: output, places: None, target: Target::Ids { ids, weights } });
        Ok(())
    }

    /// A value of which some tokens are hidden: of those, most by the mask, some by another id, some not at all
    /// (Devlin et al. 2019).
    fn masked(&mut self, number: usize, output: usize, value: Value) -> Result<(), TokenizeError> {
        let part = &self.of.parts[number];
        let of = &self.of.outputs[output];
        let Some(ids) = part.ids(value)? else { return self.check_required(of.required) };
        if self.purpose == Purpose::Predict {
            self.append(number, part.sequence(ids)?, None);
            return Ok(());
        }
        self.hide(number, output, ids)
    }

    pub(super) fn hide(&mut self, number: usize, output: usize, ids: Vec<u32>) -> Result<(), TokenizeError> {
        let (part, of) = (&self.of.parts[number], &self.of.outputs[output]);
        let seed = self.seed(number).unwrap_or(mix(DROP, self.id));
        let (hidden, weights) = part.hide(&ids, of.mask, seed);
        self.append(number, part.sequence(hidden)?, None);
        self.outputs.push(Output { head: output, places: None, target: Target::Ids { ids, weights } });
        Ok(())
    }

    /// The outputs that read a class token, the mean of the inputs, or the tokens of an input.
    pub(super) fn output(&mut self, number: usize, get: Get) -> Result<(), TokenizeError> {
        let output = &self.of.outputs[number];
        let places = match output.site {
            Site::ClassToken { .. } => self.classes[number].into_iter().collect(),
            Site::Mean => self.read_by_mean(),
            Site::First => self.read_by_mean().into_iter().min().into_iter().collect(),
            Site::Input { part } => self.orders[part].clone(),
            Site::Own { .. } => return Ok(()),
            Site::Codes { part, .. } => return self.reconstructed(number, self.of.first_kinds[part]),
        };
        if places.is_empty() {
            return Ok(()); // the input that it reads is missing
        }
        if output.head.width() == 0 && self.purpose != Purpose::Predict {
            return Ok(()); // it has no target
        }
        if self.purpose == Purpose::Predict {
            self.outputs.push(Output { head: number, places: Some(places), target: Target::Unknown });
            return Ok(());
        }
        let value = Part::value(&output.fields, get)?;
        if value.is_missing() {
            return self.check_required(output.required);
        }
        let tokens = if matches!(output.site, Site::Input { .. }) { places.len() } else { 1 };
        let of_value = |value: Value| match &output.labels {
            Some(labels) => {
                let ids = ids(labels.as_ref(), value)?;
                output.head.target(Value::Missing, &Asked { tokens, content: Some(Content::Ids(ids)) })
            }
            None => output.head.target(value, &Asked { tokens, content: None }),
        };
        let mut target = of_value(value)?;
        if let Some(partner) = self.partner.filter(|_| self.share < 1.0) {
            let other = Part::value(&output.fields, partner)?;
            if other.is_missing() {
                return Ok(());
            }
            target = target.blended(of_value(other)?, self.share).map_err(TokenizeError::Input)?;
        }
        if let Some(field) = &output.weight_field {
            target.weigh(&weights(get(field)?, tokens)?).map_err(TokenizeError::Input)?;
        }
        self.outputs.push(Output { head: number, places: Some(places), target });
        Ok(())
    }

    /// An input that is reconstructed from its codes.
    fn reconstructed(&mut self, number: usize, kind: usize) -> Result<(), TokenizeError> {
        let input = self.encoder.group(kind);
        if !input.order.is_sorted() {
            return Err(TokenizeError::Input("a codebook's input gives its tokens in their order".into()));
        }
        if input.is_empty() {
            return self.check_required(self.of.outputs[number].required);
        }
        let target = match self.purpose {
            Purpose::Predict => Target::Unknown,
            Purpose::Train(_) | Purpose::Evaluate => {
                let asked = Asked { tokens: input.len(), content: Some(input.content.clone()) };
                self.of.outputs[number].head.target(Value::Missing, &asked)?
            }
        };
        self.outputs.push(Output { head: number, places: None, target });
        Ok(())
    }

    /// The orders of all inputs' tokens in the main stream.
    fn read_by_mean(&self) -> Vec<u32> {
        let inputs = self.of.parts.iter().zip(&self.orders);
        let read = inputs.filter(|(part, _)| part.role == Role::Input && part.stream == Stream::Main);
        read.flat_map(|(_, orders)| orders.iter().copied()).collect()
    }

    /// What is missing and required makes a corrupt sample, unless it is there to be predicted.
    fn check_required(&self, required: bool) -> Result<(), TokenizeError> {
        match required && self.purpose != Purpose::Predict {
            true => Err(TokenizeError::Input("the row has no value, and it is required".into())),
            false => Ok(()),
        }
    }

    pub(super) fn finish(self) -> Sample {
        let mut inputs = vec![];
        if !self.of.encoder.is_empty() {
            inputs.push(self.encoder.finish());
        }
        inputs.push(self.main.finish());
        let mut outputs = self.outputs;
        outputs.sort_by_key(|output| output.head);
        Sample { inputs, outputs, id: self.id }
    }
}

/// The weights of `tokens` targets: a number for all, or for each a 0 or 1 of a text or a number of an array.
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

pub(super) fn in_part(part: &Part, error: TokenizeError) -> TokenizeError {
    let table = if part.role == Role::Input { "inputs" } else { "outputs" };
    named(table, &part.name, &part.fields, error)
}
