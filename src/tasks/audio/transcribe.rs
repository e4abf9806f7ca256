//! The text of a recording.

use super::{AudioTask, Reading};
use crate::data::{Batch, Sample, Target, collate};
use crate::model::Model;
use crate::ops::ctc;
use crate::tasks::TaskError;
use smalti_audio::Waveform;
use smalti_contract::{Content, Group, Tokenizer, Tokens};

impl AudioTask {
    /// The text of a recording, the likeliest character at each place. `number` is the task's among the model's.
    ///
    /// # Errors
    /// Where the recording cannot become tokens.
    pub fn transcribe(&self, model: &Model, number: usize, clip: &Waveform) -> Result<String, TaskError> {
        let slices = self.audio.encode(clip)?;
        match self.config.reading {
            Reading::Ctc => {
                let batch = self.batch(model, number, slices, &[])?;
                let Some(logits) = model.outputs(&batch)?.pop() else { return Ok(String::new()) };
                let blank = self.alphabet.len() as u32;
                Ok(self.alphabet.text(&ctc::best_path(&logits, blank)?))
            }
            Reading::Prefix | Reading::Cross => self.write(model, number, slices),
        }
    }

    /// Token by token until the end or `max_text`.
    fn write(&self, model: &Model, number: usize, slices: Tokens) -> Result<String, TaskError> {
        let mut cache = model.cache();
        let beginning = self.beginning();
        let mut batch = self.batch(model, number, slices.clone(), &beginning)?;
        let mut ids = Vec::new();
        while ids.len() < self.config.max_text {
            let logits = model.step(number, &batch, &mut cache)?;
            let id = logits.get(logits.dim(0)? - 1)?.argmax(0)?.to_scalar::<u32>()?;
            if id == self.end() {
                break;
            }
            ids.push(id);
            batch = self.next(model, number, &slices, id, (beginning.len() + ids.len() - 1) as u32)?;
        }
        Ok(self.alphabet.text(&ids))
    }

    /// The one token that comes next, at place `place` of the text.
    fn next(
        &self,
        model: &Model,
        number: usize,
        slices: &Tokens,
        id: u32,
        place: u32,
    ) -> Result<Batch, TaskError> {
        let before = if self.config.reading == Reading::Prefix { slices.len() as u32 } else { 0 };
        let character = Group {
            content: Content::Ids(vec![id]),
            positions: vec![place],
            order: vec![before + place],
            time: vec![before + place],
        };
        let spec = &Tokenizer::spec(&self.audio).kinds[0];
        let nothing = Group {
            content: match spec.content {
                smalti_contract::ContentSpec::Features { dim } => Content::Features { values: vec![], dim },
                smalti_contract::ContentSpec::Ids { .. } => Content::Ids(vec![]),
            },
            positions: vec![],
            order: vec![],
            time: vec![],
        };
        let inputs = self.spec.inputs.iter().map(|(stream, kinds)| {
            let groups = kinds.iter().map(|kind| if kind.name == spec.name { &nothing } else { &character });
            (*stream, Tokens::new(groups.cloned().collect()))
        });
        let sample = Sample { inputs: inputs.collect(), target: Target::Unknown, id: 0 };
        Ok(collate(model.layouts(), &[(number, sample)])?)
    }

    fn batch(&self, model: &Model, number: usize, slices: Tokens, text: &[u32]) -> Result<Batch, TaskError> {
        let sample = Sample { inputs: self.inputs(slices, text)?, target: Target::Unknown, id: 0 };
        Ok(collate(model.layouts(), &[(number, sample)])?)
    }
}
