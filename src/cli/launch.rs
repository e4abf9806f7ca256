//! `smalti train --devices`: this program again, once for each GPU, as ranks of one training.

#[cfg(any(feature = "nccl", all(test, unix)))]
mod processes;

use super::device::Gpus;
use anyhow::Result;

/// Set in the processes that [`start`] starts, to what tells their job from others.
const JOB: &str = "SMALTI_JOB";

/// Whether this process is one of those that [`start`] starts.
pub fn is_started() -> bool {
    std::env::var_os(JOB).is_some()
}

/// Starts a process for each GPU, with the arguments of this one, and waits for them all.
#[cfg(not(feature = "nccl"))]
pub fn start(_: &Gpus) -> Result<()> {
    anyhow::bail!(
        "--devices trains on several GPUs through NCCL, and this smalti is built without it; build it with \
         `--features nccl`, or use one GPU: --device cuda:0"
    )
}

/// Starts a process for each GPU, with the arguments of this one, and waits for them all.
#[cfg(feature = "nccl")]
pub fn start(Gpus(gpus): &Gpus) -> Result<()> {
    use crate::train::ranks::Launched;
    use anyhow::{Context, bail};
    use std::process::Command;

    if let Some(Launched { variable, size, .. }) = Launched::find()? {
        bail!(
            "{variable} says that a launcher has started {size} processes, and --devices would start others from each; \
             leave it out: each process takes the next GPU of its host"
        )
    }
    let there = crate::ops::cuda::count().context("--devices finds no GPU")?;
    if let Some(gpu) = gpus.iter().find(|gpu| **gpu >= there) {
        bail!("--devices names GPU {gpu}; this host has {there}, from number 0 (nvidia-smi lists them)")
    }
    // Free now, and so most likely still when rank 0 listens there; who comes by mistake is of another job.
    let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port().to_string();
    let job = format!("{}-{port}", std::process::id());
    let threads = std::thread::available_parallelism().map_or(1, |all| (all.get() / gpus.len()).max(1));
    let program = std::env::current_exe().context("this program cannot be found, to be started again")?;
    let rank_of = |(rank, gpu): (usize, &usize)| {
        let mut command = Command::new(&program);
        command.args(std::env::args_os().skip(1));
        command.env("RANK", rank.to_string()).env("LOCAL_RANK", rank.to_string());
        command.env("WORLD_SIZE", gpus.len().to_string()).env(JOB, &job);
        command.env("MASTER_ADDR", "127.0.0.1").env("SMALTI_PORT", &port);
        if std::env::var_os("RAYON_NUM_THREADS").is_none() {
            command.env("RAYON_NUM_THREADS", threads.to_string());
        }
        (*gpu, command)
    };
    processes::run(gpus.iter().enumerate().map(rank_of).collect())
}
