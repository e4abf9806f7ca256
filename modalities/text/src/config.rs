//! The settings of a text tokenizer.

use serde::{Deserialize, Serialize};

/// The special token that stands for characters outside the vocabulary, where a configuration has it.
pub const UNKNOWN: &str = "<unk>";

/// The special token that hides another in masked-token training: its name here, and in BERT's vocabularies.
pub const MASKS: [&str; 2] = ["<mask>", "[MASK]"];

/// Vocabulary, special tokens and context of a [`TextTokenizer`](crate::TextTokenizer).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TextConfig {
    /// What an ordinary token is. Its ids come first.
    pub vocabulary: Vocabulary,
    /// Names of special tokens, whose ids follow those of the vocabulary in this order: `<bos>`, `<mask>`.
    /// [`UNKNOWN`] is the only one with a meaning of its own. A special of this list is never read out of a text:
    /// the five characters of `<bos>` in a file are five characters.
    #[serde(default)]
    pub specials: Vec<String>,
    /// The most tokens that one input may have: the size of the `index` axis.
    pub context: usize,
    /// How many segments an input may have, as BERT's two sentences: the size of the `segment` axis. With 0 there is no
    /// such axis.
    #[serde(default, skip_serializing_if = "is_default")]
    pub segments: usize,
    /// Whether [`read`](smalti_contract::Tokenizer::read) puts texts in lower case.
    #[serde(default, skip_serializing_if = "is_default")]
    pub lowercase: bool,
    /// The text between the texts of several rows that are concatenated.
    #[serde(default = "space", skip_serializing_if = "is_space")]
    pub separator: String,
    /// Share of tokens that become [`UNKNOWN`] in training (word dropout, Iyyer et al. 2015).
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
            segments: 0,
            lowercase: false,
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

/// Whether a value need not be written down.
pub(crate) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// What an ordinary token of text is.
///
/// Saved as `"bytes"`, as `{"characters": {"characters": "\n !$&'"}}` or as `{"subwords": {"tokenizer": {…}}}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Vocabulary {
    /// A Unicode scalar value; the id is its place in `characters`.
    Characters {
        /// The known characters, in ascending order of code point, each once.
        characters: String,
    },
    /// A byte of the text's UTF-8; the id is its value, 0 to 255.
    Bytes,
    /// An id itself: texts are ids with spaces between, as of a model that came without its vocabulary.
    Numbers {
        /// How many ids there are.
        count: usize,
    },
    /// A word or a part of one: BPE, WordPiece, Unigram or WordLevel. Published ones come from
    /// [`published`](crate::published), new ones from [`fit::bpe`](crate::fit::bpe) and
    /// [`fit::words`](crate::fit::words).
    Subwords {
        /// A whole `tokenizer.json`, as the `tokenizers` library writes it. Of its parts `truncation` and `padding`
        /// do not count: the context alone says how long an input may be. Its added tokens are read out of a text
        /// where they stand in one, as their publisher has it.
        tokenizer: serde_json::Value,
    },
}
