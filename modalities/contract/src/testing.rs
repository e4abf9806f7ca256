//! The conformance test that every tokenizer calls, ours or an outsider's.

use crate::{Content, Registry, RegistryError, TokenizeError, Tokenizer, Tokens};

/// What a tokenizer did not keep.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Violation {
    /// `encode` or `decode` failed, or its tokens broke the spec.
    #[error("sample {sample}: {error}")]
    Tokenize {
        /// Which of the samples.
        sample: usize,
        /// The failure.
        error: TokenizeError,
    },
    /// `encode` gave different tokens for the same input.
    #[error("sample {sample}: {what} gives other tokens: {difference}")]
    Different {
        /// Which of the samples.
        sample: usize,
        /// What should have given the same tokens.
        what: &'static str,
        /// Where they differ.
        difference: String,
    },
    /// The configuration does not come back from JSON.
    #[error("configuration round trip: {0}")]
    Config(#[from] RegistryError),
    /// There was nothing to check.
    #[error("check wants at least one sample")]
    NoSamples,
}

/// How far a feature may move over a round trip, relative to the largest feature.
const TOLERANCE: f32 = 1e-3;

/// Checks a tokenizer on samples of its raw input.
///
/// The tokens keep the spec (bounds, finite features, `order` a permutation); encoding is a pure
/// function; `encode(decode(encode(x))) ≈ encode(x)`, unless decoding is
/// [`NotInvertible`](TokenizeError::NotInvertible); and the configuration survives being saved.
///
/// # Errors
/// The first [`Violation`] found.
pub fn check<T: Tokenizer>(tokenizer: &T, samples: &[T::Raw]) -> Result<(), Violation> {
    if samples.is_empty() {
        return Err(Violation::NoSamples);
    }
    let mut registry = Registry::new();
    registry.register::<T>()?;
    let config = serde_json::to_string(tokenizer.config()).map_err(|e| refused::<T>(e.to_string()))?;
    let reread = serde_json::from_str(&config).map_err(|e| refused::<T>(e.to_string()))?;
    let restored = registry.build(T::NAME, reread)?;
    if restored.spec() != tokenizer.spec() {
        Err(refused::<T>("the restored tokenizer has another spec".into()))?;
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

fn refused<T: Tokenizer>(problem: String) -> RegistryError {
    TokenizeError::Config { tokenizer: T::NAME, problem }.into()
}

/// Whether two inputs' tokens agree: everything exactly, features within `tolerance` of the largest.
fn same(found: &Tokens, expected: &Tokens, tolerance: f32) -> Result<(), String> {
    if found.groups.len() != expected.groups.len() {
        return Err(format!("{} groups instead of {}", found.groups.len(), expected.groups.len()));
    }
    for (g, (found, expected)) in found.groups.iter().zip(&expected.groups).enumerate() {
        let places = |name, a: &Vec<u32>, b: &Vec<u32>| {
            (a == b).then_some(()).ok_or_else(|| format!("group {g}: {name} {a:?} instead of {b:?}"))
        };
        places("positions", &found.positions, &expected.positions)?;
        places("order", &found.order, &expected.order)?;
        places("time", &found.time, &expected.time)?;
        match (&found.content, &expected.content) {
            (Content::Ids(a), Content::Ids(b)) => places("ids", a, b)?,
            (Content::Features { values: a, .. }, Content::Features { values: b, .. }) => {
                let allowed = tolerance * b.iter().fold(1.0_f32, |most, v| most.max(v.abs()));
                // NaN must win, and `f32::max` drops it.
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
