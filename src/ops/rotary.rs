//! Rotary position embedding: rotates pairs of features by angles that grow with a token's place (Su et al. 2021).
//!
//! The product of a rotated query and a rotated key depends on their distance alone. 6 FLOP for each pair and 8 bytes for
//! each element: bound by memory.

use super::autograd::{Value, apply1};
use super::from_candle::from_candle;
use super::math::{rows_in_block, vectorize};
use super::storage::{Elements, has_kernel, slice};
use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// The rotary angles of a list of tokens.
#[derive(Debug)]
pub struct Angles {
    /// `[n, d_head/2]`.
    cos: Vec<f32>,
    sin: Vec<f32>,
    n: usize,
    half: usize,
    /// Cosines and sines on the device, after the first use.
    #[cfg(feature = "cuda")]
    on_device: std::sync::OnceLock<(Tensor, Tensor)>,
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
    /// Angles place·base^(−i/half) for pair i of the `half` pairs of a head, with scaled frequencies.
    pub fn new(places: &[u32], d_head: usize, base: f64, scaling: Option<RotaryScaling>) -> Self {
        let half = d_head / 2;
        let frequency = |i: usize| libm::pow(base, -(i as f64) / half as f64);
        let scaled = |i: usize| scaling.map_or(frequency(i), |scaling| scaling.apply(frequency(i)));
        let frequencies: Vec<f64> = (0..half).map(scaled).collect();
        let angles = || places.iter().flat_map(|&p| frequencies.iter().map(move |f| f64::from(p) * f));
        let cos = angles().map(|angle| libm::cos(angle) as f32).collect();
        let sin = angles().map(|angle| libm::sin(angle) as f32).collect();
        Self::of(cos, sin, places.len(), half)
    }

    /// The angles of these rows.
    pub fn take(&self, rows: &[u32]) -> Self {
        let of = |numbers: &[f32]| {
            rows.iter().flat_map(|&row| &numbers[row as usize * self.half..][..self.half]).copied().collect()
        };
        Self::of(of(&self.cos), of(&self.sin), rows.len(), self.half)
    }

    fn of(cos: Vec<f32>, sin: Vec<f32>, n: usize, half: usize) -> Self {
        Self {
            cos,
            sin,
            n,
            half,
            #[cfg(feature = "cuda")]
            on_device: Default::default(),
        }
    }

    /// Cosines and sines, `[n·half]`, on a device; `upload` runs once for all layers.
    #[cfg(feature = "cuda")]
    pub(crate) fn uploaded(&self, upload: impl Fn(&[f32]) -> Result<Tensor>) -> Result<(Tensor, Tensor)> {
        let tensors = match self.on_device.get() {
            Some(tensors) => tensors.clone(),
            None => (upload(&self.cos)?, upload(&self.sin)?),
        };
        Ok(self.on_device.get_or_init(|| tensors).clone())
    }

    /// Pairs in a head.
    #[cfg(feature = "cuda")]
    pub(crate) fn half(&self) -> usize {
        self.half
    }

    fn d_head(&self) -> usize {
        2 * self.half
    }
}

/// Rotates the first `columns` columns of `x` `[n, width]`, head by head; the others do not change.
///
/// Feature i of a head and feature i + d_head/2 are a pair (GPT-NeoX's and Llama's order).
///
/// # Errors
/// If `x` has another number of rows than the angles, or `columns` are not whole heads.
pub fn rotary(x: &Value, columns: usize, angles: &Arc<Angles>) -> Result<Value> {
    let (n, width) = x.dims2()?;
    if n != angles.n || columns > width || angles.half == 0 || !columns.is_multiple_of(angles.d_head()) {
        bail!(
            "rotary: expected {} rows and whole heads of {}; found {columns} columns of x {:?}",
            angles.n,
            angles.d_head(),
            x.dims()
        )
    }
    #[cfg(feature = "cuda")]
    if super::cuda::has_kernel(x.tensor()) {
        return super::cuda::rotary(x, columns, angles);
    }
    match has_kernel(x.tensor()) {
        true => apply1(x, Rotary { columns, angles: angles.clone() }),
        false => from_candle(&[x], |t| reference(&t[0], columns, angles)),
    }
}

