//! Rows of a table by index: the embedding lookup.
//!
//! Forward moves 8 bytes for each element of the result; backward 8, and 4 for each element of the table, whose gradient
//! is dense.

mod cpu;
#[cfg(feature = "cuda")]
pub(super) mod cuda;
pub(super) mod reference;

use super::autograd::Value;
use super::dispatch::dispatch;
use super::from_candle::from_candle;
use candle_core::{Result, bail};

/// The rows of `table` `[v, d]` at the indices `rows`: `[n, d]`. Indices may repeat.
///
/// # Errors
/// If an index is not below `v`; the message names its place.
pub fn gather_rows(table: &Value, rows: &[u32]) -> Result<Value> {
    let (v, _) = table.dims2()?;
    if let Some((i, row)) = rows.iter().enumerate().find(|(_, row)| **row as usize >= v) {
        bail!("gather_rows: index {row} at place {i} is not below the table's {v} rows")
    }
    dispatch!(table.tensor();
        cuda => cuda::gather_rows(table, rows),
        cpu => cpu::gather_rows(table, rows),
        reference => from_candle(&[table], |t| reference::gather_rows(&t[0], rows)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{input, random};

    #[test]
    fn without_indices_the_result_is_empty() -> Result<()> {
        assert_eq!(gather_rows(&input(&random(&[3, 4], 1)?), &[])?.dims(), [0, 4]);
        Ok(())
    }

    #[test]
    fn an_index_out_of_range_is_named() -> Result<()> {
        let error = gather_rows(&input(&random(&[3, 4], 1)?), &[0, 3]).unwrap_err().to_string();
        assert!(error.contains("index 3 at place 1") && error.contains("3 rows"), "{error}");
        Ok(())
    }
}
