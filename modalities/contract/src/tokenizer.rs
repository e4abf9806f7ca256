//! The tokenizer trait.

use crate::value::{File, Value, Values};
use crate::{spec::SpecError, spec::TokenSpec, tokens::Content, tokens::Tokens};
use serde::{Serialize, de::DeserializeOwned};
use std::io;
use std::ops::Range;

/// Turns raw input into tokens: a pure function on plain data.
///
/// It has no parameters and uses no tensor library, so it runs on loader threads and its results can be cached. A
/// field's value passes through [`read`](Self::read), in training [`augment`](Self::augment), and
/// [`encode`](Self::encode); predicted tokens pass through [`decode`](Self::decode) and [`write`](Self::write).
pub trait Tokenizer: Send + Sync + Sized + 'static {
    /// The name under which a [`Registry`](crate::Registry) finds it.
    const NAME: &'static str;
    /// The settings that a user writes: the keys of an input or output in `run.toml`.
    type Settings: Serialize + DeserializeOwned;
    /// Settings and fitted state: vocabulary, mean, standard deviation. Saved with a run. The same type as
    /// [`Settings`](Self::Settings) if there is nothing to fit.
    type Config: Serialize + DeserializeOwned;
    /// One raw input, decoded from its file.
    type Raw: Send + 'static;

    /// Fit settings to the values of the training rows; the result is the configuration.
    ///
    /// `before` is the configuration of the run that a new run starts from. A tokenizer with a vocabulary keeps it,
    /// because the learned embeddings belong to its ids.
    ///
    /// # Errors
    /// [`TokenizeError::Config`] for conflicting settings, and if a value cannot be read.
    fn fit(
        settings: Self::Settings,
        before: Option<Self::Config>,
        values: &dyn Values,
    ) -> Result<Self::Config, TokenizeError>;

    /// The JSON Schema of [`Settings`](Self::Settings), from which the program lists them with their meaning; null, the
    /// default, for none.
    fn settings_schema() -> serde_json::Value {
        serde_json::Value::Null
    }

    /// Build a tokenizer from this configuration.
    ///
    /// # Errors
    /// [`TokenizeError::Config`] for conflicting settings.
    fn new(config: Self::Config) -> Result<Self, TokenizeError>;

    /// The tokenizer's configuration.
    fn config(&self) -> &Self::Config;

    /// The kinds, vocabularies, feature sizes and axes of the tokens.
    fn spec(&self) -> &TokenSpec;

    /// Read the raw input from a field's value, which is neither missing nor a series.
    ///
    /// # Errors
    /// [`TokenizeError::Input`] for a value of another type ([`Value::unexpected`]), and [`TokenizeError::Format`] for
    /// bytes that cannot be decoded.
    fn read(&self, value: Value) -> Result<Self::Raw, TokenizeError>;

    /// Write raw input as a field's value: the inverse of [`read`](Self::read), for predictions.
    ///
    /// # Errors
    /// [`TokenizeError::NotInvertible`] by default.
    fn write(&self, _raw: Self::Raw) -> Result<Value, TokenizeError> {
        Err(TokenizeError::NotInvertible { tokenizer: Self::NAME, why: "it writes no values" })
    }

    /// Concatenate several raw inputs, such as clips or texts. `seed` seeds random gaps between them.
    ///
    /// # Errors
    /// [`TokenizeError::Input`] by default, and for raw inputs that cannot be concatenated.
    fn concat(&self, _raws: Vec<Self::Raw>, _seed: u64) -> Result<Self::Raw, TokenizeError> {
        Err(TokenizeError::Input(format!("inputs of {} cannot be concatenated", Self::NAME)))
    }

    /// Whether the training input of this seed is blended with another one ([`blend`](Self::blend)). False by default.
    fn blends(&self, _seed: u64) -> bool {
        false
    }

    /// Blend a raw input with another one, both already augmented. Returns the blend and the share of the first, in
    /// 0..=1.
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

    /// Read the ids of a long value, which is cut into windows, from the bytes of its file. By default the whole file
    /// is read and encoded at once.
    ///
    /// # Errors
    /// As of [`read`](Self::read) and [`encode`](Self::encode); [`TokenizeError::Input`] for tokens without ids.
    fn sequence(&self, bytes: Box<dyn io::Read + Send + '_>) -> Result<Box<dyn Sequence>, TokenizeError> {
        let mut bytes = bytes;
        let mut all = vec![];
        bytes.read_to_end(&mut all).map_err(|e| TokenizeError::Input(e.to_string()))?;
        let tokens = self.encode(&self.read(Value::File(File { name: "the value".into(), bytes: all }))?)?;
        match tokens.groups.into_iter().next().map(|group| group.content) {
            Some(Content::Ids(ids)) => Ok(Box::new(ids)),
            _ => Err(TokenizeError::Input(format!("expected ids; found other tokens, from {}", Self::NAME))),
        }
    }

    /// Read the ids of `n` documents, each followed by the id `end`; a document that is missing has none. By default all ids are
    /// in memory.
    ///
    /// # Errors
    /// As of [`sequence`](Self::sequence), with the number of the document.
    fn documents(
        &self,
        n: usize,
        open: &OpenDocument,
        end: u32,
    ) -> Result<Box<dyn Sequence>, (usize, TokenizeError)> {
        let mut ids: Vec<u32> = vec![];
        for number in 0..n {
            let read = || -> Result<Option<Vec<u32>>, TokenizeError> {
                let Some(bytes) = open(number)? else { return Ok(None) };
                let sequence = self.sequence(bytes)?;
                sequence.window(0..sequence.len()).map(Some)
            };
            if let Some(document) = read().map_err(|error| (number, error))? {
                ids.extend(document);
                ids.push(end);
            }
        }
        Ok(Box::new(ids))
    }

    /// The id that ends a document, such as that of `<|endoftext|>`; `None`, the default, if the vocabulary has none.
    fn end_of_text(&self) -> Option<u32> {
        None
    }

    /// The ids that stand for removed spans of a value (T5's `<extra_id_0>`, `<extra_id_1>`, …), in this order; none by default.
    fn sentinels(&self) -> Vec<u32> {
        vec![]
    }

    /// The number of UTF-8 bytes in the text of these ids; `None` if the ids are not text.
    fn utf8_len(&self, _ids: &[u32]) -> Option<usize> {
        None
    }

    /// The number of numbers in each value, for a modality of number vectors of fixed length; otherwise `None`.
    fn width(&self) -> Option<usize> {
        None
    }

    /// The number of tokens of each value, if it is the same for all values, such as an image's codes. `None` by
    /// default.
    fn fixed_length(&self) -> Option<usize> {
        None
    }

    /// The raw inputs in a file's bytes: one, or many, as in an IDX file. By default the whole file is one raw input.
    fn raw_inputs<'a>(&'a self, bytes: &'a [u8]) -> RawInputs<'a, Self::Raw> {
        let file = Value::File(File { name: "the file".into(), bytes: bytes.to_vec() });
        Box::new(std::iter::once_with(move || self.read(file)))
    }

    /// Whether augmentation is on; if not, tokens can also be cached in training.
    fn varies(&self) -> bool {
        true
    }

    /// Augment raw input for training, deterministically in `seed`. By default it returns `raw` unchanged.
    fn augment(&self, raw: Self::Raw, _seed: u64) -> Self::Raw {
        raw
    }

    /// Augment the tokens of one raw input for training, deterministically in `seed`. By default it returns `tokens`
    /// unchanged.
    fn augment_tokens(&self, tokens: Tokens, _seed: u64) -> Tokens {
        tokens
    }

    /// Encode one raw input as tokens.
    ///
    /// # Errors
    /// [`TokenizeError::Input`] for an input that cannot become tokens.
    fn encode(&self, raw: &Self::Raw) -> Result<Tokens, TokenizeError>;

    /// Encode one raw input as at most `max_length` tokens, and return whether it was truncated. The default never
    /// truncates.
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

    /// Decode tokens to the raw input; an implementation documents what is lost.
    ///
    /// # Errors
    /// [`TokenizeError::NotInvertible`] if decoding is impossible.
    fn decode(&self, tokens: &Tokens) -> Result<Self::Raw, TokenizeError>;
}

