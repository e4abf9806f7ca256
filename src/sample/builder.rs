//! Builds a sample: appends the tokens of its parts, and collects the targets of its heads.

mod ids;
mod series;
mod targets;

use super::compose::{GetField, Purpose};
use super::composition::{Composition, ReadSite};
use super::document::Document;
use super::named;
use super::part::{Part, Role};
use crate::data::{Output, Sample, Stream};
use crate::random::{self, mix};
use crate::task::learned_tokens;
use smalti_contract::{Content, Group, TokenizeError, Tokens};
use std::ops::Range;

/// Mixed into seeds of modality dropout and of masking in evaluation, which must differ from the seeds of augmentation.
const DROPOUT_KEY: u64 = 0x6472_6f70;

/// An unfinished sample.
pub(super) struct SampleBuilder<'a> {
    composition: &'a Composition,
    pub(super) purpose: Purpose,
    /// Unique among the samples of the data set.
    pub(super) id: u64,
    pub(super) main: Document,
    encoder: Document,
    /// For each part, the places of its tokens in their stream.
    orders: Vec<Vec<u32>>,
    /// For each output, the place of its class token.
    class_tokens: Vec<Option<u32>>,
    pub(super) outputs: Vec<Output>,
    /// For each output, the target that span corruption has drawn.
    spans: Vec<Option<Vec<u32>>>,
    /// A masked output, and its ids in place of its value.
    pub(super) given: Option<(usize, Vec<u32>)>,
    /// The row that the sample is blended with.
    pub(super) partner: Option<GetField<'a>>,
    /// Share of the sample's own row in the blend.
    share: f32,
    /// Whether this is the document of the rejected completions.
    pub(super) is_rejected: bool,
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
            spans: vec![None; composition.outputs.len()],
            given: None,
            partner: None,
            share: 1.0,
            is_rejected: false,
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
        self.purpose.seed().map(|seed| mix(seed, number as u64))
    }

    /// The seed of a part's masks, which in evaluation depends on the sample alone.
    fn mask_seed(&self, number: usize) -> u64 {
        self.seed(number).unwrap_or(mix(DROPOUT_KEY, self.id))
    }

    /// Whether modality dropout removes a part from this sample.
    fn is_dropped(&self, number: usize) -> bool {
        let share = self.composition.parts[number].drop;
        let Some(seed) = self.seed(number).filter(|_| share > 0.0) else { return false };
        random::uniform(&mut random::generator(mix(seed, DROPOUT_KEY))) < share
    }

    /// Appends all parts that are not generated: those without time steps, the series, and learned tokens.
    pub(super) fn append_inputs(&mut self, get: GetField, steps: Range<usize>) -> Result<(), TokenizeError> {
        let parts = &self.composition.parts;
        for (number, part) in parts.iter().enumerate().filter(|(_, part)| !part.series) {
            if !matches!(part.role, Role::Generated(_)) {
                self.append_value(number, get).map_err(|e| part.error(e))?;
            }
        }
        self.append_series(get, steps)?;
        self.append_learned_tokens();
        Ok(())
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
        if let Some(output) = self.composition.spans_of(number).filter(|_| self.purpose != Purpose::Predict) {
            return self.append_with_sentinels(number, output, value);
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
        let tokens = match self.purpose {
            Purpose::Predict => part.beginning(value)?,
            _ => part.tokens(value, self.seed(number))?,
        };
        match tokens {
            Some(tokens) => self.append(number, tokens, None),
            None => self.check_required(part.required)?,
        }
        Ok(())
    }

    /// Appends the tokens without a value in the row: class tokens and registers, and codes, whose ids the model computes.
    pub(super) fn append_learned_tokens(&mut self) {
        for (number, output) in self.composition.outputs.iter().enumerate() {
            if let ReadSite::Codes { part, kind } = output.site {
                let input = self.encoder.group(self.composition.first_kinds[part]);
                let codes = Group { content: Content::Ids(vec![0; input.len()]), ..input.clone() };
                self.main.append(kind, Tokens::new(vec![codes]), None);
            }
            let Some(kind) = output.site.class_token() else { continue };
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

impl Part {
    /// An error with the name of this part.
    pub(crate) fn error(&self, error: TokenizeError) -> TokenizeError {
        let table = if self.role == Role::Input { "inputs" } else { "outputs" };
        named(table, &self.name, &self.fields, error)
    }
}
