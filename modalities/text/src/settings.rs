//! The text settings that a user writes, and their fit to training texts.

use crate::config::{TextConfig, UNKNOWN, Vocabulary, is_default};
use crate::fit::{self, Distinct, Words};
use crate::published;
use crate::tokenizer::TextTokenizer;
use serde::{Deserialize, Serialize};
use smalti_contract::{TokenizeError, Tokenizer, Values};

/// The settings of text: the keys of an input or output in `run.toml`.
///
/// ```
/// # use smalti_text::{TextSettings, TextTokenizer, TextUnit};
/// # use smalti_contract::{Tokenizer, Value};
/// let settings = TextSettings { vocabulary: TextUnit::Words, lowercase: true, ..TextSettings::default() };
/// let rows = ["The cat", "the hat"].map(|text| Value::Text(text.into())).to_vec();
/// let tokenizer = TextTokenizer::new(TextTokenizer::fit(settings, None, &rows)?)?;
/// assert_eq!(tokenizer.ids("the hat")?, [1, 3]);
/// assert_eq!(tokenizer.ids("the dog")?, [1, 0], "dog is unknown");
/// # Ok::<(), smalti_contract::TokenizeError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TextSettings {
    /// The type of tokens. A run that starts from another one keeps that run's vocabulary.
    pub vocabulary: TextUnit,
    /// The maximal number of tokens of one input.
    pub context: usize,
    /// The number of segments of an input, each with a learned embedding (BERT's two sentences); 0 for none.
    #[serde(skip_serializing_if = "is_default")]
    pub segments: usize,
    /// Whether to convert texts to lower case.
    pub lowercase: bool,
    /// The id that follows a shorter input up to `context`, so that all inputs have the same number of tokens, and which
    /// tokens attend to, as in SigLIP. Default: none; inputs have no padding.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pad_token_id: Option<u32>,
    /// Whether the special token `<unk>` stands for characters outside the vocabulary, which are otherwise an error.
    /// Default: true with more than one training text, because new texts may have new characters. Only for a vocabulary
    /// of characters: words always have `<unk>`, and bytes encode every text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unknown: Option<bool>,
    /// The minimal number of occurrences of a word in the training texts to be in a vocabulary of words; `<unk>` stands
    /// for the others.
    pub min_frequency: usize,
    /// Special tokens that the model needs (`<bos>`, `<mask>`), each added unless the vocabulary has it; BERT's
    /// `[MASK]` counts as `<mask>`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub specials: Vec<String>,
    /// The separator between the concatenated texts of several rows (`data.concat`). Default: a space, which a
    /// vocabulary of characters must then have.
    #[serde(skip_serializing_if = "is_default")]
    pub separator: Option<String>,
    /// The share of an input's tokens replaced by `<unk>` in training (word dropout, Iyyer et al. 2015), in 0..1.
    #[serde(skip_serializing_if = "is_default")]
    pub token_dropout: f32,
}

/// The type of a text's tokens: `vocabulary = "characters"`, `"bytes"`, `"words"`, `{ bpe = 4096 }`, `{ file =
/// "tokenizer.json" }` or `{ numbers = 97 }`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TextUnit {
    /// A character of the training texts.
    #[default]
    Characters,
    /// A byte of UTF-8.
    Bytes,
    /// A word of the training texts, separated by white space.
    Words,
    /// A subword of byte-level BPE, fitted to the training texts; the number of tokens is at least 257.
    Bpe(usize),
    /// A subword of a published vocabulary: a `tokenizer.json`, one of GPT-2's `encoder.json` and `vocab.bpe` (or
    /// `vocab.json` and `merges.txt`) with the other one in the same folder, BERT's `vocab.txt`, or a folder or tar
    /// archive with one of these. It is read with [`Values::read_file`].
    File(String),
    /// An id below this number; texts are ids such as `12 7 55`. For a published model without its vocabulary.
    Numbers(usize),
}

impl Default for TextSettings {
    fn default() -> Self {
        Self {
            vocabulary: TextUnit::default(),
            context: 64,
            segments: 0,
            lowercase: false,
            pad_token_id: None,
            unknown: None,
            min_frequency: 1,
            specials: vec![],
            separator: None,
            token_dropout: 0.0,
        }
    }
}