/// Opens a document by its number; `None` if it is missing.
pub type OpenDocument<'a> =
    dyn Fn(usize) -> Result<Option<Box<dyn io::Read + Send>>, TokenizeError> + Sync + 'a;

/// The ids of one long value, in memory or on disk.
pub trait Sequence: Send + Sync {
    /// The number of ids.
    fn len(&self) -> usize;

    /// True if there is no id.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The ids in this range of indices, which ends at [`len`](Self::len) at most.
    ///
    /// # Errors
    /// If the ids cannot be read.
    fn window(&self, range: Range<usize>) -> Result<Vec<u32>, TokenizeError>;
}

impl Sequence for Vec<u32> {
    fn len(&self) -> usize {
        self.as_slice().len()
    }

    fn window(&self, range: Range<usize>) -> Result<Vec<u32>, TokenizeError> {
        let ids = self.get(range.clone()).map(<[u32]>::to_vec);
        let n = self.as_slice().len();
        ids.ok_or_else(|| TokenizeError::Input(format!("expected ids within 0..{n}; found {range:?}")))
    }
}

/// The raw inputs of one file, each read on demand.
pub type RawInputs<'a, Raw> = Box<dyn Iterator<Item = Result<Raw, TokenizeError>> + 'a>;

/// An error of reading, encoding or decoding.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum TokenizeError {
    /// An invalid configuration.
    #[error("{tokenizer}: {problem}")]
    Config {
        /// The tokenizer's name.
        tokenizer: &'static str,
        /// The problem, with the expected and the actual value.
        problem: String,
    },
    /// Bytes that cannot be decoded: corrupt, truncated, empty, or of another format.
    #[error("not readable as {format}: {problem}")]
    Format {
        /// The expected format.
        format: &'static str,
        /// The problem, with the expected and the actual value.
        problem: String,
    },
    /// An input that cannot become tokens under this configuration.
    #[error("{0}")]
    Input(String),
    /// Tokens that do not match the spec.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// Tokens of this tokenizer cannot be decoded.
    #[error("{tokenizer} tokens cannot be decoded: {why}")]
    NotInvertible {
        /// The tokenizer's name.
        tokenizer: &'static str,
        /// The information that encoding loses.
        why: &'static str,
    },
    /// A raw input of another type than the tokenizer's.
    #[error("the raw input has another type than {tokenizer} expects")]
    RawType {
        /// The tokenizer's name.
        tokenizer: &'static str,
    },
}
