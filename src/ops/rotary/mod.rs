//! Rotary position embedding: rotates pairs of features by angles that grow with a token's place (Su et al. 2021).
//!
//! The product of a rotated query and a rotated key depends on their distance alone. 6 FLOP for each pair and 8 bytes for
//! each element: bound by memory.

mod cpu;
#[cfg(feature = "cuda")]
pub(super) mod cuda;
pub(super) mod reference;

use super::autograd::Value;
use super::dispatch::dispatch;
use super::from_candle::from_candle;
use candle_core::{Result, bail};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// The rotary angles of a list of tokens.
#[derive(Debug)]
pub struct Angles {
    /// `[n, half]`: for the pairs among the first `2·half` features of a head of `d_head`.
    cos: Vec<f32>,
    sin: Vec<f32>,
    n: usize,
    half: usize,
    d_head: usize,
    /// Cosines and sines on the device, after the first use.
    #[cfg(feature = "cuda")]
    on_device: std::sync::OnceLock<(candle_core::Tensor, candle_core::Tensor)>,
}

/// Scaling of rotary frequencies, so that a model trained on short contexts reads longer ones.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum RotaryScaling {
    /// Divide all frequencies by `factor` (Chen et al. 2023).
    Linear {
        /// The divisor.
        factor: f64,
    },
    /// Divide low frequencies by `factor`, keep high ones, and interpolate between them (Llama 3.1).
    Llama3 {
        /// The divisor.
        factor: f64,
        /// Frequencies of fewer rotations than this in the original context are low.
        low_freq_factor: f64,
        /// Frequencies of more rotations than this in the original context are high.
        high_freq_factor: f64,
        /// The context length in training before, in tokens.
        original_context: usize,
    },
}

impl RotaryScaling {
    fn apply(self, frequency: f64) -> f64 {
        match self {
            RotaryScaling::Linear { factor } => frequency / factor,
            RotaryScaling::Llama3 {
                factor,
                low_freq_factor: low,
                high_freq_factor: high,
                original_context,
            } => {
                let rotations = original_context as f64 * frequency / std::f64::consts::TAU;
                let share = ((rotations - low) / (high - low)).clamp(0.0, 1.0);
                (1.0 - share) * frequency / factor + share * frequency
            }
        }
    }
}

impl Angles {
    /// Angles place·base^(−i/half) for pair i of the `half` pairs of a head of `d_head`, with scaled frequencies.
    pub fn new(places: &[u32], d_head: usize, base: f64, scaling: Option<RotaryScaling>) -> Self {
        let half = d_head / 2;
        let frequency = |i: usize| libm::pow(base, -(i as f64) / half as f64);
        let scaled = |i: usize| scaling.map_or(frequency(i), |scaling| scaling.apply(frequency(i)));
        let frequencies: Vec<f64> = (0..half).map(scaled).collect();
        let angles = || places.iter().flat_map(|&p| frequencies.iter().map(move |f| f64::from(p) * f));
        let cos = angles().map(|angle| libm::cos(angle) as f32).collect();
        let sin = angles().map(|angle| libm::sin(angle) as f32).collect();
        Self::of(cos, sin, places.len(), half, d_head)
    }

    /// The same angles for the first features of wider heads of `d_head`, whose other features do not change.
    #[must_use]
    pub fn in_heads_of(self, d_head: usize) -> Self {
        Self { d_head, ..self }
    }

    /// The cosines, `[n, half]`.
    pub fn cos(&self) -> &[f32] {
        &self.cos
    }

    /// The sines, `[n, half]`.
    pub fn sin(&self) -> &[f32] {
        &self.sin
    }

    /// The angles of these rows.
    pub fn take(&self, rows: &[u32]) -> Self {
        let of = |numbers: &[f32]| {
            rows.iter().flat_map(|&row| &numbers[row as usize * self.half..][..self.half]).copied().collect()
        };
        Self::of(of(&self.cos), of(&self.sin), rows.len(), self.half, self.d_head)
    }

