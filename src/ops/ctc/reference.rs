//! In candle's own operations.

use super::{Document, States};
use crate::ops::cross_entropy::reference::log_softmax;
use candle_core::{Result, Tensor};

/// [`ctc`](super::ctc()): the forward recursion of Graves's equation 6.
pub(in crate::ops) fn ctc(logits: &Tensor, documents: &[Document], blank: u32) -> Result<Tensor> {
    let mut loss = Tensor::zeros((), logits.dtype(), logits.device())?;
    for document in documents.iter().filter(|document| !document.frames.is_empty()) {
        let frames = logits.narrow(0, document.frames.start, document.frames.len())?;
        let log_p = log_p(&log_softmax(&frames)?, &States::new(&document.labels, blank))?;
        loss = (loss - (log_p * f64::from(document.weight))?)?;
    }
    Ok(loss)
}

/// The log probability of all alignments; `log_probabilities` is `[frames, v]`.
fn log_p(log_probabilities: &Tensor, states: &States) -> Result<Tensor> {
    /// Instead of log 0 = −∞, whose gradient would be NaN.
    const IMPOSSIBLE: f64 = -1e30;
    let (device, dtype) = (log_probabilities.device(), log_probabilities.dtype());
    let n_states = states.symbols.len();
    let penalty = |allowed: &dyn Fn(usize) -> bool| {
        let values = (0..n_states).map(|s| if allowed(s) { 0.0 } else { IMPOSSIBLE });
        Tensor::from_iter(values.collect::<Vec<f64>>(), device)?.to_dtype(dtype)
    };
    let (starts, skips) = (penalty(&|s| s < 2)?, penalty(&|s| states.skips[s])?);
    let nowhere = penalty(&|_| false)?;
    let later =
        |alpha: &Tensor, by: usize| Tensor::cat(&[&nowhere, alpha], 0)?.narrow(0, n_states - by, n_states);
    let symbols = Tensor::from_slice(&states.symbols, n_states, device)?;
    let emitted = log_probabilities.index_select(&symbols, 1)?; // [frames, n_states]
    let mut alpha = (emitted.get(0)? + starts)?; // [n_states]
    for t in 1..emitted.dim(0)? {
        let arrivals = match n_states {
            1 => vec![alpha.clone()],
            _ => vec![alpha.clone(), later(&alpha, 1)?, (later(&alpha, 2)? + &skips)?],
        };
        alpha = (log_sum_exp(&Tensor::stack(&arrivals, 0)?)? + emitted.get(t)?)?;
    }
    let ends = n_states.min(2);
    log_sum_exp(&alpha.narrow(0, n_states - ends, ends)?)
}

/// log Σ eˣ over the first dimension.
fn log_sum_exp(x: &Tensor) -> Result<Tensor> {
    let greatest = x.max(0)?.detach();
    x.broadcast_sub(&greatest)?.exp()?.sum(0)?.log()? + greatest
}
