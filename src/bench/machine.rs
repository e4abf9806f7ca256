//! What the machine can do: the bounds that everything else is measured against.

use crate::ops::{time_of_product, time_of_reading};

/// FLOP in a second of a product of two square matrices of 1,024 on all threads: the best of 20.
pub fn product_rate() -> f64 {
    const N: usize = 1024;
    let seconds = (0..20).map(|_| time_of_product(N)).fold(f64::INFINITY, f64::min);
    2.0 * (N as f64).powi(3) / seconds
}

/// Bytes in a second that all threads together read from memory: the best of 5 passes over 256 MiB, which no cache
/// holds.
pub fn read_rate() -> f64 {
    const ELEMENTS: usize = 64 << 20;
    let memory = vec![1.0; ELEMENTS];
    let seconds = (0..5).map(|_| time_of_reading(&memory)).fold(f64::INFINITY, f64::min);
    4.0 * ELEMENTS as f64 / seconds
}

/// The most bytes of memory that this process has held; `None` where the system does not say.
pub fn peak_memory() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let kib = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(1024.0 * kib.trim().trim_end_matches("kB").trim().parse::<f64>().ok()?)
}
