//! Retrieval from a memory: each query also attends to the most similar of its earlier keys beyond the attention mask (Wu et al.
//! 2022: Memorizing Transformers).
//!
//! Forward reads every key of the memory once for each query and head, to choose; what follows is proportional to the number of
//! chosen keys.

pub(super) mod reference;
mod select;

use super::attention::Heads;
use super::autograd::Value;
use super::from_candle::from_candle;
use crate::rules::AttentionMask;
use candle_core::{Result, bail};
use std::sync::Arc;

/// The keys that a query may retrieve.
#[derive(Clone, Debug)]
pub struct Memory {
    /// The mask of the layer's attention, whose keys are not in the memory.
    pub attended: Arc<AttentionMask>,
    /// The mask of all keys that the memory may have; of these, a query has those before it.
    pub allowed: Arc<AttentionMask>,
    /// The number of the latest keys that the memory of a query has.
    pub size: usize,
    /// The number of keys that each head of a query attends to.
    pub top_k: usize,
}

/// Mixes `attended` `[n, n_heads·d_head]`, the output of attention, with attention of each head of `query` to the `top_k` keys of
/// its memory with the highest scores: (1 − σ(gate))·attended + σ(gate)·retrieved. `gate` is `[n_heads]`; a query without memory
/// keeps `attended`.
///
/// `query` `[n, n_heads·d_head]` and `key_value` `[m, 2·n_kv_heads·d_head]` are those of the attention. There is no gradient for
/// keys and values.
///
/// # Errors
/// If shapes differ from those of the masks or the heads.
pub fn retrieve(
    query: &Value,
    key_value: &Value,
    attended: &Value,
    gate: &Value,
    heads: Heads,
    memory: &Memory,
) -> Result<Value> {
    let (n, m) = memory.attended.shape();
    let (d_query, d_key_value) = (query.dims2()?.1, key_value.dims2()?.1);
    let expected = [&[n, d_query][..], &[n, d_query], &[heads.n_heads]];
    let found = [query.dims(), attended.dims(), gate.dims()];
    let d_head = d_query / heads.n_heads.max(1);
    let fits = key_value.dims() == [m, 2 * heads.n_kv_heads * d_head] && memory.allowed.shape() == (n, m);
    if expected != found || !fits {
        bail!(
            "retrieve: expected query, attended and gate {expected:?} and {m} keys and values of {} heads; found {found:?} and \
             [{}, {d_key_value}]",
            heads.n_kv_heads,
            key_value.dims2()?.0
        );
    }
    let memory = memory.clone();
    let key_value = key_value.tensor().detach();
    from_candle(&[query, attended, gate], move |t| reference::retrieve(t, &key_value, heads, &memory))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{input, random};
    use crate::rules::{AttentionRules, TokenMeta};
    use candle_core::{Device, Tensor};

    fn memory(n: usize, size: usize, top_k: usize) -> Memory {
        let tokens = Arc::new(TokenMeta::document(&vec![0; n]));
        let mask = |rule: &str| {
            let rules = Arc::new(AttentionRules::uniform(["token"], rule.parse().unwrap()));
            Arc::new(AttentionMask::new(rules, tokens.clone(), tokens.clone()))
        };
        Memory { attended: mask("causal & near(1, order)"), allowed: mask("causal"), size, top_k }
    }

    /// Keys 1, 2, 3, … and values 10, 20, 30, …: the largest key in the memory has the highest score.
    fn retrieved(size: usize, top_k: usize) -> Result<Vec<f32>> {
        let key_value = [[1_f32, 10.0], [4.0, 40.0], [2.0, 20.0], [3.0, 30.0], [5.0, 50.0], [6.0, 60.0]];
        let key_value = input(&Tensor::new(&key_value, &Device::Cpu)?);
        let query = input(&Tensor::full(100_f32, (6, 1), &Device::Cpu)?);
        let attended = input(&Tensor::full(7_f32, (6, 1), &Device::Cpu)?);
        let gate = input(&Tensor::full(50_f32, 1, &Device::Cpu)?);
        let heads = Heads { n_heads: 1, n_kv_heads: 1, scale: 1.0, soft_cap: None };
        let y = retrieve(&query, &key_value, &attended, &gate, heads, &memory(6, size, top_k))?;
        y.into_tensor().flatten_all()?.to_vec1()
    }

    #[test]
    fn a_query_retrieves_the_most_similar_earlier_key_beyond_its_window() -> Result<()> {
        assert_eq!(retrieved(9, 1)?, [7.0, 7.0, 10.0, 40.0, 40.0, 40.0], "the first two have no memory");
        assert_eq!(retrieved(9, 3)?, [7.0, 7.0, 10.0, 40.0, 40.0, 40.0], "scores decide among the retrieved");
        assert_eq!(retrieved(1, 1)?, [7.0, 7.0, 10.0, 40.0, 20.0, 30.0], "the latest key alone");
        Ok(())
    }

    #[test]
    fn other_shapes_are_errors() -> Result<()> {
        let value = |shape: &[usize]| random(shape, 1).map(Value::constant);
        let (query, key_value) = (value(&[4, 6])?, value(&[4, 12])?);
        let heads = Heads::even(2, 6);
        let of = |gate: usize, n: usize| {
            retrieve(&query, &key_value, &value(&[n, 6])?, &value(&[gate])?, heads, &memory(4, 9, 2))
        };
        assert!(of(2, 4).is_ok() && of(3, 4).is_err() && of(2, 3).is_err());
        Ok(())
    }
}
