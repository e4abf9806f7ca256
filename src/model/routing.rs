//! The routing of a training batch to experts: the share of its load-balance losses, and the load that was found.

use super::Model;
use candle_core::Tensor;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The routing of one micro-batch.
#[derive(Debug)]
pub struct Routing {
    /// The micro-batch's share of the tokens of a step.
    share: f64,
    /// By the prefix of the parameters' names. A block that is computed again in the backward pass finds the same load.
    layers: Mutex<BTreeMap<String, LayerLoad>>,
}

/// The load of the experts of one block.
#[derive(Clone, Debug)]
pub struct LayerLoad {
    /// The load-balance loss: a scalar, 1 for an even load.
    pub loss: Tensor,
    /// The number of tokens that chose each expert.
    pub tokens: Vec<usize>,
}

impl Routing {
    /// The routing of a micro-batch with this share of the tokens of a step: the factor of its load-balance losses.
    pub fn new(share: f64) -> Self {
        Self { share, layers: Mutex::default() }
    }

    /// The micro-batch's share of the tokens of a step.
    pub fn share(&self) -> f64 {
        self.share
    }

    /// The load of each block with experts that the micro-batch has passed, by the prefix of its parameters' names
    /// (`stack.blocks.1.mlp`).
    pub fn layers(&self) -> BTreeMap<String, LayerLoad> {
        self.lock().clone()
    }

    pub(super) fn record(&self, name: &str, load: LayerLoad) {
        self.lock().insert(name.into(), load);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, LayerLoad>> {
        self.layers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Model {
    /// The routing of a micro-batch with this share of the tokens of a step; `None` for a model without experts.
    pub fn routing(&self, share: f64) -> Option<Arc<Routing>> {
        (self.config.mlp.experts > 0).then(|| Arc::new(Routing::new(share)))
    }

    /// The blocks with experts, by the prefix of their parameters' names, in the order of the forward pass.
    pub fn expert_layers(&self) -> Vec<&str> {
        let stacks = self.encoder.iter().chain([&self.transformer]);
        stacks.flat_map(|stack| stack.expert_layers()).collect()
    }

    /// The names of the parameters of the experts that no token of a micro-batch has chosen, in blocks that have computed tokens.
    pub fn unreached_experts(&self, routing: &Routing) -> BTreeSet<&str> {
        let mut idle = BTreeSet::new();
        let layers = routing.layers().into_iter().filter(|(_, load)| load.tokens.iter().any(|n| *n > 0));
        for (name, load) in layers {
            for (expert, _) in load.tokens.iter().enumerate().filter(|(_, tokens)| **tokens == 0) {
                let prefix = format!("{name}.experts.{expert}.");
                idle.extend(
                    self.params.iter().map(|(name, _)| name).filter(|name| name.starts_with(&prefix)),
                );
            }
        }
        idle
    }
}
