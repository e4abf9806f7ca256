//! The conformance test of tokenizers, built-in and custom.

use crate::{Content, Registry, RegistryError, TokenizeError, Tokenizer, Tokens};

/// A rule of the contract that a tokenizer violates.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Violation {
    /// `encode` or `decode` failed, or the tokens do not match the spec.
    #[error("sample {sample}: {error}")]
    Tokenize {
        /// The sample's index.
        sample: usize,
        /// The failure.
        error: TokenizeError,
    },
    /// Encoding the same input again gave different tokens.
    #[error("sample {sample}: {what} gives different tokens: {difference}")]
    Different {
        /// The sample's index.
        sample: usize,
        /// The operation that should have given the same tokens.
        what: &'static str,
        /// The first difference.
        difference: String,
    },
    /// The configuration changes when it is written as JSON and read again.
    #[error("configuration round trip: {0}")]
    Config(#[from] RegistryError),
    /// There was no sample to check.
    #[error("expected at least 1 sample to check; found 0")]
    NoSamples,
}

/// The largest change of a feature over a round trip, relative to the largest feature.
const TOLERANCE: f32 = 1e-3;

/// Check a tokenizer on samples of its raw input.
///
/// The tokens must match the spec (bounds, finite features, `order` a permutation); encoding must be a pure function;
/// `encode(decode(encode(x))) ≈ encode(x)`, unless decoding is [`NotInvertible`](TokenizeError::NotInvertible); and the
/// configuration must be the same after it is saved and loaded.
///
/// # Errors
/// The first [`Violation`] found.
pub fn check<T: Tokenizer>(tokenizer: &T, samples: &[T::Raw]) -> Result<(), Violation> {
    if samples.is_empty() {
        return Err(Violation::NoSamples);
    }
    let mut registry = Registry::new();
    registry.register::<T>()?;
    let config =
        serde_json::to_string(tokenizer.config()).map_err(|e| round_trip_error::<T>(e.to_string()))?;
    let reread: serde_json::Value =
        serde_json::from_str(&config).map_err(|e| round_trip_error::<T>(e.to_string()))?;
    let restored = registry.build(T::NAME, &reread)?;
    if restored.spec() != tokenizer.spec() {
        Err(round_trip_error::<T>("the restored tokenizer has a different spec".into()))?;
    }
    for (sample, raw) in samples.iter().enumerate() {
        let failed = |error| Violation::Tokenize { sample, error };
        let differs = |what, difference| Violation::Different { sample, what, difference };
        let tokens = tokenizer.encode(raw).map_err(failed)?;
        tokenizer.spec().check(&tokens).map_err(|e| failed(e.into()))?;

        let again = tokenizer.encode(raw).map_err(failed)?;
        same(&again, &tokens, 0.0).map_err(|d| differs("encoding again", d))?;
        let elsewhere = restored.encode_any(raw).map_err(failed)?;
        same(&elsewhere, &tokens, 0.0).map_err(|d| differs("the restored tokenizer", d))?;
        match tokenizer.decode(&tokens) {
            Err(TokenizeError::NotInvertible { .. }) => {}
            Err(error) => return Err(failed(error)),
            Ok(back) => {
                let round = tokenizer.encode(&back).map_err(failed)?;
                same(&round, &tokens, TOLERANCE).map_err(|d| differs("decoding and encoding", d))?;
            }
        }
    }
    Ok(())
}

fn round_trip_error<T: Tokenizer>(problem: String) -> RegistryError {
    TokenizeError::Config { tokenizer: T::NAME, problem }.into()
}

/// Compare tokens: everything exactly, features within `tolerance` of the largest feature.
fn same(found: &Tokens, expected: &Tokens, tolerance: f32) -> Result<(), String> {
    if found.groups.len() != expected.groups.len() {
        return Err(format!("{} groups instead of {}", found.groups.len(), expected.groups.len()));
    }
    for (g, (found, expected)) in found.groups.iter().zip(&expected.groups).enumerate() {
        let same_numbers = |name, a: &Vec<u32>, b: &Vec<u32>| {
            (a == b).then_some(()).ok_or_else(|| format!("group {g}: {name} {a:?} instead of {b:?}"))
        };
        same_numbers("positions", &found.positions, &expected.positions)?;
        same_numbers("order", &found.order, &expected.order)?;
        same_numbers("time", &found.time, &expected.time)?;
        match (&found.content, &expected.content) {
            (Content::Ids(a), Content::Ids(b)) => same_numbers("ids", a, b)?,
            (Content::Features { values: a, .. }, Content::Features { values: b, .. }) => {
                let allowed = tolerance * b.iter().fold(1.0_f32, |most, v| most.max(v.abs()));
                // `f32::max` drops NaN, which must fail the comparison.
                let larger =
                    |most: f32, apart: f32| if apart > most || apart.is_nan() { apart } else { most };
                let worst = a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, larger);
                if a.len() != b.len() || worst.is_nan() || worst > allowed {
                    return Err(format!("group {g}: features are {worst} apart; {allowed} is allowed"));
                }
            }
            _ => return Err(format!("group {g}: ids became features or features ids")),
        }
    }
    Ok(())
}
