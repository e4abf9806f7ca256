//! The `smalti` command: parse, call the library, print.

mod cli;

/// A training step frees and takes the same few hundred megabytes; an allocator that gives them back to the
/// system in between spends more time on page faults than the kernels take.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    // candle adds large tensors on a pool of threads of its own that wait by spinning, and so take the cores
    // from the kernels' threads: a step of text-nano takes 62 ms without that pool and 187 ms with it where
    // two cores are also compiling.
    // SAFETY: no other thread runs yet that could read the environment.
    unsafe { std::env::set_var("CANDLE_NUM_THREADS", "1") };
    match cli::run(cli::Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let mut message = error.to_string();
            // Many errors quote their cause already.
            for cause in error.chain().skip(1).map(ToString::to_string) {
                if !message.contains(&cause) {
                    message = format!("{message}: {cause}");
                }
            }
            eprintln!("error: {message}");
            ExitCode::FAILURE
        }
    }
}
