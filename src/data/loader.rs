//! Which samples make which step's batch, and threads that prepare batches ahead.

use super::{Batch, DataError, Dataset, Layout, collate};
use crate::random::{mix, permutation};
use std::sync::{
    Arc,
    mpsc::{Receiver, sync_channel},
};

/// The order of samples: a pure function of seed and step, so that resuming needs only the step.
#[derive(Clone, Debug)]
pub struct Sampler {
    seed: u64,
    /// For each task, samples in its data set and samples in each micro-batch.
    tasks: Vec<(usize, usize)>,
    /// For each task, the last epoch asked for and its order.
    orders: Vec<Option<(u64, Vec<u32>)>>,
}

/// One sample to be drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Draw {
    /// The task's number.
    pub task: usize,
    /// The sample's number in the task's data set.
    pub index: usize,
    /// Of the sample's random variation.
    pub seed: u64,
}

impl Sampler {
    /// A sampler of tasks with this many samples in all and in each micro-batch.
    pub fn new(seed: u64, tasks: Vec<(usize, usize)>) -> Self {
        let orders = vec![None; tasks.len()];
        Self { seed, tasks, orders }
    }

    /// The samples of micro-batch `number`. Every epoch of a task visits each of its samples once, in an
    /// order of its own.
    pub fn batch(&mut self, number: u64) -> Vec<Draw> {
        let mut draws = Vec::new();
        for task in 0..self.tasks.len() {
            let (samples, share) = self.tasks[task];
            let seed = mix(self.seed, task as u64);
            for i in 0..share as u64 {
                let place = number * share as u64 + i;
                let (epoch, at) = (place / samples as u64, (place % samples as u64) as usize);
                let order = &mut self.orders[task];
                if order.as_ref().is_none_or(|(of, _)| *of != epoch) {
                    *order = Some((epoch, permutation(mix(seed, epoch), samples)));
                }
                let index = order.as_ref().map_or(0, |(_, order)| order[at] as usize);
                draws.push(Draw { task, index, seed: mix(mix(seed, !place), place) });
            }
        }
        draws
    }
}

/// Splits `batch` samples among tasks by weight; the rests go to the largest fractions, the first one first.
pub fn shares(batch: usize, weights: &[f64]) -> Vec<usize> {
    let total: f64 = weights.iter().sum();
    let exact: Vec<f64> = weights.iter().map(|w| batch as f64 * w / total).collect();
    let mut shares: Vec<usize> = exact.iter().map(|e| e.floor() as usize).collect();
    let mut by_rest: Vec<usize> = (0..weights.len()).collect();
    by_rest.sort_by(|&a, &b| exact[b].fract().total_cmp(&exact[a].fract()).then(a.cmp(&b)));
    let rest = batch.saturating_sub(shares.iter().sum());
    by_rest.iter().take(rest).for_each(|&task| shares[task] += 1);
    shares
}

/// The micro-batches of one step, or what went wrong with them.
type Prepared = Result<Vec<Batch>, DataError>;

/// Prepares the batches of coming steps on threads of its own, in order.
pub struct Loader {
    /// Worker `w` prepares the steps whose number leaves rest `w`.
    workers: Vec<Receiver<Prepared>>,
    next: usize,
    /// Steps to come.
    left: u64,
}

/// Loader threads: enough to keep one step ahead without taking the cores from the model.
const WORKERS: usize = 2;
/// Steps that each worker prepares ahead.
const AHEAD: usize = 2;

impl Loader {
    /// Batches of the steps `first..last`, each of `accumulate` micro-batches.
    pub fn new(
        layouts: Vec<Layout>,
        datasets: Vec<Arc<dyn Dataset>>,
        sampler: Sampler,
        steps: std::ops::Range<u64>,
        accumulate: usize,
    ) -> Self {
        let worker = |w: usize| {
            let (sender, receiver) = sync_channel(AHEAD);
            let (layouts, datasets, mut sampler) = (layouts.clone(), datasets.clone(), sampler.clone());
            let steps = steps.clone().skip(w).step_by(WORKERS);
            std::thread::spawn(move || {
                for step in steps {
                    let micro = (0..accumulate as u64).map(|i| sampler.batch(step * accumulate as u64 + i));
                    let prepared: Prepared =
                        micro.map(|draws| prepare(&layouts, &datasets, &draws)).collect();
                    // A closed channel means that training has stopped.
                    if sender.send(prepared).is_err() {
                        return;
                    }
                }
            });
            receiver
        };
        let left = steps.end.saturating_sub(steps.start);
        Self { workers: (0..WORKERS).map(worker).collect(), next: 0, left }
    }
}

impl Iterator for Loader {
    type Item = Prepared;

    fn next(&mut self) -> Option<Prepared> {
        self.left = self.left.checked_sub(1)?;
        let prepared = self.workers[self.next].recv();
        self.next = (self.next + 1) % self.workers.len();
        // A worker leaves early only by a panic, which has printed its reason.
        Some(prepared.unwrap_or(Err(DataError::Worker)))
    }
}

fn prepare(layouts: &[Layout], datasets: &[Arc<dyn Dataset>], draws: &[Draw]) -> Result<Batch, DataError> {
    let sample = |draw: &Draw| {
        let mut sample = datasets[draw.task].sample(draw.index, Some(draw.seed))?;
        sample.id = mix(sample.id, draw.task as u64);
        Ok((draw.task, sample))
    };
    collate(layouts, &draws.iter().map(sample).collect::<Result<Vec<_>, DataError>>()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_visits_each_sample_once() {
        let mut sampler = Sampler::new(5, vec![(10, 4), (3, 1)]);
        let draws: Vec<Draw> = (0..5).flat_map(|number| sampler.batch(number)).collect();
        let mut first: Vec<usize> = draws.iter().filter(|d| d.task == 0).map(|d| d.index).collect();
        let mut second = first.split_off(10);
        first.sort_unstable();
        second.sort_unstable();
        assert_eq!(first, (0..10).collect::<Vec<_>>());
        assert_eq!(second, (0..10).collect::<Vec<_>>());
    }

    #[test]
    fn any_step_can_be_asked_for_alone() {
        let sampler = Sampler::new(5, vec![(7, 3), (4, 2)]);
        let mut through = sampler.clone();
        let all: Vec<_> = (0..9).map(|number| through.batch(number)).collect();
        for number in [8, 0, 4] {
            assert_eq!(sampler.clone().batch(number), all[number as usize]);
        }
    }

    #[test]
    fn shares_add_up() {
        assert_eq!(shares(10, &[1.0, 1.0, 1.0]), [4, 3, 3]);
        assert_eq!(shares(8, &[3.0, 1.0]), [6, 2]);
        assert_eq!(shares(1, &[0.2, 0.8]), [0, 1]);
    }
}
