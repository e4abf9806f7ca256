//! Encoders of texts: what BERT, RoBERTa, XLM-R and DistilBERT share.

use super::classifier::Classifier;
use super::names::{Layout, NameMap};
use super::sentence::SentenceEncoder;
use super::task::ImportedTask;
use super::{Checkpoint, PretrainedError, text};
use crate::model::HeadConfig;

/// The names of the tensors of a head that predicts masked tokens.
pub(super) struct MaskedNames {
    /// The linear map before the matrix.
    pub transform: &'static str,
    /// The norm after that map.
    pub norm: &'static str,
    /// The matrix, which repeats the embedding table.
    pub matrix: &'static str,
    /// The bias of the matrix.
    pub bias: &'static str,
}

/// A published encoder: what it predicts, and for how many tokens.
pub(super) struct TextEncoder<'a> {
    checkpoint: &'a Checkpoint,
    masked: &'static MaskedNames,
    output: Output,
    /// The most tokens of a text.
    pub context: usize,
}

enum Output {
    /// Masked tokens.
    Masked,
    /// A vector.
    Vector(SentenceEncoder),
    /// Classes, labels or numbers of a text, or classes of tokens.
    Classes(Classifier),
}

impl<'a> TextEncoder<'a> {
    /// Read what an encoder of at most `positions` tokens predicts. A sentence encoder reads at most as many tokens as in its
    /// training, and predicts none.
    ///
    /// # Errors
    /// As of [`SentenceEncoder::read`] and [`Classifier::of_text`].
    pub fn read(
        checkpoint: &'a Checkpoint,
        masked: &'static MaskedNames,
        positions: usize,
    ) -> Result<Self, PretrainedError> {
        let (output, most) = if checkpoint.has_classifier() {
            let classifier = Classifier::of_text(checkpoint)?;
            let most = classifier.most_tokens;
            (Output::Classes(classifier), most)
        } else if let Some(sentence) = SentenceEncoder::read(checkpoint)? {
            let most = sentence.most_tokens;
            (Output::Vector(sentence), most)
        } else if checkpoint.has(&format!("{}.weight", masked.transform)) {
            (Output::Masked, None)
        } else {
            (Output::Vector(SentenceEncoder::default()), None)
        };
        let context = most.map_or(positions, |most| most.min(positions));
        Ok(Self { checkpoint, masked, output, context })
    }

    /// Whether masked tokens are predicted.
    pub fn is_masked(&self) -> bool {
        matches!(self.output, Output::Masked)
    }

    /// The settings of the head.
    pub fn head(&self) -> HeadConfig {
        match &self.output {
            Output::Masked => HeadConfig {
                tie_embeddings: true,
                bias: Some(true),
                transform: true,
                ..HeadConfig::default()
            },
            Output::Vector(encoder) => {
                HeadConfig { bias: encoder.dense.as_ref().map(|dense| dense.bias), ..HeadConfig::default() }
            }
            Output::Classes(_) => HeadConfig::default(),
        }
    }

    /// The task, for texts of `segments` segments.
    ///
    /// # Errors
    /// [`PretrainedError`] if the tokenizer cannot be read or does not fit.
    pub fn task(&self, vocabulary: usize, segments: usize) -> Result<ImportedTask, PretrainedError> {
        match &self.output {
            Output::Masked => text::masked(self.checkpoint, vocabulary, self.context, segments),
            Output::Vector(encoder) => {
                text::represented(self.checkpoint, vocabulary, self.context, segments, encoder)
            }
            Output::Classes(classifier) => {
                text::classified(self.checkpoint, vocabulary, self.context, segments, classifier)
            }
        }
    }

    /// The names of a table of positions with `of` rows, of which the first that is read is `from`.
    pub fn positions(
        &self,
        names: &mut NameMap,
        task: &ImportedTask,
        theirs: &str,
        (from, of): (usize, usize),
    ) {
        let layout = Layout::Rows { from, n: self.context, of };
        names.rows(&[&task.embedding("text", "index")], &[theirs], layout);
    }

    /// The names of the head; `table` is the name of the embedding table. Those of a head of classes of a text
    /// are `hidden`, its hidden layer, and `linear`.
    pub fn names(&self, names: &mut NameMap, table: &str, [hidden, linear]: [&str; 2]) {
        let MaskedNames { transform, norm, matrix, bias } = self.masked;
        match &self.output {
            Output::Masked => {
                names.map("head.text.transform", transform, true);
                names.map("head.text.transform_norm", norm, true);
                names.one("head.text.bias", bias);
                names.repeats(&format!("{matrix}.weight"), table);
                // BERT has the bias a second time, beside the matrix; DistilBERT has it there alone.
                let beside = format!("{matrix}.bias");
                if beside != *bias {
                    names.repeats(&beside, bias);
                }
            }
            Output::Vector(encoder) => {
                encoder.names(names, "embedding");
                let layers = [transform, norm, matrix];
                for end in
                    layers.iter().flat_map(|layer| ["weight", "bias"].map(|end| format!("{layer}.{end}")))
                {
                    names.unread(&[&end]);
                }
                names.unread(&[bias]);
            }
            Output::Classes(classifier) if classifier.reads.is_none() => {
                classifier.names(names, "", "classifier");
            }
            Output::Classes(classifier) => classifier.names(names, hidden, linear),
        }
        // Without a head of classes, the pooler belongs to no task here.
        names.unread(&["pooler.dense.weight", "pooler.dense.bias", "embeddings.position_ids"]);
    }
}
