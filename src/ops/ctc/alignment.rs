//! The forward-backward algorithm of CTC over one document, in log space.

use crate::ops::cpu::math::{exp, log_sum_exp, vectorize};

/// The states of the alignment: the labels with a blank before, between and after them.
pub(super) struct States {
    pub(super) symbols: Vec<u32>,
    /// Whether a state may follow the second state before it without the blank between: for unequal labels.
    pub(super) skips: Vec<bool>,
}

impl States {
    pub(super) fn new(labels: &[u32], blank: u32) -> Self {
        let mut symbols = vec![blank];
        symbols.extend(labels.iter().flat_map(|&label| [label, blank]));
        let skips = (0..symbols.len()).map(|s| s >= 2 && symbols[s] != blank && symbols[s] != symbols[s - 2]);
        Self { skips: skips.collect(), symbols }
    }
}

/// The forward-backward recursions over one document.
pub(super) struct Alignment<'a> {
    /// `[frames, v]`.
    logits: &'a [f32],
    v: usize,
    states: &'a States,
    /// log Σ eˣ of each frame.
    log_sums: Vec<f32>,
}

impl<'a> Alignment<'a> {
    pub(super) fn new(logits: &'a [f32], v: usize, states: &'a States) -> Self {
        let log_sums = vectorize(
            #[inline(always)]
            || logits.chunks_exact(v).map(log_sum_exp).collect(),
        );
        Self { logits, v, states, log_sums }
    }

    /// Returns −log p(labels | frames); writes `weight` times its gradient for the logits.
    pub(super) fn loss(&self, gradient: &mut [f32], weight: f32) -> f64 {
        let (frames, n_states) = (self.log_sums.len(), self.states.symbols.len());
        let Some(last_frame) = frames.checked_sub(1) else {
            return 0.0; // no frames and no labels: probability 1
        };
        let alpha = self.forward();
        let last = &alpha[last_frame * n_states..];
        let log_p = log_add([last[n_states - 1], at(last, n_states.checked_sub(2)), f64::NEG_INFINITY]);
        let mut beta: Vec<f64> =
            (0..n_states).map(|s| if s + 2 < n_states { f64::NEG_INFINITY } else { 0.0 }).collect();
        for t in (0..frames).rev() {
            let row = &mut gradient[t * self.v..][..self.v];
            self.write_softmax(t, row, weight);
            for (s, (alpha, beta)) in alpha[t * n_states..].iter().zip(&beta).enumerate() {
                // The posterior probability of being in state s at frame t.
                row[self.states.symbols[s] as usize] -= weight * (alpha + beta - log_p).exp() as f32;
            }
            beta = self.step_back(t, &beta);
        }
        -log_p
    }

    /// α: the log probability of the frames up to t and of being in state s at t, `[frames, n_states]`.
    fn forward(&self) -> Vec<f64> {
        let (frames, n_states) = (self.log_sums.len(), self.states.symbols.len());
        let mut alpha = vec![f64::NEG_INFINITY; frames * n_states];
        for (s, alpha) in alpha.iter_mut().enumerate().take(n_states.min(2)) {
            *alpha = self.log_probability(0, s);
        }
        for t in 1..frames {
            let (before, now) = alpha.split_at_mut(t * n_states);
            let before = &before[(t - 1) * n_states..];
            for s in 0..n_states {
                let skip = if self.states.skips[s] { before[s - 2] } else { f64::NEG_INFINITY };
                now[s] =
                    log_add([before[s], at(before, s.checked_sub(1)), skip]) + self.log_probability(t, s);
            }
        }
        alpha
    }

    /// From β at t to β at t − 1, where β is the log probability of the frames after t given the state at t.
    fn step_back(&self, t: usize, beta: &[f64]) -> Vec<f64> {
        let onward: Vec<f64> =
            beta.iter().enumerate().map(|(s, beta)| beta + self.log_probability(t, s)).collect();
        let skip = |s: usize| match self.states.skips.get(s + 2) {
            Some(true) => onward[s + 2],
            _ => f64::NEG_INFINITY,
        };
        (0..beta.len()).map(|s| log_add([onward[s], at(&onward, Some(s + 1)), skip(s)])).collect()
    }

    /// The log probability of the symbol of state s at frame t.
    fn log_probability(&self, t: usize, s: usize) -> f64 {
        let logit = self.logits[t * self.v + self.states.symbols[s] as usize];
        f64::from(logit) - f64::from(self.log_sums[t])
    }

    fn write_softmax(&self, t: usize, row: &mut [f32], weight: f32) {
        let log_sum = self.log_sums[t];
        vectorize(
            #[inline(always)]
            || {
                for (p, &logit) in row.iter_mut().zip(&self.logits[t * self.v..]) {
                    *p = weight * exp(logit - log_sum);
                }
            },
        )
    }
}

/// The element at `i`, or log 0 if there is none.
fn at(values: &[f64], i: Option<usize>) -> f64 {
    i.and_then(|i| values.get(i)).copied().unwrap_or(f64::NEG_INFINITY)
}

/// log Σ eˣ of three terms.
fn log_add(terms: [f64; 3]) -> f64 {
    let greatest = terms[0].max(terms[1]).max(terms[2]);
    if greatest == f64::NEG_INFINITY {
        return greatest;
    }
    greatest + terms.iter().map(|term| (term - greatest).exp()).sum::<f64>().ln()
}
