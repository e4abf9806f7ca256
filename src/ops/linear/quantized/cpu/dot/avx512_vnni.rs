//! AVX-512 with VNNI: 32 products of 16-bit integers are added to 16 sums in one instruction.

use super::avx2::load;
use super::{BAND, GROUP, Int4Block, LANES, fold};
use std::arch::x86_64::*;

#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
pub(super) fn int8(band: &[[[i8; GROUP]; BAND]], x: &[[i16; GROUP]]) -> [i32; BAND] {
    let mut sums = [_mm512_setzero_si512(); BAND];
    for (block, x) in band.iter().zip(x) {
        // SAFETY: the array has the 64 bytes that are read.
        let x = unsafe { _mm512_loadu_si512(x.as_ptr().cast()) };
        for (sum, w) in sums.iter_mut().zip(block) {
            *sum = _mm512_dpwssd_epi32(*sum, _mm512_cvtepi8_epi16(load::<0, _, _>(w)), x);
        }
    }
    let mut result = [0; BAND];
    for (result, sum) in result.iter_mut().zip(sums) {
        *result = _mm512_reduce_add_epi32(sum);
    }
    result
}

/// Two rows of a band at a time, each in half of a register.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
pub(super) fn int4(band: &[Int4Block], x: &[[i16; GROUP]], offsets: &[[i32; LANES]]) -> [f32; BAND] {
    let halves = _mm512_set1_epi16(15);
    let mut sums = [_mm512_setzero_ps(); BAND / 2];
    for (block, (x, offsets)) in band.iter().zip(x.iter().zip(offsets)) {
        let low = _mm512_broadcast_i64x4(load::<0, _, _>(x));
        let high = _mm512_broadcast_i64x4(load::<1, _, _>(x));
        let offsets = _mm512_broadcast_i64x4(load::<0, _, _>(offsets));
        let pairs = block.bytes.as_chunks::<2>().0.iter().zip(block.scales.as_chunks::<2>().0);
        for (sum, (bytes, scales)) in sums.iter_mut().zip(pairs) {
            let bytes = _mm512_cvtepu8_epi16(load::<0, _, _>(bytes));
            let product = _mm512_dpwssd_epi32(offsets, _mm512_and_si512(bytes, halves), low);
            let product = _mm512_dpwssd_epi32(product, _mm512_srli_epi16::<4>(bytes), high);
            let scales = scales.map(|scale| _mm512_set1_ps(scale));
            let scales = _mm512_mask_blend_ps(0xff00, scales[0], scales[1]);
            // Product and sum are rounded apart, as in the portable kernel.
            *sum = _mm512_add_ps(*sum, _mm512_mul_ps(_mm512_cvtepi32_ps(product), scales));
        }
    }
    let mut lanes = [[[0.0; LANES]; 2]; BAND / 2];
    for (lanes, sum) in lanes.iter_mut().zip(sums) {
        // SAFETY: the array has the 64 bytes that are written.
        unsafe { _mm512_storeu_ps(lanes.as_mut_ptr().cast(), sum) };
    }
    let [[a, b], [c, d]] = lanes;
    [fold(a), fold(b), fold(c), fold(d)]
}
