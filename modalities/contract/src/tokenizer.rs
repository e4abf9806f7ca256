//! The tokenizer trait, and the dyn-safe twin that a program of many modalities holds.

use crate::{spec::SpecError, spec::TokenSpec, tokens::Tokens};
use serde::{Serialize, de::DeserializeOwned};
use std::any::Any;

/// Turns raw input into tokens: a pure function on plain data.
///
/// It owns no parameter and knows no tensor library, so it runs on loader threads and its results can be
/// kept. What must be fitted to data first (a vocabulary, a mean) is part of [`Config`](Self::Config);
/// the function that fits it stands beside the tokenizer.
pub trait Tokenizer: Send + Sync + Sized + 'static {
    /// The name under which a [`Registry`](crate::Registry) finds it.
    const NAME: &'static str;
    /// Settings and fitted state: vocabulary, mean, standard deviation. Saved with a run.
    type Config: Serialize + DeserializeOwned;
    /// One raw input, decoded from its file.
    type Raw: Send + 'static;

    /// A tokenizer of this configuration.
    ///
    /// # Errors
    /// [`TokenizeError::Config`] for settings that cannot work together.
    fn new(config: Self::Config) -> Result<Self, TokenizeError>;

    /// The configuration that it was made of.
    fn config(&self) -> &Self::Config;

    /// Kinds, vocabularies, feature sizes and axes of its tokens.
    fn spec(&self) -> &TokenSpec;

    /// The raw inputs in a file's bytes: a file holds one, or 60,000.
    fn records<'a>(&'a self, bytes: &'a [u8]) -> Records<'a, Self::Raw>;

    /// A random variation of `raw` for training, the same for the same seed. None by default.
    fn augment(&self, raw: Self::Raw, _seed: u64) -> Self::Raw {
        raw
    }

    /// The tokens of one raw input.
    ///
    /// # Errors
    /// [`TokenizeError::Input`] for an input that cannot become tokens.
    fn encode(&self, raw: &Self::Raw) -> Result<Tokens, TokenizeError>;

    /// The raw input that these tokens stand for; an implementation documents what is lost.
    ///
    /// # Errors
    /// [`TokenizeError::NotInvertible`] where there is no way back.
    fn decode(&self, tokens: &Tokens) -> Result<Self::Raw, TokenizeError>;
}

/// The raw inputs of one file, each read when it is asked for.
pub type Records<'a, Raw> = Box<dyn Iterator<Item = Result<Raw, TokenizeError>> + 'a>;

/// Why something did not become tokens.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum TokenizeError {
    /// A configuration whose settings cannot work together.
    #[error("{tokenizer}: {problem}")]
    Config {
        /// The tokenizer's name.
        tokenizer: &'static str,
        /// What is wrong, with the expected and the actual value.
        problem: String,
    },
    /// Bytes that are not what they should be: corrupt, truncated, empty, of another format.
    #[error("not readable as {format}: {problem}")]
    Format {
        /// The format that was expected.
        format: &'static str,
        /// What is wrong, with the expected and the actual value.
        problem: String,
    },
    /// An input that cannot become tokens under this configuration.
    #[error("{0}")]
    Input(String),
    /// Tokens that do not keep the spec.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// There is no way back from tokens to raw input.
    #[error("{tokenizer} tokens cannot be turned back: {why}")]
    NotInvertible {
        /// The tokenizer's name.
        tokenizer: &'static str,
        /// What was lost on the way.
        why: &'static str,
    },
    /// A raw input of another type than the tokenizer takes.
    #[error("{tokenizer} takes another type of raw input")]
    RawType {
        /// The tokenizer's name.
        tokenizer: &'static str,
    },
}

/// The dyn-safe twin of [`Tokenizer`], implemented once for all of them.
pub trait AnyTokenizer: Send + Sync {
    /// [`Tokenizer::NAME`].
    fn name(&self) -> &'static str;
    /// The configuration as JSON.
    ///
    /// # Errors
    /// [`TokenizeError::Config`] where the configuration cannot be written.
    fn config_json(&self) -> Result<serde_json::Value, TokenizeError>;
    /// [`Tokenizer::spec`].
    fn spec(&self) -> &TokenSpec;
    /// The tokens of every raw input in a file's bytes; with a seed, of a random variation of each.
    fn encode_file<'a>(&'a self, bytes: &'a [u8], augment: Option<u64>) -> Records<'a, Tokens>;
    /// [`Tokenizer::encode`] of a raw input of the tokenizer's own type.
    ///
    /// # Errors
    /// As [`Tokenizer::encode`], and [`TokenizeError::RawType`].
    fn encode_any(&self, raw: &dyn Any) -> Result<Tokens, TokenizeError>;
    /// [`Tokenizer::decode`], boxed.
    ///
    /// # Errors
    /// As [`Tokenizer::decode`].
    fn decode_any(&self, tokens: &Tokens) -> Result<Box<dyn Any + Send>, TokenizeError>;
}

impl<T: Tokenizer> AnyTokenizer for T {
    fn name(&self) -> &'static str {
        T::NAME
    }

    fn config_json(&self) -> Result<serde_json::Value, TokenizeError> {
        serde_json::to_value(self.config())
            .map_err(|e| TokenizeError::Config { tokenizer: T::NAME, problem: e.to_string() })
    }

    fn spec(&self) -> &TokenSpec {
        Tokenizer::spec(self)
    }

    fn encode_file<'a>(&'a self, bytes: &'a [u8], augment: Option<u64>) -> Records<'a, Tokens> {
        Box::new(self.records(bytes).enumerate().map(move |(place, raw)| {
            let raw = match augment {
                Some(seed) => self.augment(raw?, seed.wrapping_add(place as u64)),
                None => raw?,
            };
            self.encode(&raw)
        }))
    }

    fn encode_any(&self, raw: &dyn Any) -> Result<Tokens, TokenizeError> {
        self.encode(raw.downcast_ref().ok_or(TokenizeError::RawType { tokenizer: T::NAME })?)
    }

    fn decode_any(&self, tokens: &Tokens) -> Result<Box<dyn Any + Send>, TokenizeError> {
        Ok(Box::new(self.decode(tokens)?))
    }
}
