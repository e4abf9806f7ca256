//! Ranks over MPI.

use super::{Ranks, RanksError};
use mpi::collective::SystemOperation;
use mpi::datatype::{Equivalence, PartitionMut};
use mpi::environment::Universe;
use mpi::topology::SimpleCommunicator;
use mpi::traits::{Communicator, CommunicatorCollectives};

/// One process of MPI's world.
pub struct Mpi {
    /// Finalizes MPI when dropped, which waits for all other processes.
    _universe: Universe,
    rank: usize,
    world_size: usize,
}

/// Numbers in one all-reduce: MPI counts in 32 bits, and each all-reduce copies its numbers.
const CHUNK: usize = 1 << 22;

impl Mpi {
    /// Joins the `processes` that a launcher has started according to its `variable`.
    ///
    /// # Errors
    /// [`RanksError::Launcher`] if MPI finds another number of them.
    pub(super) fn join(variable: &'static str, processes: usize) -> Result<Self, RanksError> {
        let joined = mpi::initialize_with_threading(mpi::Threading::Serialized);
        let Some((universe, _)) = joined else {
            return Err(RanksError::Launcher { variable, processes, found: 0 });
        };
        let world = universe.world();
        let (rank, world_size) = (world.rank() as usize, world.size() as usize);
        if world_size != processes {
            return Err(RanksError::Launcher { variable, processes, found: world_size });
        }
        Ok(Self { _universe: universe, rank, world_size })
    }

    fn all_reduce_of<T: Equivalence + Copy>(numbers: &mut [T]) -> Result<(), RanksError> {
        for chunk in numbers.chunks_mut(CHUNK) {
            let own = chunk.to_vec();
            SimpleCommunicator::world().all_reduce_into(&own[..], chunk, SystemOperation::sum());
        }
        Ok(())
    }
}

/// No call fails here: MPI ends all processes if one fails.
impl Ranks for Mpi {
    fn rank(&self) -> usize {
        self.rank
    }

    fn world_size(&self) -> usize {
        self.world_size
    }

    fn all_reduce(&self, numbers: &mut [f32]) -> Result<(), RanksError> {
        Self::all_reduce_of(numbers)
    }

    fn all_reduce_f64(&self, numbers: &mut [f64]) -> Result<(), RanksError> {
        Self::all_reduce_of(numbers)
    }

    fn all_gather(&self, text: &str) -> Result<Vec<String>, RanksError> {
        let world = SimpleCommunicator::world();
        let mut lengths = vec![0_i32; self.world_size];
        world.all_gather_into(&(text.len() as i32), &mut lengths[..]);
        let starts: Vec<i32> =
            lengths.iter().scan(0, |end, length| Some(std::mem::replace(end, *end + length))).collect();
        let mut bytes = vec![0_u8; lengths.iter().sum::<i32>() as usize];
        let mut parts = PartitionMut::new(&mut bytes[..], &lengths[..], &starts[..]);
        world.all_gather_varcount_into(text.as_bytes(), &mut parts);
        let part = |(&start, &length): (&i32, &i32)| &bytes[start as usize..][..length as usize];
        let texts = starts.iter().zip(&lengths).map(part);
        Ok(texts.map(|text| String::from_utf8_lossy(text).into_owned()).collect())
    }

    fn barrier(&self) -> Result<(), RanksError> {
        SimpleCommunicator::world().barrier();
        Ok(())
    }

    fn abort(&self, _: &str) {
        SimpleCommunicator::world().abort(1)
    }
}

/// Ends the job after a panic; the other ranks would wait for this one forever.
impl Drop for Mpi {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // The message of MPI about the abort can get lost while the processes end.
            eprintln!("error: rank {} has panicked", self.rank);
            self.abort("has panicked");
        }
    }
}
