//! The program `smalti`: the command line for the built-in modalities.

use smalti::registry::Modalities;
use std::process::ExitCode;

/// Every training step allocates and frees the same few hundred megabytes. An allocator that returns them to the system in
/// between spends more time on page faults than the kernels compute.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    keep_memory();
    smalti::cli::main(Modalities::builtin())
}

/// Makes the allocator keep freed memory. By default it returns memory to the system after 10 ms, and page faults of the next
/// step take a tenth of the time of image-tiny.
fn keep_memory() {
    /// `mi_option_purge_delay` of mimalloc 2, for which the binding has no name; -1 means never.
    const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;
    // SAFETY: sets one number that the allocator reads; any thread may do so at any time.
    unsafe { libmimalloc_sys::mi_option_set(PURGE_DELAY, -1) }
}
