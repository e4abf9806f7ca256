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

impl Rotary {
    /// Check that all angles are numbers. The error is the name of the setting below `[model.attention.rotary]`, and what was
    /// expected and found.
    ///
    /// # Errors
    /// If the base is not above 1, or a number of the scaling is out of its range.
    pub(crate) fn check(&self) -> Result<(), (&'static str, String)> {
        let Self { base, scaling, .. } = *self;
        let refuse = |setting, expected: &str, found: f64| {
            Err((setting, format!("expected {expected}; found {found}")))
        };
        if !(base > 1.0 && base.is_finite()) {
            return refuse("base", "a number above 1", base);
        }
        let Some(RotaryScaling::Linear { factor } | RotaryScaling::Llama3 { factor, .. }) = scaling else {
            return Ok(());
        };
        if !(1e-6..=1e6).contains(&factor) {
            return refuse("factor", "0.000001 to 1000000", factor);
        }
        let Some(RotaryScaling::Llama3 { low_freq_factor, high_freq_factor, original_context, .. }) = scaling
        else {
            return Ok(());
        };
        if !(low_freq_factor > 0.0 && low_freq_factor.is_finite()) {
            return refuse("low_freq_factor", "a positive number", low_freq_factor);
        }
        if !(high_freq_factor > low_freq_factor && high_freq_factor.is_finite()) {
            let expected = format!("more than low_freq_factor, {low_freq_factor}");
            return refuse("high_freq_factor", &expected, high_freq_factor);
        }
        if !(1..=1 << 31).contains(&original_context) {
            return refuse("original_context", "1 to 2147483648 tokens", original_context as f64);
        }
        Ok(())
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scaling_without_angles_is_an_error() {
        let of = |scaling| Rotary { scaling: Some(scaling), ..Rotary::default() }.check();
        let llama = |factor, low, high, original_context| {
            let scaling = RotaryScaling::Llama3 {
                factor,
                low_freq_factor: low,
                high_freq_factor: high,
                original_context,
            };
            of(scaling)
        };
        assert!(Rotary::default().check().is_ok() && llama(8.0, 1.0, 4.0, 8192).is_ok());
        for factor in [0.0, -2.0, f64::NAN, f64::INFINITY, 1e-300] {
            assert_eq!(of(RotaryScaling::Linear { factor }).unwrap_err().0, "factor");
            assert_eq!(llama(factor, 1.0, 4.0, 8192).unwrap_err().0, "factor");
            assert_eq!(Rotary { base: factor, ..Rotary::default() }.check().unwrap_err().0, "base");
        }
        assert_eq!(llama(8.0, 0.0, 4.0, 8192).unwrap_err().0, "low_freq_factor");
        assert_eq!(llama(8.0, 4.0, 4.0, 8192).unwrap_err().0, "high_freq_factor");
        assert_eq!(llama(8.0, 1.0, f64::NAN, 8192).unwrap_err().0, "high_freq_factor");
        assert_eq!(llama(8.0, 1.0, 4.0, 0).unwrap_err().0, "original_context");
    }
}
