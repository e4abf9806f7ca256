//! The settings of text that a user writes, and how they are fitted to training texts.

use crate::config::{TextConfig, UNKNOWN, Vocabulary, is_default};
use crate::fit::{self, Distinct, Words};
use crate::published;
use crate::tokenizer::TextTokenizer;
use serde::{Deserialize, Serialize};
use smalti_contract::{TokenizeError, Tokenizer, Values};

/// The settings of a text: the keys of a part in `run.toml`.
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
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TextSettings {
    /// What a token is. A run that starts from another keeps that run's vocabulary.
    pub vocabulary: TextUnit,
    /// The most tokens of one input.
    pub context: usize,
    /// How many segments an input may have, each with a learned vector (BERT's two sentences); 0 for none.
    #[serde(skip_serializing_if = "is_default")]
    pub segments: usize,
    /// Whether texts are put in lower case.
    pub lowercase: bool,
    /// Whether the special token `<unk>` stands for characters outside the vocabulary, which are an error otherwise.
    /// Left out, it does if there is more than one training text: of many, others have characters of their own. For
    /// a vocabulary of characters only: words always have `<unk>`, and bytes know every text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unknown: Option<bool>,
    /// How often a word must occur in the training texts to be in a vocabulary of words; `<unk>` stands for the others.
    pub min_frequency: usize,
    /// Special tokens that the model needs (`<bos>`, `<mask>`), each added unless the vocabulary has it; BERT's
    /// `[MASK]` is a `<mask>`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub specials: Vec<String>,
    /// The text between the texts of several rows that are concatenated (`data.concat`). Left out, a space, which a
    /// vocabulary of characters must then have.
    #[serde(skip_serializing_if = "is_default")]
    pub separator: Option<String>,
    /// Share of an input's tokens that become `<unk>` in training (word dropout, Iyyer et al. 2015), in 0..1.
    #[serde(skip_serializing_if = "is_default")]
    pub token_dropout: f32,
}

/// What a token of text is: `vocabulary = "characters"`, `"bytes"`, `"words"`, `{ bpe = 4096 }`,
/// `{ file = "tokenizer.json" }` or `{ numbers = 97 }`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TextUnit {
    /// A character of the training texts.
    #[default]
    Characters,
    /// A byte of UTF-8.
    Bytes,
    /// A word of the training texts: what white space separates.
    Words,
    /// A subword of byte-level BPE that is fitted to the training texts: so many in all, at least 257.
    Bpe(usize),
    /// A subword of a published vocabulary: a `tokenizer.json`, one of GPT-2's `encoder.json` and `vocab.bpe` (or
    /// `vocab.json` and `merges.txt`) with the other beside it, BERT's `vocab.txt`, or a folder or tar archive with one of
    /// these. A program may read it from wherever it reads data ([`Values::read_file`]).
    File(String),
    /// One of so many ids, which the text writes out: `12 7 55`. For a published model without its vocabulary.
    Numbers(usize),
}

impl Default for TextSettings {
    fn default() -> Self {
        Self {
            vocabulary: TextUnit::default(),
            context: 64,
            segments: 0,
            lowercase: false,
            unknown: None,
            min_frequency: 1,
            specials: vec![],
            separator: None,
            token_dropout: 0.0,
        }
    }
}

impl TextSettings {
    /// What [`TextTokenizer::fit`](Tokenizer::fit) documents.
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
                token_dropout: self.token_dropout,
                separator: self.separator.unwrap_or(before.separator),
                ..before
            },
            None => {
                let fitted = self.vocabulary(values)?;
                let Self { segments, lowercase, token_dropout, separator, .. } = self;
                let separator = separator.unwrap_or(fitted.separator);
                TextConfig { segments, lowercase, token_dropout, separator, ..fitted }
            }
        };
        let specials = self.specials.iter().map(String::as_str).chain(unknown.then_some(UNKNOWN));
        Ok(TextTokenizer::new(config)?.with_specials(specials)?.into_config())
    }

    fn check(&self) -> Result<(), TokenizeError> {
        let refused = |problem| Err(TokenizeError::Config { tokenizer: TextTokenizer::NAME, problem });
        if let TextUnit::Bpe(size @ ..=256) = self.vocabulary {
            return refused(format!(
                "vocabulary: bpe must be at least 257, for 256 are the single bytes; found {size}"
            ));
        }
        if self.unknown.is_some() && self.vocabulary != TextUnit::Characters {
            return refused("unknown is for a vocabulary of characters; leave it out for any other".into());
        }
        if !(0.0..1.0).contains(&self.token_dropout) {
            return refused(format!("token_dropout is {}; it must be from 0 to below 1", self.token_dropout));
        }
        if self.min_frequency == 0 {
            return refused("min_frequency is 0; it must be at least 1".into());
        }
        if self.min_frequency > 1 && self.vocabulary != TextUnit::Words {
            return refused("min_frequency is for a vocabulary of words; leave it out for any other".into());
        }
        Ok(())
    }

    /// The vocabulary of the texts, or the published one, for the context. Only a vocabulary of the texts reads them.
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
