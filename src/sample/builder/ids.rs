//! The ids of generated and masked outputs, which are tokens and targets.

use super::{DROPOUT_KEY, SampleBuilder};
use crate::data::{Output, Target};
use crate::random::mix;
use crate::sample::compose::{GetField, Purpose};
use crate::sample::part::Part;
use smalti_contract::{TokenizeError, Value};

impl SampleBuilder<'_> {
    /// Appends a generated value after its begin ids; the targets are the next ids, up to the end id.
    pub(in crate::sample) fn append_generated(
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
        let end = &part.special_ids.end[..part.special_ids.end.len().min(1)];
        let ids = ids.strip_suffix(end).unwrap_or(ids);
        let read = [&begin[..], ids].concat();
        let ids: Vec<u32> = read.iter().skip(1).chain(end).copied().collect();
        // Begin ids are given in generation: the first prediction follows the last of them.
        let weights = (0..ids.len()).map(|place| if place + 1 < begin.len() { 0.0 } else { 1.0 }).collect();
        self.append(number, part.sequence(read)?, None);
        self.outputs.push(Output { head: output, places: None, target: Target::Ids { ids, weights } });
        Ok(())
    }

    /// Appends a value with some tokens masked; for prediction, unmasked.
    pub(super) fn append_masked(
        &mut self,
        number: usize,
        output: usize,
        value: Value,
    ) -> Result<(), TokenizeError> {
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
    pub(in crate::sample) fn mask(
        &mut self,
        number: usize,
        output: usize,
        ids: Vec<u32>,
    ) -> Result<(), TokenizeError> {
        let part = &self.composition.parts[number];
        let rate = self.composition.outputs[output].mask;
        let seed = self.seed(number).unwrap_or(mix(DROPOUT_KEY, self.id));
        let (masked, weights) = part.mask(&ids, rate, seed);
        self.append(number, part.sequence(masked)?, None);
        self.outputs.push(Output { head: output, places: None, target: Target::Ids { ids, weights } });
        Ok(())
    }
}
