//! Heads: from the transformer's hidden state to a loss or a prediction.
//!
//! A model uses heads only through the trait [`Head`]. Each built-in head is a file here. A head of your own implements
//! [`Head`] and [`HeadKind`]; [`Modalities::with_head`](crate::registry::Modalities::with_head) registers it
//! ([guide](crate::guide::your_own_modality#a-head-of-your-own)). [`value_per_token`], [`document_value`], [`ranked`],
//! [`Labels`] and the functions of [`loss`] are of use to it.
//! The parameters of a head are in the model's [`HeadLayer`](crate::model::HeadLayer).

mod accumulator;
mod classify;
mod ctc;
mod generate;
mod labels;
pub mod loss;
mod masked;
mod multilabel;
mod output_scale;
mod prefer;
mod reconstruct;
mod registry;
mod regress;
mod represent;
mod tag;
#[cfg(test)]
mod tests;

pub(crate) use accumulator::MeanLoss;
pub use accumulator::{MetricAccumulator, Metrics, NoTranscript, Transcript};
pub(crate) use classify::only_class;
pub use classify::{Classify, ClassifySettings, ranked};
pub use ctc::{Ctc, CtcSettings};
pub use generate::{Generate, GenerateSettings};
pub use labels::Labels;
pub use masked::{Masked, MaskedSettings, Masking};
pub use multilabel::{Multilabel, MultilabelSettings};
pub use output_scale::OutputScale;
pub use prefer::{Prefer, PreferSettings};
pub use reconstruct::{Reconstruct, ReconstructSettings};
pub use registry::{HeadError, HeadRegistry, SavedHead};
pub use regress::{Regress, RegressSettings};
pub use represent::{Dense, Hidden, Represent, RepresentSettings};
pub use tag::{Tag, TagSettings};

use crate::data::{HeadBatch, Pooling, Target};
use crate::ops::{self, Activation};
use candle_core::{Result, Tensor};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use smalti_contract::{Content, TokenizeError, Value, Values};
use std::fmt::Debug;
use std::ops::Range;
use std::sync::Arc;

/// A prediction from hidden states: its targets, loss, metrics and predicted values.
pub trait Head: Send + Sync + Debug {
    /// Width of an output row; 0 for a head without a linear map, whose output is the hidden state of width `d_model`.
    fn width(&self) -> usize;

    /// Whether the head predicts ids of the same vocabulary as the tokens that it reads. Such a head can share their embedding
    /// matrix (`model.head.tie_embeddings`), and `model.head.transform` and `model.head.scale` apply to it.
    fn is_vocabulary(&self) -> bool {
        false
    }

    /// Whether the output is a representation of what the head reads, without a target. So is that of a head of width 0.
    fn is_representation(&self) -> bool {
        self.width() == 0
    }

    /// Whether `train.label_smoothing` applies to the loss.
    fn smooths_labels(&self) -> bool {
        false
    }

