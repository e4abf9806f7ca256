//! In candle's own operations.

use candle_core::{Result, Tensor};

/// [`gather_rows`](super::gather_rows()).
pub(crate) fn gather_rows(table: &Tensor, rows: &[u32]) -> Result<Tensor> {
    table.contiguous()?.index_select(&Tensor::from_slice(rows, rows.len(), table.device())?, 0)
}
