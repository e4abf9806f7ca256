//! Products of `bf16` factors, summed in `f32`, with one family of kernels for the three products of a linear map.
//!
//! The right factor is rounded and packed once, `[columns / C, k / 2, C, 2]` for kernels of C columns; each task packs its
//! rows of the left factor, `[rows, k / 2, 2]`, and adds tiles of the product to its rows of the result. A sum adds its terms
//! in the order of k, in blocks that depend on k alone, so the result does not depend on the number of threads.

#[cfg(target_arch = "x86_64")]
mod amx;
mod kernel;
mod pack;

use super::bf16::{Element, rounded_by_blocks};
use super::blank::{Blank, by_blocks, repeat, zeroed};
use super::product::Matrix;
#[cfg(target_arch = "x86_64")]
use amx::Amx;
use half::bf16;
#[cfg(target_arch = "x86_64")]
use kernel::{Avx2, Avx512, Avx512Bf16};
use kernel::{DEPTH, Portable, Target, Tile};
use pack::{pack_left, pack_right};
use rayon::prelude::*;
use std::sync::OnceLock;
use std::time::Instant;

/// The most rows of a task: their packed block of a left factor, 72 or 144 KiB, stays in the L2 cache, and a row of the right
/// factor serves 96 rows each time that it is read. A multiple of the rows of every kernel's tile.
const ROWS: usize = 96;

/// The kernel of a processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kernel {
    #[cfg(target_arch = "x86_64")]
    Amx(Amx),
    #[cfg(target_arch = "x86_64")]
    Avx512Bf16(Avx512Bf16),
    #[cfg(target_arch = "x86_64")]
    Avx512(Avx512),
    #[cfg(target_arch = "x86_64")]
    Avx2(Avx2),
    Portable(Portable),
}

impl Kernel {
    /// The kernels that this processor can run. On most processors, an earlier kernel is faster than a later one.
    pub(crate) fn available() -> Vec<Self> {
        #[cfg(target_arch = "x86_64")]
        let vector = [
            Amx::detect().map(Self::Amx),
            Avx512Bf16::detect().map(Self::Avx512Bf16),
            Avx512::detect().map(Self::Avx512),
            Avx2::detect().map(Self::Avx2),
        ];
        #[cfg(not(target_arch = "x86_64"))]
        let vector = [None];
        vector.into_iter().flatten().chain([Self::Portable(Portable)]).collect()
    }

    /// The fastest kernel of this processor, by a measurement at the first call. Instructions alone do not tell: some
    /// processors with AVX512-BF16 multiply `f32` twice as fast as `bf16`, others half as fast.
    pub(crate) fn fastest() -> Self {
        static FASTEST: OnceLock<Kernel> = OnceLock::new();
        *FASTEST.get_or_init(|| match Self::available()[..] {
            [only] => only,
            ref kernels => Self::measured(kernels),
        })
    }

    /// The kernel that multiplies fastest. Kernels round differently, and a resumed run has to choose as before: they are measured
    /// in turn, and a later one is chosen only if it is more than a quarter faster.
    fn measured(kernels: &[Self]) -> Self {
        let mut rates = vec![0.0_f64; kernels.len()];
        for _ in 0..5 {
            for (kernel, rate) in kernels.iter().zip(&mut rates) {
                *rate = rate.max(kernel.rate());
            }
        }
        let mut fastest = 0;
        for (place, rate) in rates.iter().enumerate() {
            if *rate > 1.25 * rates[fastest] {
                fastest = place;
            }
        }
        kernels[fastest]
    }

    /// Multiplications per second, of a product whose factors stay in the cache.
    fn rate(self) -> f64 {
        let ((rows, columns), count) = (self.tile(), 8);
        let (m, n, k) = (count * rows, count * columns, 2 * DEPTH);
        // On this thread alone: other threads of the pool may be blocked in `get_or_init`, and would be waited for.
        let packed = Packed { kernel: self, pairs: vec![0; DEPTH * n], k, n };
        let (a, mut c) = (vec![0.0; m * k], vec![0.0; m * n]);
        let start = Instant::now();
        packed.multiply(Matrix::new(&a, m, k), &mut c);
        (m * n * k) as f64 / start.elapsed().as_secs_f64()
    }

    /// The name for people.
    pub(crate) fn name(self) -> &'static str {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Amx(_) => "AMX",
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Bf16(_) => "AVX512-BF16",
            #[cfg(target_arch = "x86_64")]
            Self::Avx512(_) => "AVX-512, widened to f32",
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(_) => "AVX2, widened to f32",
            Self::Portable(_) => "portable, widened to f32",
        }
    }

    /// Rows and columns of a tile.
    fn tile(self) -> (usize, usize) {
        fn of<K: Tile>(_: K) -> (usize, usize) {
            (K::ROWS, K::COLUMNS)
        }
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Amx(tile) => of(tile),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Bf16(tile) => of(tile),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512(tile) => of(tile),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(tile) => of(tile),
            Self::Portable(tile) => of(tile),
        }
    }
}