    /// What the mean loss is per, for printed results: `per label`. Empty if it is per target: a class, a token, a time step.
    fn loss_unit(&self) -> &'static str {
        ""
    }

    /// Whether the targets are pairs of completions, whose log-probabilities under a reference model the loss needs.
    fn needs_reference(&self) -> bool {
        false
    }

    /// How the tokens of a sample are masked; `None` for a head without masking.
    fn masking(&self) -> Option<Masking> {
        None
    }

    /// The learned codebook between the encoder and the tokens that the head reads; `None` for a head without one.
    fn codebook(&self) -> Option<CodebookConfig> {
        None
    }

    /// The activation after the linear map, `[rows, width]` → `[rows, width]`; `None` for none.
    fn activation(&self) -> Option<Activation> {
        None
    }

    /// How [`predict`](Self::predict) scales a row of the output to the predicted numbers.
    fn output_scale(&self) -> OutputScale<'_> {
        OutputScale::Unscaled
    }

    /// The target for a value of the output's field. Evaluation and training call it, prediction does not.
    ///
    /// A head that reads a [class token](HeadInput::ClassToken) gets the value of a whole sample, or the value of one step of a
    /// series at a time, with `context.tokens` 1; rows and steps without a value are left out. A head that reads the tokens of
    /// an input gets one value, often a [`Value::Series`], for all its `context.tokens`; a missing step of it should have weight
    /// 0 ([`value_per_token`] splits the series). Heads that predict tokens or features of the input get [`Value::Missing`],
    /// and the tokens in `context.content`.
    ///
    /// The type of the target is always the same. [`loss`](Self::loss) gets the targets of a batch, one after another:
    ///
    /// | a target is | `read.targets` is |
    /// | --- | --- |
    /// | [`Target::Ids`], [`Target::Shared`] | [`Targets::Ids`](crate::data::Targets::Ids), an id and a weight for each row |
    /// | [`Target::Features`] | [`Targets::Features`](crate::data::Targets::Features), `[rows, dim]` and a weight for each row |
    /// | [`Target::Labels`] | [`Targets::Labels`](crate::data::Targets::Labels), a list and a weight for each document |
    /// | [`Target::Pair`] | [`Targets::Pairs`](crate::data::Targets::Pairs), an id and a weight for each row, and the rows of each pair |
    /// | [`Target::Unknown`] | [`Targets::Unknown`](crate::data::Targets::Unknown): no loss is computed |
    ///
    /// # Errors
    /// [`TokenizeError::Input`] if the head cannot predict the value; the message states what it expects.
    fn target(&self, value: Value, context: &TargetContext) -> std::result::Result<Target, TokenizeError>;

    /// The sum over the rows of weight × loss, a scalar in f32; the caller divides it by
    /// [`Targets::weight`](crate::data::Targets::weight). [`loss`](mod@loss) has the usual losses.
    ///
    /// `output` `[rows, width]` is after the [`activation`](Self::activation). It may be bf16: [`cast`](ops::cast()) it to f32.
    ///
    /// # Errors
    /// If the targets are not of the head's type, or an operation fails.
    fn loss(&self, output: &ops::Value, read: &HeadBatch, label_smoothing: f32) -> Result<ops::Value>;

    /// An empty accumulator of the head's metrics.
    fn accumulator(&self) -> Box<dyn MetricAccumulator>;

    /// The prediction for each document, from its range of rows of `output` `[rows, width]`, which is f32 and after the
    /// [`activation`](Self::activation). A document of several rows has a value for each row ([`document_value`]).
    ///
    /// # Errors
    /// If a document's rows are out of range.
    fn predict(&self, output: &Tensor, documents: &[Range<usize>]) -> Result<Vec<Prediction>>;

    /// The names of the classes or labels, by number; empty for a head without them. There need not be
    /// [`width`](Self::width) of them.
    ///
    /// For a head with labels, validation rows whose label no training row has are found before training
    /// ([`target`](Self::target) refuses them), `smalti classify` shows the output, `smalti predict --out` writes a column of
    /// [probabilities](Prediction::probabilities) for each label, a rollout takes the output for a discrete action, whose
    /// predicted value is a [`Value::Text`] with the number of the action, and a run that starts from another loads the head's
    /// weights only if the labels are the same.
    fn labels(&self) -> &[String] {
        &[]
    }

    /// For each row of `output` `[rows, width]`, the number of the predicted one of the [`labels`](Self::labels), which a report
    /// compares with [`Targets::Ids`](crate::data::Targets::Ids); `None`, the default, for a head without one class for each row.
    ///
    /// # Errors
    /// If an operation fails.
    fn classes(&self, _output: &Tensor) -> Result<Option<Vec<u32>>> {
        Ok(None)
    }
}

/// The tokens that a head reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadInput {
    /// A class token, or another pooling of the sample (`pool`); in a series, the last token before each step.
    ClassToken,
    /// Every token of an input.
    InputTokens,
    /// Every token of the output's own sequence, to predict the next token.
    NextTokens,
    /// Every token of the output's own sequence, of a chosen and of a rejected completion, each in a document of its own.
    Completions,
    /// Every token of the output's own sequence, to predict the masked ones.
    MaskedTokens,
    /// A class token, or another pooling of the sample (`pool`), without a target: the output has no field.
    PooledState,
    /// The codes of an input's tokens, to reconstruct the input ([`Head::codebook`]): the output has no field.
    Codes,
}

impl HeadInput {
    /// Whether the output has a field, whose value is the target.
    pub fn has_field(self) -> bool {
        !matches!(self, HeadInput::PooledState | HeadInput::Codes)
    }
}

/// The tokens that a target is for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TargetContext {
    /// The number of tokens that the head reads in the sample.
    pub tokens: usize,
    /// The content of the tokens to predict: the ids of the value in the output's modality, or the features of the
    /// reconstructed input. `None` for an output whose value has no tokens.
    pub content: Option<Content>,
}

impl TargetContext {
    /// The ids of the tokens to predict; empty if the content is features or `None`.
    pub fn ids(&self) -> &[u32] {
        self.content.as_ref().and_then(Content::ids).unwrap_or_default()
    }
}

/// A learned codebook between the encoder and the main transformer.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CodebookConfig {
    /// Number of codes.
    pub size: usize,
    /// Width of a code vector.
    pub dim: usize,
    /// Weight of the commitment loss: the distance of the encoder's outputs from their code vectors.
    pub commitment_weight: f64,
}

/// A head's prediction for a document.
#[derive(Clone, Debug, PartialEq)]
pub struct Prediction {
    /// The predicted value; for a head that predicts ids, a vector of ids, which the output's modality decodes.
    pub value: Value,
    /// Each class or label with its probability in 0..=1, the highest first; empty for a head without labels and for a
    /// document of several rows.
    pub probabilities: Vec<(String, f64)>,
}

