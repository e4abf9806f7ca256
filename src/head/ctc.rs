//! Ids in their order without alignment: connectionist temporal classification (Graves et al. 2006).

use super::loss::misfit;
use super::tally::{MeanLoss, Tally, Transcript};
use super::{Asked, Fit, Head, HeadKind, Metrics, Prediction, Reads, ids_of};
use crate::data::{HeadBatch, Target, Targets};
use crate::metrics::edits;
use crate::ops;
use candle_core::{DType, Result, Tensor};
use serde::{Deserialize, Serialize};
use smalti_contract::{TokenizeError, Value};
use std::ops::Range;

/// Predicts an id or a blank at each token of an input; the ids in their order are the output.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ctc {
    vocabulary: usize,
}

/// CTC has no settings.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CtcSettings {}

impl Ctc {
    /// A head of `vocabulary` ids; the blank comes after them.
    pub fn new(vocabulary: usize) -> Self {
        Self { vocabulary }
    }

    fn blank(&self) -> u32 {
        self.vocabulary as u32
    }
}

impl Head for Ctc {
    fn width(&self) -> usize {
        self.vocabulary + 1
    }

    /// The ids of the value.
    fn target(&self, _: Value, asked: &Asked) -> std::result::Result<Target, TokenizeError> {
        Ok(Target::Labels(asked.ids().to_vec()))
    }

    fn loss(&self, output: &ops::Value, read: &HeadBatch, _: f32) -> Result<ops::Value> {
        match &read.targets {
            Targets::Labels { labels, weights } => {
                ops::ctc(&ops::cast(output, DType::F32)?, &read.documents, labels, weights, self.blank())
            }
            _ => misfit(Self::NAME, read),
        }
    }

    fn tally(&self) -> Box<dyn Tally> {
        let (loss, words, characters) = (MeanLoss::default(), [0; 2], [0; 2]);
        Box::new(TextTally { blank: self.blank(), loss, words, characters })
    }

    /// The ids of the likeliest path.
    fn predict(&self, output: &Tensor, documents: &[Range<usize>]) -> Result<Vec<Prediction>> {
        let predict = |rows: &Range<usize>| {
            let rows = output.narrow(0, rows.start, rows.len())?;
            Ok(ids_of(&ops::ctc::best_path(&rows, self.blank())?))
        };
        documents.iter().map(predict).collect()
    }
}

impl HeadKind for Ctc {
    const NAME: &'static str = "ctc";
    const READS: Reads = Reads::Input;
    type Settings = CtcSettings;

    fn fit(_: CtcSettings, of: &Fit) -> std::result::Result<Self, TokenizeError> {
        Ok(Self::new(vocabulary(Self::NAME, of)?))
    }
}

/// The number of ids of the output's modality.
pub(super) fn vocabulary(head: &'static str, of: &Fit) -> std::result::Result<usize, TokenizeError> {
    of.vocabulary.ok_or_else(|| TokenizeError::Config {
        tokenizer: head,
        problem: "expected a modality whose tokens are ids; found none: set the output's modality".into(),
    })
}

/// Word and character errors.
struct TextTally {
    blank: u32,
    loss: MeanLoss,
    /// Errors, and words that are expected.
    words: [usize; 2],
    /// Errors, and characters that are expected.
    characters: [usize; 2],
}

impl Tally for TextTally {
    fn add(
        &mut self,
        output: &Tensor,
        read: &HeadBatch,
        loss: f64,
        transcript: &dyn Transcript,
    ) -> Result<()> {
        let Targets::Labels { labels, .. } = &read.targets else { return Ok(()) };
        self.loss.add(loss, read);
        for (rows, expected) in read.documents.iter().zip(labels) {
            let found = ops::ctc::best_path(&output.narrow(0, rows.start, rows.len())?, self.blank)?;
            let (Some(found), Some(expected)) = (transcript.text(&found), transcript.text(expected)) else {
                continue;
            };
            let words = |text: &str| text.split_whitespace().map(str::to_string).collect::<Vec<_>>();
            let characters = |text: &str| text.chars().collect::<Vec<_>>();
            let add = |sums: &mut [usize; 2], errors: usize, expected: usize| {
                *sums = [sums[0] + errors, sums[1] + expected];
            };
            add(&mut self.words, edits(&words(&found), &words(&expected)), words(&expected).len());
            let (found, expected) = (characters(&found), characters(&expected));
            add(&mut self.characters, edits(&found, &expected), expected.len());
        }
        Ok(())
    }

    /// `wer` and `cer` are errors over the words and characters that are expected.
    fn metrics(&self) -> Metrics {
        let mut metrics = self.loss.metrics();
        if self.words[1] > 0 {
            for (name, [errors, expected]) in [("wer", self.words), ("cer", self.characters)] {
                metrics.insert(name.into(), errors as f64 / expected.max(1) as f64);
            }
        }
        metrics
    }
}
