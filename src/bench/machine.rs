//! The limits of the machine, as references for other measurements.

use super::{BenchError, median};
use crate::ops::cpu::math;
use crate::ops::cpu::product::{Matrix, MatrixMut, gemm_f32};
use crate::ops::cpu::product_bf16::{Kernel, Packed};
use crate::train::Precision;
use candle_core::{Device, Tensor};
use gemm::Parallelism;
use half::bf16;
use rayon::prelude::*;
use std::time::Instant;

/// FLOP/s of a product of two 1,024×1,024 matrices on all threads, in the type of activations of `precision`: the best of 20.
pub fn product_rate(precision: Precision) -> f64 {
    const N: usize = 1024;
    let time = match precision {
        Precision::F32 | Precision::Tf32 => time_of_product,
        Precision::Bf16 => time_of_bf16_product,
    };
    let seconds = (0..20).map(|_| time(N)).fold(f64::INFINITY, f64::min);
    2.0 * (N as f64).powi(3) / seconds
}

/// What computes the matrix products of linear maps on a device.
pub(super) fn product_kernel(precision: Precision, device: &Device) -> &'static str {
    match precision {
        _ if !device.is_cpu() => "cuBLASLt",
        Precision::F32 | Precision::Tf32 => "gemm crate",
        Precision::Bf16 => Kernel::fastest().name(),
    }
}

/// FLOP/s of a product of two random 8,192×8,192 matrices on a GPU, in the type of activations of `precision`: the median
/// of 10, after 3 to warm up.
///
/// # Errors
/// If an operation fails.
pub fn gpu_product_rate(precision: Precision, device: &Device) -> Result<f64, BenchError> {
    const N: usize = 8192;
    let matrix = || Tensor::rand(-1.0_f32, 1.0, (N, N), device)?.to_dtype(precision.dtype());
    let (a, b) = (matrix()?, matrix()?);
    let mut seconds = Vec::new();
    for _ in 0..13 {
        device.synchronize()?;
        let started = Instant::now();
        let _c = a.matmul(&b)?;
        device.synchronize()?;
        seconds.push(started.elapsed().as_secs_f64());
    }
    Ok(2.0 * (N as f64).powi(3) / median(seconds.split_off(3)))
}

/// Bytes in a second that all threads together read from memory: the best of 5 passes over 256 MiB, more than caches
/// hold.
pub fn read_rate() -> f64 {
    const ELEMENTS: usize = 64 << 20;
    let memory = vec![1.0; ELEMENTS];
    let seconds = (0..5).map(|_| time_of_reading(&memory)).fold(f64::INFINITY, f64::min);
    4.0 * ELEMENTS as f64 / seconds
}

/// Peak memory of this process, in bytes; `None` if the system does not report it.
pub fn peak_memory() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let kib = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(1024.0 * kib.trim().trim_end_matches("kB").trim().parse::<f64>().ok()?)
}

/// Seconds for a product of two `n`×`n` matrices on all threads, without allocations.
fn time_of_product(n: usize) -> f64 {
    let (a, b, mut c) = (vec![0.5; n * n], vec![0.25; n * n], vec![0.0; n * n]);
    let (a, b) = (Matrix::new(&a, n, n), Matrix::new(&b, n, n));
    let started = Instant::now();
    gemm_f32(1.0, a, b, 0.0, MatrixMut::new(&mut c, n, n), Parallelism::Rayon(0));
    started.elapsed().as_secs_f64()
}

/// As [`time_of_product`], for `bf16` factors; the right one is packed.
fn time_of_bf16_product(n: usize) -> f64 {
    let a = vec![bf16::from_f32(0.5); n * n];
    let b = Packed::new(Matrix::new(&vec![0.25; n * n], n, n));
    let started = Instant::now();
    std::hint::black_box(b.product(Matrix::new(&a, n, n), None));
    started.elapsed().as_secs_f64()
}

/// Seconds for all threads together to read `memory` once.
fn time_of_reading(memory: &[f32]) -> f64 {
    let started = Instant::now();
    let part = memory.len().div_ceil(rayon::current_num_threads()).max(1);
    let sums = memory.par_chunks(part).map(|part| {
        math::vectorize(
            #[inline(always)]
            || math::sum(part),
        )
    });
    std::hint::black_box(sums.sum::<f32>());
    started.elapsed().as_secs_f64()
}
