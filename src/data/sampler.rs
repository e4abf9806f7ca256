//! The order of samples in training: a pure function of the seed and of the draw's number.

use crate::random::{Permutation, below, generator, mix};

/// The order in which samples are drawn.
///
/// Draws are numbered from 0 without end, and each is computed from its number in constant time: resuming needs only a
/// number, and threads may share the work in any way. A cycle of draws is a micro-batch, in which each task has its share.
/// Every epoch of a lane visits each of its samples once, in a new order.
#[derive(Clone, Debug)]
pub struct Sampler {
    seed: u64,
    lanes: Vec<Lane>,
    /// For each draw of a cycle, its lane and the number of earlier draws of that lane.
    cycle: Vec<(usize, u64)>,
    shuffle: u64,
    rank: u64,
    world_size: u64,
}

/// Samples that are shuffled among themselves: those of a task or of one of its sources.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lane {
    /// The task's number.
    pub task: usize,
    /// The number of the lane's first sample in the task's data set.
    pub first: usize,
    /// The number of samples.
    pub samples: usize,
    /// Draws in each cycle.
    pub share: usize,
}

/// One draw: a sample and the seed of its augmentation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Draw {
    /// The task's number.
    pub task: usize,
    /// The sample's number in the task's data set.
    pub index: usize,
    /// The seed of the sample's augmentation.
    pub seed: u64,
}

impl Sampler {
    /// A sampler of these lanes, none of which is empty. `shuffle` is the number of samples in a shuffle window; 0 shuffles
    /// the whole epoch.
    pub fn new(seed: u64, lanes: Vec<Lane>, shuffle: usize) -> Self {
        let mut cycle = Vec::new();
        for (number, lane) in lanes.iter().enumerate() {
            cycle.extend((0..lane.share as u64).map(|nth| (number, nth)));
        }
        // Spread evenly, so that a batch of any length has samples of each lane.
        let when = |&(lane, nth): &(usize, u64)| (2 * nth + 1) as f64 / (2 * lanes[lane].share) as f64;
        cycle.sort_by(|a, b| when(a).total_cmp(&when(b)));
        Self { seed, lanes, cycle, shuffle: shuffle as u64, rank: 0, world_size: 1 }
    }

    /// The draws of one rank: every `world_size`-th cycle, from number `rank` on. In each step, all ranks together draw what
    /// one process draws that accumulates the gradients of `world_size` micro-batches.
    pub fn of_rank(self, rank: usize, world_size: usize) -> Self {
        Self { rank: rank as u64, world_size: world_size as u64, ..self }
    }

    /// Draws in a cycle.
    pub fn cycle(&self) -> usize {
        self.cycle.len()
    }

    /// Draw `number`; if `attempt` is above 0, the sample of the same lane that replaces `attempt` corrupt ones.
    pub fn draw(&self, number: u64, attempt: u64) -> Draw {
        let cycle = self.cycle.len() as u64;
        let (number, at) = (number / cycle * self.world_size + self.rank, (number % cycle) as usize);
        let (lane, nth) = self.cycle[at];
        let seed = mix(self.seed, lane as u64);
        let lane = self.lanes[lane];
        let place = number * lane.share as u64 + nth;
        let (of_draw, samples) = (mix(mix(seed, !place), place), lane.samples as u64);
        let (index, seed) = match attempt {
            0 => (ordered(mix(seed, place / samples), samples, self.shuffle, place % samples), of_draw),
            _ => {
                let seed = mix(of_draw, attempt);
                (below(&mut generator(seed), lane.samples) as u64, mix(seed, attempt))
            }
        };
        Draw { task: lane.task, index: lane.first + index as usize, seed }
    }
}

/// Runs of neighbouring samples in a shuffle window.
const RUNS: u64 = 16;

/// The sample at `place` of an epoch of `n`.
///
/// Without a window (0), the epoch is permuted. With one, the epoch is cut into runs of `window / 16` neighbours, the runs
/// are permuted, and then each `window` samples are shuffled: a window reads about 17 ranges of the data, which lie all over
/// it. The cuts differ between epochs, so that no two samples are always in the same window.
fn ordered(seed: u64, n: u64, window: u64, place: u64) -> u64 {
    if window == 0 || window >= n {
        return Permutation::new(seed, n).at(place);
    }
    let (number, start) = (place / window, place / window * window);
    let within = Permutation::new(mix(seed, number), window.min(n - start));
    let place = start + within.at(place - start);
    let run = window.div_ceil(RUNS);
    let (number, runs) = (place / run, n / run);
    // The samples after the last whole run stay at the end.
    let place = match number < runs {
        true => Permutation::new(!seed, runs).at(number) * run + place % run,
        false => place,
    };
    (place + mix(seed, n) % n) % n
}

