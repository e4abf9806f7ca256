//! The front ends on one thread: bytes as they lie on disk to tokens.

use super::{BenchError, median};
use crate::tasks::{StandardInput, standard_inputs};
use serde::Serialize;
use std::time::Instant;

/// What one front end took.
#[derive(Clone, Debug, Serialize)]
pub struct Tokenizing {
    /// What became what.
    pub what: &'static str,
    /// Bytes of the input.
    pub bytes: usize,
    /// Tokens of the input.
    pub tokens: usize,
    /// Median time of one input, in milliseconds.
    pub ms: f64,
    /// Tokens in a second.
    pub tokens_per_s: f64,
    /// Inputs in a second.
    pub inputs_per_s: f64,
}

/// Each front end that this build has, on its [`standard_inputs`], for about a second.
///
/// # Errors
/// What a tokenizer refuses.
pub fn tokenizers() -> Result<Vec<Tokenizing>, BenchError> {
    standard_inputs()?.iter().map(measure).collect()
}

fn measure(input: &StandardInput) -> Result<Tokenizing, BenchError> {
    let encode = || -> Result<usize, BenchError> {
        let mut tokens = 0;
        for record in input.tokenizer.encode_file(&input.bytes, None) {
            tokens += record?.len();
        }
        Ok(tokens)
    };
    let tokens = encode()?;
    let (begun, mut seconds) = (Instant::now(), Vec::new());
    while seconds.len() < 5 || begun.elapsed().as_secs_f64() < 1.0 {
        let started = Instant::now();
        encode()?;
        seconds.push(started.elapsed().as_secs_f64());
    }
    let median = median(seconds);
    Ok(Tokenizing {
        what: input.what,
        bytes: input.bytes.len(),
        tokens,
        ms: 1e3 * median,
        tokens_per_s: tokens as f64 / median,
        inputs_per_s: 1.0 / median,
    })
}
