//! The settings of a task: `[data]`, `[inputs.NAME]` and `[outputs.NAME]` in `run.toml`.

use super::decoding::Decoding;
use super::spans::Spans;
use crate::data::OnCorruptSample;
use crate::head::Hidden;
use crate::table::{Derivation, Source};
use indexmap::IndexMap;
use serde::{Deserialize, Deserializer, Serialize, de::DeserializeOwned, de::Error as _};
use serde_json::{Map, Value};

/// A task: its data, inputs and outputs. Parts keep the order of the file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaskSettings {
    /// The data, and its splits.
    pub data: DataSettings,
    /// The parts that the model reads.
    #[serde(default)]
    pub inputs: IndexMap<String, InputSettings>,
    /// The parts that the model predicts.
    #[serde(default)]
    pub outputs: IndexMap<String, OutputSettings>,
}

impl TaskSettings {
    /// The parts whose vocabularies its parts share: `PART`, or `TASK.PART` of another task.
    pub fn shares(&self) -> impl Iterator<Item = &str> {
        let inputs = self.inputs.values().map(|input| &input.share);
        inputs.chain(self.outputs.values().map(|output| &output.share)).flatten().map(String::as_str)
    }
}

/// `[data]`: the sources of rows, their splits, and the windows of samples.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DataSettings {
    /// A file, folder, archive or pattern, or a list of them, each with its sampling weight.
    pub source: OneOrMany<Source>,
    /// Filter of the training rows: `split = train & speaker != theo`; `split? = train` for data that may have no `split`.
    /// Default: the rows of the split `train`, if the source names splits and `validation` is not set; otherwise all rows
    /// that are not in the validation split.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub train: Option<String>,
    /// Filter of the validation rows. Default: the rows of the split `validation` or, without one, `test`, if the source
    /// names splits and `train` is not set; otherwise, and if it is empty (`""`), a share `holdout` of the training rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation: Option<String>,
    /// Sources of the validation rows, if they differ from those of the training rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation_source: Option<OneOrMany<Source>>,
    /// Share of the training rows held out for validation, unless another setting selects the validation rows.
    #[serde(default = "tenth")]
    pub holdout: f64,
    /// Minimum and maximum number of rows that are concatenated in a sample, such as spoken digits; `[1, 1]` for none.
    #[serde(default = "one_row", skip_serializing_if = "is_one_row")]
    pub concat: [usize; 2],
    /// Selects the training rows with the largest values of a field, such as the episodes of highest return.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_best: Option<KeepBest>,
    /// Maximum number of time steps in a sample.
    #[serde(default = "context")]
    pub context: usize,
    /// Maximum number of time steps of a row, the size of the time embedding; 0 for that of the longest row.
    #[serde(default)]
    pub max_steps: usize,
    /// Fields computed over a whole row, before its windows, by name: returns-to-go, the next state.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub derived: IndexMap<String, Derivation>,
    /// Whether a corrupt sample is an error (`fail`) or another sample replaces it (`skip`).
    #[serde(default)]
    pub corrupt_samples: OnCorruptSample,
    /// Cache folder for the tokens of samples without augmentation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache: Option<String>,
}

impl DataSettings {
    /// The data at a path, with default settings.
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
            corrupt_samples: OnCorruptSample::default(),
            cache: None,
        }
    }
}

/// `data.keep_best`: the share of rows with the largest values of a field.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KeepBest {
    /// A field of numbers, such as a derived `total` of the rewards.
    pub field: String,
    /// Share of the rows to keep, above 0 and at most 1.
    pub share: f64,
}

fn one_row() -> [usize; 2] {
    [1, 1]
}

#[allow(clippy::trivially_copy_pass_by_ref)] // the signature that serde needs
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
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct InputSettings {
    /// The name of a registered modality.
    pub modality: String,
    /// The field or fields of a row. Default: the field named like the part.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<OneOrMany<String>>,
    /// Probability that a training sample lacks this part (modality dropout).
    #[serde(default, skip_serializing_if = "is_default")]
    pub drop: f64,
    /// Whether a row without this field is a corrupt sample; otherwise the part has no tokens in its sample.
    #[serde(default, skip_serializing_if = "is_default")]
    pub required: bool,
    /// Whether its tokens have position embeddings; `false` for a part of which relative distances alone matter (rotary).
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub positions: bool,
    /// The part whose vocabulary and embedding this part shares; `TASK.PART` for a part of another task of a mix.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share: Option<String>,
    /// The settings of the modality.
    #[serde(flatten)]
    pub settings: Map<String, Value>,
}