/// The right factor of products, rounded and packed.
pub(crate) struct Packed {
    kernel: Kernel,
    pairs: Vec<u32>,
    k: usize,
    n: usize,
}

impl Packed {
    /// Packs `b` `[k, n]`, in parallel.
    pub(crate) fn new<T: Element>(b: Matrix<T>) -> Self {
        Self::for_kernel(Kernel::fastest(), b)
    }

    fn for_kernel<T: Element>(kernel: Kernel, b: Matrix<T>) -> Self {
        let (k, n, (_, width)) = (b.rows(), b.cols(), kernel.tile());
        let depth = k.div_ceil(2);
        let mut pairs = vec![0; n.div_ceil(width) * depth * width];
        let panels = pairs.par_chunks_mut((depth * width).max(1)).enumerate();
        panels.for_each(|(i, panel)| pack_right(b.t(), i * width, width, panel));
        Self { kernel, pairs, k, n }
    }

    /// Writes a·b + `bias`, row-major `[a.rows, n]`, on one thread.
    ///
    /// # Panics
    /// If the shapes do not fit.
    pub(crate) fn product_into<'a, T: Element>(
        &self,
        c: &'a mut Blank,
        a: Matrix<T>,
        bias: Option<&[f32]>,
    ) -> &'a mut [f32] {
        let c = match bias {
            Some(bias) => repeat(c, bias),
            None => zeroed(c),
        };
        self.multiply(a, c);
        c
    }

    /// c ← c + a·b, row-major `[a.rows, n]`, on one thread.
    fn multiply<T: Element>(&self, a: Matrix<T>, c: &mut [f32]) {
        let shapes = (a.rows(), a.cols(), self.k, self.n);
        assert!(a.cols() == self.k && c.len() == a.rows() * self.n, "{shapes:?} and {} do not fit", c.len());
        match self.kernel {
            #[cfg(target_arch = "x86_64")]
            Kernel::Amx(tile) => self.multiply_with(tile, a, c),
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx512Bf16(tile) => self.multiply_with(tile, a, c),
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx512(tile) => self.multiply_with(tile, a, c),
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx2(tile) => self.multiply_with(tile, a, c),
            Kernel::Portable(tile) => self.multiply_with(tile, a, c),
        }
    }

    fn multiply_with<K: Tile, T: Element>(&self, tile: K, a: Matrix<T>, c: &mut [f32]) {
        let (m, n, pairs) = (a.rows(), self.n, self.k.div_ceil(2));
        if m == 0 || n == 0 || pairs == 0 {
            return;
        }
        let most = pairs.div_ceil(pairs.div_ceil(DEPTH));
        let mut left = vec![[K::Pair::default(); DEPTH]; m.next_multiple_of(K::ROWS)];
        for start in (0..pairs).step_by(most) {
            let depth = most.min(pairs - start);
            for (i, panel) in left.chunks_exact_mut(K::ROWS).enumerate() {
                pack_left(a, i * K::ROWS, start..start + depth, panel, K::pair);
            }
            for (j, right) in self.pairs.chunks_exact(pairs * K::COLUMNS).enumerate() {
                let right = &right[start * K::COLUMNS..][..depth * K::COLUMNS];
                for (i, left) in left.chunks_exact(K::ROWS).enumerate() {
                    let (row, column) = (i * K::ROWS, j * K::COLUMNS);
                    let (rows, columns) = (K::ROWS.min(m - row), K::COLUMNS.min(n - column));
                    let target = Target { c: &mut c[row * n + column..], row_stride: n, rows, columns };
                    tile.multiply(left, right, target);
                }
            }
        }
    }

    /// a·b + `bias`, in parallel.
    pub(crate) fn product<T: Element>(&self, a: Matrix<T>, bias: Option<&[f32]>) -> Vec<f32> {
        let rows = self.rows(a.rows());
        by_blocks(a.rows() * self.n, rows * self.n, |block, c| {
            self.product_into(c, a.rows_from(block * rows, c.len() / self.n), bias)
        })
    }

    /// a·b + `bias`, rounded once, in parallel.
    pub(crate) fn rounded_product<T: Element>(&self, a: Matrix<T>, bias: Option<&[f32]>) -> Vec<bf16> {
        let rows = self.rows(a.rows());
        rounded_by_blocks(a.rows() * self.n, rows * self.n, |block, c| {
            self.product_into(c, a.rows_from(block * rows, c.len() / self.n), bias)
        })
    }

    /// Rows of a task, of `m` rows: an even share for each thread in whole tiles, at most [`ROWS`].
    pub(crate) fn rows(&self, m: usize) -> usize {
        let (tile, _) = self.kernel.tile();
        m.div_ceil(rayon::current_num_threads()).next_multiple_of(tile).clamp(tile, ROWS)
    }
}

#[cfg(test)]
mod tests;
