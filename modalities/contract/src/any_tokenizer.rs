//! The object-safe counterpart of the tokenizer trait, for programs with several modalities.

use crate::spec::TokenSpec;
use crate::tokenizer::{OpenDocument, RawInputs, Sequence, TokenizeError, Tokenizer};
use crate::tokens::Tokens;
use crate::value::Value;
use std::any::Any;
use std::io;

/// The object-safe counterpart of [`Tokenizer`], implemented for every tokenizer.
pub trait AnyTokenizer: Send + Sync {
    /// [`Tokenizer::NAME`].
    fn name(&self) -> &'static str;
    /// The tokenizer, for a downcast to its type.
    fn as_any(&self) -> &dyn Any;
    /// The configuration as JSON.
    ///
    /// # Errors
    /// [`TokenizeError::Config`] if the configuration cannot be written.
    fn config_json(&self) -> Result<serde_json::Value, TokenizeError>;
    /// [`Tokenizer::spec`].
    fn spec(&self) -> &TokenSpec;
    /// Encode every raw input in a file's bytes; with a seed, each is augmented.
    fn encode_file<'a>(&'a self, bytes: &'a [u8], augment: Option<u64>) -> RawInputs<'a, Tokens>;
    /// Encode a field's value; with a seed, it is augmented.
    ///
    /// # Errors
    /// As [`Tokenizer::read`] and [`Tokenizer::encode`].
    fn encode_value(&self, value: Value, augment: Option<u64>) -> Result<Tokens, TokenizeError>;
    /// [`Tokenizer::varies`].
    fn varies(&self) -> bool;
    /// Encode a field's value as at most `max_length` tokens, and return whether it was truncated.
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
    /// Encode a field's value blended with another one, and return the share of the first.
    ///
    /// # Errors
    /// As [`Tokenizer::read`], [`Tokenizer::blend`] and [`Tokenizer::encode`].
    fn encode_blended(&self, value: Value, other: Value, seed: u64) -> Result<(Tokens, f32), TokenizeError>;
    /// [`Tokenizer::sequence`].
    ///
    /// # Errors
    /// As [`Tokenizer::sequence`].
    fn sequence(&self, bytes: Box<dyn io::Read + Send + '_>) -> Result<Box<dyn Sequence>, TokenizeError>;
    /// [`Tokenizer::documents`].
    ///
    /// # Errors
    /// As [`Tokenizer::documents`].
    fn documents(
        &self,
        n: usize,
        open: &OpenDocument,
        end: u32,
    ) -> Result<Box<dyn Sequence>, (usize, TokenizeError)>;
    /// [`Tokenizer::end_of_text`].
    fn end_of_text(&self) -> Option<u32>;
    /// [`Tokenizer::sentinels`].
    fn sentinels(&self) -> Vec<u32>;
    /// [`Tokenizer::utf8_len`].
    fn utf8_len(&self, ids: &[u32]) -> Option<usize>;
    /// [`Tokenizer::width`].
    fn width(&self) -> Option<usize>;
    /// [`Tokenizer::fixed_length`].
    fn fixed_length(&self) -> Option<usize>;
    /// Decode tokens to a field's value.
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

    fn encode_file<'a>(&'a self, bytes: &'a [u8], augment: Option<u64>) -> RawInputs<'a, Tokens> {
        Box::new(self.raw_inputs(bytes).enumerate().map(move |(place, raw)| {
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

    fn documents(
        &self,
        n: usize,
        open: &OpenDocument,
        end: u32,
    ) -> Result<Box<dyn Sequence>, (usize, TokenizeError)> {
        Tokenizer::documents(self, n, open, end)
    }

    fn end_of_text(&self) -> Option<u32> {
        Tokenizer::end_of_text(self)
    }

    fn sentinels(&self) -> Vec<u32> {
        Tokenizer::sentinels(self)
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

/// Read the raw input of a value, or concatenate those of the values of several rows.
fn raw<T: Tokenizer>(tokenizer: &T, value: Value) -> Result<T::Raw, TokenizeError> {
    match value {
        Value::Several { values, seed } => {
            let raws = values.into_iter().map(|value| tokenizer.read(value)).collect::<Result<_, _>>()?;
            tokenizer.concat(raws, seed)
        }
        single => tokenizer.read(single),
    }
}

/// Derive another seed (SplitMix64, Steele et al. 2014), so that the augmentation of a raw input is independent of that
/// of its tokens.
fn mix(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
