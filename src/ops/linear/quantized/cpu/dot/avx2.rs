//! AVX2: 16-bit integers are multiplied, and neighbours added, 16 at a time.

use super::{BAND, GROUP, Int4Block, LANES, fold};
use std::arch::x86_64::*;

/// 32 bytes at place `PLACE` of the array, in units of 32 bytes.
#[target_feature(enable = "avx2")]
#[inline]
pub(super) fn load<const PLACE: usize, T, const N: usize>(x: &[T; N]) -> __m256i {
    const { assert!((PLACE + 1) * 32 <= N * size_of::<T>()) }
    // SAFETY: the array has these bytes, and any bytes are integers.
    unsafe { _mm256_loadu_si256(x.as_ptr().cast::<__m256i>().add(PLACE)) }
}

/// 16 bytes at place `PLACE` of the array, in units of 16 bytes.
#[target_feature(enable = "avx2")]
#[inline]
fn load_half<const PLACE: usize, T, const N: usize>(x: &[T; N]) -> __m128i {
    const { assert!((PLACE + 1) * 16 <= N * size_of::<T>()) }
    // SAFETY: the array has these bytes, and any bytes are integers.
    unsafe { _mm_loadu_si128(x.as_ptr().cast::<__m128i>().add(PLACE)) }
}

#[target_feature(enable = "avx2")]
pub(super) fn int8(band: &[[[i8; GROUP]; BAND]], x: &[[i16; GROUP]]) -> [i32; BAND] {
    let mut sums = [_mm256_setzero_si256(); BAND];
    for (block, x) in band.iter().zip(x) {
        let (low, high) = (load::<0, _, _>(x), load::<1, _, _>(x));
        for (sum, w) in sums.iter_mut().zip(block) {
            let of_low = _mm256_madd_epi16(_mm256_cvtepi8_epi16(load_half::<0, _, _>(w)), low);
            let of_high = _mm256_madd_epi16(_mm256_cvtepi8_epi16(load_half::<1, _, _>(w)), high);
            *sum = _mm256_add_epi32(*sum, _mm256_add_epi32(of_low, of_high));
        }
    }
    // Adding neighbours twice leaves a quarter of each of the four sums in either half.
    let [a, b, c, d] = sums;
    let sums = _mm256_hadd_epi32(_mm256_hadd_epi32(a, b), _mm256_hadd_epi32(c, d));
    let sums = _mm_add_epi32(_mm256_castsi256_si128(sums), _mm256_extracti128_si256::<1>(sums));
    let mut result = [0; BAND];
    // SAFETY: the array has the 16 bytes that are written.
    unsafe { _mm_storeu_si128(result.as_mut_ptr().cast(), sums) };
    result
}

#[target_feature(enable = "avx2")]
pub(super) fn int4(band: &[Int4Block], x: &[[i16; GROUP]], offsets: &[[i32; LANES]]) -> [f32; BAND] {
    let halves = _mm256_set1_epi16(15);
    let mut sums = [_mm256_setzero_ps(); BAND];
    for (block, (x, offsets)) in band.iter().zip(x.iter().zip(offsets)) {
        let (low, high) = (load::<0, _, _>(x), load::<1, _, _>(x));
        let offsets = load::<0, _, _>(offsets);
        for ((sum, bytes), scale) in sums.iter_mut().zip(&block.bytes).zip(block.scales) {
            let bytes = _mm256_cvtepu8_epi16(load_half::<0, _, _>(bytes));
            let of_low = _mm256_madd_epi16(_mm256_and_si256(bytes, halves), low);
            let of_high = _mm256_madd_epi16(_mm256_srli_epi16::<4>(bytes), high);
            let product = _mm256_add_epi32(_mm256_add_epi32(of_low, of_high), offsets);
            // Product and sum are rounded apart, as in the portable kernel.
            let product = _mm256_mul_ps(_mm256_cvtepi32_ps(product), _mm256_set1_ps(scale));
            *sum = _mm256_add_ps(*sum, product);
        }
    }
    sums.map(|sum| {
        let mut lanes = [0.0; LANES];
        // SAFETY: the array has the 32 bytes that are written.
        unsafe { _mm256_storeu_ps(lanes.as_mut_ptr(), sum) };
        fold(lanes)
    })
}
