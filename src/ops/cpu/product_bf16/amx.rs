//! AMX: a product of 16×32 and 32×16 numbers in one instruction.
//!
//! The instructions are written in assembly, because the compiler's own functions for AMX are not stable.

use super::kernel::{DEPTH, Target, Tile, pair, rows};
use std::arch::asm;

/// Rows of a register, and the pairs or sums in a row of 64 bytes.
const SIDE: usize = 16;

/// AMX's tiles of `bf16`. Four registers hold the sums of 32×32, two a part of a left factor and two one of a right factor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Amx(());

impl Amx {
    pub(crate) fn detect() -> Option<Self> {
        permission::is_granted().then_some(Self(()))
    }
}

/// What the instruction `ldtilecfg` reads: the rows of each register and their bytes.
#[repr(C, align(64))]
struct Shapes {
    palette: u8,
    start: u8,
    reserved: [u8; 14],
    bytes: [u16; 16],
    rows: [u8; 16],
}

impl Shapes {
    /// For products over `depth` pairs at a time: registers 0 to 3 for sums, 4 and 5 for the left factor, 6 and 7 for the
    /// right one.
    fn of(depth: usize) -> Self {
        let (all, part, width) = (SIDE as u8, depth as u8, 4 * depth as u16);
        let bytes = [64, 64, 64, 64, width, width, 64, 64, 0, 0, 0, 0, 0, 0, 0, 0];
        let rows = [all, all, all, all, all, all, part, part, 0, 0, 0, 0, 0, 0, 0, 0];
        Self { palette: 1, start: 0, reserved: [0; 14], bytes, rows }
    }
}

impl Tile for Amx {
    type Pair = u32;
    const ROWS: usize = 2 * SIDE;
    const COLUMNS: usize = 2 * SIDE;

    #[inline(always)]
    fn pair(low: u16, high: u16) -> u32 {
        pair(low, high)
    }

    fn multiply(self, a: &[[u32; DEPTH]], b: &[u32], mut c: Target) {
        let mut sums = [[0.0; Self::COLUMNS]; Self::ROWS];
        let a: &[_; Self::ROWS] = rows(a);
        let b = b.as_chunks::<{ Self::COLUMNS }>().0;
        let depth = b.len().min(DEPTH);
        // What is left of k has registers of its own shape: beyond `depth`, `a` has numbers of another block.
        let whole = depth - depth % SIDE;
        for (start, end, step) in [(0, whole, SIDE), (whole, depth, depth % SIDE)] {
            if start < end {
                let (a, b) = (a.as_flattened()[start..].as_ptr(), b[start..end].as_flattened().as_ptr());
                // SAFETY: `detect` made this `Amx`, so the instructions may run. The rows of `a` have `end` ≤ `DEPTH` pairs,
                // and `b` has `end - start` rows, a multiple of `step`, which is 1 to 16.
                unsafe { add_products(a, b, (end - start) / step, &Shapes::of(step), &mut sums) }
            }
        }
        c.add(&sums);
    }
}

/// c ← c + a·b in `steps` steps of as many pairs as `shapes` has: `a` points to `[32, DEPTH]`, `b` to `[pairs, 32]`.
///
/// # Safety
/// The processor has AMX and the process may use it; `a` has these pairs in each of its rows and `b` these rows; `shapes` are
/// of 1 to 16 pairs.
unsafe fn add_products(
    a: *const u32,
    b: *const u32,
    steps: usize,
    shapes: &Shapes,
    c: &mut [[f32; Amx::COLUMNS]; Amx::ROWS],
) {
    // SAFETY: the block reads `shapes`, `steps` steps of `a` and `b`, and reads and writes c. It gives no register of tiles
    // to code around it.
    unsafe {
        asm!(
            "ldtilecfg [{shapes}]",
            "tileloadd tmm0, [{c} + {line}*1]",
            "tileloadd tmm1, [{c} + {line}*1 + 64]",
            "tileloadd tmm2, [{c} + {line}*1 + {half_c}]",
            "tileloadd tmm3, [{c} + {line}*1 + {half_c} + 64]",
            "2:",
            "tileloadd tmm6, [{b} + {line}*1]",
            "tileloadd tmm4, [{a} + {row}*1]",
            "tdpbf16ps tmm0, tmm4, tmm6",
            "tileloadd tmm7, [{b} + {line}*1 + 64]",
            "tdpbf16ps tmm1, tmm4, tmm7",
            "tileloadd tmm5, [{a} + {row}*1 + {half_a}]",
            "tdpbf16ps tmm2, tmm5, tmm6",
            "tdpbf16ps tmm3, tmm5, tmm7",
            "add {a}, 64",
            "add {b}, {step_b}",
            "dec {steps}",
            "jnz 2b",
            "tilestored [{c} + {line}*1], tmm0",
            "tilestored [{c} + {line}*1 + 64], tmm1",
            "tilestored [{c} + {line}*1 + {half_c}], tmm2",
            "tilestored [{c} + {line}*1 + {half_c} + 64], tmm3",
            "tilerelease",
            shapes = in(reg) shapes,
            a = inout(reg) a => _,
            b = inout(reg) b => _,
            c = in(reg) c,
            steps = inout(reg) steps => _,
            line = in(reg) 4 * Amx::COLUMNS,
            row = in(reg) 4 * DEPTH,
            half_a = const SIDE * 4 * DEPTH,
            half_c = const SIDE * 4 * Amx::COLUMNS,
            step_b = const SIDE * 4 * Amx::COLUMNS,
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nostack),
        );
    }
}

#[cfg(all(target_os = "linux", not(miri)))]
mod permission {
    use std::arch::x86_64::{__cpuid, __cpuid_count};
    use std::sync::OnceLock;

    /// Whether the processor has tiles and products of `bf16`, and Linux lets this process use them: it saves 8 KiB more of a
    /// thread's state for processes that asked.
    pub(super) fn is_granted() -> bool {
        static GRANTED: OnceLock<bool> = OnceLock::new();
        *GRANTED.get_or_init(|| processor_has_tiles() && request())
    }

    fn processor_has_tiles() -> bool {
        const BF16: u32 = 1 << 22;
        const TILES: u32 = 1 << 24;
        __cpuid(0).eax >= 7 && __cpuid_count(7, 0).edx & (BF16 | TILES) == BF16 | TILES
    }

    fn request() -> bool {
        const ARCH_REQ_XCOMP_PERM: libc::c_long = 0x1023;
        const XFEATURE_XTILEDATA: libc::c_long = 18;
        // SAFETY: the call takes two numbers, and gives a permission or an error.
        unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0 }
    }
}

#[cfg(not(all(target_os = "linux", not(miri))))]
mod permission {
    /// Other systems are not known to this kernel.
    pub(super) fn is_granted() -> bool {
        false
    }
}
