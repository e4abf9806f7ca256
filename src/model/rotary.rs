//! The rotary positions of each layer (Su et al. 2021).

use super::config::{ModelConfig, Rotary};
use crate::ops::Angles;
use std::sync::Arc;

/// The rotary positions of the layers of a model.
pub(super) struct LayerRotary {
    d_head: usize,
    /// The distinct settings of the layers.
    distinct: Vec<Rotary>,
    /// The settings of each layer among those, or of all layers; `None` for no rotary positions.
    by_layer: Arc<[Option<usize>]>,
}

/// The rotary angles of the tokens of one pass.
#[derive(Clone)]
pub struct RotaryAngles {
    /// Those of the rows that a layer computes, and those of all tokens, for each of the distinct settings.
    distinct: Vec<[Arc<Angles>; 2]>,
    by_layer: Arc<[Option<usize>]>,
}

impl LayerRotary {
    pub fn new(config: &ModelConfig) -> Self {
        let most = config.n_layers.max(config.n_encoder_layers);
        let n_layers = if config.attention.layer_rotary.is_empty() { 1 } else { most };
        let mut distinct: Vec<Rotary> = Vec::new();
        let by_layer = (0..n_layers).map(|layer| {
            let rotary = config.rotary(layer)?;
            let known = distinct.iter().position(|known| *known == rotary);
            Some(known.unwrap_or_else(|| {
                distinct.push(rotary);
                distinct.len() - 1
            }))
        });
        let by_layer = by_layer.collect();
        Self { d_head: config.d_head(), distinct, by_layer }
    }

    /// The angles of tokens at these places in their documents.
    pub fn angles(&self, places: &[u32]) -> RotaryAngles {
        let angles = |rotary: &Rotary| {
            let width = if rotary.width == 0 { self.d_head } else { rotary.width };
            let angles = Angles::new(places, width, rotary.base, rotary.scaling).in_heads_of(self.d_head);
            let angles = Arc::new(angles);
            [angles.clone(), angles]
        };
        RotaryAngles { distinct: self.distinct.iter().map(angles).collect(), by_layer: self.by_layer.clone() }
    }
}

impl RotaryAngles {
    /// The angles of a layer's queries and of its keys; `None` if the layer has no rotary positions.
    pub fn of_layer(&self, layer: usize) -> Option<[&Arc<Angles>; 2]> {
        let number = self.by_layer[layer.min(self.by_layer.len() - 1)]?;
        Some(self.distinct[number].each_ref())
    }

    /// The angles if a layer computes these rows alone.
    pub(super) fn of_rows(&self, rows: &[u32]) -> Self {
        let taken = |[_, all]: &[Arc<Angles>; 2]| [Arc::new(all.take(rows)), all.clone()];
        Self { distinct: self.distinct.iter().map(taken).collect(), by_layer: self.by_layer.clone() }
    }
}
