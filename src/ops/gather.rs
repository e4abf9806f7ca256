//! Rows of a table by index: the embedding lookup.
//!
//! Forward moves 8 bytes for each element of the result; backward 8, and 4 for each element of the table, whose gradient
//! is dense.

use super::autograd::{Value, apply1};
use super::from_candle::from_candle;
use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

use super::math::{add, rows_in_block, vectorize};
use super::storage::{Elements, has_kernel, slice};

/// The rows of `table` `[v, d]` at the indices `rows`: `[n, d]`. Indices may repeat.
///
/// # Errors
/// If an index is not below `v`; the message names its place.
pub fn gather_rows(table: &Value, rows: &[u32]) -> Result<Value> {
    let (v, d) = table.dims2()?;
    if let Some((i, row)) = rows.iter().enumerate().find(|(_, row)| **row as usize >= v) {
        bail!("gather_rows: index {row} at place {i} is not below the table's {v} rows")
    }
    #[cfg(feature = "cuda")]
    if super::cuda::has_kernel(table.tensor()) {
        return super::cuda::gather_rows(table, rows);
    }
    match has_kernel(table.tensor()) {
        true => apply1(table, GatherRows { d, rows: rows.to_vec() }),
        false => from_candle(&[table], |t| reference(&t[0], rows)),
    }
}

/// [`gather_rows`] in candle's own operations.
pub(crate) fn reference(table: &Tensor, rows: &[u32]) -> Result<Tensor> {
    table.contiguous()?.index_select(&Tensor::from_slice(rows, rows.len(), table.device())?, 0)
}

struct GatherRows {
    d: usize,
    rows: Vec<u32>,
}

impl CustomOp1 for GatherRows {
    fn name(&self) -> &'static str {
        "gather_rows"
    }

    fn cpu_fwd(&self, table: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (table, d) = (slice(table, layout)?, self.d);
        let mut y = vec![0.0; self.rows.len() * d];
        if d > 0 {
            let block = rows_in_block(self.rows.len(), d);
            y.par_chunks_mut(block * d).zip(self.rows.par_chunks(block)).for_each(|(y, rows)| {
                for (y, &row) in y.chunks_exact_mut(d).zip(rows) {
                    y.copy_from_slice(&table[row as usize * d..][..d]);
                }
            });
        }
        Ok((CpuStorage::F32(y), Shape::from((self.rows.len(), d))))
    }

    /// Adds each row of dy to its row of the table. A task owns a range of table rows and adds in order of place, so that
    /// each sum has a fixed order.
    fn bwd(&self, table: &Tensor, _: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        const BLOCKS: usize = 64;
        let (dy, (v, d)) = (dy.contiguous()?, table.dims2()?);
        let dy = &*Elements::of(&dy)?;
        let mut places: Vec<usize> = (0..self.rows.len()).collect();
        places.sort_by_key(|&place| self.rows[place]);
        let mut gradient = vec![0.0; v * d];
        if d > 0 {
            let block = v.div_ceil(BLOCKS).max(1);
            gradient.par_chunks_mut(block * d).enumerate().for_each(|(i, gradient)| {
                let first = i * block;
                let start = places.partition_point(|&place| (self.rows[place] as usize) < first);
                let end = places.partition_point(|&place| (self.rows[place] as usize) < first + block);
                vectorize(
                    #[inline(always)]
                    || {
                        for &place in &places[start..end] {
                            let row = self.rows[place] as usize - first;
                            add(&mut gradient[row * d..][..d], &dy[place * d..][..d]);
                        }
                    },
                )
            });
        }
        Ok(Some(Tensor::from_vec(gradient, (v, d), table.device())?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{check_gradients, check_kernel, input, random};

    #[test]
    fn reference_has_the_right_gradients() -> Result<()> {
        check_gradients(|table| reference(&table[0], &[3, 0, 3, 1]), &[random(&[5, 2], 1)?])
    }

    #[test]
    fn kernel_matches_the_reference() -> Result<()> {
        for (v, d, n) in [(1, 1, 1), (1, 3, 50), (7, 5, 4), (300, 33, 1000)] {
            let rows: Vec<u32> = (0..n).map(|i| (i * i * 31 + 7) % v).collect();
            let table = [random(&[v as usize, d], 1)?];
            check_kernel(|t| gather_rows(&t[0], &rows), |t| reference(&t[0], &rows), &table)?;
        }
        Ok(())
    }

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
