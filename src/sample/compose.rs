//! Samples from rows: the tokens of all parts in order, and the target of each head.

use super::builder::SampleBuilder;
use super::composition::{Composition, OutputPart, ReadSite};
use super::named;
use super::part::{Part, Role, unravel};
use crate::data::{Output, Sample, Target};
use crate::head::Masking;
use crate::random::mix;
use smalti_contract::{Content, Group, TokenizeError, Tokens, Value, caught};
use std::ops::Range;

/// The purpose of a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Training, with augmentation and masking from this seed.
    Train(u64),
    /// Evaluation: targets, no augmentation. Of the versions of a sample that differ in their masks, that of this number.
    Evaluate(usize),
    /// Prediction: no targets; a generated output has only its begin ids.
    Predict,
}

impl Purpose {
    /// The seed of training.
    pub(super) fn seed(self) -> Option<u64> {
        match self {
            Purpose::Train(seed) => Some(seed),
            Purpose::Evaluate(_) | Purpose::Predict => None,
        }
    }
}

/// Gets the value of a field of a row; of a series, the steps of the sample's window.
pub type GetField<'a> = &'a dyn Fn(&str) -> Result<Value, TokenizeError>;

impl Composition {
    /// The sample of a row, in a window of these time steps (`0..0` for a row without series).
    ///
    /// # Errors
    /// [`TokenizeError`], which names the part, if a value cannot be read or tokenized.
    pub fn sample(
        &self,
        get: GetField,
        steps: Range<usize>,
        purpose: Purpose,
        id: u64,
    ) -> Result<Sample, TokenizeError> {
        self.blended(get, None, steps, purpose, id)
    }

    /// The sample of a row blended with a `partner` row (mixup, cutmix): the first part that supports blending, and in the
    /// same shares the targets of outputs of the whole sample.
    ///
    /// # Errors
    /// As for [`sample`](Self::sample).
    pub fn blended(
        &self,
        get: GetField,
        partner: Option<GetField>,
        steps: Range<usize>,
        purpose: Purpose,
        id: u64,
    ) -> Result<Sample, TokenizeError> {
        // A row that makes a reader or a tokenizer panic is a corrupt row: its error has its location, and a run may skip it.
        let sample = caught(|| {
            let mut builder = SampleBuilder::new(self, purpose, id);
            builder.partner = partner;
            self.compose(builder, get, steps)
        });
        sample.unwrap_or_else(|panic| Err(TokenizeError::Input(format!("reading it panicked: {panic}"))))
    }

    /// A sample for prediction of the ids of a masked output in place of its value, which is to be predicted.
    ///
    /// # Errors
    /// As for [`sample`](Self::sample), and for more ids than positions.
    pub(crate) fn sample_of_ids(
        &self,
        get: GetField,
        output: usize,
        ids: Vec<u32>,
    ) -> Result<Sample, TokenizeError> {
        let mut builder = SampleBuilder::new(self, Purpose::Predict, 0);
        builder.given = Some((output, ids));
        let mut sample = self.compose(builder, get, 0..0)?;
        sample.outputs = vec![Output { head: output, places: None, target: Target::Unknown }];
        Ok(sample)
    }

    fn compose(
        &self,
        mut builder: SampleBuilder,
        get: GetField,
        steps: Range<usize>,
    ) -> Result<Sample, TokenizeError> {
        let (purpose, id) = (builder.purpose, builder.id);
        builder.append_inputs(get, steps.clone())?;
        for (number, part) in self.parts.iter().enumerate() {
            if let Role::Generated(output) = part.role {
                builder.append_generated(number, output, get).map_err(|e| part.error(e))?;
            }
        }
        for (number, output) in self.outputs.iter().enumerate() {
            builder.add_output(number, get).map_err(|e| named("outputs", &output.name, &output.fields, e))?;
        }
        let mut sample = builder.finish();
        if purpose != Purpose::Predict && self.outputs.iter().any(|output| output.is_preference) {
            let rejected = self.rejected(get, steps, purpose, id)?;
            sample.add_rejected(rejected);
        }
        Ok(sample)
    }

    /// The document of the rejected completions of a row: its inputs, and the outputs of preferences.
    fn rejected(
        &self,
        get: GetField,
        steps: Range<usize>,
        purpose: Purpose,
        id: u64,
    ) -> Result<Sample, TokenizeError> {
        let mut builder = SampleBuilder::new(self, purpose, id);
        builder.is_rejected = true;
        builder.append_inputs(get, steps)?;
        for (number, part) in self.parts.iter().enumerate() {
            if let Role::Generated(output) = part.role
                && self.outputs[output].is_preference
            {
                builder.append_generated(number, output, get).map_err(|e| part.error(e))?;
            }
        }
        builder.outputs.retain(|output| self.outputs[output.head].is_preference);
        Ok(builder.finish())
    }

    /// A sample for prediction of one part only, from the tokens of its value, which is not a series. All outputs that are not
    /// generated are predicted.
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
        builder.append_learned_tokens();
        let missing = |_: &str| Ok(Value::Missing);
        for (number, output) in self.outputs.iter().enumerate() {
            builder
                .add_output(number, &missing)
                .map_err(|e| named("outputs", &output.name, &output.fields, e))?;
        }
        Ok(builder.finish())
    }
}

impl Composition {
    /// A sample for the decoding of codes by an output with a codebook; `codes` has one id for each token of an input.
    ///
    /// # Errors
    /// If the output has no codebook, or the number of codes is not the number of tokens of an input.
    pub(crate) fn sample_of_codes(&self, output: usize, codes: Vec<u32>) -> Result<Sample, TokenizeError> {
        let ReadSite::Codes { kind, .. } = self.outputs[output].site else {
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

    /// Whether a training sample of this seed is blended with another row.
    pub(super) fn blends(&self, seed: u64) -> bool {
        (0..self.parts.len()).any(|number| self.blends_part(number, seed))
    }

    fn blends_part(&self, number: usize, seed: u64) -> bool {
        let part = &self.parts[number];
        let is_static = part.role == Role::Input && !part.series;
        is_static && part.tokenizer.blends(mix(seed, number as u64))
    }

    /// Whether the sample of a row depends on the seed.
    pub(super) fn varies(&self) -> bool {
        let varies =
            |part: &Part| part.drop > 0.0 || matches!(part.role, Role::Masked(_)) || part.tokenizer.varies();
        self.parts.iter().any(varies) || self.outputs.iter().any(|output| output.spans.is_some())
    }

    /// The number of versions of a sample that an evaluation averages.
    pub(super) fn versions(&self) -> usize {
        let rates = self.outputs.iter().map(|output| match output.head.masking() {
            Some(Masking::Diffusion { eval_rates }) => eval_rates,
            Some(Masking::Share(_)) | None => 1,
        });
        rates.max().unwrap_or(1)
    }

    /// The sample of a window of ids, which has one id more than the model reads: the last target.
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
                builder.mask(0, output, ids)?;
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
    /// Whether the output is a series: predicted in each time step.
    pub fn is_series(&self, parts: &[Part]) -> bool {
        matches!(self.site, ReadSite::OwnTokens { part } if matches!(parts[part].role, Role::Series(_)))
    }
}
