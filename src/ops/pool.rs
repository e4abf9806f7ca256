//! The mean of rows, for heads that pool.
//!
//! Forward reads 4 bytes an element, backward writes 4: bound by memory.

use super::autograd::{Value, apply1};
use super::from_candle::from_candle;
use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;
use std::ops::Range;

use super::math::{add, rows_in_block, vectorize};
use super::storage::{Elements, has_kernel, slice};

/// The mean of the rows of `x` `[n, d]` in each range, `[ranges, d]`; zeros for an empty range.
///
/// Ranges may overlap.
///
/// # Errors
/// If a range does not lie within the `n` rows; the message names it.
pub fn mean_rows(x: &Value, ranges: &[Range<usize>]) -> Result<Value> {
    let (n, d) = x.dims2()?;
    if let Some((i, range)) = ranges.iter().enumerate().find(|(_, r)| r.start > r.end || r.end > n) {
        bail!("mean_rows: range {i} is {range:?}; expected a range within the {n} rows")
    }
    match has_kernel(x.tensor()) {
        true => apply1(x, MeanRows { d, ranges: ranges.to_vec() }),
        false => from_candle(&[x], |t| reference(&t[0], ranges)),
    }
}

/// [`mean_rows`] in candle's own operations.
pub(crate) fn reference(x: &Tensor, ranges: &[Range<usize>]) -> Result<Tensor> {
    let device = x.device();
    let rows: Vec<u32> = ranges.iter().flat_map(|range| range.start as u32..range.end as u32).collect();
    let zeros = Tensor::zeros((ranges.len(), x.dim(1)?), x.dtype(), device)?;
    if rows.is_empty() {
        return Ok(zeros);
    }
    let each = || (0..).zip(ranges).flat_map(|(i, range)| std::iter::repeat_n((i, range.len()), range.len()));
    let shares: Vec<f32> = each().map(|(_, len): (u32, usize)| 1.0 / len as f32).collect();
    let shares = Tensor::new(shares, device)?.to_dtype(x.dtype())?.unsqueeze(1)?; // [rows, 1]
    let results = Tensor::new(each().map(|(i, _)| i).collect::<Vec<u32>>(), device)?;
    let read = x.contiguous()?.index_select(&Tensor::new(rows, device)?, 0)?; // [rows, d]
    zeros.index_add(&results, &read.broadcast_mul(&shares)?, 0)
}

struct MeanRows {
    d: usize,
    ranges: Vec<Range<usize>>,
}

impl CustomOp1 for MeanRows {
    fn name(&self) -> &'static str {
        "mean_rows"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (x, d) = (slice(x, layout)?, self.d);
        let mut y = vec![0.0; self.ranges.len() * d];
        y.par_chunks_mut(d.max(1)).zip(&self.ranges).for_each(|(y, range)| {
            vectorize(
                #[inline(always)]
                || {
                    x[range.start * d..range.end * d].chunks_exact(d).for_each(|row| add(y, row));
                    let share = 1.0 / range.len().max(1) as f32;
                    y.iter_mut().for_each(|y| *y *= share);
                },
            )
        });
        Ok((CpuStorage::F32(y), Shape::from((self.ranges.len(), d))))
    }

    /// A task owns some rows and goes through the ranges in order, so that each sum has a fixed order.
    fn bwd(&self, x: &Tensor, _: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        let (dy, (n, d)) = (dy.contiguous()?, x.dims2()?);
        let dy = &*Elements::of(&dy)?;
        let block = rows_in_block(n, d);
        let mut dx = vec![0.0; n * d];
        dx.par_chunks_mut((block * d).max(1)).enumerate().for_each(|(i, dx)| {
            let (first, end) = (i * block, i * block + dx.len() / d);
            vectorize(
                #[inline(always)]
                || {
                    for (range, dy) in self.ranges.iter().zip(dy.chunks_exact(d)) {
                        let share = 1.0 / range.len().max(1) as f32;
                        for row in range.start.max(first)..range.end.min(end) {
                            let dx = &mut dx[(row - first) * d..][..d];
                            dx.iter_mut().zip(dy).for_each(|(dx, &dy)| *dx += share * dy);
                        }
                    }
                },
            )
        });
        Ok(Some(Tensor::from_vec(dx, (n, d), x.device())?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{check_gradients, check_kernel, input, random};
    use candle_core::Device;

    #[test]
    fn reference_has_the_right_gradients() -> Result<()> {
        check_gradients(|x| reference(&x[0], &[0..2, 3..3, 1..5, 1..5]), &[random(&[6, 3], 1)?])
    }

    #[test]
    #[allow(clippy::single_range_in_vec_init)] // one range of rows
    fn kernel_matches_the_reference() -> Result<()> {
        let apart = |n: usize, each: usize| (0..n / each).map(|i| i * each..(i + 1) * each).collect();
        for (n, d, ranges) in [
            (1, 1, vec![0..1]),
            (7, 3, vec![0..3, 3..7]),
            (9, 5, vec![2..9, 0..4, 4..4, 0..4]),
            (3000, 33, apart(3000, 50)),
        ] {
            let x = [random(&[n, d], 1)?];
            check_kernel(|x| mean_rows(&x[0], &ranges), |x| reference(&x[0], &ranges), &x)?;
        }
        Ok(())
    }

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
