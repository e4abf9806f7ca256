//! Why processes cannot train together.

/// Why processes cannot train together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RanksError {
    /// A launcher whose processes only MPI can connect, and this program has no MPI.
    #[error(
        "{variable} says that {processes} processes were started, and this smalti is built without MPI, so each \
         would train a model of its own; build it with `--features mpi`, start them with torchrun or srun, or start \
         one process"
    )]
    NoMpi {
        /// The launcher's variable.
        variable: &'static str,
        /// Processes that it has started.
        processes: usize,
    },
    /// MPI has found other processes than the launcher has started.
    #[error(
        "{variable} says that {processes} processes were started, and MPI finds {found}; start them with the mpirun \
         of the MPI that smalti is built with, or with srun --mpi"
    )]
    Launcher {
        /// The launcher's variable.
        variable: &'static str,
        /// Processes that it has started.
        processes: usize,
        /// Processes that MPI knows.
        found: usize,
    },
    /// A variable of a launcher that is missing or says something else.
    #[error("{variable}: expected {expected}; found {found}")]
    Variable {
        /// The variable.
        variable: &'static str,
        /// What it should say.
        expected: String,
        /// What it says.
        found: String,
    },
    /// Rank 0 cannot take calls.
    #[error(
        "rank 0 cannot listen at {address}: {problem}; SMALTI_PORT, the same on all ranks, is another port"
    )]
    Listen {
        /// Where it should.
        address: String,
        /// What the system says.
        problem: String,
    },
    /// Rank 0 has waited for others.
    #[error("of {size} ranks, {missing:?} have not come to {address} within {seconds} s")]
    Absent {
        /// Those that have not come.
        missing: Vec<usize>,
        /// How many there should be.
        size: usize,
        /// Where rank 0 listens.
        address: String,
        /// How long it has waited.
        seconds: u64,
    },
    /// Another rank has called rank 0.
    #[error(
        "rank {rank} has called rank 0 at {address} for {seconds} s; the last time: {problem}. MASTER_ADDR is rank \
         0's host, and SMALTI_PORT the port there (MASTER_PORT + 1 where it is not set)"
    )]
    NoAnswer {
        /// The rank that calls.
        rank: usize,
        /// Where it calls.
        address: String,
        /// For how long.
        seconds: u64,
        /// What the system says.
        problem: String,
    },
    /// A process that calls rank 0 has been started otherwise than it.
    #[error("{what}: expected {expected}; found {found}")]
    Stranger {
        /// What differs.
        what: &'static str,
        /// What rank 0 knows.
        expected: String,
        /// What the process says.
        found: String,
    },
    /// What rank 0 has said instead of welcoming this rank.
    #[error("rank 0 says: {0}")]
    Refused(String),
    /// This program cannot send gradients from one GPU to another.
    #[error(
        "{0} ranks on GPUs exchange gradients through NCCL, and this smalti is built without it; build it with \
         `--features nccl`, or use --device cpu"
    )]
    Gpu(usize),
    /// Two ranks on one GPU.
    #[error(
        "ranks {first} and {second} compute on the same GPU, {gpu}; each wants one of its own: set LOCAL_RANK, from 0 \
         on, for each process of a host, as launchers do, or say `--device cuda:N`"
    )]
    SameGpu {
        /// One of them.
        first: usize,
        /// The other.
        second: usize,
        /// What the driver calls it.
        gpu: String,
    },
    /// The driver or NCCL refuses.
    #[error("{0}; NCCL_DEBUG=WARN says more")]
    Nccl(String),
    /// Ranks that do not start from the same place.
    #[error(
        "rank {rank} does not start as rank 0 does: expected {expected}; found {found}. All ranks need the same \
         data, settings, run folder, sort of device and number of threads"
    )]
    Differ {
        /// The first rank that differs.
        rank: usize,
        /// What rank 0 starts from.
        expected: String,
        /// What that rank starts from.
        found: String,
    },
}
