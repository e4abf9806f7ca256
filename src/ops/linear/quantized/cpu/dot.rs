//! Products of a row of 16-bit integers with a band of weights.
//!
//! Each kernel adds in the order of the portable one, so results have the same bits.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512_vnni;

use super::super::{BAND, GROUP, Int4Block, Integers, QuantizedWeight};

/// Partial sums of the product of a group.
pub(super) const LANES: usize = 8;

/// The greatest integer of a row that is multiplied by this weight: sums over a row (int8) or a group (int4) have no
/// overflow.
pub(super) fn greatest(weight: &QuantizedWeight) -> f32 {
    match weight.integers {
        Integers::Int8 { .. } => {
            (i32::MAX as usize / 127 / weight.inputs.max(1)).min(i16::MAX as usize) as f32
        }
        Integers::Int4(_) => f32::from(i16::MAX),
    }
}

/// −8·Σ xᵢ over the inputs of each lane: int4 is stored plus 8.
#[inline(always)]
pub(super) fn offsets(x: &[i16; GROUP]) -> [i32; LANES] {
    let x = x.map(i32::from);
    std::array::from_fn(|lane| {
        let i = 2 * lane;
        -8 * (x[i] + x[i + 1] + x[i + GROUP / 2] + x[i + 1 + GROUP / 2])
    })
}

/// The instructions of the kernels.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kernel {
    Portable,
    #[cfg(target_arch = "x86_64")]
    Avx2(Detected),
    #[cfg(target_arch = "x86_64")]
    Avx512Vnni(Detected),
}

/// Proof that the processor has the instructions: only [`Kernel::available`] makes one.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy, Debug)]
pub(super) struct Detected(());

impl Kernel {
    /// The kernels that this processor can run, the fastest first.
    fn available() -> impl Iterator<Item = Self> {
        #[cfg(target_arch = "x86_64")]
        let vector = {
            use std::arch::is_x86_feature_detected as has;
            let vnni = has!("avx512f") && has!("avx512bw") && has!("avx512vnni");
            let avx2 = has!("avx2").then_some(Self::Avx2(Detected(())));
            [vnni.then_some(Self::Avx512Vnni(Detected(()))), avx2]
        };
        #[cfg(not(target_arch = "x86_64"))]
        let vector = [None];
        vector.into_iter().flatten().chain([Self::Portable])
    }

    /// The best kernel of this processor.
    pub(super) fn best() -> Self {
        Self::available().next().unwrap_or(Self::Portable)
    }

    /// Σ wᵢ·xᵢ for each row of a band.
    #[inline]
    pub(super) fn int8(self, band: &[[[i8; GROUP]; BAND]], x: &[[i16; GROUP]]) -> [i32; BAND] {
        match self {
            Self::Portable => int8(band, x),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(_) => {
                // SAFETY: `available` has found AVX2.
                unsafe { avx2::int8(band, x) }
            }
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Vnni(_) => {
                // SAFETY: `available` has found the three features.
                unsafe { avx512_vnni::int8(band, x) }
            }
        }
    }

    /// Σ sᵢ·wᵢ·xᵢ for each row of a band, with the scales s.
    #[inline]
    pub(super) fn int4(
        self,
        band: &[Int4Block],
        x: &[[i16; GROUP]],
        offsets: &[[i32; LANES]],
    ) -> [f32; BAND] {
        match self {
            Self::Portable => int4(band, x, offsets),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(_) => {
                // SAFETY: `available` has found AVX2.
                unsafe { avx2::int4(band, x, offsets) }
            }
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Vnni(_) => {
                // SAFETY: `available` has found the three features.
                unsafe { avx512_vnni::int4(band, x, offsets) }
            }
        }
    }
}

fn int8(band: &[[[i8; GROUP]; BAND]], x: &[[i16; GROUP]]) -> [i32; BAND] {
    let mut sums = [0; BAND];
    for (block, x) in band.iter().zip(x) {
        for (sum, row) in sums.iter_mut().zip(block) {
            *sum += row.iter().zip(x).map(|(&w, &x)| i32::from(w) * i32::from(x)).sum::<i32>();
        }
    }
    sums
}

