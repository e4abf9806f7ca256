//! `smalti train --devices`: starts this program once for each GPU, as the ranks of one training.

#[cfg(any(feature = "nccl", all(test, unix)))]
mod processes;

use super::device::Gpus;
use crate::train::{RanksError, TrainError};
use anyhow::Result;

/// Environment variable of the processes that [`start`] starts: the identifier of their job.
const JOB: &str = "SMALTI_JOB";

/// The exit code of a process that ends because another rank has failed.
pub const PEER_FAILED: i32 = 3;

/// The exit code of a rank that ends with this error.
pub fn exit_code(error: &anyhow::Error) -> i32 {
    match error.downcast_ref() {
        Some(TrainError::OtherRank { .. } | TrainError::Ranks(RanksError::PeerFailed { .. })) => PEER_FAILED,
        _ => 1,
    }
}

/// Ends this rank without exit handlers, which would wait for a GPU that waits for a lost rank.
pub fn exit(code: i32) -> ! {
    #[cfg(unix)]
    // SAFETY: ends the process; nothing of it is used afterwards.
    unsafe {
        libc::_exit(code)
    }
    #[cfg(not(unix))]
    std::process::exit(code)
}

/// Whether [`start`] started this process.
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

    if let Some(Launched { variable, world_size, .. }) = Launched::find()? {
        bail!(
            "{variable}: a launcher has started {world_size} processes, and each would start more for --devices; leave out \
             --devices: each process takes the next GPU of its host"
        )
    }
    let n_gpus = crate::cuda::count().context("--devices: no GPU found")?;
    if let Some(gpu) = gpus.iter().find(|gpu| **gpu >= n_gpus) {
        bail!("--devices: expected GPUs from 0 to {}; found {gpu} (nvidia-smi lists them)", n_gpus - 1)
    }
    // A free port is most likely still free when rank 0 listens there. The job identifies processes that are none of its ranks.
    let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port().to_string();
    let job = format!("{}-{port}", std::process::id());
    let threads = std::thread::available_parallelism().map_or(1, |all| (all.get() / gpus.len()).max(1));
    let program = std::env::current_exe().context("the file of this program cannot be found")?;
    let mut secret = [0; 16];
    getrandom::fill(&mut secret).context("the system gives no random bytes for the token of the ranks")?;
    let token = format!("{:032x}", u128::from_le_bytes(secret));
    let rank_of = |(rank, gpu): (usize, &usize)| {
        let mut command = Command::new(&program);
        command.args(std::env::args_os().skip(1));
        command.env("RANK", rank.to_string()).env("LOCAL_RANK", rank.to_string());
        command.env("WORLD_SIZE", gpus.len().to_string()).env(JOB, &job);
        command.env("MASTER_ADDR", "127.0.0.1").env("SMALTI_PORT", &port).env("SMALTI_TOKEN", &token);
        if std::env::var_os("RAYON_NUM_THREADS").is_none() {
            command.env("RAYON_NUM_THREADS", threads.to_string());
        }
        (*gpu, command)
    };
    processes::run(gpus.iter().enumerate().map(rank_of).collect())
}
