//! Distributed data-parallel training: processes that train one model, each on its own micro-batches.

mod error;
mod gpus;
mod launched;
#[cfg(feature = "mpi")]
mod mpi;
mod rendezvous;
mod tcp;

pub use error::RanksError;
pub use gpus::on_device;
pub use launched::Launched;

use super::TrainError;
use crate::model::Params;
use crate::ops::Gradients;
use candle_core::Tensor;
use launched::Transport;
use std::sync::Arc;

/// The process group of one training, from the side of one rank.
///
/// Every rank makes the same calls in the same order, and each call waits for all ranks. Once a rank has failed, the calls of
/// all others return [`RanksError::PeerFailed`], also those that already wait.
pub trait Ranks: Send + Sync {
    /// The number of this process, from 0. Rank 0 alone writes the run folder.
    fn rank(&self) -> usize;
    /// The number of processes.
    fn world_size(&self) -> usize;
    /// Sums each number over all ranks, with the same bits on every rank.
    ///
    /// # Errors
    /// [`RanksError::PeerFailed`] if another rank has failed.
    fn all_reduce(&self, numbers: &mut [f32]) -> Result<(), RanksError>;
    /// As [`all_reduce`](Self::all_reduce), in 64 bits.
    ///
    /// # Errors
    /// As for `all_reduce`.
    fn all_reduce_f64(&self, numbers: &mut [f64]) -> Result<(), RanksError>;
    /// The texts of all ranks, by rank; expects texts that are not empty.
    ///
    /// # Errors
    /// As for [`all_reduce`](Self::all_reduce).
    fn all_gather(&self, text: &str) -> Result<Vec<String>, RanksError>;
    /// The sum of each f32 tensor over all ranks. By default the numbers are copied through host memory; an implementation
    /// may reduce the given tensors in place.
    ///
    /// # Errors
    /// As for [`all_reduce`](Self::all_reduce), and if an operation on a tensor fails.
    fn all_reduce_tensors(&self, tensors: Vec<Tensor>) -> Result<Vec<Tensor>, RanksError> {
        let failed = |e: candle_core::Error| RanksError::Tensor(e.to_string());
        let mut flat = Vec::with_capacity(tensors.iter().map(Tensor::elem_count).sum());
        for tensor in &tensors {
            flat.extend(tensor.flatten_all().and_then(|flat| flat.to_vec1::<f32>()).map_err(failed)?);
        }
        self.all_reduce(&mut flat)?;
        let mut start = 0;
        let sum = |tensor: &Tensor| {
            start += tensor.elem_count();
            Tensor::from_slice(&flat[start - tensor.elem_count()..start], tensor.shape(), tensor.device())
        };
        tensors.iter().map(sum).collect::<candle_core::Result<_>>().map_err(failed)
    }
    /// Returns once every rank has called it.
    ///
    /// # Errors
    /// As for [`all_reduce`](Self::all_reduce).
    fn barrier(&self) -> Result<(), RanksError>;
    /// Tells the other ranks that this one has failed, and with what problem; they have to end.
    ///
    /// MPI, if it connects the ranks, ends all processes at once, this one included.
    fn abort(&self, problem: &str);
}

/// A single process, of world size 1.
#[derive(Clone, Copy, Debug)]
pub struct Alone;

impl Ranks for Alone {
    fn rank(&self) -> usize {
        0
    }
    fn world_size(&self) -> usize {
        1
    }
    fn all_reduce(&self, _: &mut [f32]) -> Result<(), RanksError> {
        Ok(())
    }
    fn all_reduce_f64(&self, _: &mut [f64]) -> Result<(), RanksError> {
        Ok(())
    }
    fn all_gather(&self, text: &str) -> Result<Vec<String>, RanksError> {
        Ok(vec![text.into()])
    }
    fn all_reduce_tensors(&self, tensors: Vec<Tensor>) -> Result<Vec<Tensor>, RanksError> {
        Ok(tensors)
    }
    fn barrier(&self) -> Result<(), RanksError> {
        Ok(())
    }
    fn abort(&self, _: &str) {}
}

/// Joins the process group that a launcher has started; [`Alone`] if this is its only process.
///
/// Processes of torchrun or srun, or with torchrun's variables, connect to rank 0, whose address those name. Processes of
/// mpirun, and of srun in a build with MPI, connect through MPI.
///
/// When another rank fails, `on_peer_failure` is called with the error, once and on any thread, before a call of this rank
/// returns the same error. A rank that waits on its GPU for one that has ended (NCCL) makes no call and waits for ever: only
/// ending the process in `on_peer_failure`, without exit handlers, ends that wait. Without GPUs it may do nothing. It must not
/// call the ranks. MPI, if it connects the ranks, ends the processes itself.
///
/// # Errors
/// [`RanksError`] if a variable is missing or unusable, or the other ranks cannot be reached.
pub fn join(
    on_peer_failure: impl Fn(&RanksError) + Send + Sync + 'static,
) -> Result<Arc<dyn Ranks>, RanksError> {
    let Some(launched) = Launched::find()? else { return Ok(Arc::new(Alone)) };
    let Launched { rank, world_size, .. } = launched;
    match &launched.transport {
        Transport::Tcp(rendezvous) => {
            Ok(Arc::new(tcp::Tcp::join(rank, world_size, rendezvous, Box::new(on_peer_failure))?))
        }
        Transport::Mpi => join_mpi(launched.variable, world_size),
    }
}

