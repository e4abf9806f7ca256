//! Weights to integers and scales.

use super::{BAND, GROUP, Int4Block, Integers};
use crate::ops::cpu::math;
use rayon::prelude::*;

/// A weight `[outputs, inputs]` with a scale for each output.
pub(super) fn int8(weight: &[f32], outputs: usize, inputs: usize) -> Integers {
    let (bands, groups) = (outputs.div_ceil(BAND), inputs.div_ceil(GROUP));
    let mut blocks = vec![[[0; GROUP]; BAND]; bands * groups];
    let mut scales = vec![[0.0; BAND]; bands];
    if inputs > 0 {
        let bands = blocks.par_chunks_exact_mut(groups).zip(&mut scales);
        bands.zip(weight.par_chunks(BAND * inputs)).for_each(|((blocks, scales), rows)| {
            math::vectorize(
                #[inline(always)]
                || {
                    let mut integers = vec![0; groups * GROUP];
                    for (column, row) in rows.chunks_exact(inputs).enumerate() {
                        scales[column] = round_row(row, &mut integers, 127.0, |bits| bits as i8);
                        let groups = integers.as_chunks::<GROUP>().0;
                        blocks.iter_mut().zip(groups).for_each(|(block, group)| block[column] = *group);
                    }
                },
            );
        });
    }
    Integers::Int8 { blocks, scales }
}

/// 1.5·2²³: adding it rounds to an integer and leaves that integer in the low bits.
const ROUND: f32 = 12_582_912.0;

/// Rounds a row to integers of at most `greatest`, and returns their scale; `integer` takes the low bits of each. The scale
/// of a row that has a number that is infinite or not a number is not a number.
#[inline(always)]
pub(super) fn round_row<T>(
    row: &[f32],
    integers: &mut [T],
    greatest: f32,
    integer: impl Fn(u32) -> T,
) -> f32 {
    let scale = magnitude(row) / greatest;
    // Of the smallest scales the inverse would be infinite.
    let inverse = if scale < f32::MIN_POSITIVE { 0.0 } else { scale.recip() };
    for (rounded, &x) in integers.iter_mut().zip(row) {
        *rounded = integer((x * inverse + ROUND).to_bits());
    }
    if scale.is_finite() { scale } else { f32::NAN }
}

/// The greatest absolute value; infinite or not a number if an element is.
#[inline(always)]
fn magnitude(x: &[f32]) -> f32 {
    // The bits of such numbers are in the order of the numbers, and integers have no order of additions to keep.
    f32::from_bits(x.iter().fold(0, |most, x| most.max(x.abs().to_bits())))
}

/// A weight `[outputs, inputs]` with a scale for each output and group of inputs.
pub(super) fn int4(weight: &[f32], outputs: usize, inputs: usize) -> Integers {
    let (bands, groups) = (outputs.div_ceil(BAND), inputs.div_ceil(GROUP));
    // Both halves of a byte are 8, which stands for 0.
    let zeros = Int4Block { scales: [0.0; BAND], bytes: [[0x88; GROUP / 2]; BAND] };
    let mut blocks = vec![zeros; bands * groups];
    if inputs > 0 {
        let bands = blocks.par_chunks_exact_mut(groups).zip(weight.par_chunks(BAND * inputs));
        bands.for_each(|(blocks, rows)| {
            math::vectorize(
                #[inline(always)]
                || {
                    for (column, row) in rows.chunks_exact(inputs).enumerate() {
                        for (block, inputs) in blocks.iter_mut().zip(row.chunks(GROUP)) {
                            let mut group = [0.0; GROUP];
                            group[..inputs.len()].copy_from_slice(inputs);
                            block.scales[column] = round_group(&group, &mut block.bytes[column]);
                        }
                    }
                },
            );
        });
    }
    Integers::Int4(blocks)
}

/// Rounds a group to −8..=7 and returns its scale: of some scales near the one that maps the weight of the greatest
/// magnitude to −8, that of the least square error, by least squares for its integers.
#[inline(always)]
fn round_group(group: &[f32; GROUP], bytes: &mut [u8; GROUP / 2]) -> f32 {
    /// The values that the weight of the greatest magnitude is mapped to.
    const MOST: [f32; 8] = [-6.8, -7.2, -7.6, -8.0, -8.3, -8.6, -9.0, -9.4];
    let magnitude = magnitude(group);
    if !magnitude.is_finite() {
        return f32::NAN;
    }
    if magnitude < 16.0 * f32::MIN_POSITIVE {
        return 0.0; // the inverse would be infinite
    }
    let is_positive = group.iter().fold(false, |found, &x| found | (x == magnitude));
    let greatest = if is_positive { magnitude } else { -magnitude };
    let inverses = MOST.map(|most| most / greatest);
    let (mut products, mut squares) = ([0.0_f32; 8], [0.0_f32; 8]);
    for &x in group {
        for ((product, square), inverse) in products.iter_mut().zip(&mut squares).zip(inverses) {
            let rounded = nearest(x * inverse);
            *product += x * rounded;
            *square += rounded * rounded;
        }
    }
    // The square error is Σx² less this gain.
    let gain = |lane: usize| products[lane] * (products[lane] / squares[lane]);
    let best = (1..8).fold(0, |best, lane| if gain(lane) > gain(best) { lane } else { best });
    let inverse = inverses[best];
    let (low, high) = group.split_at(GROUP / 2);
    for ((byte, &low), &high) in bytes.iter_mut().zip(low).zip(high) {
        let half = |x: f32| (nearest(x * inverse) + 8.0 + ROUND).to_bits() as u8;
        *byte = (half(low) & 15) | (half(high) << 4);
    }
    products[best] / squares[best]
}

/// The nearest of −8..=7.
#[inline(always)]
fn nearest(x: f32) -> f32 {
    let rounded = (x + ROUND) - ROUND;
    let bounded = if rounded < -8.0 { -8.0 } else { rounded };
    if bounded > 7.0 { 7.0 } else { bounded }
}
