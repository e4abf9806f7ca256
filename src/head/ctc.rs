//! Connectionist temporal classification: a sequence of ids without alignment (Graves et al. 2006).

use super::accumulator::{MetricAccumulator, Transcript};
use super::loss::wrong_target_kind;
use super::{FitData, Head, HeadInput, HeadKind, Metrics, Prediction, TargetContext, ids_prediction};
use crate::data::{HeadBatch, Target, Targets};
use crate::metrics::edits;
use crate::ops;
use candle_core::{DType, Result, Tensor};
use serde::{Deserialize, Serialize};
use smalti_contract::{TokenizeError, Value};
use std::ops::Range;

/// Predicts an id or a blank for each token of an input; merged repeats and removed blanks give the output's ids.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ctc {
    vocabulary: usize,
}

/// Settings of [`Ctc`]: none.
#[derive(Clone, Debug, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CtcSettings {}

impl Ctc {
    /// A head of `vocabulary` ids; the id of the blank is `vocabulary`.
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

    /// A clip has one loss, which is divided by its labels.
    fn loss_unit(&self) -> &'static str {
        "per label"
    }

    /// The ids of the value.
    fn target(&self, _: Value, context: &TargetContext) -> std::result::Result<Target, TokenizeError> {
        Ok(Target::Labels(context.ids().to_vec()))
    }

    fn loss(&self, output: &ops::Value, read: &HeadBatch, _: f32) -> Result<ops::Value> {
        match &read.targets {
            Targets::Labels { labels, weights } => {
                ops::ctc(&ops::cast(output, DType::F32)?, &read.documents, labels, weights, self.blank())
            }
            _ => wrong_target_kind(Self::NAME, read),
        }
    }

    fn accumulator(&self) -> Box<dyn MetricAccumulator> {
        Box::new(TranscriptAccumulator { blank: self.blank(), words: [0; 2], characters: [0; 2] })
    }

    /// The ids of the most probable path.
    fn predict(&self, output: &Tensor, documents: &[Range<usize>]) -> Result<Vec<Prediction>> {
        let predict = |rows: &Range<usize>| {
            let rows = output.narrow(0, rows.start, rows.len())?;
            Ok(ids_prediction(&ops::ctc::best_path(&rows, self.blank())?))
        };
        documents.iter().map(predict).collect()
    }
}

impl HeadKind for Ctc {
    const NAME: &'static str = "ctc";
    const INPUT: HeadInput = HeadInput::InputTokens;
    type Settings = CtcSettings;

    fn settings_schema() -> serde_json::Value {
        schemars::schema_for!(CtcSettings).into()
    }

    fn fit(_: CtcSettings, data: &FitData) -> std::result::Result<Self, TokenizeError> {
        Ok(Self::new(vocabulary(Self::NAME, data)?))
    }
}

/// The vocabulary size of the output's modality.
pub(super) fn vocabulary(head: &'static str, data: &FitData) -> std::result::Result<usize, TokenizeError> {
    data.vocabulary.ok_or_else(|| TokenizeError::Config {
        tokenizer: head,
        problem: "expected a modality whose tokens are ids; found none: set the output's modality".into(),
    })
}

/// Word and character error rates.
struct TranscriptAccumulator {
    blank: u32,
    /// Errors, and words of the reference.
    words: [usize; 2],
    /// Errors, and characters of the reference.
    characters: [usize; 2],
}

impl MetricAccumulator for TranscriptAccumulator {
    fn add(&mut self, output: &Tensor, read: &HeadBatch, _: f64, transcript: &dyn Transcript) -> Result<()> {
        let Targets::Labels { labels, .. } = &read.targets else { return Ok(()) };
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

    /// `wer` and `cer`: errors divided by the words and characters of the references.
    fn metrics(&self) -> Metrics {
        let mut metrics = Metrics::new();
        if self.words[1] > 0 {
            for (name, [errors, expected]) in [("wer", self.words), ("cer", self.characters)] {
                metrics.insert(name.into(), errors as f64 / expected.max(1) as f64);
            }
        }
        metrics
    }
}
