//! Speed of tokenizers, from the bytes of a file to tokens, on one thread and on two.

use super::standard::{StandardInput, standard_inputs};
use super::{BenchError, median};
use rayon::ThreadPoolBuilder;
use rayon::iter::{IntoParallelIterator, ParallelIterator};
use serde::Serialize;
use std::time::Instant;

/// The speed of one tokenizer.
#[derive(Clone, Debug, Serialize)]
pub struct Tokenizing {
    /// The input and the kind of tokens.
    pub what: &'static str,
    /// Threads; each tokenizes whole inputs.
    pub threads: usize,
    /// Bytes of the input.
    pub bytes: usize,
    /// Tokens of the input.
    pub tokens: usize,
    /// Median elapsed time for one input, in milliseconds; with two threads, two inputs share it.
    pub ms: f64,
    /// Tokens in a second.
    pub tokens_per_s: f64,
    /// Inputs in a second.
    pub inputs_per_s: f64,
}

/// Measure each tokenizer of this build on one file, for about a second on one thread and on two.
///
/// # Errors
/// If a tokenizer fails.
pub fn tokenizers() -> Result<Vec<Tokenizing>, BenchError> {
    let inputs = standard_inputs()?;
    let both = |input| [1, 2].map(|threads| measure(input, threads));
    inputs.iter().flat_map(both).collect()
}

/// Inputs of each thread for one measurement of time.
const INPUTS: usize = 4;

fn measure(input: &StandardInput, threads: usize) -> Result<Tokenizing, BenchError> {
    let encode = &input.encode;
    let tokens = encode()?;
    let pool = ThreadPoolBuilder::new().num_threads(threads).build()?;
    let (start, mut seconds) = (Instant::now(), Vec::new());
    while seconds.len() < 5 || start.elapsed().as_secs_f64() < 1.0 {
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