/// A head that can be registered by name.
pub trait HeadKind: Head + Serialize + DeserializeOwned + Sized + 'static {
    /// The name in the [`HeadRegistry`] and in `head = "NAME"`.
    const NAME: &'static str;
    /// The tokens that the head reads.
    const INPUT: HeadInput = HeadInput::ClassToken;
    /// Whether a value is one of the [`labels`](Head::labels), so that the steps of a predicted series, which are tokens for the
    /// later steps, are ids; if not, they are numbers. A constant, because it is needed before the head is fitted and has
    /// labels. False for a head whose value is several labels, such as [`Multilabel`].
    const PREDICTS_LABELS: bool = false;
    /// The head's settings in `[outputs.NAME]`; an unknown field must be an error (`deny_unknown_fields`). The default must
    /// serialize to an object with every key: its keys are the known settings, so skip none that is `None` or empty.
    type Settings: Serialize + DeserializeOwned + Default;

    /// The JSON Schema of [`Settings`](Self::Settings), from which the program lists them with their meaning; null, the
    /// default, for none.
    fn settings_schema() -> serde_json::Value {
        serde_json::Value::Null
    }

    /// A head of these settings, fitted to the values of the training rows.
    ///
    /// # Errors
    /// [`TokenizeError::Input`] for a value that the head cannot use: the message gets the place of the row that was read last.
    /// [`TokenizeError::Config`], whose field `tokenizer` is the head's [`NAME`](Self::NAME), for invalid settings. Any error of
    /// reading a value.
    fn fit(settings: Self::Settings, data: &FitData) -> std::result::Result<Self, TokenizeError>;
}

/// The data that a head is fitted to.
pub struct FitData<'a> {
    /// The values of the output's field over the training rows.
    pub values: &'a dyn Values,
    /// The class names that the source declares, by number.
    pub classes: Option<&'a [String]>,
    /// The vocabulary size of the output's modality, if it has one.
    pub vocabulary: Option<usize>,
    /// The number of features of each token of the input that the head reads, if its tokens are features of one kind on a
    /// grid of positions.
    pub features: Option<usize>,
}

/// A head of a task: its name, the tokens that it reads, and its weight in the loss.
#[derive(Clone, Debug)]
pub struct HeadSpec {
    /// Unique among the task's heads; empty for the only head of a task.
    pub name: String,
    /// The kind of token that the head reads, of the main stream.
    pub reads: String,
    /// How the head reads the tokens of a document.
    pub pool: Pooling,
    /// A layer between what the head reads and its linear map, for a head of classes, labels or numbers; `None` without one.
    pub hidden: Option<Hidden>,
    /// Weight of the head's mean loss in the sum over heads. A head of weight 0 predicts and is not trained.
    pub weight: f64,
    /// The head.
    pub head: Arc<dyn Head>,
}

impl HeadSpec {
    /// A head of weight 1 that reads each token of a kind separately.
    pub fn new(name: &str, reads: &str, head: impl Head + 'static) -> Self {
        Self {
            name: name.into(),
            reads: reads.into(),
            pool: Pooling::None,
            hidden: None,
            weight: 1.0,
            head: Arc::new(head),
        }
    }

    /// Whether the head has a loss, and a weight above 0.
    pub fn is_trained(&self) -> bool {
        self.weight > 0.0 && self.head.width() > 0
    }
}

/// One value for each of the `tokens` that a head reads: the steps of a series, of which some may be missing, or a single value.
///
/// # Errors
/// [`TokenizeError::Input`] for another number of values.
pub fn value_per_token(value: Value, tokens: usize) -> std::result::Result<Vec<Value>, TokenizeError> {
    let found = value.describe();
    let values = match value {
        Value::Series(steps) => steps,
        single => vec![single],
    };
    match values.len() == tokens {
        true => Ok(values),
        false => Err(TokenizeError::Input(format!(
            "expected one value for each of the {tokens} tokens that the head reads; found {found}"
        ))),
    }
}

/// The value of a document with a value for each row: the only value, or a series.
pub fn document_value(mut values: Vec<Value>) -> Value {
    match values.len() {
        1 => values.remove(0),
        _ => Value::Series(values),
    }
}

/// The index of the largest number in each row of `output` `[rows, width]`.
fn argmax(output: &Tensor) -> Result<Vec<u32>> {
    match output.dims2()? {
        (0, _) => Ok(vec![]), // candle's argmax fails on a tensor without rows
        _ => output.argmax(1)?.to_vec1(),
    }
}

/// The most probable ids of each document, as vectors of numbers.
fn predicted_ids(output: &Tensor, documents: &[Range<usize>]) -> Result<Vec<Prediction>> {
    let best = argmax(output)?;
    let ids = |rows: &Range<usize>| match best.get(rows.clone()) {
        Some(ids) => Ok(ids_prediction(ids)),
        None => candle_core::bail!("a document has rows {rows:?}; the output has {}", best.len()),
    };
    documents.iter().map(ids).collect()
}

/// A prediction of ids; an `f32` represents every id below 2²⁴ exactly.
fn ids_prediction(ids: &[u32]) -> Prediction {
    let ids: Vec<f32> = ids.iter().map(|&id| id as f32).collect();
    Prediction { value: Value::vector(ids), probabilities: vec![] }
}
