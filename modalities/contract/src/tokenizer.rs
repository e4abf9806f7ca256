//! The tokenizer trait, and its object-safe counterpart that a program of many modalities holds.

use crate::value::{File, Value, Values};
use crate::{spec::SpecError, spec::TokenSpec, tokens::Content, tokens::Tokens};
use serde::{Serialize, de::DeserializeOwned};
use std::any::Any;
use std::io;
use std::ops::Range;

/// Turns raw input into tokens: a pure function on plain data.
///
/// It owns no parameter and knows no tensor library, so it runs on loader threads and its results can be
/// kept. A value of a table goes through [`read`](Self::read), [`augment`](Self::augment) in training, and
/// [`encode`](Self::encode); predicted tokens come back through [`decode`](Self::decode) and
/// [`write`](Self::write).
pub trait Tokenizer: Send + Sync + Sized + 'static {
    /// The name under which a [`Registry`](crate::Registry) finds it.
    const NAME: &'static str;
    /// The settings that a user writes: the keys of a part in `run.toml`.
    type Settings: Serialize + DeserializeOwned;
    /// Settings and fitted state: vocabulary, mean, standard deviation. Saved with a run. The same type as
    /// [`Settings`](Self::Settings) if there is nothing to fit.
    type Config: Serialize + DeserializeOwned;
    /// One raw input, decoded from its file.
    type Raw: Send + 'static;

    /// The configuration that these settings become on the values of the training rows.
    ///
    /// `before` is the configuration in the run that a new run starts from: a tokenizer whose ids mean
    /// nothing without their vocabulary keeps that.
    ///
    /// # Errors
    /// [`TokenizeError::Config`] for settings that cannot work together, and if a value cannot be read.
    fn fit(
        settings: Self::Settings,
        before: Option<Self::Config>,
        values: &dyn Values,
    ) -> Result<Self::Config, TokenizeError>;

    /// A tokenizer of this configuration.
    ///
    /// # Errors
    /// [`TokenizeError::Config`] for settings that cannot work together.
    fn new(config: Self::Config) -> Result<Self, TokenizeError>;

    /// The configuration that it was made of.
    fn config(&self) -> &Self::Config;

    /// Kinds, vocabularies, feature sizes and axes of its tokens.
    fn spec(&self) -> &TokenSpec;

    /// The raw input in a value of a table, which is neither missing nor a series.
    ///
    /// # Errors
    /// [`TokenizeError::Input`] for a value of another sort ([`Value::unexpected`]), and
    /// [`TokenizeError::Format`] for bytes that cannot be decoded.
    fn read(&self, value: Value) -> Result<Self::Raw, TokenizeError>;

    /// The value of a table that holds this raw input: the inverse of [`read`](Self::read), for predictions.
    ///
    /// # Errors
    /// [`TokenizeError::NotInvertible`] by default.
    fn write(&self, _raw: Self::Raw) -> Result<Value, TokenizeError> {
        Err(TokenizeError::NotInvertible { tokenizer: Self::NAME, why: "it writes no values" })
    }

    /// One raw input of several, one after another: clips, or texts. `seed` is that of what is drawn between them.
    ///
    /// # Errors
    /// [`TokenizeError::Input`] by default, and for raw inputs that do not go together.
    fn concat(&self, _raws: Vec<Self::Raw>, _seed: u64) -> Result<Self::Raw, TokenizeError> {
        Err(TokenizeError::Input(format!("inputs of {} cannot be concatenated", Self::NAME)))
    }

    /// Whether the training input of this seed is blended with another ([`blend`](Self::blend)). Never by default.
    fn blends(&self, _seed: u64) -> bool {
        false
    }

    /// A raw input blended with another, both varied already, and the share of the first in 0..=1.
    ///
    /// # Errors
    /// [`TokenizeError::Input`] for raw inputs of different shapes.
    fn blend(
        &self,
        raw: Self::Raw,
        _other: Self::Raw,
        _seed: u64,
    ) -> Result<(Self::Raw, f32), TokenizeError> {
        Ok((raw, 1.0))
    }

    /// The ids of a long value, which is cut into windows; `bytes` are those of its file. By default all is read and encoded
    /// at once.
    ///
    /// # Errors
    /// As of [`read`](Self::read) and [`encode`](Self::encode); [`TokenizeError::Input`] for tokens that are no ids.
    fn sequence(&self, bytes: Box<dyn io::Read + Send + '_>) -> Result<Box<dyn Sequence>, TokenizeError> {
        let mut bytes = bytes;
        let mut all = vec![];
        bytes.read_to_end(&mut all).map_err(|e| TokenizeError::Input(e.to_string()))?;
        let tokens = self.encode(&self.read(Value::File(File { name: "the value".into(), bytes: all }))?)?;
        match tokens.groups.into_iter().next().map(|group| group.content) {
            Some(Content::Ids(ids)) => Ok(Box::new(ids)),
            _ => Err(TokenizeError::Input(format!("tokens of {} are no ids", Self::NAME))),
        }
    }

    /// The number of bytes of UTF-8 in the text of some ids; `None` if they stand for no text.
    fn utf8_len(&self, _ids: &[u32]) -> Option<usize> {
        None
    }

    /// How many numbers a value has, if every value is that many numbers: the part of a state that it reads. `None` for any
    /// other modality.
    fn width(&self) -> Option<usize> {
        None
    }

    /// How many tokens a value has, if every value has as many: the codes of an image. `None` by default.
    fn fixed_length(&self) -> Option<usize> {
        None
    }

    /// The raw inputs in a file's bytes: a file holds one, or 60,000. By default the whole file is one value.
    fn records<'a>(&'a self, bytes: &'a [u8]) -> Records<'a, Self::Raw> {
        let file = Value::File(File { name: "the file".into(), bytes: bytes.to_vec() });
        Box::new(std::iter::once_with(move || self.read(file)))
    }

    /// Whether a seed makes another variation of an input; if not, its tokens can be kept for training too.
    fn varies(&self) -> bool {
        true
    }

    /// A random variation of `raw` for training, the same for the same seed. None by default.
    fn augment(&self, raw: Self::Raw, _seed: u64) -> Self::Raw {
        raw
    }

    /// A random variation of the tokens of one raw input for training, the same for the same seed. None by
    /// default.
    fn augment_tokens(&self, tokens: Tokens, _seed: u64) -> Tokens {
        tokens
    }

    /// The tokens of one raw input.
    ///
    /// # Errors
    /// [`TokenizeError::Input`] for an input that cannot become tokens.
    fn encode(&self, raw: &Self::Raw) -> Result<Tokens, TokenizeError>;

    /// The tokens of one raw input, of which `max_length` are kept at most, and whether any were left out. By default
    /// nothing is left out.
    ///
    /// # Errors
    /// As of [`encode`](Self::encode), and [`TokenizeError::Input`] by default for more tokens than `max_length`.
    fn encode_truncated(&self, raw: &Self::Raw, max_length: usize) -> Result<(Tokens, bool), TokenizeError> {
        let tokens = self.encode(raw)?;
        match tokens.len() {
            n if n > max_length => Err(TokenizeError::Input(format!(
                "expected at most {max_length} tokens; found {n}, and {} cannot be truncated",
                Self::NAME
            ))),
            _ => Ok((tokens, false)),
        }
    }

    /// The raw input that these tokens stand for; an implementation documents what is lost.
    ///
    /// # Errors
    /// [`TokenizeError::NotInvertible`] where there is no way back.
    fn decode(&self, tokens: &Tokens) -> Result<Self::Raw, TokenizeError>;
}