impl TextSettings {
    /// See [`TextTokenizer::fit`](Tokenizer::fit).
    pub(crate) fn fit(
        self,
        before: Option<TextConfig>,
        values: &dyn Values,
    ) -> Result<TextConfig, TokenizeError> {
        self.check()?;
        let many = before.is_none() && self.vocabulary == TextUnit::Characters && values.len() > 1;
        let unknown = (self.unknown.unwrap_or(many) || self.token_dropout > 0.0)
            && self.specials.iter().all(|name| name != UNKNOWN);
        let config = match before {
            Some(before) => TextConfig {
                context: self.context,
                segments: self.segments.max(before.segments),
                lowercase: self.lowercase || before.lowercase,
                pad_token_id: self.pad_token_id.or(before.pad_token_id),
                token_dropout: self.token_dropout,
                separator: self.separator.unwrap_or(before.separator),
                ..before
            },
            None => {
                let fitted = self.vocabulary(values)?;
                let Self { segments, lowercase, pad_token_id, token_dropout, separator, .. } = self;
                let separator = separator.unwrap_or(fitted.separator);
                TextConfig { segments, lowercase, pad_token_id, token_dropout, separator, ..fitted }
            }
        };
        let specials = self.specials.iter().map(String::as_str).chain(unknown.then_some(UNKNOWN));
        Ok(TextTokenizer::new(config)?.with_specials(specials)?.into_config())
    }

    fn check(&self) -> Result<(), TokenizeError> {
        let config_error = |problem| Err(TokenizeError::Config { tokenizer: TextTokenizer::NAME, problem });
        if let TextUnit::Bpe(size @ ..=256) = self.vocabulary {
            return config_error(format!(
                "vocabulary.bpe: expected 257 or more, because 256 are the single bytes; found {size}"
            ));
        }
        if self.unknown.is_some() && self.vocabulary != TextUnit::Characters {
            return config_error("unknown is set; it is only for a vocabulary of characters".into());
        }
        if !(0.0..1.0).contains(&self.token_dropout) {
            return config_error(format!(
                "token_dropout is {}; it must be from 0 to below 1",
                self.token_dropout
            ));
        }
        if self.min_frequency == 0 {
            return config_error("min_frequency is 0; it must be at least 1".into());
        }
        if self.min_frequency > 1 && self.vocabulary != TextUnit::Words {
            return config_error("min_frequency is set; it is only for a vocabulary of words".into());
        }
        Ok(())
    }

    /// Fit the vocabulary, or read the published one. The texts are read only to fit a vocabulary to them.
    fn vocabulary(&self, values: &dyn Values) -> Result<TextConfig, TokenizeError> {
        let context = self.context;
        let texts = (0..values.len()).map(|index| values.get(index)).filter_map(|value| match value {
            Ok(value) if value.is_missing() => None,
            value => Some(value.and_then(|value| self.text(value))),
        });
        match &self.vocabulary {
            TextUnit::Bytes => Ok(TextConfig::new(Vocabulary::Bytes, context)),
            TextUnit::Numbers(count) => Ok(TextConfig::new(Vocabulary::Numbers { count: *count }, context)),
            TextUnit::File(location) => {
                let read = |location: &str| values.read_file(location);
                Ok(published::open_with(location, context, &read)?.into_config())
            }
            TextUnit::Bpe(size) => fit::bpe_of(texts, *size, context),
            TextUnit::Characters => {
                let mut distinct = Distinct::new();
                for text in texts {
                    distinct.add(&text?);
                }
                self.separator.iter().for_each(|separator| distinct.add(separator));
                distinct.config(context)
            }
            TextUnit::Words => {
                let mut words = Words::default();
                for text in texts {
                    words.add(&text?);
                }
                words.config(self.min_frequency, context)
            }
        }
    }

    fn text(&self, value: smalti_contract::Value) -> Result<String, TokenizeError> {
        let text = value.into_text()?;
        Ok(if self.lowercase { text.to_lowercase() } else { text })
    }
}