    fn of(cos: Vec<f32>, sin: Vec<f32>, n: usize, half: usize, d_head: usize) -> Self {
        Self {
            cos,
            sin,
            n,
            half,
            d_head,
            #[cfg(feature = "cuda")]
            on_device: Default::default(),
        }
    }
}

/// Rotates the first `columns` columns of `x` `[n, width]`, head by head; the others do not change.
///
/// Feature i of a head and feature i + half are a pair (GPT-NeoX's and Llama's order), where half is half the number of
/// features with angles.
///
/// # Errors
/// If `x` has another number of rows than the angles, `columns` are not whole heads, or a head has fewer features than the
/// angles.
pub fn rotary(x: &Value, columns: usize, angles: &Arc<Angles>) -> Result<Value> {
    let (n, width) = x.dims2()?;
    let Angles { half, d_head, .. } = **angles;
    let fits = half > 0 && 2 * half <= d_head && columns <= width && columns.is_multiple_of(d_head);
    if n != angles.n || !fits {
        bail!(
            "rotary: expected {} rows and whole heads of {d_head}, at least {}; found {columns} columns of x {:?}",
            angles.n,
            2 * half,
            x.dims()
        )
    }
    dispatch!(x.tensor();
        cuda => cuda::rotary(x, columns, angles),
        cpu => cpu::rotary(x, columns, angles),
        reference => from_candle(&[x], |t| reference::rotary(&t[0], columns, angles)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{assert_close, input, random};
    use candle_core::Tensor;

    #[test]
    fn products_depend_on_the_distance_alone() -> Result<()> {
        let (q, k) = (random(&[1, 8], 1)?, random(&[1, 8], 2)?);
        let product = |at_q: u32, at_k: u32| {
            let rotate = |x: &Tensor, at| {
                Ok(rotary(&input(x), 8, &Arc::new(Angles::new(&[at], 8, 1e4, None)))?.into_tensor())
            };
            let (q, k): (Result<Tensor>, Result<Tensor>) = (rotate(&q, at_q), rotate(&k, at_k));
            (q? * k?)?.sum_all()
        };
        assert_close("product", &product(5, 2)?, &product(105, 102)?, 1e-4)?;
        assert_close("not rotated", &product(9, 9)?, &(q.clone() * &k)?.sum_all()?, 1e-5)
    }

    #[test]
    fn columns_must_be_whole_heads() -> Result<()> {
        let angles = Arc::new(Angles::new(&[0, 1], 4, 1e4, None));
        assert!(rotary(&input(&random(&[2, 8], 1)?), 6, &angles).is_err());
        assert!(rotary(&input(&random(&[2, 8], 1)?), 12, &angles).is_err());
        assert!(rotary(&input(&random(&[3, 8], 1)?), 8, &angles).is_err());
        let narrow = Arc::new(Angles::new(&[0, 1], 4, 1e4, None).in_heads_of(2));
        assert!(rotary(&input(&random(&[2, 8], 1)?), 8, &narrow).is_err());
        Ok(())
    }

    #[test]
    fn the_last_features_of_wider_heads_do_not_change() -> Result<()> {
        let (x, angles) = (random(&[3, 12], 1)?, Angles::new(&[2, 5, 9], 4, 100.0, None));
        let y = rotary(&input(&x), 12, &Arc::new(angles.in_heads_of(6)))?.into_tensor();
        let whole = Arc::new(Angles::new(&[2, 5, 9], 4, 100.0, None));
        for head in [0, 6] {
            let rotated = rotary(&input(&x.narrow(1, head, 4)?.contiguous()?), 4, &whole)?;
            assert_close("rotated", &y.narrow(1, head, 4)?, rotated.tensor(), 1e-9)?;
            assert_close("others", &y.narrow(1, head + 4, 2)?, &x.narrow(1, head + 4, 2)?, 1e-9)?;
        }
        Ok(())
    }
}
