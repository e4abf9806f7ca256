//! The mean of rows, for heads that pool.
//!
//! Forward reads 4 bytes an element, backward writes 4: bound by memory.

mod cpu;
pub(super) mod reference;

use super::autograd::Value;
use super::dispatch::dispatch;
use super::from_candle::from_candle;
use candle_core::{Result, bail};
use std::ops::Range;

/// The mean of the rows of `x` `[n, d]` in each range, `[ranges, d]`; zeros for an empty range.
///
/// Ranges may overlap.
///
/// # Errors
/// If a range does not lie within the `n` rows; the message names it.
pub fn mean_rows(x: &Value, ranges: &[Range<usize>]) -> Result<Value> {
    let (n, _) = x.dims2()?;
    if let Some((i, range)) = ranges.iter().enumerate().find(|(_, r)| r.start > r.end || r.end > n) {
        bail!("mean_rows: range {i} is {range:?}; expected a range within the {n} rows")
    }
    dispatch!(x.tensor();
        cpu => cpu::mean_rows(x, ranges),
        reference => from_candle(&[x], |t| reference::mean_rows(&t[0], ranges)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{input, random};
    use candle_core::{Device, Tensor};

    #[test]
    fn means_match_values_by_hand() -> Result<()> {
        let x = Tensor::new(&[[1_f32, 10.0], [3.0, 30.0], [5.0, 50.0]], &Device::Cpu)?;
        let means = mean_rows(&input(&x), &[0..2, 2..3, 1..1])?.into_tensor().to_vec2::<f32>()?;
        assert_eq!(means, [[2.0, 20.0], [5.0, 50.0], [0.0, 0.0]]);
        assert_eq!(mean_rows(&input(&x), &[])?.dims(), [0, 2]);
        assert_eq!(mean_rows(&input(&random(&[0, 2], 1)?), &[0..0, 0..0])?.dims(), [2, 2]);
        Ok(())
    }

    #[test]
    fn a_range_beyond_the_rows_is_named() -> Result<()> {
        let error = mean_rows(&input(&random(&[3, 4], 1)?), &[0..3, 2..4]).unwrap_err().to_string();
        assert!(error.contains("range 1 is 2..4") && error.contains("3 rows"), "{error}");
        Ok(())
    }
}
