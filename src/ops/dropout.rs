//! Dropout whose mask is a hash of a seed, a row's key and a column.
//!
//! Forward and backward compute the hash anew, so no mask is stored, and a token has the same mask in any batch. 8 bytes
//! and about 10 integer operations an element.

use super::autograd::{Value, apply1};
use super::from_candle::from_candle;
use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

use super::math::{rows_in_block, vectorize};
use super::storage::{Elements, has_kernel, slice};

/// Zeroes each element of `x` `[n, d]` with probability `rate` and divides the others by 1 − `rate`.
///
/// `rows[i]` is the key of row `i`: equal (`seed`, key) give equal masks.
///
/// # Errors
/// If the rate is outside `0..1`, or the number of keys is not `n`.
pub fn dropout(x: &Value, rate: f32, seed: u64, rows: &[u64]) -> Result<Value> {
    let (n, d) = x.dims2()?;
    if rows.len() != n {
        bail!("dropout: expected {n} row keys for x {:?}, found {}", x.dims(), rows.len())
    }
    if !(0.0..1.0).contains(&rate) {
        bail!("dropout: expected a rate in 0..1, found {rate}")
    }
    if rate == 0.0 {
        return Ok(x.clone());
    }
    #[cfg(feature = "cuda")]
    if super::cuda::has_kernel(x.tensor()) {
        return super::cuda::dropout(x, rate, seed, rows);
    }
    let dropout = Dropout { rate, seed, rows: rows.to_vec() };
    match has_kernel(x.tensor()) {
        true => apply1(x, dropout),
        false => from_candle(&[x], |t| reference(&t[0], d, &dropout)),
    }
}

/// [`dropout`] in candle's own operations, with the kernel's mask.
fn reference(x: &Tensor, d: usize, dropout: &Dropout) -> Result<Tensor> {
    let mask = dropout.apply(&vec![1.0; dropout.rows.len() * d], d);
    let mask = Tensor::from_vec(mask, x.dims(), x.device())?.to_dtype(x.dtype())?;
    x * mask
}

struct Dropout {
    rate: f32,
    seed: u64,
    rows: Vec<u64>,
}

impl Dropout {
    /// The masked and scaled `x`, for both forward and backward.
    fn apply(&self, x: &[f32], d: usize) -> Vec<f32> {
        let block = rows_in_block(self.rows.len(), d);
        let (d, scale) = (d.max(1), 1.0 / (1.0 - self.rate));
        // Hashes below this number are dropped.
        let dropped = (f64::from(self.rate) * 2.0_f64.powi(32)) as u32;
        let mut y = vec![0.0; x.len()];
        let rows = self.rows.par_chunks(block);
        y.par_chunks_mut(block * d).zip(x.par_chunks(block * d)).zip(rows).for_each(|((y, x), rows)| {
            vectorize(
                #[inline(always)]
                || {
                    for ((y, x), &row) in y.chunks_exact_mut(d).zip(x.chunks_exact(d)).zip(rows) {
                        let key = row_key(self.seed, row);
                        for ((y, &x), column) in y.iter_mut().zip(x).zip(0..) {
                            *y = if hash(key, column) < dropped { 0.0 } else { x * scale };
                        }
                    }
                },
            )
        });
        y
    }
}

/// Hashes a seed and a row's key to two words (the finaliser of SplitMix64, twice).
fn row_key(seed: u64, row: u64) -> (u32, u32) {
    let mix = |mut z: u64| {
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    };
    let key = mix(mix(seed.wrapping_add(0x9E37_79B9_7F4A_7C15)) ^ row);
    (key as u32, (key >> 32) as u32)
}

/// Hashes a column to a uniform word: the finaliser of MurmurHash3, in 32-bit arithmetic for vector units. The key is
/// added between the rounds, because otherwise two rows would have the same sequence, shifted.
#[inline(always)]
fn hash(key: (u32, u32), column: u32) -> u32 {
    let mut h = column.wrapping_mul(0x9E37_79B1) ^ key.0;
    h = (h ^ (h >> 16)).wrapping_mul(0x85EB_CA6B).wrapping_add(key.1);
    h = (h ^ (h >> 13)).wrapping_mul(0xC2B2_AE35);
    h ^ (h >> 16)
}

