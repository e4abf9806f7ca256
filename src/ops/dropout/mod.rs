//! Dropout whose mask is a hash of a seed, a row's key and a column.
//!
//! Forward and backward compute the hash anew, so no mask is stored, and a token has the same mask in any batch. 8 bytes
//! and about 10 integer operations an element.

mod cpu;
#[cfg(feature = "cuda")]
pub(super) mod cuda;
pub(super) mod reference;

use super::autograd::Value;
use super::dispatch::dispatch;
use super::from_candle::from_candle;
use candle_core::{Result, bail};

/// Zeroes each element of `x` `[n, d]` with probability `rate` and divides the others by 1 − `rate`.
///
/// `rows[i]` is the key of row `i`: equal (`seed`, key) give equal masks.
///
/// # Errors
/// If the rate is outside `0..1`, or the number of keys is not `n`.
pub fn dropout(x: &Value, rate: f32, seed: u64, rows: &[u64]) -> Result<Value> {
    let (n, _) = x.dims2()?;
    if rows.len() != n {
        bail!("dropout: expected {n} row keys for x {:?}, found {}", x.dims(), rows.len())
    }
    if !(0.0..1.0).contains(&rate) {
        bail!("dropout: expected a rate in 0..1, found {rate}")
    }
    if rate == 0.0 {
        return Ok(x.clone());
    }
    dispatch!(x.tensor();
        cuda => cuda::dropout(x, rate, seed, rows),
        cpu => cpu::dropout(x, rate, seed, rows),
        reference => from_candle(&[x], |t| reference::dropout(&t[0], rate, seed, rows)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{input, random};
    use candle_core::{DType, Device, Tensor};

    /// The mask of `n` rows of `d` as 0 and 1.
    fn mask(n: usize, d: usize, rate: f32, seed: u64, first: u64) -> Result<Vec<f64>> {
        let rows: Vec<u64> = (first..first + n as u64).collect();
        let ones = Tensor::ones((n, d), DType::F32, &Device::Cpu)?;
        let y = dropout(&input(&ones), rate, seed, &rows)?.tensor().flatten_all()?.to_vec1::<f32>()?;
        Ok(y.iter().map(|&y| if y > 0.0 { 1.0 } else { 0.0 }).collect())
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
