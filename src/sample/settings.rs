//! The settings of a task: `[data]`, `[inputs.NAME]` and `[outputs.NAME]` in `run.toml`.

use super::decoding::Decoding;
use crate::data::Bad;
use crate::table::{Derivation, Source};
use indexmap::IndexMap;
use serde::{Deserialize, Deserializer, Serialize, de::DeserializeOwned, de::Error as _};
use serde_json::{Map, Value};

/// One task: rows, and the parts that each row becomes. The order of parts is that of the file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaskSettings {
    /// Where rows come from, and which of them train.
    pub data: DataSettings,
    /// What the model reads.
    #[serde(default)]
    pub inputs: IndexMap<String, InputSettings>,
    /// What the model predicts.
    #[serde(default)]
    pub outputs: IndexMap<String, OutputSettings>,
}

impl TaskSettings {
    /// What its parts share with other parts: `PART`, or `TASK.PART` of another task.
    pub fn shares(&self) -> impl Iterator<Item = &str> {
        let inputs = self.inputs.values().map(|input| &input.share);
        inputs.chain(self.outputs.values().map(|output| &output.share)).flatten().map(String::as_str)
    }
}

/// `[data]`: where rows come from, which of them train, and how they are cut.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataSettings {
    /// A file, folder, archive or pattern, or a list of them, each with its weight in the draws.
    pub source: OneOrMany<Source>,
    /// Rows that train, such as `split = train & speaker != theo`. Left out, all that do not validate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub train: Option<String>,
    /// Rows that validate. Left out, `holdout` of the training rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation: Option<String>,
    /// Rows that validate, if they lie elsewhere than those that train.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation_source: Option<OneOrMany<Source>>,
    /// Share of the training rows held out for validation unless another setting names the validation rows.
    #[serde(default = "tenth")]
    pub holdout: f64,
    /// The fewest and the most rows whose values are concatenated to one sample: spoken digits to numbers. `[1, 1]` for none.
    #[serde(default = "one_row", skip_serializing_if = "is_one_row")]
    pub concat: [usize; 2],
    /// The rows that are kept of all: those in which a field is largest, such as the episodes of the highest return.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_best: Option<KeepBest>,
    /// Time steps in a window of a row's series.
    #[serde(default = "context")]
    pub context: usize,
    /// Time steps of the longest row: the size of the table of times. 0 for the longest in the data.
    #[serde(default)]
    pub max_steps: usize,
    /// Fields computed over a row before it is cut, by name: returns-to-go, the next state.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub derived: IndexMap<String, Derivation>,
    /// Whether a corrupt sample stops the run (`fail`), or another takes its place (`skip`).
    #[serde(default)]
    pub corrupt_samples: Bad,
    /// A folder in which the tokens of samples without random variation are kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache: Option<String>,
}

impl DataSettings {
    /// The rows of the source at a path, by default settings.
    pub fn of(path: &str) -> Self {
        Self {
            source: OneOrMany::One(Source::new(path)),
            train: None,
            validation: None,
            validation_source: None,
            holdout: tenth(),
            concat: one_row(),
            keep_best: None,
            context: context(),
            max_steps: 0,
            derived: IndexMap::new(),
            corrupt_samples: Bad::default(),
            cache: None,
        }
    }
}

/// `data.keep_best`: the share of the rows in which a number is largest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeepBest {
    /// The field of the number, such as a derived `total` of the rewards.
    pub field: String,
    /// Share of the rows that is kept, above 0 and at most 1.
    pub share: f64,
}

fn one_row() -> [usize; 2] {
    [1, 1]
}

#[allow(clippy::trivially_copy_pass_by_ref)] // as serde wants it
fn is_one_row(concat: &[usize; 2]) -> bool {
    *concat == [1, 1]
}

fn tenth() -> f64 {
    0.1
}

fn context() -> usize {
    20
}

/// `[inputs.NAME]`: a part that the model reads.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InputSettings {
    /// The name of a registered modality.
    pub modality: String,
    /// The field or fields of a row. Left out, the field of the part's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<OneOrMany<String>>,
    /// Share of the training samples that this part is left out of (modality dropout).
    #[serde(default, skip_serializing_if = "is_default")]
    pub drop: f64,
    /// Whether a row without this field is a corrupt sample. Otherwise the part has no tokens there.
    #[serde(default, skip_serializing_if = "is_default")]
    pub required: bool,
    /// The part whose vocabulary and embedding this part uses; of another task of a mix, `TASK.PART`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share: Option<String>,
    /// The settings of the modality.
    #[serde(flatten)]
    pub settings: Map<String, Value>,
}

