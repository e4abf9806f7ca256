//! The front ends, on one thread and on two: bytes as they lie on disk to tokens.

use super::standard::{StandardInput, standard_inputs};
use super::{BenchError, median};
use rayon::ThreadPoolBuilder;
use rayon::iter::{IntoParallelIterator, ParallelIterator};
use serde::Serialize;
use std::time::Instant;

/// What one front end took.
#[derive(Clone, Debug, Serialize)]
pub struct Tokenizing {
    /// What became what.
    pub what: &'static str,
    /// Threads, each of which takes whole inputs.
    pub threads: usize,
    /// Bytes of the input.
    pub bytes: usize,
    /// Tokens of the input.
    pub tokens: usize,
    /// Median time that passes for one input, in milliseconds: on two threads, half of what one takes.
    pub ms: f64,
    /// Tokens in a second.
    pub tokens_per_s: f64,
    /// Inputs in a second.
    pub inputs_per_s: f64,
}

/// Each front end that this build has, on one file, for about a second on one thread and on two.
///
/// # Errors
/// If a tokenizer fails.
pub fn tokenizers() -> Result<Vec<Tokenizing>, BenchError> {
    let inputs = standard_inputs()?;
    let both = |input| [1, 2].map(|threads| measure(input, threads));
    inputs.iter().flat_map(both).collect()
}

/// Inputs that each thread takes between two looks at the clock.
const INPUTS: usize = 4;

fn measure(input: &StandardInput, threads: usize) -> Result<Tokenizing, BenchError> {
    let encode = &input.encode;
    let tokens = encode()?;
    let pool = ThreadPoolBuilder::new().num_threads(threads).build()?;
    let (begun, mut seconds) = (Instant::now(), Vec::new());
    while seconds.len() < 5 || begun.elapsed().as_secs_f64() < 1.0 {
        let started = Instant::now();
        pool.install(|| (0..INPUTS * threads).into_par_iter().try_for_each(|_| encode().map(drop)))?;
        seconds.push(started.elapsed().as_secs_f64() / (INPUTS * threads) as f64);
    }
    let median = median(seconds);
    Ok(Tokenizing {
        what: input.what,
        threads,
        bytes: input.bytes,
        tokens,
        ms: 1e3 * median,
        tokens_per_s: tokens as f64 / median,
        inputs_per_s: 1.0 / median,
    })
}
