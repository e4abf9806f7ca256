//! The models of transformers with a head of classes, labels or numbers.

use super::super::{Checkpoint, PretrainedError, ast};
use super::{Classifier, architectures};
use crate::head::{Dense, Hidden};
use crate::ops::Activation;
use crate::sample::Pool;

/// The model of transformers with a head on a kind of checkpoint.
pub(super) struct Published {
    /// `model_type`.
    pub kind: &'static str,
    /// The name of its class in transformers.
    pub class: &'static str,
    /// The prefix of the transformer's tensors in it.
    pub prefix: &'static str,
    /// The name of the weights of its head, without which a checkpoint has none.
    pub weight: &'static str,
    /// What the head reads, `None` for every token, and the activation of its hidden layer.
    pub reads: Option<Pool>,
    hidden: Option<Activation>,
    /// Whether the head has a bias.
    pub bias: bool,
}

/// The models that this build reads and writes; another kind is a row here, and the names of its head in its own file. Of
/// those of a kind whose tensors a checkpoint has, its `architectures` name one, or it is the first.
#[rustfmt::skip]
pub(super) const PUBLISHED: &[Published] = &[
    of_text("bert", "BertForSequenceClassification", "bert.", "classifier.weight", Activation::Tanh),
    of_tokens("bert", "BertForTokenClassification", "bert."),
    of_text("roberta", "RobertaForSequenceClassification", "roberta.", "classifier.out_proj.weight", Activation::Tanh),
    of_tokens("roberta", "RobertaForTokenClassification", "roberta."),
    of_text("xlm-roberta", "XLMRobertaForSequenceClassification", "roberta.", "classifier.out_proj.weight", Activation::Tanh),
    of_tokens("xlm-roberta", "XLMRobertaForTokenClassification", "roberta."),
    of_text("distilbert", "DistilBertForSequenceClassification", "distilbert.", "pre_classifier.weight", Activation::Relu),
    of_tokens("distilbert", "DistilBertForTokenClassification", "distilbert."),
    Published { bias: false, ..of("gpt2", "GPT2ForSequenceClassification", "transformer.", "score.weight", Pool::Last) },
    of_tokens("gpt2", "GPT2ForTokenClassification", "transformer."),
    of("vit", "ViTForImageClassification", "vit.", "classifier.weight", Pool::ClassToken),
    of("deit", "DeiTForImageClassificationWithTeacher", "deit.", "distillation_classifier.weight", Pool::ClassTokenAndRegisters),
    of("deit", "DeiTForImageClassification", "deit.", "classifier.weight", Pool::ClassToken),
    of("dinov2", "Dinov2ForImageClassification", "dinov2.", "classifier.weight", Pool::ClassTokenAndMean),
    of("dinov2_with_registers", "Dinov2WithRegistersForImageClassification", "dinov2_with_registers.", "classifier.weight",
       Pool::ClassTokenAndMean),
    of(ast::KIND, "ASTForAudioClassification", ast::PREFIX, "classifier.dense.weight", Pool::LearnedMean),
    of(WHISPER, "WhisperForAudioClassification", "", "projector.weight", Pool::Mean),
];

/// The kind whose hidden layer has a width of its own.
const WHISPER: &str = "whisper";
/// The kinds whose head cannot be added to a checkpoint without it: its transformer differs.
const ONLY_PUBLISHED: [&str; 2] = [ast::KIND, WHISPER];

/// A head of one vector.
const fn of(
    kind: &'static str,
    class: &'static str,
    prefix: &'static str,
    weight: &'static str,
    reads: Pool,
) -> Published {
    Published { kind, class, prefix, weight, reads: Some(reads), hidden: None, bias: true }
}

/// A head of the first token of a text, with a hidden layer.
const fn of_text(
    kind: &'static str,
    class: &'static str,
    prefix: &'static str,
    weight: &'static str,
    hidden: Activation,
) -> Published {
    Published { hidden: Some(hidden), ..of(kind, class, prefix, weight, Pool::First) }
}

/// A head of every token of a text.
const fn of_tokens(kind: &'static str, class: &'static str, prefix: &'static str) -> Published {
    Published { reads: None, ..of(kind, class, prefix, "classifier.weight", Pool::First) }
}

impl Published {
    /// The models of a kind of checkpoint.
    pub fn of(kind: &str) -> impl Iterator<Item = &'static Self> {
        PUBLISHED.iter().filter(move |published| published.kind == kind)
    }

    /// The model of a kind with a head that reads the same as this one, or the last with one that reads every token, or one
    /// vector, as this one does.
    pub fn with_head(kind: &str, head: &Classifier) -> Option<&'static Self> {
        let similar = || Self::of(kind).filter(|published| published.reads.is_none() == head.reads.is_none());
        similar().find(|published| published.reads == head.reads).or(similar().last())
    }

    /// The model of a checkpoint with a head.
    pub fn of_checkpoint(checkpoint: &Checkpoint) -> Option<&'static Self> {
        let has_head = |published: &&Self| checkpoint.has(published.weight);
        let found: Vec<&Self> = Self::of(checkpoint.kind()).filter(has_head).collect();
        let classes = architectures(checkpoint);
        let named = found.iter().find(|published| classes.contains(&published.class));
        named.or(found.first()).copied()
    }

    /// Whether the head can be added to a checkpoint without it.
    pub fn can_be_added(&self) -> bool {
        !ONLY_PUBLISHED.contains(&self.kind)
    }

    /// Whether its head can do what one with this pooling does: DINOv2's also reads the mean of the patches, with weights that
    /// may be 0.
    pub fn reads(&self, pool: Option<Pool>) -> bool {
        self.reads == pool || (self.reads, pool) == (Some(Pool::ClassTokenAndMean), Some(Pool::ClassToken))
    }

    /// The hidden layer of its head.
    ///
    /// # Errors
    /// If its width is no number.
    pub fn hidden(&self, checkpoint: &Checkpoint) -> Result<Option<Hidden>, PretrainedError> {
        if self.kind != WHISPER {
            return Ok(self.hidden.map(Hidden::Activation));
        }
        let width = checkpoint.settings.count("classifier_proj_size")?.unwrap_or(256);
        Ok(Some(Hidden::Layer(Dense { width, activation: None })))
    }
}