impl CustomOp1 for Dropout {
    fn name(&self) -> &'static str {
        "dropout"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (_, d) = layout.shape().dims2()?;
        Ok((CpuStorage::F32(self.apply(slice(x, layout)?, d)), layout.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        let dy = dy.contiguous()?;
        let dx = self.apply(&Elements::of(&dy)?, x.dim(1)?);
        Ok(Some(Tensor::from_vec(dx, x.dims(), x.device())?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{check_gradients, check_kernel, input, random};
    use candle_core::{DType, Device};

    fn reference_of(x: &Tensor, rate: f32, seed: u64, rows: &[u64]) -> Result<Tensor> {
        reference(x, x.dim(1)?, &Dropout { rate, seed, rows: rows.to_vec() })
    }

    /// The mask of `n` rows of `d` as 0 and 1.
    fn mask(n: usize, d: usize, rate: f32, seed: u64, first: u64) -> Result<Vec<f64>> {
        let rows: Vec<u64> = (first..first + n as u64).collect();
        let ones = Tensor::ones((n, d), DType::F32, &Device::Cpu)?;
        let y = dropout(&input(&ones), rate, seed, &rows)?.tensor().flatten_all()?.to_vec1::<f32>()?;
        Ok(y.iter().map(|&y| if y > 0.0 { 1.0 } else { 0.0 }).collect())
    }

    #[test]
    fn reference_has_the_right_gradients() -> Result<()> {
        check_gradients(|x| reference_of(&x[0], 0.3, 7, &[5, 1, 9]), &[random(&[3, 6], 1)?])
    }

    #[test]
    fn kernel_matches_the_reference() -> Result<()> {
        for (n, d) in [(0, 3), (1, 1), (1, 200), (5, 33), (130, 65)] {
            let rows: Vec<u64> = (0..n as u64).map(|i| i * i + 3).collect();
            let x = [random(&[n, d], 1)?];
            check_kernel(|x| dropout(&x[0], 0.4, 7, &rows), |x| reference_of(&x[0], 0.4, 7, &rows), &x)?;
        }
        Ok(())
    }

    #[test]
    fn a_row_has_the_same_mask_at_any_place() -> Result<()> {
        let x = Tensor::ones((3, 50), DType::F32, &Device::Cpu)?;
        let rows = |keys: &[u64; 3]| dropout(&input(&x), 0.5, 11, keys)?.tensor().to_vec2::<f32>();
        let (a, b) = (rows(&[1, 2, 3])?, rows(&[3, 1, 1])?);
        assert_eq!((&a[0], &a[0], &a[2]), (&b[1], &b[2], &b[0]));
        assert!(a[0] != a[1]);
        Ok(())
    }

    #[test]
    fn the_share_of_dropped_elements_is_the_rate() -> Result<()> {
        for rate in [0.01, 0.1, 0.5, 0.9] {
            let mask = mask(1000, 256, rate, 3, 0)?;
            let (n, kept) = (mask.len() as f64, 1.0 - f64::from(rate));
            let deviation = (kept * (1.0 - kept) / n).sqrt();
            let mean = mask.iter().sum::<f64>() / n;
            assert!((mean - kept).abs() < 4.0 * deviation, "expected {kept}; found {mean}");
        }
        Ok(())
    }

    #[test]
    fn masks_of_neighbours_are_uncorrelated() -> Result<()> {
        let (n, d) = (512, 512);
        let base = mask(n, d, 0.5, 3, 0)?;
        let shifted = |by: usize| [&base[by..], &base[..by]].concat();
        let others = [
            shifted(1),
            shifted(2),
            shifted(d),
            shifted(d + 1),
            mask(n, d, 0.5, 4, 0)?,
            mask(n, d, 0.5, 3, 1 << 32)?,
        ];
        for (i, other) in others.iter().enumerate() {
            let product = base.iter().zip(other).map(|(a, b)| (2.0 * a - 1.0) * (2.0 * b - 1.0)).sum::<f64>();
            let correlation = product / base.len() as f64;
            assert!(correlation.abs() < 4.0 / (base.len() as f64).sqrt(), "case {i}: {correlation}");
        }
        Ok(())
    }

    #[test]
    fn rates_and_keys_are_checked() -> Result<()> {
        let x = random(&[2, 3], 1)?;
        assert!(dropout(&input(&x), 1.0, 0, &[1, 2]).is_err());
        assert!(dropout(&input(&x), f32::NAN, 0, &[1, 2]).is_err());
        assert!(dropout(&input(&x), -0.1, 0, &[1, 2]).is_err());
        assert!(dropout(&input(&x), 0.5, 0, &[1]).is_err());
        assert_eq!(dropout(&input(&x), 0.0, 0, &[1, 2])?.tensor().to_vec2::<f32>()?, x.to_vec2::<f32>()?);
        Ok(())
    }
}
