//! The CPU kernels: integer products for few rows, dequantized blocks for more.

mod dot;

use super::rounding::round_row;
use super::{BAND, GROUP, Integers, QuantizedWeight};
use crate::ops::cpu::math;
use crate::ops::cpu::product::{Matrix, MatrixMut, gemm_f32};
use crate::ops::cpu::storage::Elements;
use crate::ops::linear::cpu::{FEW, rows_of_block};
use candle_core::{Result, Tensor};
use dot::Kernel;
use gemm::Parallelism;
use rayon::prelude::*;
use std::ops::Range;

/// x·Wᵀ + b.
pub(super) fn linear(x: &Tensor, weight: &QuantizedWeight, bias: Option<&Tensor>) -> Result<Tensor> {
    let (n, m) = (x.dim(0)?, weight.outputs);
    let x = x.contiguous()?;
    let bias = bias.map(Elements::of).transpose()?;
    let mut y = match bias.as_deref() {
        Some(bias) => bias.repeat(n),
        None => vec![0.0; n * m],
    };
    let elements = Elements::of(&x)?;
    match n <= FEW && dot::greatest(weight) >= 127.0 {
        true => few_rows(&mut y, &elements, weight),
        false => many_rows(&mut y, Matrix::new(&elements, n, weight.inputs), weight),
    }
    drop(elements);
    Tensor::from_vec(y, (n, m), x.device())
}

/// The rows of x, rounded.
struct Rounded {
    /// The number of rows.
    n: usize,
    /// `[n, groups]`.
    groups: Vec<[i16; GROUP]>,
    /// `[n]`.
    scales: Vec<f32>,
    /// What a kernel for int4 adds to the sums of each group, `[n, groups]`.
    offsets: Vec<[i32; dot::LANES]>,
}

impl Rounded {
    fn of(x: &[f32], weight: &QuantizedWeight) -> Self {
        let rows = x.chunks_exact(weight.inputs);
        let n = rows.len();
        let mut groups = vec![[0; GROUP]; n * weight.groups()];
        let greatest = dot::greatest(weight);
        let scales = math::vectorize(
            #[inline(always)]
            || {
                let rounded = groups.chunks_exact_mut(weight.groups());
                let round = |(x, row): (&[f32], &mut [[i16; GROUP]])| {
                    round_row(x, row.as_flattened_mut(), greatest, |bits| bits as i16)
                };
                rows.zip(rounded).map(round).collect()
            },
        );
        let offsets = match weight.integers {
            Integers::Int8 { .. } => vec![],
            Integers::Int4(_) => math::vectorize(
                #[inline(always)]
                || groups.iter().map(dot::offsets).collect(),
            ),
        };
        Self { n, groups, scales, offsets }
    }
}

/// y ← y + x·Wᵀ for few rows: each weight is read once, in parallel.
fn few_rows(y: &mut [f32], x: &[f32], weight: &QuantizedWeight) {
    /// The fewest bytes of weights that one task reads: some microseconds, as the threads are awake.
    const LEAST: usize = 1 << 15;
    let (m, groups) = (weight.outputs, weight.groups());
    if m == 0 || groups == 0 || x.is_empty() {
        return;
    }
    let (x, kernel) = (Rounded::of(x, weight), Kernel::best());
    let tasks = (weight.bytes() / LEAST).clamp(1, rayon::current_num_threads());
    let columns = m.div_ceil(tasks).next_multiple_of(BAND);
    // Tasks take columns of y, because tasks that take rows would each read all weights.
    let mut cut: Vec<Vec<&mut [f32]>> = (0..m.div_ceil(columns)).map(|_| Vec::with_capacity(x.n)).collect();
    for row in y.chunks_exact_mut(m) {
        row.chunks_mut(columns).zip(&mut cut).for_each(|(part, task)| task.push(part));
    }
    let compute = |(task, mut y): (usize, Vec<&mut [f32]>)| {
        let width = y.first().map_or(0, |part| part.len());
        for j in (0..width).step_by(BAND) {
            let band = (task * columns + j) / BAND;
            let blocks = band * groups..(band + 1) * groups;
            for (i, y) in y.iter_mut().enumerate() {
                let of_row = i * groups..(i + 1) * groups;
                let row = &x.groups[of_row.clone()];
                let sums: [f32; BAND] = match &weight.integers {
                    Integers::Int8 { blocks: all, scales } => {
                        let (sums, scales) = (kernel.int8(&all[blocks.clone()], row), scales[band]);
                        std::array::from_fn(|column| sums[column] as f32 * scales[column])
                    }
                    Integers::Int4(all) => kernel.int4(&all[blocks.clone()], row, &x.offsets[of_row]),
                };
                y[j..].iter_mut().zip(sums).for_each(|(y, sum)| *y += sum * x.scales[i]);
            }
        }
    };
    match cut.len() {
        1 => cut.into_iter().enumerate().for_each(compute),
        _ => cut.into_par_iter().enumerate().for_each(compute),
    }
}

