//! The innermost loops of a product, one for each kind of processor.
//!
//! All read the right factor as pairs of `bf16` that are neighbours in k, as AVX512-BF16's `vdpbf16ps` takes them.

/// The most pairs of k of one call: 24 KiB at most of a packed right factor, which stay in the L1 cache.
pub(super) const DEPTH: usize = 192;

/// Two neighbours in k, the lower k in the lower half.
pub(super) fn pair(low: u16, high: u16) -> u32 {
    u32::from(low) | (u32::from(high) << 16)
}

/// A part of a row-major matrix, to which a tile is added; it may be smaller than the tile.
pub(super) struct Target<'a> {
    /// The matrix from the part's first number on.
    pub c: &'a mut [f32],
    pub row_stride: usize,
    pub rows: usize,
    pub columns: usize,
}

impl Target<'_> {
    /// Adds the sums of a tile, as far as they belong to the part.
    #[inline(always)]
    pub fn add<const COLUMNS: usize>(&mut self, sums: &[[f32; COLUMNS]]) {
        for (c, sums) in self.c.chunks_mut(self.row_stride).zip(sums).take(self.rows) {
            // Loops, because `for_each` and its closure may not be inlined, and are then compiled without the caller's instructions.
            if let (true, Some(c)) = (self.columns == COLUMNS, c.first_chunk_mut::<COLUMNS>()) {
                for column in 0..COLUMNS {
                    c[column] += sums[column];
                }
            } else {
                for (c, sum) in c.iter_mut().zip(sums).take(self.columns) {
                    *c += sum;
                }
            }
        }
    }
}

/// A processor's kernel. A value proves that the processor has the instructions.
pub(super) trait Tile: Copy + Sync {
    /// Two numbers of the left factor, neighbours in k.
    type Pair: Copy + Default;
    /// Rows of the left factor in a tile.
    const ROWS: usize;
    /// Columns of the right factor in a tile.
    const COLUMNS: usize;

    fn pair(low: u16, high: u16) -> Self::Pair;

    /// c ← c + a·b for a tile: `a` is `[ROWS, DEPTH]`, of which as many pairs count as `b` `[k / 2, COLUMNS]` has.
    ///
    /// # Panics
    /// If `a` has too few rows.
    fn multiply(self, a: &[[Self::Pair; DEPTH]], b: &[u32], c: Target);
}

/// The rows of a tile.
#[inline(always)]
pub(super) fn rows<P, const ROWS: usize>(a: &[[P; DEPTH]]) -> &[[P; DEPTH]; ROWS] {
    let Some(rows) = a.first_chunk() else { panic!("a tile has {ROWS} rows; found {}", a.len()) };
    rows
}

/// For any processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Portable;

impl Tile for Portable {
    type Pair = u32;
    const ROWS: usize = 4;
    const COLUMNS: usize = 16;

    #[inline(always)]
    fn pair(low: u16, high: u16) -> u32 {
        pair(low, high)
    }

    fn multiply(self, a: &[[u32; DEPTH]], b: &[u32], mut c: Target) {
        let mut sums = [[0.0_f32; Self::COLUMNS]; Self::ROWS];
        for (i, b) in b.as_chunks::<{ Self::COLUMNS }>().0.iter().enumerate().take(DEPTH) {
            for (sums, a) in sums.iter_mut().zip(rows::<_, { Self::ROWS }>(a)) {
                let a = a[i];
                let (low, high) = (f32::from_bits(a << 16), f32::from_bits(a & HIGH));
                for (sum, &b) in sums.iter_mut().zip(b) {
                    *sum += low * f32::from_bits(b << 16) + high * f32::from_bits(b & HIGH);
                }
            }
        }
        c.add(&sums);
    }
}

/// The bits of the higher number of a pair.
const HIGH: u32 = 0xffff_0000;