/// `[outputs.NAME]`: a part that the model predicts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OutputSettings {
    /// The name of a registered head.
    pub head: String,
    /// The modality of an output that has tokens of its own. A series of numbers or classes is of `numbers`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub modality: Option<String>,
    /// The field or fields of a row. Left out, the field of the part's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<OneOrMany<String>>,
    /// Weight of this output's mean loss in the sum.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub weight: f64,
    /// A field of weights: a number for the row, or 0 and 1 for each token, as a text or an array.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight_field: Option<String>,
    /// The input whose tokens the head reads (`tag`, `ctc`). Left out, the first input.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reads: Option<String>,
    /// What an output of the whole sample reads. Left out, a class token of its own; of `represent`, the mean.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<Pool>,
    /// Whether its class token has a learned position, as in ViT.
    #[serde(default, skip_serializing_if = "is_default")]
    pub class_token_position: bool,
    /// Learned tokens beside its class token that no head reads: registers (Darcet et al. 2024), DeiT's distillation token.
    #[serde(default, skip_serializing_if = "is_default")]
    pub register_tokens: usize,
    /// Whether the registers have learned positions.
    #[serde(default, skip_serializing_if = "is_default")]
    pub register_positions: bool,
    /// Whether the values of all rows, one after another, are cut into windows of as many tokens as the modality's context
    /// (language modelling). Otherwise a row is a sample.
    #[serde(default, skip_serializing_if = "is_default")]
    pub windows: bool,
    /// The ids of the modality that begin a generated value: Whisper's language and task. Left out, an id of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub begin: Option<OneOrMany<u32>>,
    /// The id of the modality that ends it. Left out, an id of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<u32>,
    /// The id of the modality that hides a masked token: BERT's `[MASK]`. Left out, an id of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mask_id: Option<u32>,
    /// The rules by which a published model's text is generated: languages, tasks, times.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decoding: Option<Box<Decoding>>,
    /// The part whose vocabulary and embedding this output's tokens use; of another task of a mix, `TASK.PART`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share: Option<String>,
    /// Whether a row without this field is a corrupt sample. Otherwise it does not train this output.
    #[serde(default, skip_serializing_if = "is_default")]
    pub required: bool,
    /// Whether a generated output attends to the inputs by cross-attention, in a stack of their own, and not as a prefix.
    #[serde(default, skip_serializing_if = "is_default")]
    pub cross_attention: bool,
    /// Whether a series that is predicted is an input of the later steps.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub feedback: bool,
    /// The settings of the head and of the modality.
    #[serde(flatten)]
    pub settings: Map<String, Value>,
}

/// What an output of the whole sample reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pool {
    /// A class token of its own.
    ClassToken,
    /// The mean of the tokens of all inputs.
    Mean,
    /// The first token of the inputs: BERT's `[CLS]`.
    First,
}

/// One value or a list of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum OneOrMany<T> {
    /// One.
    One(T),
    /// A list.
    Many(Vec<T>),
}

impl<T> OneOrMany<T> {
    /// All of them.
    pub fn as_slice(&self) -> &[T] {
        match self {
            OneOrMany::One(one) => std::slice::from_ref(one),
            OneOrMany::Many(many) => many,
        }
    }
}

/// By hand, so that an error is that of the value and not of the choice.
impl<'de, T: DeserializeOwned> Deserialize<'de> for OneOrMany<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        let read = match value.is_array() {
            true => serde_json::from_value(value).map(OneOrMany::Many),
            false => serde_json::from_value(value).map(OneOrMany::One),
        };
        read.map_err(D::Error::custom)
    }
}

fn one() -> f64 {
    1.0
}

fn yes() -> bool {
    true
}

#[allow(clippy::trivially_copy_pass_by_ref)] // as serde wants it
fn is_one(weight: &f64) -> bool {
    *weight == 1.0
}

#[allow(clippy::trivially_copy_pass_by_ref)] // as serde wants it
fn is_yes(yes: &bool) -> bool {
    *yes
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