/// y ← y + x·Wᵀ by products in `f32`, with as many weights at a time as fit a cache.
fn many_rows(y: &mut [f32], x: Matrix, weight: &QuantizedWeight) {
    /// Weights that are dequantized at a time: 4 MiB.
    const BLOCK: usize = 1 << 20;
    let (n, k, m) = (x.rows(), x.cols(), weight.outputs);
    let columns = (BLOCK / k.max(1)).max(1);
    for first in (0..m).step_by(columns) {
        let width = columns.min(m - first);
        let transposed = Matrix::new(&weight.rows(first..first + width), width, k).transposed();
        let block = Matrix::new(&transposed, k, width);
        let rows = rows_of_block(n, width * k);
        y.par_chunks_mut(rows * m).enumerate().for_each(|(number, y)| {
            let n = y.len() / m;
            let c = MatrixMut::strided(&mut y[first..], n, width, m);
            gemm_f32(1.0, x.rows_from(number * rows, n), block, 1.0, c, Parallelism::None);
        });
    }
}

/// Rows of the weight in `f32`, in parallel.
pub(super) fn dequantize(weight: &QuantizedWeight, rows: Range<usize>) -> Vec<f32> {
    let (inputs, groups) = (weight.inputs, weight.groups());
    let mut result = vec![0.0; rows.len() * inputs];
    if inputs == 0 {
        return result;
    }
    result.par_chunks_exact_mut(inputs).zip(rows).for_each(|(result, row)| {
        let (band, column) = (row / BAND, row % BAND);
        let of_row = band * groups..(band + 1) * groups;
        math::vectorize(
            #[inline(always)]
            || match &weight.integers {
                Integers::Int8 { blocks, scales } => {
                    let scale = scales[band][column];
                    for (result, block) in result.chunks_mut(GROUP).zip(&blocks[of_row]) {
                        for (result, &integer) in result.iter_mut().zip(&block[column]) {
                            *result = f32::from(integer) * scale;
                        }
                    }
                }
                Integers::Int4(blocks) => {
                    for (result, block) in result.chunks_mut(GROUP).zip(&blocks[of_row]) {
                        let group = group(&block.bytes[column], block.scales[column]);
                        result.copy_from_slice(&group[..result.len()]);
                    }
                }
            },
        );
    });
    result
}

/// The values of a group of int4.
#[inline(always)]
pub(super) fn group(bytes: &[u8; GROUP / 2], scale: f32) -> [f32; GROUP] {
    let mut group = [0.0; GROUP];
    let (low, high) = group.split_at_mut(GROUP / 2);
    for ((low, high), byte) in low.iter_mut().zip(high).zip(bytes) {
        *low = (f32::from(byte & 15) - 8.0) * scale;
        *high = (f32::from(byte >> 4) - 8.0) * scale;
    }
    group
}