#[cfg(target_arch = "x86_64")]
pub(crate) use x86::{Avx2, Avx512, Avx512Bf16};

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{DEPTH, HIGH, Target, Tile, pair, rows};
    use std::arch::x86_64::*;

    /// Adds a tile's sums to the target, from their registers if all of the tile belongs to it. A function for this was not
    /// inlined, and took a sixth of a training step.
    macro_rules! add_sums {
        ($c:ident, $sums:ident, [$rows:expr, $columns:expr, $lanes:literal], $load:ident, $add:ident, $store:ident) => {
            let mut c: Target = $c;
            if c.rows == $rows && c.columns == $columns {
                for (row, sums) in $sums.into_iter().enumerate() {
                    let row = &mut c.c[row * c.row_stride..][..$columns];
                    for (c, sum) in row.as_chunks_mut::<$lanes>().0.iter_mut().zip(sums) {
                        // SAFETY: `$lanes` is the number of `f32` in a register, and the pointer is that of an array of so many.
                        unsafe { $store(c.as_mut_ptr(), $add($load(c.as_ptr()), sum)) }
                    }
                }
            } else {
                let mut tile = [[0.0; $columns]; $rows];
                for (tile, sums) in tile.iter_mut().zip($sums) {
                    for (tile, sum) in tile.as_chunks_mut::<$lanes>().0.iter_mut().zip(sums) {
                        // SAFETY: as above.
                        unsafe { $store(tile.as_mut_ptr(), sum) }
                    }
                }
                c.add(&tile);
            }
        };
    }

    /// AVX2 and FMA: numbers are widened, which keeps their value, and multiplied in `f32`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) struct Avx2(());

    impl Avx2 {
        pub(crate) fn detect() -> Option<Self> {
            (is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")).then_some(Self(()))
        }
    }

    impl Tile for Avx2 {
        /// Widened once, while packing: a row's number is read as often as there are tiles of columns.
        type Pair = [f32; 2];
        const ROWS: usize = 6;
        const COLUMNS: usize = 16;

        #[inline(always)]
        fn pair(low: u16, high: u16) -> [f32; 2] {
            [low, high].map(|bits| f32::from_bits(u32::from(bits) << 16))
        }

        fn multiply(self, a: &[[[f32; 2]; DEPTH]], b: &[u32], c: Target) {
            // SAFETY: only `detect` makes an `Avx2`, after it has found both features.
            unsafe { multiply_avx2(a, b, c) }
        }
    }

    #[target_feature(enable = "avx2,fma")]
    fn multiply_avx2(a: &[[[f32; 2]; DEPTH]], b: &[u32], c: Target) {
        // Sixteen registers: 12 sums, 2 of b, 1 of a.
        let mut sums = [[_mm256_setzero_ps(); 2]; Avx2::ROWS];
        let high = _mm256_set1_epi32(HIGH.cast_signed());
        let a: &[_; Avx2::ROWS] = rows(a);
        for (i, b) in b.as_chunks::<{ Avx2::COLUMNS }>().0.iter().enumerate().take(DEPTH) {
            let b: &[[u32; 8]] = b.as_chunks().0;
            // SAFETY: each pointer is that of an array of 32 bytes.
            let b = unsafe {
                [_mm256_loadu_si256(b[0].as_ptr().cast()), _mm256_loadu_si256(b[1].as_ptr().cast())]
            };
            let low = [
                _mm256_castsi256_ps(_mm256_slli_epi32::<16>(b[0])),
                _mm256_castsi256_ps(_mm256_slli_epi32::<16>(b[1])),
            ];
            for (sums, a) in sums.iter_mut().zip(a) {
                let a = _mm256_set1_ps(a[i][0]);
                *sums = [_mm256_fmadd_ps(a, low[0], sums[0]), _mm256_fmadd_ps(a, low[1], sums[1])];
            }
            let high = [
                _mm256_castsi256_ps(_mm256_and_si256(b[0], high)),
                _mm256_castsi256_ps(_mm256_and_si256(b[1], high)),
            ];
            for (sums, a) in sums.iter_mut().zip(a) {
                let a = _mm256_set1_ps(a[i][1]);
                *sums = [_mm256_fmadd_ps(a, high[0], sums[0]), _mm256_fmadd_ps(a, high[1], sums[1])];
            }
        }
        add_sums!(c, sums, [Avx2::ROWS, Avx2::COLUMNS, 8], _mm256_loadu_ps, _mm256_add_ps, _mm256_storeu_ps);
    }

    /// AVX-512: as [`Avx2`], with twice as many numbers in a register and twice as many registers.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) struct Avx512(());

    impl Avx512 {
        pub(crate) fn detect() -> Option<Self> {
            is_x86_feature_detected!("avx512f").then_some(Self(()))
        }
    }

    impl Tile for Avx512 {
        type Pair = [f32; 2];
        const ROWS: usize = 12;
        const COLUMNS: usize = 32;

        #[inline(always)]
        fn pair(low: u16, high: u16) -> [f32; 2] {
            Avx2::pair(low, high)
        }

        fn multiply(self, a: &[[[f32; 2]; DEPTH]], b: &[u32], c: Target) {
            // SAFETY: only `detect` makes an `Avx512`, after it has found the feature.
            unsafe { multiply_avx512(a, b, c) }
        }
    }

    #[target_feature(enable = "avx512f")]
    fn multiply_avx512(a: &[[[f32; 2]; DEPTH]], b: &[u32], c: Target) {
        // Of 32 registers: 24 sums, 4 of b, 1 of a, 1 mask.
        let mut sums = [[_mm512_setzero_ps(); 2]; Avx512::ROWS];
        let high = _mm512_set1_epi32(HIGH.cast_signed());
        let a: &[_; Avx512::ROWS] = rows(a);
        for (i, b) in b.as_chunks::<{ Avx512::COLUMNS }>().0.iter().enumerate().take(DEPTH) {
            let b: &[[u32; 16]] = b.as_chunks().0;
            // SAFETY: each pointer is that of an array of 64 bytes.
            let b = unsafe {
                [_mm512_loadu_si512(b[0].as_ptr().cast()), _mm512_loadu_si512(b[1].as_ptr().cast())]
            };
            let low = [
                _mm512_castsi512_ps(_mm512_slli_epi32::<16>(b[0])),
                _mm512_castsi512_ps(_mm512_slli_epi32::<16>(b[1])),
            ];
            for (sums, a) in sums.iter_mut().zip(a) {
                let a = _mm512_set1_ps(a[i][0]);
                *sums = [_mm512_fmadd_ps(a, low[0], sums[0]), _mm512_fmadd_ps(a, low[1], sums[1])];
            }
            let high = [
                _mm512_castsi512_ps(_mm512_and_si512(b[0], high)),
                _mm512_castsi512_ps(_mm512_and_si512(b[1], high)),
            ];
            for (sums, a) in sums.iter_mut().zip(a) {
                let a = _mm512_set1_ps(a[i][1]);
                *sums = [_mm512_fmadd_ps(a, high[0], sums[0]), _mm512_fmadd_ps(a, high[1], sums[1])];
            }
        }
        add_sums!(
            c,
            sums,
            [Avx512::ROWS, Avx512::COLUMNS, 16],
            _mm512_loadu_ps,
            _mm512_add_ps,
            _mm512_storeu_ps
        );
    }

    /// AVX512-BF16: 32 products of pairs in an instruction, summed in `f32`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) struct Avx512Bf16(());

    impl Avx512Bf16 {
        pub(crate) fn detect() -> Option<Self> {
            (is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bf16"))
                .then_some(Self(()))
        }
    }

    impl Tile for Avx512Bf16 {
        type Pair = u32;
        const ROWS: usize = 12;
        const COLUMNS: usize = 32;

        #[inline(always)]
        fn pair(low: u16, high: u16) -> u32 {
            pair(low, high)
        }

        fn multiply(self, a: &[[u32; DEPTH]], b: &[u32], c: Target) {
            // SAFETY: only `detect` makes an `Avx512Bf16`, after it has found both features.
            unsafe { multiply_avx512_bf16(a, b, c) }
        }
    }

    #[target_feature(enable = "avx512f,avx512bf16")]
    fn multiply_avx512_bf16(a: &[[u32; DEPTH]], b: &[u32], c: Target) {
        // Of 32 registers: 24 sums, 2 of b, 1 of a.
        let mut sums = [[_mm512_setzero_ps(); 2]; Avx512Bf16::ROWS];
        let a: &[_; Avx512Bf16::ROWS] = rows(a);
        for (i, b) in b.as_chunks::<{ Avx512Bf16::COLUMNS }>().0.iter().enumerate().take(DEPTH) {
            let b: &[[u32; 16]] = b.as_chunks().0;
            // SAFETY: each pointer is that of an array of 64 bytes; the types have one size, and any bits are numbers.
            let b: [__m512bh; 2] = unsafe {
                [
                    std::mem::transmute::<__m512i, __m512bh>(_mm512_loadu_si512(b[0].as_ptr().cast())),
                    std::mem::transmute::<__m512i, __m512bh>(_mm512_loadu_si512(b[1].as_ptr().cast())),
                ]
            };
            for (sums, a) in sums.iter_mut().zip(a) {
                let a = _mm512_set1_epi32(a[i].cast_signed());
                // SAFETY: the types have one size, and any bits are numbers.
                let a = unsafe { std::mem::transmute::<__m512i, __m512bh>(a) };
                *sums = [_mm512_dpbf16_ps(sums[0], a, b[0]), _mm512_dpbf16_ps(sums[1], a, b[1])];
            }
        }
        add_sums!(
            c,
            sums,
            [Avx512Bf16::ROWS, Avx512Bf16::COLUMNS, 16],
            _mm512_loadu_ps,
            _mm512_add_ps,
            _mm512_storeu_ps
        );
    }
}