fn int4(band: &[Int4Block], x: &[[i16; GROUP]], offsets: &[[i32; LANES]]) -> [f32; BAND] {
    let mut sums = [[0.0; LANES]; BAND];
    for (block, (x, offsets)) in band.iter().zip(x.iter().zip(offsets)) {
        for ((sums, bytes), scale) in sums.iter_mut().zip(&block.bytes).zip(block.scales) {
            for (lane, sum) in sums.iter_mut().enumerate() {
                let product = |i: usize| {
                    let byte = i32::from(bytes[i]);
                    (byte & 15) * i32::from(x[i]) + (byte >> 4) * i32::from(x[i + GROUP / 2])
                };
                *sum += (product(2 * lane) + product(2 * lane + 1) + offsets[lane]) as f32 * scale;
            }
        }
    }
    sums.map(fold)
}

/// The sum of the lanes.
#[inline(always)]
fn fold(x: [f32; LANES]) -> f32 {
    ((x[0] + x[4]) + (x[2] + x[6])) + ((x[1] + x[5]) + (x[3] + x[7]))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Integers of 0 to 65,520, in no order.
    fn integers(seed: usize) -> impl Iterator<Item = i32> {
        (0..).map(move |i: usize| ((i * 7919 + seed * 104_729) * 31 % 65_521) as i32)
    }

    #[test]
    fn all_kernels_give_the_same_bits() {
        for groups in [1, 2, 3, 12, 37] {
            let (mut a, mut b, mut c, mut d) = (integers(1), integers(2), integers(3), integers(4));
            let next = |from: &mut dyn Iterator<Item = i32>| from.next().unwrap_or_default();
            let x: Vec<[i16; GROUP]> =
                (0..groups).map(|_| std::array::from_fn(|_| (next(&mut a) - 32_760) as i16)).collect();
            let int8: Vec<[[i8; GROUP]; BAND]> = (0..groups)
                .map(|_| std::array::from_fn(|_| std::array::from_fn(|_| (next(&mut b) % 255 - 127) as i8)))
                .collect();
            let int4: Vec<Int4Block> = (0..groups)
                .map(|_| Int4Block {
                    scales: std::array::from_fn(|_| next(&mut c) as f32 / 3e5),
                    bytes: std::array::from_fn(|_| std::array::from_fn(|_| next(&mut d) as u8)),
                })
                .collect();
            let offsets: Vec<_> = x.iter().map(offsets).collect();
            // Sums of int8 stay below 2³¹ with integers of 13 bits.
            let small: Vec<[i16; GROUP]> = x.iter().map(|x| x.map(|x| x / 8)).collect();
            let product = |kernel: Kernel| {
                (kernel.int8(&int8, &small), kernel.int4(&int4, &x, &offsets).map(f32::to_bits))
            };
            for kernel in Kernel::available() {
                println!("tested: {kernel:?}"); // shown by `cargo test -- --nocapture`
                assert_eq!(product(kernel), product(Kernel::Portable), "{kernel:?}, {groups} groups");
            }
        }
    }

    #[test]
    fn the_greatest_integers_have_no_overflow() {
        for inputs in [1_usize, 384, 4096, 11_008, 100_000] {
            let groups = inputs.div_ceil(GROUP);
            let integers = Integers::Int8 { blocks: vec![], scales: vec![] };
            let greatest = greatest(&QuantizedWeight { outputs: 0, inputs, integers }) as i16;
            let mut x = vec![[0; GROUP]; groups];
            x.as_flattened_mut()[..inputs].fill(greatest);
            for kernel in Kernel::available() {
                let sums = kernel.int8(&vec![[[-127; GROUP]; BAND]; groups], &x);
                assert_eq!(sums, [-127 * i32::from(greatest) * inputs as i32; BAND], "{kernel:?}, {inputs}");
            }
        }
    }
}