#[cfg(feature = "mpi")]
fn join_mpi(variable: &'static str, processes: usize) -> Result<Arc<dyn Ranks>, RanksError> {
    Ok(Arc::new(mpi::Mpi::join(variable, processes)?))
}

#[cfg(not(feature = "mpi"))]
fn join_mpi(variable: &'static str, processes: usize) -> Result<Arc<dyn Ranks>, RanksError> {
    Err(RanksError::NoMpi { variable, processes })
}

/// Sums gradients over all ranks. A parameter that any rank has used gets a gradient on every rank.
///
/// # Errors
/// [`TrainError::Ranks`] if another rank has failed, and if an operation fails.
pub(super) fn all_reduce_gradients(
    ranks: &dyn Ranks,
    params: &Params,
    gradients: &mut Gradients,
) -> Result<(), TrainError> {
    let used = |place| f32::from(gradients.get(place).is_some());
    let mut users: Vec<f32> = (0..params.iter().len()).map(used).collect();
    ranks.all_reduce(&mut users)?;
    let (mut places, mut tensors) = (Vec::new(), Vec::new());
    for (place, (_, parameter)) in params.iter().enumerate().filter(|(place, _)| users[*place] > 0.0) {
        places.push(place);
        tensors.push(gradients.get(place).cloned().map_or_else(|| parameter.zeros_like(), Ok)?);
    }
    let sums = ranks.all_reduce_tensors(tensors)?;
    places.into_iter().zip(sums).for_each(|(place, sum)| gradients.set(place, sum));
    Ok(())
}

/// Ranks in threads of one process.
#[cfg(test)]
pub(super) mod testing {
    use super::{Ranks, RanksError};
    use std::sync::{Arc, Barrier, Mutex};

    pub struct Thread {
        rank: usize,
        barrier: Arc<Barrier>,
        texts: Arc<Mutex<Vec<String>>>,
    }

    /// The results of `of_rank` on each of `world_size` ranks.
    pub fn on_ranks<T: Send>(world_size: usize, of_rank: impl Fn(Arc<dyn Ranks>) -> T + Sync) -> Vec<T> {
        let barrier = Arc::new(Barrier::new(world_size));
        let texts = Arc::new(Mutex::new(vec![String::new(); world_size]));
        std::thread::scope(|scope| {
            let start = |rank| {
                let thread = Thread { rank, barrier: barrier.clone(), texts: texts.clone() };
                let of_rank = &of_rank;
                scope.spawn(move || of_rank(Arc::new(thread)))
            };
            let threads: Vec<_> = (0..world_size).map(start).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        })
    }

    impl Ranks for Thread {
        fn rank(&self) -> usize {
            self.rank
        }
        fn world_size(&self) -> usize {
            self.texts.lock().unwrap().len()
        }
        fn all_reduce(&self, numbers: &mut [f32]) -> Result<(), RanksError> {
            let mut sums: Vec<f64> = numbers.iter().map(|&n| n.into()).collect();
            self.all_reduce_f64(&mut sums)?;
            numbers.iter_mut().zip(sums).for_each(|(number, sum)| *number = sum as f32);
            Ok(())
        }
        fn all_reduce_f64(&self, numbers: &mut [f64]) -> Result<(), RanksError> {
            let all = self.all_gather(&serde_json::to_string(&*numbers).unwrap())?;
            let all: Vec<Vec<f64>> = all.iter().map(|text| serde_json::from_str(text).unwrap()).collect();
            numbers.iter_mut().enumerate().for_each(|(i, n)| *n = all.iter().map(|rank| rank[i]).sum());
            Ok(())
        }
        fn all_gather(&self, text: &str) -> Result<Vec<String>, RanksError> {
            self.texts.lock().unwrap()[self.rank] = text.into();
            self.barrier()?;
            let all = self.texts.lock().unwrap().clone();
            self.barrier()?;
            Ok(all)
        }
        fn barrier(&self) -> Result<(), RanksError> {
            self.barrier.wait();
            Ok(())
        }
        fn abort(&self, problem: &str) {
            panic!("rank {} has failed: {problem}", self.rank)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn gradients_of_any_rank_are_summed_on_all_ranks() {
        let sums = testing::on_ranks(2, |ranks| {
            let mut params = Params::new(1, &Device::Cpu);
            let mut root = params.root();
            for name in ["both", "one", "none"] {
                root.ones(name, 2).unwrap();
            }
            let mut gradients = Gradients::default();
            let gradient = |x: f32| Tensor::new(&[x, 2.0 * x], &Device::Cpu).unwrap();
            gradients.set(0, gradient(1.0 + ranks.rank() as f32));
            if ranks.rank() == 1 {
                gradients.set(1, gradient(5.0));
            }
            all_reduce_gradients(ranks.as_ref(), &params, &mut gradients).unwrap();
            let values = |place| gradients.get(place).map(|g| g.to_vec1::<f32>().unwrap());
            [0, 1, 2].map(values)
        });
        let expected = [Some(vec![3.0, 6.0]), Some(vec![5.0, 10.0]), None];
        assert_eq!(sums, [expected.clone(), expected]);
    }
}
