//! The cost of attention alone, on one long document.

use super::machine::peak_memory;
use super::{BenchError, median};
use crate::ops::{Heads, Value, attention, backward, squared_error};
use crate::rules::{AttentionMask, AttentionRules, Rule, TokenMeta};
use candle_core::{Device, Tensor, Var};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Instant;

/// Query heads, each with keys and values of its own.
const HEADS: usize = 8;
/// The width of a head.
const WIDTH: usize = 64;
/// The lengths that `smalti bench attention` measures, in tokens.
pub const ATTENTION_LENGTHS: [usize; 2] = [8_192, 32_768];
/// The rules that it measures.
pub const ATTENTION_RULES: [&str; 2] = ["causal", "causal & near(64, order)"];

/// The time and the memory of self-attention.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AttentionCost {
    /// Tokens in the document.
    pub length: usize,
    /// The attention rule.
    pub rule: String,
    /// Median time of the forward pass and of its mask, in milliseconds.
    pub forward_ms: f64,
    /// Median time of the backward pass, in milliseconds.
    pub backward_ms: f64,
    /// GFLOP/s of both passes, for the pairs of query and key that the rule allows.
    pub gflop_per_s: f64,
    /// Peak memory of the process, in MiB, if known (Linux); earlier work of the process counts.
    pub peak_memory_mib: Option<f64>,
}

/// Measure `repeats` times, after one to warm up, self-attention of 8 heads, each 64 wide, on one document of `length` tokens
/// that attend to each other by `rule`: the forward pass, and the backward pass to queries, keys and values.
///
/// # Errors
/// If an operation fails.
pub fn attention_cost(
    length: usize,
    rule: &Rule,
    repeats: u64,
    device: &Device,
) -> Result<AttentionCost, BenchError> {
    let tokens = Arc::new(TokenMeta::document(&vec![0; length]));
    let rules = Arc::new(AttentionRules::uniform(["token"], rule.clone()));
    let variable =
        |columns: usize| Var::from_tensor(&Tensor::randn(0.0_f32, 1.0, (length, columns), device)?);
    let (query, key_value) = (variable(HEADS * WIDTH)?, variable(2 * HEADS * WIDTH)?);
    let (heads, targets) = (Heads::even(HEADS, HEADS * WIDTH), vec![0.0; length * HEADS * WIDTH]);
    let weights = vec![1.0; length];
    let (mut forward, mut backwards) = (vec![], vec![]);
    for repeat in 0..=repeats {
        let started = Instant::now();
        let mask = Arc::new(AttentionMask::new(rules.clone(), tokens.clone(), tokens.clone()));
        let (query, key_value) = (Value::parameter(&query, 0), Value::parameter(&key_value, 1));
        let attended = attention(&query, &key_value, None, heads, &mask)?;
        device.synchronize()?;
        let forward_s = started.elapsed().as_secs_f64();
        let loss = squared_error(&attended, &targets, &weights)?;
        device.synchronize()?;
        let started = Instant::now();
        backward(vec![(loss, 1.0)])?;
        device.synchronize()?;
        if repeat > 0 {
            forward.push(forward_s);
            backwards.push(started.elapsed().as_secs_f64());
        }
    }
    let mask = AttentionMask::new(rules, tokens.clone(), tokens);
    let mut runs = vec![];
    let attended = |query: usize| {
        mask.runs(query, &mut runs);
        runs.iter().map(|run| run.len()).sum::<usize>()
    };
    let pairs: usize = (0..length).map(attended).sum();
    let (forward_s, backward_s) = (median(forward), median(backwards));
    Ok(AttentionCost {
        length,
        rule: rule.to_string(),
        forward_ms: 1e3 * forward_s,
        backward_ms: 1e3 * backward_s,
        gflop_per_s: 14e-9 * (pairs * HEADS * WIDTH) as f64 / (forward_s + backward_s),
        peak_memory_mib: peak_memory().map(|bytes| bytes / f64::from(1 << 20)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_counts_the_pairs_that_a_rule_allows() {
        // 70 queries: of all keys up to their own; of the last 65.
        for (rule, pairs) in ATTENTION_RULES.into_iter().zip([70 * 71 / 2, 65 * 66 / 2 + 5 * 65]) {
            let cost = attention_cost(70, &rule.parse().unwrap(), 1, &Device::Cpu).unwrap();
            assert!(cost.forward_ms > 0.0 && cost.backward_ms > 0.0, "{cost:?}");
            let gflop = cost.gflop_per_s * (cost.forward_ms + cost.backward_ms) / 1e3;
            assert!((gflop - 14e-9 * f64::from(pairs * 512)).abs() < 1e-9, "{cost:?}");
        }
    }
}
