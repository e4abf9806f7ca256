//! The `smalti` command: parse, call the library, print.

mod cli;

/// A training step frees and takes the same few hundred megabytes; an allocator that gives them back to the
/// system in between spends more time on page faults than the kernels take.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    #[cfg(feature = "hdf5")]
    if let Some(code) = smalti::tasks::modalities::trajectory::hdf5::serve() {
        return code;
    }
    // candle adds large tensors on a pool of threads of its own that wait by spinning, and so take the cores
    // from the kernels' threads: a step of text-nano takes 62 ms without that pool and 187 ms with it where
    // two cores are also compiling.
    // SAFETY: no other thread runs yet that could read the environment.
    unsafe { std::env::set_var("CANDLE_NUM_THREADS", "1") };
    keep_memory();
    end_with_the_reader();
    let cli = cli::Cli::parse();
    // On a thread of the pool, so that handing work to it and waiting for it does not change threads.
    match rayon::scope(|_| cli::run(cli)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", cli::message(&error));
            ExitCode::FAILURE
        }
    }
}

/// Has the allocator keep what is freed. By default it gives memory back after 10 ms, and the next step takes the
/// same pages again: a tenth of a step of image-tiny was page faults.
fn keep_memory() {
    /// `mi_option_purge_delay` of mimalloc 2, for which the binding has no name; -1 is "never".
    const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;
    // SAFETY: sets one number that the allocator reads; any thread may do so at any time.
    unsafe { libmimalloc_sys::mi_option_set(PURGE_DELAY, -1) }
}

/// Has `smalti info RUN | head -1` end quietly, as other commands do, when its reader has gone; Rust's default is an
/// error at the next line printed.
fn end_with_the_reader() {
    #[cfg(unix)]
    // SAFETY: sets what a signal does, before any other thread runs.
    unsafe {
        libc::signal(libc::SIGPIPE, libc::SIG_DFL);
    }
}
