//! The text of a recording.

use super::decode::Options;
use super::{AudioTask, Reading};
use crate::data::{Batch, Sample, Target, collate};
use crate::model::Model;
use crate::ops::ctc;
use crate::tasks::TaskError;
use smalti_audio::Waveform;
use smalti_contract::{Content, ContentSpec, Group, Tokenizer, Tokens};

impl AudioTask {
    /// The text of a recording, the likeliest character at each place. `number` is the task's among the model's.
    ///
    /// # Errors
    /// Where the recording cannot become tokens.
    pub fn transcribe(&self, model: &Model, number: usize, clip: &Waveform) -> Result<String, TaskError> {
        Ok(self.decode(model, number, clip, &Options::default())?.text)
    }

    /// The text that the slices say one by one (CTC).
    pub(super) fn spelled_by_slices(
        &self,
        model: &Model,
        number: usize,
        clip: &Waveform,
    ) -> Result<String, TaskError> {
        let batch = self.batch(model, number, self.audio.encode(clip)?, &[])?;
        let Some(logits) = model.outputs(&batch)?.pop() else { return Ok(String::new()) };
        let blank = self.alphabet.len() as u32;
        Ok(self.alphabet.text(&ctc::best_path(&logits, blank)?))
    }

    /// The one token that comes next, at place `place` of the text.
    pub(super) fn next(
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
                ContentSpec::Features { dim } => Content::Features { values: vec![], dim },
                ContentSpec::Ids { .. } => Content::Ids(vec![]),
            },
            positions: vec![],
            order: vec![],
            time: vec![],
        };
        let inputs = self.spec.inputs.iter().map(|(stream, kinds)| {
            let groups = kinds.iter().map(|kind| if kind.name == spec.name { &nothing } else { &character });
            (*stream, Tokens::new(groups.cloned().collect()))
        });
        let sample = Sample { inputs: inputs.collect(), outputs: vec![Target::Unknown.into()], id: 0 };
        Ok(collate(model.layouts(), &[(number, sample)])?)
    }

    /// What the model reads of slices and of the beginning of their text.
    pub(super) fn batch(
        &self,
        model: &Model,
        number: usize,
        slices: Tokens,
        text: &[u32],
    ) -> Result<Batch, TaskError> {
        let sample =
            Sample { inputs: self.inputs(slices, text)?, outputs: vec![Target::Unknown.into()], id: 0 };
        Ok(collate(model.layouts(), &[(number, sample)])?)
    }
}
