//! Heads: from the transformer's tokens to a loss, or to a prediction.
//!
//! A model knows the trait [`Head`] alone; each head is a file here, and one of your own is registered beside them
//! ([`HeadRegistry`]). What has parameters is the [`HeadLayer`] around it.

mod classify;
mod ctc;
mod generate;
mod labels;
mod loss;
mod masked;
mod multilabel;
mod reconstruct;
mod registry;
mod regress;
mod represent;
mod tag;
mod tally;
#[cfg(test)]
mod tests;

pub use classify::{Classify, ClassifySettings};
pub use ctc::{Ctc, CtcSettings};
pub use generate::{Generate, GenerateSettings};
pub use labels::Labels;
pub use masked::{Masked, MaskedSettings};
pub use multilabel::{Multilabel, MultilabelSettings};
pub use reconstruct::{Reconstruct, ReconstructSettings};
pub use registry::{HeadError, HeadRegistry, SavedHead};
pub use regress::{Regress, RegressSettings};
pub use represent::{Represent, RepresentSettings};
pub use tag::{Tag, TagSettings};
pub use tally::{Metrics, NoTranscript, Tally, Transcript};

use crate::data::{HeadBatch, Target};
use crate::ops;
use candle_core::{Result, Tensor};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use smalti_contract::{Content, TokenizeError, Value, Values};
use std::fmt::Debug;
use std::ops::Range;
use std::sync::Arc;

/// What is predicted of the tokens that are read: the target, the loss, the metrics and the prediction.
pub trait Head: Send + Sync + Debug {
    /// The number of numbers in an output row; 0 for a head without a linear map, whose output is the hidden state,
    /// `d_model` numbers.
    fn width(&self) -> usize;

    /// Whether it predicts ids of the tokens that it reads: such a head may share the matrix of their embedding, and
    /// has the model's `head_transform` and `head_scale`.
    fn is_vocabulary(&self) -> bool {
        false
    }

    /// Whether `train.label_smoothing` applies to its loss.
    fn smooths_labels(&self) -> bool {
        false
    }

    /// The share of its tokens that are masked in a sample, in 0..=1; `None` for a head that reads all of them.
    fn mask_rate(&self) -> Option<f64> {
        None
    }

    /// The learned codebook between the encoder and the tokens that the head reads; `None` for a head without one.
    fn codebook(&self) -> Option<CodebookConfig> {
        None
    }

    /// What follows the linear map, `[rows, width]` → `[rows, width]`.
    ///
    /// # Errors
    /// If an operation fails.
    fn activate(&self, y: ops::Value) -> Result<ops::Value> {
        Ok(y)
    }

    /// The target that a value stands for; the value is not missing.
    ///
    /// # Errors
    /// [`TokenizeError::Input`] for a value that the head cannot predict, with what it expects.
    fn target(&self, value: Value, asked: &Asked) -> std::result::Result<Target, TokenizeError>;

    /// The weighted sum of losses, a scalar. Divide by [`Targets::weight`](crate::data::Targets::weight) for the mean.
    ///
    /// # Errors
    /// If the targets are of another sort than the head's.
    fn loss(&self, output: &ops::Value, read: &HeadBatch, label_smoothing: f32) -> Result<ops::Value>;

    /// An empty tally of predictions against targets.
    fn tally(&self) -> Box<dyn Tally>;

    /// The prediction of each document, of which `documents` are the rows in `output` `[rows, width]`. A document of
    /// several rows gives one value for each.
    ///
    /// # Errors
    /// If a document lies outside the output.
    fn predict(&self, output: &Tensor, documents: &[Range<usize>]) -> Result<Vec<Prediction>>;

    /// The names of its classes or labels, by number; none for a head that has no names.
    fn labels(&self) -> &[String] {
        &[]
    }
}

/// Which tokens a head reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reads {
    /// A class token of its own.
    ClassToken,
    /// Every token of an input.
    Input,
    /// Its own tokens, each before the next.
    Next,
    /// Its own tokens, of which some are masked.
    Own,
    /// A class token of its own, or what `pool` says; there is no field, and no target.
    Nothing,
    /// The codes of an input's tokens, from which it reconstructs them ([`Head::codebook`]); there is no field.
    Codes,
}

impl Reads {
    /// Whether the target is the value of a field.
    pub fn has_field(self) -> bool {
        !matches!(self, Reads::Nothing | Reads::Codes)
    }
}

/// What a target is asked for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Asked {
    /// The number of tokens that the head reads in this sample.
    pub tokens: usize,
    /// The content of the tokens to predict: the ids of the value under the output's modality, or the features of the
    /// input that is reconstructed. `None` for an output whose value has no tokens.
    pub content: Option<Content>,
}

