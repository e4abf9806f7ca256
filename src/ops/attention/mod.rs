//! Attention between two flat lists of tokens, under rules evaluated from their metadata.
//!
//! Scores exist for one block of queries at a time; backward recomputes them from the log-sum-exp that forward saves,
//! one number for each query and head (Dao et al. 2022). With n queries that attend to m keys each and heads that are d
//! wide together, forward takes 4·n·m·d FLOP and backward 10·n·m·d, over some 4·(n + m)·d numbers: bound by arithmetic
//! if m is more than a few dozen.

mod cpu;
#[cfg(feature = "cuda")]
pub(super) mod cuda;
pub(super) mod reference;
mod relative;

pub use relative::{Buckets, Distances, RelativeBias, slopes};

use super::autograd::Value;
use super::dispatch::dispatch;
use super::from_candle::from_candle;
use crate::rules::AttentionMask;
use candle_core::{Result, Tensor, bail};
use std::sync::Arc;

/// The layout of heads in the columns of queries, keys and values, and the scale of scores.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Heads {
    /// Query heads, side by side in the queries.
    pub n_heads: usize,
    /// Key-value heads, side by side in the keys and in the values; equally many query heads share each of them
    /// (Ainslie et al. 2023).
    pub n_kv_heads: usize,
    /// The factor of q·k.
    pub scale: f32,
    /// Scores s become c·tanh(s/c), which is between −c and c (Bello et al. 2017, Gemma 2).
    pub soft_cap: Option<f32>,
}

impl Heads {
    /// `n` heads in `d` columns, each with keys and values of its own; scores are q·k/√(d/n).
    pub fn even(n: usize, d: usize) -> Self {
        Self { n_heads: n, n_kv_heads: n, scale: 1.0 / ((d / n.max(1)) as f32).sqrt(), soft_cap: None }
    }

    /// Query heads for each key-value head.
    pub(crate) fn group(&self) -> usize {
        self.n_heads / self.n_kv_heads
    }
}

/// softmax(scale·q·kᵀ + bias)·v over the keys that each query attends to; 0 for a query without keys.
///
/// `query` is `[n, n_heads·d_head]`, `key_value` `[m, 2·n_kv_heads·d_head]` with keys left and values right; the
/// result has the queries' shape. Self-attention and cross-attention differ only in `mask`. Only the reference has soft caps,
/// and on a GPU the slopes of ALiBi: they cost time and memory for the scores of a whole document.
///
/// # Errors
/// If the shapes do not fit each other, the heads, the mask or the bias.
pub fn attention(
    query: &Value,
    key_value: &Value,
    bias: Option<RelativeBias>,
    heads: Heads,
    mask: &Arc<AttentionMask>,
) -> Result<Value> {
    let ((n, d), (m, d2)) = (query.dims2()?, key_value.dims2()?);
    let Heads { n_heads, n_kv_heads, .. } = heads;
    let whole = n_kv_heads > 0 && n_heads > 0 && n_heads % n_kv_heads == 0 && d % n_heads == 0;
    if !whole || d2 != 2 * (d / n_heads) * n_kv_heads || mask.shape() != (n, m) {
        bail!(
            "attention: expected query [n, heads·d_head], key_value [m, 2·kv_heads·d_head] and a mask of [n, m]; \
             found [{n}, {d}], [{m}, {d2}], {n_heads} and {n_kv_heads} heads and a mask of {:?}",
            mask.shape()
        )
    }
    if let Some(problem) = bias.and_then(|bias| bias.misfit(n_heads)) {
        bail!("attention: {problem}")
    }
    let table = bias.and_then(|bias| bias.table);
    let inputs: Vec<&Value> = [query, key_value].into_iter().chain(table).collect();
    let distances = bias.map(|bias| bias.distances);
    dispatch!(query.tensor();
    cuda if heads.soft_cap.is_none() && table.is_some() == bias.is_some() =>
        cuda::attention(query, key_value, bias, heads, mask),
    cpu if heads.soft_cap.is_none() => cpu::attention(&inputs, distances.cloned(), heads, mask),
    reference => from_candle(&inputs, |t| reference::attention(t, distances, heads, mask)))
}