/// `[outputs.NAME]`: a part that the model predicts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct OutputSettings {
    /// The name of a registered head.
    pub head: String,
    /// The modality of an output with tokens. Default for a series: `numbers`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub modality: Option<String>,
    /// The field or fields of a row. Default: the field named like the part. With `prefer`, the two fields of the chosen and of the
    /// rejected completion.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<OneOrMany<String>>,
    /// The field of the value that both completions of `prefer` continue, with `windows`; it may be missing in a row. Without
    /// `windows`, a prompt is an input. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt: Option<String>,
    /// Weight of this output's mean loss in the total loss.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub weight: f64,
    /// A field of loss weights: a number for the row, a text of 0 and 1 for each token, an array of numbers, or a series of a
    /// number for each step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight_field: Option<String>,
    /// The input whose tokens the head reads (`tag`, `ctc`). Default: the first input.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reads: Option<String>,
    /// The pooling of an output of the whole sample. Default: `class_token`; for `represent`, `mean`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<Pool>,
    /// A layer between what the head reads and its classes, labels or numbers: the activation of one as wide as the model, such
    /// as `"tanh"` in BERT, or `{ width = 256, activation = "tanh" }`. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hidden: Option<Hidden>,
    /// Whether the class token has a learned position, as in ViT.
    #[serde(default, skip_serializing_if = "is_default")]
    pub class_token_position: bool,
    /// Number of register tokens, learned tokens that no head reads (Darcet et al. 2024); also DeiT's distillation token.
    #[serde(default, skip_serializing_if = "is_default")]
    pub register_tokens: usize,
    /// Whether the registers have learned positions.
    #[serde(default, skip_serializing_if = "is_default")]
    pub register_positions: bool,
    /// Whether the concatenated tokens of all rows are cut into windows of the modality's context (language modelling);
    /// otherwise each row is a sample. With `prefer`, each row is a sample whose completions are such texts, without begin ids.
    #[serde(default, skip_serializing_if = "is_default")]
    pub windows: bool,
    /// Whether each row is a document of its own, followed by the end token: the first id of `end`, or else the
    /// `<|endoftext|>` of the vocabulary, which is added if there is none. Only with `windows`. Default: true if a source has
    /// more than one row; with `prefer`, as in the run that this one starts from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub append_eos: Option<bool>,
    /// The ids of the modality before a generated value: Whisper's language and task. Default: a new id. With `windows`, the
    /// ids before a prompt that is continued (Llama's `<s>`). Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub begin: Option<OneOrMany<u32>>,
    /// The id of the modality after a generated value, or several ids, each of which ends it. Default: a new id. With `pool =
    /// "last"`, the ids of the token that is read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<OneOrMany<u32>>,
    /// The id of the modality for a masked token: BERT's `[MASK]`. Default: a new id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mask_id: Option<u32>,
    /// Span corruption (T5; Raffel et al. 2020): the output generates spans that were removed from the text input that it reads,
    /// whose field and vocabulary it shares; a sentinel is in the place of each. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spans: Option<Spans>,
    /// Rules of text generation of a published model: languages, tasks, timestamps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decoding: Option<Box<Decoding>>,
    /// The part whose vocabulary and embedding this output shares; `TASK.PART` for a part of another task of a mix.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share: Option<String>,
    /// Whether a row without this field is a corrupt sample; otherwise the row does not train this output.
    #[serde(default, skip_serializing_if = "is_default")]
    pub required: bool,
    /// Whether a generated output attends to the inputs by cross-attention to an encoder; otherwise the inputs are a prefix.
    #[serde(default, skip_serializing_if = "is_default")]
    pub cross_attention: bool,
    /// Whether a predicted series is an input of its later steps.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub feedback: bool,
    /// The settings of the head and of the modality.
    #[serde(flatten)]
    pub settings: Map<String, Value>,
}

/// The pooling of an output of the whole sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Pool {
    /// A class token of the output.
    ClassToken,
    /// A class token, and the mean of the tokens of all inputs, concatenated: the classifier of DINOv2.
    ClassTokenAndMean,
    /// A class token, and the mean of the registers, concatenated: DeiT's two classifiers, of which one reads the register.
    ClassTokenAndRegisters,
    /// The mean of the tokens of all inputs.
    Mean,
    /// The mean of a class token and the registers: AST's.
    LearnedMean,
    /// All tokens of the inputs, by multi-head attention of a learned query, followed by an MLP (Lee et al. 2019): SigLIP's.
    Attention,
    /// The first token of the inputs: BERT's `[CLS]`.
    First,
    /// The first token of the inputs whose id is one of the output's `end`, or the last token if there is none: CLIP's texts, and
    /// GPT-2's last token, which attends to all others.
    Last,
}

/// One value or a list of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, schemars::JsonSchema)]
#[serde(untagged)]
pub enum OneOrMany<T> {
    /// One value.
    One(T),
    /// A list.
    Many(Vec<T>),
}

impl<T> OneOrMany<T> {
    /// The values.
    pub fn as_slice(&self) -> &[T] {
        match self {
            OneOrMany::One(one) => std::slice::from_ref(one),
            OneOrMany::Many(many) => many,
        }
    }
}

/// Not derived: the error of an untagged enum would not name the invalid value.
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

#[allow(clippy::trivially_copy_pass_by_ref)] // the signature that serde needs
fn is_one(weight: &f64) -> bool {
    *weight == 1.0
}

#[allow(clippy::trivially_copy_pass_by_ref)] // the signature that serde needs
fn is_yes(yes: &bool) -> bool {
    *yes
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