/// The ids of one long value, in memory or on disk.
pub trait Sequence: Send + Sync {
    /// How many there are.
    fn len(&self) -> usize;

    /// True when there is none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The ids at these places, which end at [`len`](Self::len) at most.
    ///
    /// # Errors
    /// If they cannot be read.
    fn window(&self, places: Range<usize>) -> Result<Vec<u32>, TokenizeError>;
}

impl Sequence for Vec<u32> {
    fn len(&self) -> usize {
        self.as_slice().len()
    }

    fn window(&self, places: Range<usize>) -> Result<Vec<u32>, TokenizeError> {
        let ids = self.get(places.clone()).map(<[u32]>::to_vec);
        ids.ok_or_else(|| TokenizeError::Input(format!("ids {places:?} of {}", self.as_slice().len())))
    }
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
    /// The tokenizer itself, to be downcast to its type.
    fn as_any(&self) -> &dyn Any;
    /// The configuration as JSON.
    ///
    /// # Errors
    /// [`TokenizeError::Config`] where the configuration cannot be written.
    fn config_json(&self) -> Result<serde_json::Value, TokenizeError>;
    /// [`Tokenizer::spec`].
    fn spec(&self) -> &TokenSpec;
    /// The tokens of every raw input in a file's bytes; with a seed, of a random variation of each.
    fn encode_file<'a>(&'a self, bytes: &'a [u8], augment: Option<u64>) -> Records<'a, Tokens>;
    /// The tokens of a table's value; with a seed, of a random variation of it.
    ///
    /// # Errors
    /// As [`Tokenizer::read`] and [`Tokenizer::encode`].
    fn encode_value(&self, value: Value, augment: Option<u64>) -> Result<Tokens, TokenizeError>;
    /// [`Tokenizer::varies`].
    fn varies(&self) -> bool;
    /// The tokens of a table's value, of which `max_length` are kept at most, and whether any were left out.
    ///
    /// # Errors
    /// As [`Tokenizer::read`] and [`Tokenizer::encode_truncated`].
    fn encode_value_truncated(
        &self,
        value: Value,
        max_length: usize,
    ) -> Result<(Tokens, bool), TokenizeError>;
    /// [`Tokenizer::blends`].
    fn blends(&self, seed: u64) -> bool;
    /// The tokens of a table's value that is blended with another, and the share of the first.
    ///
    /// # Errors
    /// As [`Tokenizer::read`], [`Tokenizer::blend`] and [`Tokenizer::encode`].
    fn encode_blended(&self, value: Value, other: Value, seed: u64) -> Result<(Tokens, f32), TokenizeError>;
    /// [`Tokenizer::sequence`].
    ///
    /// # Errors
    /// As [`Tokenizer::sequence`].
    fn sequence(&self, bytes: Box<dyn io::Read + Send + '_>) -> Result<Box<dyn Sequence>, TokenizeError>;
    /// [`Tokenizer::utf8_len`].
    fn utf8_len(&self, ids: &[u32]) -> Option<usize>;
    /// [`Tokenizer::width`].
    fn width(&self) -> Option<usize>;
    /// [`Tokenizer::fixed_length`].
    fn fixed_length(&self) -> Option<usize>;
    /// The table's value that these tokens stand for.
    ///
    /// # Errors
    /// As [`Tokenizer::decode`] and [`Tokenizer::write`].
    fn decode_value(&self, tokens: &Tokens) -> Result<Value, TokenizeError>;
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

    fn as_any(&self) -> &dyn Any {
        self
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

    fn encode_value(&self, value: Value, augment: Option<u64>) -> Result<Tokens, TokenizeError> {
        let raw = raw(self, value)?;
        match augment {
            Some(seed) => {
                let tokens = self.encode(&self.augment(raw, mix(seed)))?;
                Ok(self.augment_tokens(tokens, mix(mix(seed))))
            }
            None => self.encode(&raw),
        }
    }

    fn varies(&self) -> bool {
        Tokenizer::varies(self)
    }

    fn encode_value_truncated(
        &self,
        value: Value,
        max_length: usize,
    ) -> Result<(Tokens, bool), TokenizeError> {
        self.encode_truncated(&raw(self, value)?, max_length)
    }

    fn blends(&self, seed: u64) -> bool {
        Tokenizer::blends(self, seed)
    }

    fn encode_blended(&self, value: Value, other: Value, seed: u64) -> Result<(Tokens, f32), TokenizeError> {
        let varied = |value, seed| Ok::<_, TokenizeError>(self.augment(raw(self, value)?, mix(seed)));
        let (blended, share) = self.blend(varied(value, seed)?, varied(other, !seed)?, seed)?;
        Ok((self.augment_tokens(self.encode(&blended)?, mix(mix(seed))), share))
    }

    fn sequence(&self, bytes: Box<dyn io::Read + Send + '_>) -> Result<Box<dyn Sequence>, TokenizeError> {
        Tokenizer::sequence(self, bytes)
    }

    fn utf8_len(&self, ids: &[u32]) -> Option<usize> {
        Tokenizer::utf8_len(self, ids)
    }

    fn width(&self) -> Option<usize> {
        Tokenizer::width(self)
    }

    fn fixed_length(&self) -> Option<usize> {
        Tokenizer::fixed_length(self)
    }

    fn decode_value(&self, tokens: &Tokens) -> Result<Value, TokenizeError> {
        self.write(self.decode(tokens)?)
    }

    fn encode_any(&self, raw: &dyn Any) -> Result<Tokens, TokenizeError> {
        self.encode(raw.downcast_ref().ok_or(TokenizeError::RawType { tokenizer: T::NAME })?)
    }

    fn decode_any(&self, tokens: &Tokens) -> Result<Box<dyn Any + Send>, TokenizeError> {
        Ok(Box::new(self.decode(tokens)?))
    }
}

/// The raw input of a value, or of the values of several rows.
fn raw<T: Tokenizer>(tokenizer: &T, value: Value) -> Result<T::Raw, TokenizeError> {
    match value {
        Value::Several { values, seed } => {
            let raws = values.into_iter().map(|value| tokenizer.read(value)).collect::<Result<_, _>>()?;
            tokenizer.concat(raws, seed)
        }
        single => tokenizer.read(single),
    }
}

/// Another seed that follows from this one (SplitMix64, Steele et al. 2014): what is drawn for a raw input is
/// independent of what is drawn for its tokens.
fn mix(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
