//! A row, or a window of its series, as one sample: tokens of all parts in their order, and what each head reads of them.

use super::builder::{SampleBuilder, in_part};
use super::composition::{Composition, OutputPart, Site};
use super::named;
use super::part::{Part, Role, unravel};
use crate::data::{Output, Sample, Target};
use crate::random::mix;
use smalti_contract::{Content, Group, TokenizeError, Tokens, Value};
use std::ops::Range;

/// What a sample is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Training, with random variation by this seed.
    Train(u64),
    /// Evaluation: targets, no variation.
    Evaluate,
    /// Prediction: no targets; generated outputs have only the id that begins them.
    Predict,
}

/// The value of a field of the row that a sample is made of; of a series, the steps of the window.
pub type Get<'a> = &'a dyn Fn(&str) -> Result<Value, TokenizeError>;

impl Composition {
    /// The sample of a row, cut to these time steps (`0..0` for a row without a clock).
    ///
    /// # Errors
    /// [`TokenizeError`] with the name of the part that cannot be read.
    pub fn sample(
        &self,
        get: Get,
        steps: Range<usize>,
        purpose: Purpose,
        id: u64,
    ) -> Result<Sample, TokenizeError> {
        self.blended(get, None, steps, purpose, id)
    }

    /// The sample of a row, its first part that blends blended with the same part of another row (mixup, cutmix), and
    /// outputs of the whole sample too, in the same shares.
    ///
    /// # Errors
    /// As of [`sample`](Self::sample).
    pub fn blended(
        &self,
        get: Get,
        partner: Option<Get>,
        steps: Range<usize>,
        purpose: Purpose,
        id: u64,
    ) -> Result<Sample, TokenizeError> {
        let mut builder = SampleBuilder::new(self, purpose, id);
        builder.partner = partner;
        for (number, part) in self.parts.iter().enumerate().filter(|(_, part)| !part.series) {
            if !matches!(part.role, Role::Generated(_)) {
                builder.whole(number, get).map_err(|e| in_part(part, e))?;
            }
        }
        builder.series(get, steps)?;
        builder.learned_tokens();
        for (number, part) in self.parts.iter().enumerate() {
            if let Role::Generated(output) = part.role {
                builder.generated(number, output, get).map_err(|e| in_part(part, e))?;
            }
        }
        for (number, output) in self.outputs.iter().enumerate() {
            builder.output(number, get).map_err(|e| named("outputs", &output.name, &output.fields, e))?;
        }
        Ok(builder.finish())
    }

    /// A sample for prediction in which one part alone is there: number `part`, with these tokens of its value, which is no
    /// series. It asks for every output that is not generated.
    ///
    /// # Errors
    /// If an output cannot be read.
    pub(crate) fn sample_of_tokens(
        &self,
        part: usize,
        tokens: Tokens,
        id: u64,
    ) -> Result<Sample, TokenizeError> {
        let mut builder = SampleBuilder::new(self, Purpose::Predict, id);
        builder.append(part, tokens, None);
        builder.learned_tokens();
        let nothing = |_: &str| Ok(Value::Missing);
        for (number, output) in self.outputs.iter().enumerate() {
            builder
                .output(number, &nothing)
                .map_err(|e| named("outputs", &output.name, &output.fields, e))?;
        }
        Ok(builder.finish())
    }
}

impl Composition {
    /// The sample from which an output with a codebook decodes these codes, which are those of a whole input.
    ///
    /// # Errors
    /// If the output has no codebook, or there is another number of codes than an input has tokens.
    pub(crate) fn sample_of_codes(&self, output: usize, codes: Vec<u32>) -> Result<Sample, TokenizeError> {
        let Site::Codes { kind, .. } = self.outputs[output].site else {
            return Err(TokenizeError::Input(format!(
                "outputs.{} has no codebook",
                self.outputs[output].name
            )));
        };
        let (spec, found) = (&self.main[kind], codes.len());
        let expected = spec.axes.iter().map(|axis| axis.size).product::<usize>();
        if found != expected {
            return Err(TokenizeError::Input(format!("expected {expected} codes; found {found}")));
        }
        let positions = (0..found).flat_map(|place| unravel(place, &spec.axes)).collect();
        let codes = Group { positions, ..Group::sequence(Content::Ids(codes)) };
        let mut builder = SampleBuilder::new(self, Purpose::Predict, 0);
        builder.main.append(kind, Tokens::new(vec![codes]), None);
        builder.outputs.push(Output { head: output, places: None, target: Target::Unknown });
        Ok(builder.finish())
    }

    /// Whether a training sample of this seed is blended with another.
    pub(super) fn blends(&self, seed: u64) -> bool {
        (0..self.parts.len()).any(|number| self.blends_part(number, seed))
    }

    fn blends_part(&self, number: usize, seed: u64) -> bool {
        let part = &self.parts[number];
        let whole = part.role == Role::Input && !part.series;
        whole && part.tokenizer.blends(mix(seed, number as u64))
    }

    /// Whether a seed makes another sample of a row.
    pub(super) fn varies(&self) -> bool {
        let varies =
            |part: &Part| part.drop > 0.0 || matches!(part.role, Role::Masked(_)) || part.tokenizer.varies();
        self.parts.iter().any(varies)
    }

    /// The sample of a window of tokens, one more than the model reads.
    ///
    /// # Errors
    /// If there are more tokens than positions.
    pub(super) fn window(
        &self,
        mut ids: Vec<u32>,
        purpose: Purpose,
        id: u64,
    ) -> Result<Sample, TokenizeError> {
        let mut builder = SampleBuilder::new(self, purpose, id);
        match self.parts[0].role {
            Role::Masked(output) => {
                ids.pop();
                builder.hide(0, output, ids)?;
            }
            _ => {
                let next = Target::ids(ids[1..].to_vec());
                ids.pop();
                builder.append(0, self.parts[0].sequence(ids)?, None);
                builder.outputs.push(next.into());
            }
        }
        Ok(builder.finish())
    }
}

impl OutputPart {
    /// Whether the output is predicted in each step of a series.
    pub fn is_series(&self, parts: &[Part]) -> bool {
        matches!(self.site, Site::Own { part } if matches!(parts[part].role, Role::Series(_)))
    }
}
