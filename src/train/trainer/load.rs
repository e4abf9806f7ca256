//! The load of experts in one step.

use crate::model::{Model, Routing};
use crate::train::{Ranks, RanksError};
use candle_core::{DType, Result, Tensor};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The load of one rank's micro-batches.
pub(super) struct StepLoad {
    /// The number of tokens that chose each expert, of each block in the order of the forward pass.
    tokens: Vec<(String, Vec<f64>)>,
    /// The sum of the blocks' load-balance losses, a scalar; `None` without experts.
    loss: Option<Tensor>,
    /// The weight of a load-balance loss.
    weight: f64,
}

/// The load of all ranks.
#[derive(Default)]
pub(super) struct Load {
    /// The mean load-balance loss of the blocks.
    pub(super) load_balance: Option<f64>,
    /// The weighted sum of the blocks' load-balance losses.
    pub(super) weighted: f64,
    /// The share of each expert in the choices of the tokens, by block.
    pub(super) shares: BTreeMap<String, Vec<f64>>,
}

impl StepLoad {
    /// The load of these micro-batches.
    pub(super) fn new<'a>(model: &Model, routings: impl Iterator<Item = &'a Arc<Routing>>) -> Result<Self> {
        let (experts, weight) = (model.config().mlp.experts, model.config().mlp.load_balance);
        let mut tokens: Vec<_> =
            model.expert_layers().into_iter().map(|name| (name.to_string(), vec![0.0; experts])).collect();
        if tokens.is_empty() {
            return Ok(Self { tokens, loss: None, weight });
        }
        let mut loss = Tensor::zeros((), DType::F32, model.device())?;
        for routing in routings {
            let mut layers = routing.layers();
            for (name, counts) in &mut tokens {
                let Some(load) = layers.remove(name.as_str()) else { continue };
                loss = (loss + (load.loss * routing.share())?)?;
                counts.iter_mut().zip(load.tokens).for_each(|(sum, n)| *sum += n as f64);
            }
        }
        Ok(Self { tokens, loss: Some(loss), weight })
    }

    /// The sum of the blocks' load-balance losses on the device.
    pub(super) fn loss(&self) -> Option<&Tensor> {
        self.loss.as_ref()
    }

    /// The load of all ranks; takes the loss, which has been read back, from the end of `numbers`.
    pub(super) fn reduce(
        self,
        numbers: &mut Vec<f64>,
        ranks: &dyn Ranks,
    ) -> std::result::Result<Load, RanksError> {
        if self.loss.is_none() {
            return Ok(Load::default());
        }
        let is_empty = numbers.is_empty(); // no target counts in the step, on any rank
        let mut sums = vec![numbers.pop().unwrap_or_default()];
        sums.extend(self.tokens.iter().flat_map(|(_, counts)| counts));
        ranks.all_reduce_f64(&mut sums)?;
        let (loss, mut rest) = (sums[0], &sums[1..]);
        let blocks = self.tokens.len() as f64;
        let mut shares = BTreeMap::new();
        for (name, counts) in self.tokens {
            let (counts, others) = rest.split_at(counts.len());
            let total: f64 = counts.iter().sum();
            shares.insert(name, counts.iter().map(|n| n / total.max(1.0)).collect());
            rest = others;
        }
        Ok(match is_empty {
            true => Load { shares, ..Load::default() },
            false => Load { load_balance: Some(loss / blocks), weighted: self.weight * loss, shares },
        })
    }
}