impl Asked {
    /// The ids of the tokens to predict; none if they have features, or there are none.
    pub fn ids(&self) -> &[u32] {
        self.content.as_ref().and_then(Content::ids).unwrap_or_default()
    }
}

/// A learned codebook between the encoder and the main transformer.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CodebookConfig {
    /// The number of codes.
    pub size: usize,
    /// The width of a code.
    pub dim: usize,
    /// The weight of the distance of the encoder's outputs from their codes.
    pub commitment_weight: f64,
}

/// What a head predicts of a document.
#[derive(Clone, Debug, PartialEq)]
pub struct Prediction {
    /// The predicted value; a vector of ids for a head that predicts ids, which the output's modality decodes.
    pub value: Value,
    /// Each class or label with its probability in 0..=1, the highest first; empty for a head without names, and for a
    /// document of several rows.
    pub probabilities: Vec<(String, f64)>,
}

/// A head that can be registered by name.
pub trait HeadKind: Head + Serialize + DeserializeOwned + Sized + 'static {
    /// The name under which a [`HeadRegistry`] finds it.
    const NAME: &'static str;
    /// Which tokens it reads.
    const READS: Reads = Reads::ClassToken;
    /// Whether it predicts one of several labels, so that the steps of a series are ids.
    const PREDICTS_LABELS: bool = false;
    /// The settings that a user writes. They refuse unknown fields.
    type Settings: Serialize + DeserializeOwned + Default;

    /// The head that these settings become on the values of the training rows.
    ///
    /// # Errors
    /// [`TokenizeError::Config`] for settings that cannot work, and if a value cannot be read.
    fn fit(settings: Self::Settings, of: &Fit) -> std::result::Result<Self, TokenizeError>;
}

/// What a head is fitted to.
pub struct Fit<'a> {
    /// The values of the output's field over the training rows.
    pub values: &'a dyn Values,
    /// The class names that the source declares, by number.
    pub classes: Option<&'a [String]>,
    /// The number of ids of the output's modality, if it has one.
    pub vocabulary: Option<usize>,
    /// The number of features of each token of the input that it reads, if they are features of one kind
    /// on a grid of positions.
    pub features: Option<usize>,
}

/// A head of a task: its name, what it reads and what it predicts.
#[derive(Clone, Debug)]
pub struct HeadSpec {
    /// Unique among the task's heads; empty for the one head of a task that has no other.
    pub name: String,
    /// The kind of token that it reads, of the main stream.
    pub reads: String,
    /// Whether it reads the mean of a document's tokens, one output row a document.
    pub pool: bool,
    /// The weight of its mean loss in the sum over heads. A head of weight 0 is predicted and not trained.
    pub weight: f64,
    /// What it predicts.
    pub head: Arc<dyn Head>,
}

impl HeadSpec {
    /// A head of weight 1 that reads each token of a kind by itself.
    pub fn new(name: &str, reads: &str, head: impl Head + 'static) -> Self {
        Self { name: name.into(), reads: reads.into(), pool: false, weight: 1.0, head: Arc::new(head) }
    }

    /// Whether the head has a loss that counts.
    pub fn is_trained(&self) -> bool {
        self.weight > 0.0 && self.head.width() > 0
    }
}

/// One value for each of the `tokens` that are read: the steps of a series, or a single value.
fn of_each_token(value: Value, tokens: usize) -> std::result::Result<Vec<Value>, TokenizeError> {
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

/// The value of a document that has one for each row: the single one, or a series.
fn of_document(mut values: Vec<Value>) -> Value {
    match values.len() {
        1 => values.remove(0),
        _ => Value::Series(values),
    }
}

/// The index of the greatest number in each row of `output` `[rows, width]`.
fn greatest(output: &Tensor) -> Result<Vec<u32>> {
    match output.dims2()? {
        (0, _) => Ok(vec![]), // candle has no greatest of nothing
        _ => output.argmax(1)?.to_vec1(),
    }
}

/// The ids of greatest output in each document, as vectors of numbers.
fn predicted_ids(output: &Tensor, documents: &[Range<usize>]) -> Result<Vec<Prediction>> {
    let best = greatest(output)?;
    let ids = |rows: &Range<usize>| match best.get(rows.clone()) {
        Some(ids) => Ok(ids_of(ids)),
        None => candle_core::bail!("a document has rows {rows:?}; the output has {}", best.len()),
    };
    documents.iter().map(ids).collect()
}

/// A prediction of ids. An `f32` holds every id below 2²⁴.
fn ids_of(ids: &[u32]) -> Prediction {
    let ids: Vec<f32> = ids.iter().map(|&id| id as f32).collect();
    Prediction { value: Value::vector(ids), probabilities: vec![] }
}