/// The attention weights of each document, `[n_heads, queries, keys]`, as the reference computes them, without a gradient;
/// `None` for a document with more than `most_pairs` pairs of query and key. `query`, `key_value` and `bias` are those of
/// [`attention`].
///
/// # Errors
/// If the shapes do not fit each other.
pub fn attention_weights(
    query: &Value,
    key_value: &Value,
    bias: Option<RelativeBias>,
    heads: Heads,
    mask: &Arc<AttentionMask>,
    most_pairs: usize,
) -> Result<Vec<Option<Tensor>>> {
    let table = bias.and_then(|bias| bias.table);
    let inputs = [query, key_value].into_iter().chain(table).map(|x| x.tensor().detach());
    let distances = bias.map(|bias| bias.distances);
    reference::weights(&inputs.collect::<Vec<_>>(), distances, heads, mask, most_pairs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::cases::attention::{documents, mask};
    use crate::ops::testing::{assert_close, check_kernel, input, random};
    use crate::rules::TokenMeta;

    fn mask_of(rule: &str, lengths: &[usize]) -> Arc<AttentionMask> {
        let meta = documents(lengths);
        mask(rule, &meta, &meta)
    }

    fn inputs(n: usize, m: usize, d: usize) -> Result<Vec<Tensor>> {
        Ok(vec![random(&[n, d], 1)?, random(&[m, 2 * d], 2)?])
    }

    /// If documents are fewer than threads, they are cut into heads; backward uses the cut of forward.
    #[test]
    fn any_number_of_threads_gives_the_same() -> Result<()> {
        let mask = mask_of("mixed", &[70, 3, 40]);
        let (n, _) = mask.shape();
        let pool = |threads| rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let (one, many) = (pool(1), pool(16));
        for pool in [&one, &many] {
            pool.install(|| {
                check_kernel(
                    "attention",
                    |t| attention(&t[0], &t[1], None, Heads::even(4, 16), &mask),
                    |t| reference::attention(t, None, Heads::even(4, 16), &mask),
                    &inputs(n, n, 16)?,
                )
            })?;
        }
        let inputs = inputs(n, n, 16)?;
        let variables = inputs.iter().map(candle_core::Var::from_tensor).collect::<Result<Vec<_>>>()?;
        let gradients = |forward: &rayon::ThreadPool, backward: &rayon::ThreadPool| {
            let values: Vec<Value> = variables.iter().zip(0..).map(|(x, i)| Value::parameter(x, i)).collect();
            let y = forward.install(|| attention(&values[0], &values[1], None, Heads::even(4, 16), &mask))?;
            let loss = crate::ops::squared_error(&y, &vec![0.5; n * 16], &vec![1.0; n])?;
            backward.install(|| crate::ops::backward(vec![(loss, 1.0)]))
        };
        let (expected, found) = (gradients(&one, &one)?, gradients(&one, &many)?);
        for place in 0..2 {
            assert_close("gradient", found.get(place).unwrap(), expected.get(place).unwrap(), 1e-5)?;
        }
        Ok(())
    }

    #[test]
    fn a_query_without_keys_gives_zero() -> Result<()> {
        let mask = mask_of("strict_past", &[3]);
        let inputs = inputs(3, 3, 4)?;
        let y =
            attention(&input(&inputs[0]), &input(&inputs[1]), None, Heads::even(2, 4), &mask)?.into_tensor();
        assert_eq!(y.to_vec2::<f32>()?, [[0.0; 4]; 3]);
        Ok(())
    }

    #[test]
    fn the_weights_of_a_query_add_up_to_one_and_give_its_output() -> Result<()> {
        let (mask, heads) = (mask_of("causal", &[3, 2]), Heads::even(2, 4));
        let inputs = inputs(5, 5, 4)?;
        let (query, key_value) = (input(&inputs[0]), input(&inputs[1]));
        let weights_of = |mask: &Arc<AttentionMask>| -> Result<Vec<Tensor>> {
            let all = attention_weights(&query, &key_value, None, heads, mask, usize::MAX)?;
            Ok(all.into_iter().flatten().collect())
        };
        let weights = weights_of(&mask)?;
        let shapes: Vec<_> = weights.iter().map(|of| of.dims().to_vec()).collect();
        assert_eq!(shapes, [[2, 3, 3], [2, 2, 2]]);
        let sums = weights[0].sum(2)?.to_vec2::<f32>()?;
        for head in sums {
            assert!(head.iter().all(|sum| (sum - 1.0).abs() < 1e-6), "{head:?}");
        }
        assert_eq!(weights[0].get(0)?.to_vec2::<f32>()?[0], [1.0, 0.0, 0.0], "the first has one key");
        let bounded = attention_weights(&query, &key_value, None, heads, &mask, 4)?;
        assert_eq!(
            bounded.iter().map(Option::is_some).collect::<Vec<_>>(),
            [false, true],
            "of 9 and 4 pairs"
        );
        let without = weights_of(&mask_of("strict_past", &[3, 2]))?;
        assert_eq!(without[0].sum_all()?.to_scalar::<f32>()?, 0.0, "a query without keys");
        let values = inputs[1].narrow(0, 0, 3)?.narrow(1, 4, 2)?.contiguous()?; // of the first head
        let expected = weights[0].get(0)?.matmul(&values)?;
        let found = attention(&query, &key_value, None, heads, &mask)?.into_tensor();
        assert_close("output", &found.narrow(0, 0, 3)?.narrow(1, 0, 2)?.contiguous()?, &expected, 1e-5)
    }

    /// As in training on a batch whose documents have no token that a head reads.
    #[test]
    fn without_queries_every_input_gets_a_gradient_of_zeros() -> Result<()> {
        let keys = documents(&[3, 2]);
        let mask = mask("all", &Arc::new(keys.take(&[])), &keys);
        let inputs = [random(&[0, 8], 1)?, random(&[5, 16], 2)?];
        let variables = inputs.iter().map(candle_core::Var::from_tensor).collect::<Result<Vec<_>>>()?;
        for soft_cap in [None, Some(1.5)] {
            let heads = Heads { soft_cap, ..Heads::even(2, 8) };
            let values: Vec<Value> = variables.iter().zip(0..).map(|(x, i)| Value::parameter(x, i)).collect();
            let y = attention(&values[0], &values[1], None, heads, &mask)?;
            let loss = crate::ops::squared_error(&y, &[], &[])?;
            let found = crate::ops::backward(vec![(loss, 1.0)])?;
            for (place, input) in inputs.iter().enumerate() {
                let gradient = found.get(place).unwrap_or_else(|| panic!("{place}, {soft_cap:?}"));
                assert_eq!(gradient.dims(), input.dims());
                assert!(gradient.flatten_all()?.to_vec1::<f32>()?.iter().all(|x| *x == 0.0));
            }
        }
        Ok(())
    }

    #[test]
    fn great_scores_do_not_overflow() -> Result<()> {
        let mask = mask_of("all", &[5]);
        let inputs: Vec<Tensor> = inputs(5, 5, 4)?.iter().map(|t| t * 100.0).collect::<Result<_>>()?;
        let (kernel, plain) = (
            attention(&input(&inputs[0]), &input(&inputs[1]), None, Heads::even(1, 4), &mask)?,
            reference::attention(&inputs, None, Heads::even(1, 4), &mask)?,
        );
        assert_close("output", kernel.tensor(), &plain, 1e-4)
    }

    /// The bias of a key depends on its distance alone, at any length.
    #[test]
    fn slopes_have_no_greatest_distance() -> Result<()> {
        let far = 3_000_000;
        let mut keys = TokenMeta::document(&[0; 3]);
        keys.order = vec![0, far - 10, far];
        let queries = keys.take(&[2]);
        let mask = mask("all", &Arc::new(queries), &Arc::new(keys));
        let (query, mut key_value) = (vec![0.0_f32; 1], vec![0.0_f32; 6]);
        (0..3).for_each(|key| key_value[2 * key + 1] = [1e6, 1.0, 2.0][key]);
        let value = |x: Vec<f32>, d: usize| Tensor::from_vec(x, (d, 2), &candle_core::Device::Cpu);
        let (query, key_value) =
            (Tensor::from_vec(query, (1, 1), &candle_core::Device::Cpu)?, value(key_value, 3)?);
        let distances = Distances::Slopes([0.1].into());
        let bias = RelativeBias { table: None, distances: &distances };
        let heads = Heads::even(1, 1);
        let y = attention(&input(&query), &input(&key_value), Some(bias), heads, &mask)?.into_tensor();
        let weight = (-1.0_f32).exp();
        let expected = Tensor::new(&[[(weight + 2.0) / (weight + 1.0)]], &candle_core::Device::Cpu)?;
        assert_close("output", &y, &expected, 1e-6)?;
        let wrong = RelativeBias { distances: &Distances::Slopes([0.1, 0.2].into()), ..bias };
        let error = attention(&input(&query), &input(&key_value), Some(wrong), heads, &mask).unwrap_err();
        assert!(error.to_string().contains("expected 1 slopes and no table; found 2 slopes"), "{error}");
        Ok(())
    }

    #[test]
    fn shapes_that_do_not_fit_are_named() -> Result<()> {
        let mask = mask_of("all", &[3]);
        let of = |query: &[usize], key_value: &[usize], n_heads| {
            let (query, key_value) = (random(query, 1)?, random(key_value, 1)?);
            attention(&input(&query), &input(&key_value), None, Heads::even(n_heads, 4), &mask)
        };
        let error = of(&[3, 4], &[4, 8], 2).unwrap_err().to_string();
        assert!(error.contains("[4, 8]") && error.contains("(3, 3)"), "{error}");
        assert!(of(&[3, 4], &[3, 8], 3).is_err());
        assert!(of(&[3, 4], &[3, 8], 0).is_err());
        Ok(())
    }
}