/// Splits `batch` samples among tasks by weight; the remainder goes to the largest fractions, of equal ones to the first.
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn lane(task: usize, samples: usize, share: usize) -> Lane {
        Lane { task, first: 0, samples, share }
    }

    fn draws(sampler: &Sampler, numbers: std::ops::Range<u64>) -> Vec<Draw> {
        numbers.map(|number| sampler.draw(number, 0)).collect()
    }

    proptest! {
        #[test]
        fn every_epoch_visits_each_sample_once(n in 1_usize..300, shuffle in 0_usize..80, seed: u64) {
            let sampler = Sampler::new(seed, vec![lane(0, n, 4)], shuffle);
            for epoch in 0..3 {
                let all = draws(&sampler, epoch * n as u64..(epoch + 1) * n as u64);
                let indices: BTreeSet<usize> = all.iter().map(|draw| draw.index).collect();
                prop_assert_eq!(indices.len(), n);
                prop_assert!(indices.iter().all(|&index| index < n));
            }
        }
    }

    #[test]
    fn epochs_differ_in_order_and_seeds() {
        for shuffle in [0, 32] {
            let sampler = Sampler::new(5, vec![lane(0, 100, 4)], shuffle);
            let (first, second) = (draws(&sampler, 0..100), draws(&sampler, 100..200));
            assert!(first.iter().zip(&second).filter(|(a, b)| a.index == b.index).count() < 20);
            let seeds: BTreeSet<u64> = first.iter().chain(&second).map(|draw| draw.seed).collect();
            assert_eq!(seeds.len(), 200);
        }
    }

    #[test]
    fn a_window_reads_few_ranges_and_mixes_the_data() {
        let (n, window) = (100_000, 1_600);
        let sampler = Sampler::new(1, vec![lane(0, n, 8)], window);
        let mut parts = BTreeSet::new();
        for start in [0, 40 * window as u64] {
            let mut indices: Vec<usize> =
                draws(&sampler, start..start + window as u64).iter().map(|draw| draw.index).collect();
            let steps = indices.windows(2).filter(|pair| pair[1] == pair[0] + 1).count();
            assert!(steps < 100, "the window is shuffled; {steps} draws follow one another");
            parts.extend(indices.iter().map(|index| index * 10 / n));
            indices.sort_unstable();
            let ranges = 1 + indices.windows(2).filter(|pair| pair[1] != pair[0] + 1).count();
            assert!(ranges <= 18, "{ranges}");
        }
        assert_eq!(parts.len(), 10);
    }

    #[test]
    fn the_share_of_a_task_is_spread_over_a_cycle() {
        let sampler = Sampler::new(5, vec![lane(0, 7, 6), lane(1, 4, 2)], 0);
        assert_eq!(sampler.cycle(), 8);
        let tasks: Vec<usize> = draws(&sampler, 0..8).iter().map(|draw| draw.task).collect();
        assert_eq!(tasks, [0, 0, 1, 0, 0, 0, 1, 0]);
    }

    #[test]
    fn ranks_together_draw_the_cycles_of_one_process() {
        let whole = Sampler::new(5, vec![lane(0, 10, 3), lane(1, 4, 1)], 0);
        for step in 0..20 {
            let mut together = Vec::new();
            for rank in 0..3 {
                together.extend(draws(&whole.clone().of_rank(rank, 3), step * 4..(step + 1) * 4));
            }
            assert_eq!(together, draws(&whole, step * 12..(step + 1) * 12));
        }
    }

    #[test]
    fn a_corrupt_sample_is_replaced_by_another_of_its_lane() {
        let sampler = Sampler::new(5, vec![Lane { task: 1, first: 100, samples: 50, share: 4 }], 0);
        let others: BTreeSet<usize> = (1..20).map(|attempt| sampler.draw(3, attempt).index).collect();
        assert!(others.len() > 10 && others.iter().all(|index| (100..150).contains(index)));
        assert_eq!(sampler.draw(3, 2), sampler.draw(3, 2));
    }

    #[test]
    fn shares_add_up_to_the_batch() {
        assert_eq!(shares(10, &[1.0, 1.0, 1.0]), [4, 3, 3]);
        assert_eq!(shares(8, &[3.0, 1.0]), [6, 2]);
        assert_eq!(shares(1, &[0.2, 0.8]), [0, 1]);
    }
}
