//! Processes that train one model together, each on its own part of the data.

mod error;
mod gpus;
mod launched;
mod meet;
#[cfg(feature = "mpi")]
mod mpi;
mod tcp;

pub use error::RanksError;
pub use gpus::on;
pub use launched::Launched;

use crate::model::Params;
use crate::ops::Gradients;
use candle_core::{Result, Tensor};
use launched::Through;
use std::sync::Arc;

/// The exit code of a process that ends because another rank has.
pub const ENDED: i32 = 3;

/// The processes of one training, seen from one of them.
///
/// Every rank makes the same calls in the same order; each waits for all the others.
pub trait Ranks: Send + Sync {
    /// The number of this process, from 0. Rank 0 alone writes the run folder.
    fn rank(&self) -> usize;
    /// How many processes there are.
    fn size(&self) -> usize;
    /// Adds up each number over all ranks; the same bits on every one.
    fn sum(&self, numbers: &mut [f32]);
    /// As [`sum`](Self::sum), in 64 bits.
    fn sum_f64(&self, numbers: &mut [f64]);
    /// The texts of all ranks, by rank; none is empty.
    fn gather(&self, text: &str) -> Vec<String>;
    /// The sums of each tensor, in f32, over all ranks. Those given may be written to, where the ranks can add them up as
    /// they lie; by default they go by way of the host's memory.
    ///
    /// # Errors
    /// Where the tensor library refuses.
    fn sum_tensors(&self, tensors: Vec<Tensor>) -> Result<Vec<Tensor>> {
        let mut flat = Vec::with_capacity(tensors.iter().map(Tensor::elem_count).sum());
        for tensor in &tensors {
            flat.extend(tensor.flatten_all()?.to_vec1::<f32>()?);
        }
        self.sum(&mut flat);
        let mut start = 0;
        let sum = |tensor: &Tensor| {
            start += tensor.elem_count();
            Tensor::from_slice(&flat[start - tensor.elem_count()..start], tensor.shape(), tensor.device())
        };
        tensors.iter().map(sum).collect()
    }
    /// Returns once every rank has come here.
    fn wait(&self);
    /// Ends the job, all its processes, this one with exit code 1.
    fn abort(&self) -> !;
}

/// One process that trains by itself.
#[derive(Clone, Copy, Debug)]
pub struct Alone;

impl Ranks for Alone {
    fn rank(&self) -> usize {
        0
    }
    fn size(&self) -> usize {
        1
    }
    fn sum(&self, _: &mut [f32]) {}
    fn sum_f64(&self, _: &mut [f64]) {}
    fn gather(&self, text: &str) -> Vec<String> {
        vec![text.into()]
    }
    fn sum_tensors(&self, tensors: Vec<Tensor>) -> Result<Vec<Tensor>> {
        Ok(tensors)
    }
    fn wait(&self) {}
    fn abort(&self) -> ! {
        std::process::exit(1)
    }
}

/// The processes that a launcher has started together with this one: torchrun, srun and those who set torchrun's variables
/// say where rank 0 is, which the others then call; those of mpirun, and of srun in a build with MPI, meet through MPI.
/// [`Alone`] where there is no other.
///
/// # Errors
/// Where a variable is missing or wrong, or the others cannot be reached ([`RanksError`]).
pub fn join() -> std::result::Result<Arc<dyn Ranks>, RanksError> {
    let Some(launched) = Launched::find()? else { return Ok(Arc::new(Alone)) };
    match &launched.through {
        Through::Tcp(meeting) => Ok(Arc::new(tcp::Tcp::join(launched.rank, launched.size, meeting)?)),
        Through::Mpi => join_mpi(launched.variable, launched.size),
    }
}

#[cfg(feature = "mpi")]
fn join_mpi(variable: &'static str, processes: usize) -> std::result::Result<Arc<dyn Ranks>, RanksError> {
    Ok(Arc::new(mpi::Mpi::join(variable, processes)?))
}

