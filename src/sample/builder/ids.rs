//! The ids of generated and masked outputs, which are tokens and targets.

use super::SampleBuilder;
use crate::data::{Output, Target};
use crate::head::Masking;
use crate::random::{self, mix};
use crate::sample::compose::{GetField, Purpose};
use crate::sample::part::Part;
use smalti_contract::{TokenizeError, Value};

/// Mixed into the seed of a mask for the share of masked tokens.
const RATE_KEY: u64 = 0x7261_7465;

impl SampleBuilder<'_> {
    /// Appends an input with sentinels in place of its spans, which become the value of a generated output. An id that ends
    /// the text stays.
    pub(in crate::sample) fn append_with_sentinels(
        &mut self,
        number: usize,
        output: usize,
        value: Value,
    ) -> Result<(), TokenizeError> {
        let (part, of) = (&self.composition.parts[number], &self.composition.outputs[output]);
        let (Some(corruption), Some(ids)) = (&of.spans, part.ids(value)?) else {
            return self.check_required(part.required);
        };
        let text = ids.iter().rposition(|id| !corruption.end.contains(id)).map_or(0, |last| last + 1);
        let (mut kept, removed) = corruption.draw(&ids[..text], self.mask_seed(number));
        kept.extend(&ids[text..]);
        self.append(number, part.sequence(kept)?, None);
        self.spans[output] = Some(removed);
        Ok(())
    }

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
        let ids = match self.composition.outputs[output].spans {
            Some(_) => self.spans[output].take(),
            None => part.ids(value)?,
        };
        let Some(ids) = ids else {
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
        if let Some((_, ids)) = self.given.take_if(|(given, _)| *given == output) {
            self.append(number, part.sequence(ids)?, None);
            return Ok(());
        }
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
        let seed = self.mask_seed(number);
        let (masked, weights) = match (self.composition.outputs[output].head.masking(), self.purpose) {
            (Some(Masking::Diffusion { eval_rates }), Purpose::Evaluate(version)) => {
                // Each version has its share from one of `eval_rates` equal ranges, so their mean varies little.
                let within = random::uniform(&mut random::generator(mix(seed, RATE_KEY)));
                part.mask_any(&ids, (version as f64 + within) / eval_rates as f64, mix(seed, version as u64))
            }
            (Some(Masking::Diffusion { .. }), _) => {
                let rate = random::uniform(&mut random::generator(mix(seed, RATE_KEY)));
                part.mask_any(&ids, rate, seed)
            }
            (Some(Masking::Share(rate)), _) => part.mask(&ids, rate, seed),
            (None, _) => part.mask(&ids, 0.0, seed),
        };
        self.append(number, part.sequence(masked)?, None);
        self.outputs.push(Output { head: output, places: None, target: Target::Ids { ids, weights } });
        Ok(())
    }
}
