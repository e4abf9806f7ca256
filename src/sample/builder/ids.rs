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
        let Some((prompt, value)) = self.generated_value(number, output, get)? else {
            return self.check_required(self.composition.outputs[output].required);
        };
        let Some(ids) = part.ids(value)? else {
            return self.check_required(self.composition.outputs[output].required);
        };
        let given = match part.ids(prompt)? {
            Some(prompt) => [&begin[..], prompt.strip_prefix(&begin[..]).unwrap_or(&prompt)].concat(),
            None => begin.clone(),
        };
        // A tokenizer may have added the begin and end ids already.
        let ids = ids.strip_prefix(&begin[..]).unwrap_or(&ids);
        let end = &part.special_ids.end[..part.special_ids.end.len().min(1)];
        let ids = ids.strip_suffix(end).unwrap_or(ids);
        // The last id is only a target.
        let mut read = [&given[..], ids, end].concat();
        let ids: Vec<u32> = read.iter().skip(1).copied().collect();
        read.truncate(ids.len());
        // Begin ids and the prompt are given in generation: the first prediction follows the last of them.
        let weights = (0..ids.len()).map(|place| if place + 1 < given.len() { 0.0 } else { 1.0 }).collect();
        self.append(number, part.sequence(read)?, None);
        self.outputs.push(Output { head: output, places: None, target: Target::Ids { ids, weights } });
        Ok(())
    }

    /// The value of a generated output, after the value that it continues; `None` if a completion of a pair is missing.
    fn generated_value(
        &self,
        number: usize,
        output: usize,
        get: GetField,
    ) -> Result<Option<(Value, Value)>, TokenizeError> {
        let (part, of) = (&self.composition.parts[number], &self.composition.outputs[output]);
        let (true, [chosen, rejected]) = (of.is_preference, &of.fields[..]) else {
            return Ok(Some((Value::Missing, Part::value(&part.fields, get)?)));
        };
        let (chosen, rejected) = (get(chosen)?, get(rejected)?);
        if chosen.is_missing() || rejected.is_missing() {
            return Ok(None);
        }
        let prompt = of.prompt.as_ref().map_or(Ok(Value::Missing), |prompt| get(prompt))?;
        Ok(Some((prompt, if self.is_rejected { rejected } else { chosen })))
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
