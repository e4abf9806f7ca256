//! The program `smalti`: the command line over the built-in modalities.

use smalti::registry::Modalities;
use std::process::ExitCode;

/// A training step frees and takes the same few hundred megabytes; an allocator that gives them back to the
/// system in between spends more time on page faults than the kernels take.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    keep_memory();
    smalti::cli::main(Modalities::builtin())
}

/// Has the allocator keep what is freed. By default it gives memory back after 10 ms, and the next step takes the
/// same pages again: a tenth of a step of image-tiny was page faults.
fn keep_memory() {
    /// `mi_option_purge_delay` of mimalloc 2, for which the binding has no name; -1 is "never".
    const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;
    // SAFETY: sets one number that the allocator reads; any thread may do so at any time.
    unsafe { libmimalloc_sys::mi_option_set(PURGE_DELAY, -1) }
}