/// [`rotary`] in candle's own operations.
pub(crate) fn reference(x: &Tensor, columns: usize, angles: &Angles) -> Result<Tensor> {
    let (n, width) = x.dims2()?;
    let (d_head, half) = (angles.d_head(), angles.half);
    let numbers =
        |v: &[f32]| Tensor::from_slice(v, (n, 1, half), x.device()).and_then(|t| t.to_dtype(x.dtype()));
    let (cos, sin) = (numbers(&angles.cos)?, numbers(&angles.sin)?);
    let heads = x.narrow(1, 0, columns)?.reshape((n, columns / d_head, d_head))?;
    let (a, b) = (heads.narrow(2, 0, half)?, heads.narrow(2, half, half)?); // [n, heads, half]
    let rotated_a = (a.broadcast_mul(&cos)? - b.broadcast_mul(&sin)?)?;
    let rotated_b = (b.broadcast_mul(&cos)? + a.broadcast_mul(&sin)?)?;
    let rotated = Tensor::cat(&[rotated_a, rotated_b], 2)?.reshape((n, columns))?;
    match width - columns {
        0 => Ok(rotated),
        rest => Tensor::cat(&[rotated, x.narrow(1, columns, rest)?], 1),
    }
}

struct Rotary {
    columns: usize,
    angles: Arc<Angles>,
}

impl Rotary {
    /// The rotated rows. `sign` is 1 forward, and −1 backward, which rotates by the negative angles.
    fn apply(&self, x: &[f32], width: usize, sign: f32) -> Vec<f32> {
        let Angles { cos, sin, n, half, .. } = &*self.angles;
        let half = *half;
        let block = rows_in_block(*n, width);
        let mut y = x.to_vec();
        let angles = cos.par_chunks(block * half).zip(sin.par_chunks(block * half));
        y.par_chunks_mut(block * width).zip(angles).for_each(|(rows, (cos, sin))| {
            let angles = cos.chunks_exact(half).zip(sin.chunks_exact(half));
            vectorize(
                #[inline(always)]
                || {
                    for (row, (cos, sin)) in rows.chunks_exact_mut(width).zip(angles) {
                        for head in row[..self.columns].chunks_exact_mut(2 * half) {
                            let (a, b) = head.split_at_mut(half);
                            for (((a, b), cos), sin) in a.iter_mut().zip(b).zip(cos).zip(sin) {
                                let sin = sign * sin;
                                (*a, *b) = (*a * cos - *b * sin, *b * cos + *a * sin);
                            }
                        }
                    }
                },
            );
        });
        y
    }
}

impl CustomOp1 for Rotary {
    fn name(&self) -> &'static str {
        "rotary"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (_, width) = layout.shape().dims2()?;
        Ok((CpuStorage::F32(self.apply(slice(x, layout)?, width, 1.0)), layout.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        let dy = dy.contiguous()?;
        let dx = self.apply(&Elements::of(&dy)?, x.dim(1)?, -1.0);
        Ok(Some(Tensor::from_vec(dx, x.dims(), x.device())?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{assert_close, check_gradients, check_kernel, input, random};

    #[test]
    fn reference_has_the_right_gradients() -> Result<()> {
        let angles = Angles::new(&[0, 3, 50], 4, 100.0, None);
        check_gradients(|x| reference(&x[0], 8, &angles), &[random(&[3, 12], 1)?])
    }

    #[test]
    fn kernel_matches_the_reference() -> Result<()> {
        for (n, d_head, heads, rest) in [(0, 4, 1, 0), (1, 2, 3, 0), (5, 16, 2, 32), (300, 32, 4, 128)] {
            let places: Vec<u32> = (0..n).map(|i| i * 7 % 90).collect();
            let angles = Arc::new(Angles::new(&places, d_head, 1e4, None));
            let x = [random(&[n as usize, heads * d_head + rest], 2)?];
            let columns = heads * d_head;
            check_kernel(|x| rotary(&x[0], columns, &angles), |x| reference(&x[0], columns, &angles), &x)?;
        }
        Ok(())
    }

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
        Ok(())
    }
}
