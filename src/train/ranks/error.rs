//! Why processes cannot train together, or no longer.

/// Why processes cannot train together, or no longer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RanksError {
    /// The launcher connects its processes through MPI, and this build has no MPI.
    #[error(
        "{variable}: {processes} processes were started, and this smalti is built without MPI, so each would train its \
         own model; build it with `--features mpi`, start the processes with torchrun or srun, or start one process"
    )]
    NoMpi {
        /// The launcher's variable.
        variable: &'static str,
        /// The processes that the launcher started.
        processes: usize,
    },
    /// MPI found another number of processes than the launcher started.
    #[error(
        "{variable}: expected {processes} processes; MPI found {found}: start them with the mpirun of the MPI that \
         smalti is built with, or with srun --mpi"
    )]
    Launcher {
        /// The launcher's variable.
        variable: &'static str,
        /// The processes that the launcher started.
        processes: usize,
        /// The processes that MPI found.
        found: usize,
    },
    /// A launcher's variable is missing or has an unusable value.
    #[error("{variable}: expected {expected}; found {found}")]
    Variable {
        /// The variable.
        variable: &'static str,
        /// A usable value.
        expected: String,
        /// The value.
        found: String,
    },
    /// Rank 0 cannot listen for connections.
    #[error(
        "rank 0 cannot listen at {address}: {problem}; set SMALTI_PORT to another port, the same for all ranks, or \
         SMALTI_LISTEN to an address of this host"
    )]
    Listen {
        /// The address.
        address: String,
        /// The system's error.
        problem: String,
    },
    /// Other hosts can reach rank 0, and the ranks have no secret to show.
    #[error(
        "rank 0 listens at {0}, which other hosts can reach: expected a secret in SMALTI_TOKEN, the same for all ranks; \
         found nothing. `openssl rand -hex 16` makes one"
    )]
    NoToken(String),
    /// The rendezvous timed out on rank 0.
    #[error(
        "rank 0 at {address}: expected {world_size} ranks within {seconds} s; ranks {missing:?} are missing{}",
        rejected.as_ref().map_or_else(String::new, |last| format!(". The last rejected request: {last}"))
    )]
    MissingRanks {
        /// The ranks that have not connected.
        missing: Vec<usize>,
        /// The expected number of ranks.
        world_size: usize,
        /// The address at which rank 0 listens.
        address: String,
        /// The time-out in seconds.
        seconds: u64,
        /// Why rank 0 rejected the last request that it rejected.
        rejected: Option<String>,
    },
    /// The rendezvous timed out on another rank.
    #[error(
        "rank {rank} cannot connect to rank 0 at {address} within {seconds} s: {problem}. Set MASTER_ADDR to rank 0's \
         host and SMALTI_PORT to its port (default: MASTER_PORT + 1)"
    )]
    NoConnection {
        /// This rank.
        rank: usize,
        /// The address of rank 0.
        address: String,
        /// The time-out in seconds.
        seconds: u64,
        /// The system's error at the last attempt.
        problem: String,
    },
    /// A connecting process was started otherwise than rank 0.
    #[error("{what}: expected {expected}; found {found}")]
    Mismatch {
        /// What differs.
        what: &'static str,
        /// Its value on rank 0.
        expected: String,
        /// Its value on the connecting process.
        found: String,
    },
    /// Rank 0 rejected this rank.
    #[error("rank 0 reports: {0}")]
    Rejected(String),
    /// Another rank has failed or ended, or the connection to it is lost.
    #[error(
        "rank {rank} {problem} (rank {rank} is at {address}). The training has ended; --resume continues from its last \
         checkpoint, if there is one"
    )]
    PeerFailed {
        /// The rank.
        rank: usize,
        /// The address of its connection.
        address: String,
        /// What happened: "has failed: …".
        problem: String,
    },
    /// An operation on a tensor failed.
    #[error("{0}")]
    Tensor(String),
    /// This build cannot sum gradients between GPUs.
    #[error(
        "{0} ranks on GPUs sum gradients through NCCL, and this smalti is built without it; build it with \
         `--features nccl`, or use --device cpu"
    )]
    NoNccl(usize),
    /// Two ranks on one GPU.
    #[error(
        "ranks {first} and {second} compute on the same GPU, {gpu}; expected one GPU per rank: set LOCAL_RANK, from 0 \
         on, for each process of a host, as launchers do, or pass `--device cuda:N`"
    )]
    SameGpu {
        /// One of the ranks.
        first: usize,
        /// The other rank.
        second: usize,
        /// The driver's name of the GPU.
        gpu: String,
    },
    /// The driver or NCCL failed.
    #[error("{0}; NCCL_DEBUG=WARN prints details")]
    Nccl(String),
    /// Two ranks would start training from different states.
    #[error(
        "rank {rank} differs from rank 0: expected {expected}; found {found}. All ranks need the same data, settings, \
         run folder, type of device and number of threads"
    )]
    DifferentStart {
        /// The first rank that differs.
        rank: usize,
        /// The start of rank 0.
        expected: String,
        /// The start of that rank.
        found: String,
    },
}
