//! Processes that train one model together, each on its own part of the data.

use crate::ops::Gradients;
use crate::params::Params;
use candle_core::{Result, Tensor};
use std::sync::Arc;

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
    /// Returns once every rank has come here.
    fn wait(&self);
    /// Ends the job, all its processes, with exit code 1.
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
    fn wait(&self) {}
    fn abort(&self) -> ! {
        std::process::exit(1)
    }
}

/// Why processes cannot train together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RanksError {
    /// A launcher has started several processes, and this program cannot reach the others.
    #[error(
        "{variable} says that {processes} processes were started, and this smalti is built without MPI, so each \
         would train a model of its own; build it with `--features mpi`, or start one process"
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
    /// There is no way yet for gradients to go from one GPU to another.
    #[error("{0} ranks train on processors, and this one was given a GPU; use --device cpu, or one process")]
    Gpu(usize),
    /// Ranks that do not start from the same place.
    #[error(
        "rank {rank} does not start as rank 0 does: expected {expected}; found {found}. All ranks need the same \
         data, settings, run folder and number of threads"
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

/// The processes that a launcher has started together with this one, by the variables of Open MPI, MPICH, Slurm or
/// torchrun; [`Alone`] where there is no other.
///
/// # Errors
/// [`RanksError::NoMpi`] and [`RanksError::Launcher`].
pub fn join() -> std::result::Result<Arc<dyn Ranks>, RanksError> {
    match launched(|name| std::env::var(name).ok()) {
        None => Ok(Arc::new(Alone)),
        Some((variable, processes)) => join_launched(variable, processes),
    }
}

#[cfg(feature = "mpi")]
fn join_launched(
    variable: &'static str,
    processes: usize,
) -> std::result::Result<Arc<dyn Ranks>, RanksError> {
    Ok(Arc::new(super::mpi::Mpi::join(variable, processes)?))
}

#[cfg(not(feature = "mpi"))]
fn join_launched(
    variable: &'static str,
    processes: usize,
) -> std::result::Result<Arc<dyn Ranks>, RanksError> {
    Err(RanksError::NoMpi { variable, processes })
}

/// The launcher's variable and its number of processes, where there are several.
fn launched(variable: impl Fn(&str) -> Option<String>) -> Option<(&'static str, usize)> {
    // A size counts only beside a rank: a shell on a cluster may have the first without the second.
    const LAUNCHERS: [(&str, &str); 4] = [
        ("OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK"),
        ("PMI_SIZE", "PMI_RANK"),
        ("SLURM_STEP_NUM_TASKS", "SLURM_PROCID"),
        ("WORLD_SIZE", "RANK"),
    ];
    LAUNCHERS.into_iter().find_map(|(size, rank)| {
        variable(rank)?;
        Some((size, variable(size)?.parse().ok()?)).filter(|(_, processes)| *processes > 1)
    })
}

/// Adds up gradients over all ranks, in one buffer. A parameter that one rank alone has used gets its gradient on all.
///
/// # Errors
/// Where the tensor library refuses.
pub(super) fn sum_gradients(ranks: &dyn Ranks, params: &Params, gradients: &mut Gradients) -> Result<()> {
    if ranks.size() == 1 {
        return Ok(());
    }
    let mut flat = Vec::with_capacity(params.count() + params.iter().len());
    for (place, (_, parameter)) in params.iter().enumerate() {
        match gradients.get(place) {
            Some(gradient) => flat.extend(gradient.flatten_all()?.to_vec1::<f32>()?),
            None => flat.resize(flat.len() + parameter.elem_count(), 0.0),
        }
    }
    let reached = flat.len();
    flat.extend((0..params.iter().len()).map(|place| f32::from(gradients.get(place).is_some())));
    ranks.sum(&mut flat);
    let mut start = 0;
    for (place, (_, parameter)) in params.iter().enumerate() {
        let end = start + parameter.elem_count();
        if flat[reached + place] > 0.0 {
            let sum = Tensor::from_slice(&flat[start..end], parameter.shape(), parameter.device())?;
            gradients.set(place, sum);
        }
        start = end;
    }
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
    pub fn on_ranks<T: Send>(size: usize, of_rank: impl Fn(&dyn Ranks) -> T + Sync) -> Vec<T> {
        let barrier = Arc::new(Barrier::new(size));
        let said = Arc::new(Mutex::new(vec![String::new(); size]));
        std::thread::scope(|scope| {
            let start = |rank| {
                let thread = Thread { rank, barrier: barrier.clone(), said: said.clone() };
                let of_rank = &of_rank;
                scope.spawn(move || of_rank(&thread))
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
            sum_gradients(ranks, &params, &mut gradients).unwrap();
            let values = |place| gradients.get(place).map(|g| g.to_vec1::<f32>().unwrap());
            [0, 1, 2].map(values)
        });
        let expected = [Some(vec![3.0, 6.0]), Some(vec![5.0, 10.0]), None];
        assert_eq!(sums, [expected.clone(), expected]);
    }

    #[test]
    fn launchers_are_known_by_their_variables() {
        let launched = |variables: &[(&str, &str)]| {
            launched(|name| variables.iter().find(|(n, _)| *n == name).map(|(_, value)| value.to_string()))
        };
        let torchrun = [("WORLD_SIZE", "8"), ("RANK", "3")];
        assert_eq!(launched(&torchrun), Some(("WORLD_SIZE", 8)));
        assert_eq!(launched(&torchrun[..1]), None);
        assert_eq!(launched(&[("WORLD_SIZE", "1"), ("RANK", "0")]), None);
        let slurm = [("SLURM_STEP_NUM_TASKS", "2"), ("SLURM_PROCID", "1"), ("SLURM_NTASKS", "4")];
        assert_eq!(launched(&slurm), Some(("SLURM_STEP_NUM_TASKS", 2)));
        assert_eq!(launched(&[("SLURM_NTASKS", "4")]), None);
        let open_mpi = [("OMPI_COMM_WORLD_SIZE", "2"), ("OMPI_COMM_WORLD_RANK", "0")];
        assert_eq!(launched(&open_mpi), Some(("OMPI_COMM_WORLD_SIZE", 2)));
    }
}
