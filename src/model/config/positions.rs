//! The settings of positions.

use crate::ops::RotaryScaling;
use serde::{Deserialize, Serialize};

/// Position and time embeddings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Positions {
    /// A learned table for each axis.
    Learned,
    /// One learned table for each kind: a vector for each combination of its axes' positions, as in ViT.
    Grid,
    /// Sines and cosines of each axis (Vaswani et al. 2017).
    Sinusoidal,
    /// None.
    None,
}

/// Rotary position embedding (Su et al. 2021).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Rotary {
    /// Pair i of a head's features is rotated by place·base^(−2i/width).
    pub base: f64,
    /// Number of a head's features that are rotated, the first; 0 for all.
    pub width: usize,
    /// How the angles are scaled for longer contexts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scaling: Option<RotaryScaling>,
}

/// Rotary positions of some layers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RotaryOfLayers {
    /// Their rotary positions.
    #[serde(default)]
    pub rotary: Rotary,
    /// The layers of their transformer, counted from 0.
    pub layers: Vec<usize>,
}

impl Default for Rotary {
    fn default() -> Self {
        Self { base: 1e4, width: 0, scaling: None }
    }
}

/// Biases of attention scores by distance (Raffel et al. 2020).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RelativePositions {
    /// Number of buckets of distances; each has a bias for each head.
    pub buckets: usize,
    /// All larger distances share a bucket.
    pub max_distance: usize,
    /// Whether the main transformer has buckets for earlier keys only; an encoder has them for both directions.
    pub causal: bool,
}

impl Default for RelativePositions {
    fn default() -> Self {
        Self { buckets: 32, max_distance: 128, causal: true }
    }
}
