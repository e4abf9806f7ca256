//! In candle's own operations.

use candle_core::{Result, Tensor};
use std::ops::Range;

/// [`mean_rows`](super::mean_rows()).
pub(crate) fn mean_rows(x: &Tensor, ranges: &[Range<usize>]) -> Result<Tensor> {
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
