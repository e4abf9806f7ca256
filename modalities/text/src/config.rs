//! The configuration of the text tokenizer.

use serde::{Deserialize, Serialize};

/// The special token for characters outside the vocabulary, if a configuration has it.
pub const UNKNOWN: &str = "<unk>";

/// The mask token of masked language modelling: its name in smalti, and in BERT's vocabularies.
pub const MASK_TOKENS: [&str; 2] = ["<mask>", "[MASK]"];

/// The token that ends a document: its name in smalti, which is GPT-2's, and in other vocabularies.
pub const END_TOKENS: [&str; 5] = ["<|endoftext|>", "<|end_of_text|>", "</s>", "<eos>", "[SEP]"];

/// Vocabulary, special tokens and context of a [`TextTokenizer`](crate::TextTokenizer).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TextConfig {
    /// The ordinary tokens, whose ids come first.
    pub vocabulary: Vocabulary,
    /// Names of special tokens such as `<bos>` and `<mask>`, whose ids follow those of the vocabulary in this order.
    /// Only [`UNKNOWN`] has a predefined meaning. These tokens are never recognised in a text: `<bos>` in a file is
    /// five characters.
    #[serde(default)]
    pub specials: Vec<String>,
    /// The maximal number of tokens of one input: the size of the `index` axis.
    pub context: usize,
    /// The number of ids that the model has, if the vocabulary has more: a published tokenizer may have a padding token
    /// that was added after training. A text with a later id is an error.
    #[serde(default, skip_serializing_if = "is_default")]
    pub rows: Option<usize>,
    /// The number of segments of an input, such as BERT's two sentences: the size of the `segment` axis. With 0 there
    /// is no such axis.
    #[serde(default, skip_serializing_if = "is_default")]
    pub segments: usize,
    /// Whether [`read`](smalti_contract::Tokenizer::read) converts texts to lower case.
    #[serde(default, skip_serializing_if = "is_default")]
    pub lowercase: bool,
    /// The id that follows a shorter input up to the context, so that all inputs have the same number of tokens, and
    /// which tokens attend to: SigLIP's padding.
    #[serde(default, skip_serializing_if = "is_default")]
    pub pad_token_id: Option<u32>,
    /// The separator between the concatenated texts of several rows.
    #[serde(default = "space", skip_serializing_if = "is_space")]
    pub separator: String,
    /// The share of tokens replaced by [`UNKNOWN`] in training (word dropout, Iyyer et al. 2015).
    #[serde(default, skip_serializing_if = "is_default")]
    pub token_dropout: f32,
}

impl TextConfig {
    /// A vocabulary without special tokens, segments or lower-casing, for inputs of at most `context` tokens.
    pub fn new(vocabulary: Vocabulary, context: usize) -> Self {
        Self {
            vocabulary,
            specials: vec![],
            context,
            rows: None,
            segments: 0,
            lowercase: false,
            pad_token_id: None,
            separator: space(),
            token_dropout: 0.0,
        }
    }
}

fn space() -> String {
    " ".into()
}

fn is_space(separator: &str) -> bool {
    separator == " "
}

/// Whether a value is the default and can be omitted.
pub(crate) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// The ordinary tokens of text.
///
/// Saved as `"bytes"`, as `{"characters": {"characters": "\n !$&'"}}` or as `{"subwords": {"tokenizer": {…}}}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Vocabulary {
    /// A Unicode scalar value; the id is its index in `characters`.
    Characters {
        /// The known characters, in ascending order of code point, each once.
        characters: String,
    },
    /// A byte of the text's UTF-8; the id is its value, 0 to 255.
    Bytes,
    /// The id itself: texts are ids separated by spaces, for a model without its vocabulary.
    Numbers {
        /// The number of ids.
        count: usize,
    },
    /// A word or a part of one: BPE, WordPiece, Unigram or WordLevel. Published ones come from
    /// [`published`](crate::published), new ones from [`fit::bpe`](crate::fit::bpe) and
    /// [`fit::words`](crate::fit::words).
    Subwords {
        /// A whole `tokenizer.json` of the `tokenizers` library. `truncation` and `padding` are ignored: only the
        /// context limits an input. Added tokens are recognised in a text.
        tokenizer: serde_json::Value,
    },
}