#[cfg(not(feature = "mpi"))]
fn join_mpi(variable: &'static str, processes: usize) -> std::result::Result<Arc<dyn Ranks>, RanksError> {
    Err(RanksError::NoMpi { variable, processes })
}

/// Adds up gradients over all ranks. A parameter that one rank alone has used gets its gradient on all.
///
/// # Errors
/// Where the tensor library refuses.
pub(super) fn sum_gradients(ranks: &dyn Ranks, params: &Params, gradients: &mut Gradients) -> Result<()> {
    let used = |place| f32::from(gradients.get(place).is_some());
    let mut users: Vec<f32> = (0..params.iter().len()).map(used).collect();
    ranks.sum(&mut users);
    let (mut places, mut tensors) = (Vec::new(), Vec::new());
    for (place, (_, parameter)) in params.iter().enumerate().filter(|(place, _)| users[*place] > 0.0) {
        places.push(place);
        tensors.push(gradients.get(place).cloned().map_or_else(|| parameter.zeros_like(), Ok)?);
    }
    let sums = ranks.sum_tensors(tensors)?;
    places.into_iter().zip(sums).for_each(|(place, sum)| gradients.set(place, sum));
    Ok(())
}

/// Ranks that are threads of one process.
#[cfg(test)]
pub(super) mod testing {
    use super::Ranks;
    use std::sync::{Arc, Barrier, Mutex};

    pub struct Thread {
        rank: usize,
        barrier: Arc<Barrier>,
        said: Arc<Mutex<Vec<String>>>,
    }

    /// What `of_rank` gives on each of `size` ranks.
    pub fn on_ranks<T: Send>(size: usize, of_rank: impl Fn(Arc<dyn Ranks>) -> T + Sync) -> Vec<T> {
        let barrier = Arc::new(Barrier::new(size));
        let said = Arc::new(Mutex::new(vec![String::new(); size]));
        std::thread::scope(|scope| {
            let start = |rank| {
                let thread = Thread { rank, barrier: barrier.clone(), said: said.clone() };
                let of_rank = &of_rank;
                scope.spawn(move || of_rank(Arc::new(thread)))
            };
            let threads: Vec<_> = (0..size).map(start).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        })
    }

    impl Ranks for Thread {
        fn rank(&self) -> usize {
            self.rank
        }
        fn size(&self) -> usize {
            self.said.lock().unwrap().len()
        }
        fn sum(&self, numbers: &mut [f32]) {
            let mut sums: Vec<f64> = numbers.iter().map(|&n| n.into()).collect();
            self.sum_f64(&mut sums);
            numbers.iter_mut().zip(sums).for_each(|(number, sum)| *number = sum as f32);
        }
        fn sum_f64(&self, numbers: &mut [f64]) {
            let all = self.gather(&serde_json::to_string(&*numbers).unwrap());
            let all: Vec<Vec<f64>> = all.iter().map(|text| serde_json::from_str(text).unwrap()).collect();
            numbers.iter_mut().enumerate().for_each(|(i, n)| *n = all.iter().map(|rank| rank[i]).sum());
        }
        fn gather(&self, text: &str) -> Vec<String> {
            self.said.lock().unwrap()[self.rank] = text.into();
            self.wait();
            let all = self.said.lock().unwrap().clone();
            self.wait();
            all
        }
        fn wait(&self) {
            self.barrier.wait();
        }
        fn abort(&self) -> ! {
            panic!("rank {} ends the job", self.rank)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn gradients_are_summed_where_any_rank_has_them() {
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
            sum_gradients(ranks.as_ref(), &params, &mut gradients).unwrap();
            let values = |place| gradients.get(place).map(|g| g.to_vec1::<f32>().unwrap());
            [0, 1, 2].map(values)
        });
        let expected = [Some(vec![3.0, 6.0]), Some(vec![5.0, 10.0]), None];
        assert_eq!(sums, [expected.clone(), expected]);
    }
}
