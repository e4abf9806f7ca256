//! Cart-pole episodes of policies of mixed quality, from which a model can learn to reach a target return.
//!
//! If the worse episodes were only noisier, their most likely action would still be the expert's. So each policy has
//! another aim, which determines the length of its episodes: a policy that tips the pole at a constant rate ends after 25 to
//! 115 steps, one that accelerates to the right leaves the track after 110 to 350, one that balances lasts all 500. The aim
//! affects every action.

use super::npz::Npz;
use rand_pcg::Pcg64Mcg;
use smalti::env::{Action, CartPole, Environment};
use smalti::random::{self, mix};
use std::io;

const SEED: u64 = 1983;
/// Seconds in a step of the environment.
const TAU: f64 = 0.02;

/// The aim of an episode's actions.
#[derive(Clone, Copy)]
enum Policy {
    /// None: each action is a coin toss.
    Random,
    /// A pole that leans a little more to the right at each step, until it falls.
    Tip {
        /// Radians a step.
        rate: f64,
    },
    /// A cart that accelerates to the right, the pole upright, until it leaves the track.
    Leave {
        /// Metres per second squared.
        acceleration: f64,
    },
    /// A cart at the centre with the pole upright.
    Balance,
}

impl Policy {
    /// The policies of the log's episodes, in random order.
    fn all() -> Vec<Self> {
        let mut generator = random::generator(SEED);
        let mut between = |low, high| low + (high - low) * random::uniform(&mut generator);
        let mut policies = vec![Self::Random; 60];
        // The pole falls at 0.21 rad.
        policies.extend((0..90).map(|_| Self::Tip { rate: 0.21 / between(20.0, 115.0) }));
        policies.extend((0..160).map(|_| {
            let seconds = TAU * between(110.0, 350.0);
            Self::Leave { acceleration: 2.0 * 2.4 / (seconds * seconds) } // the track ends at 2.4 m
        }));
        policies.extend([Self::Balance; 25]);
        let order = random::permutation(SEED, policies.len());
        order.into_iter().map(|place| policies[place as usize]).collect()
    }

    /// 0 to push left, 1 to push right, in step `t` of an episode.
    fn act(self, t: usize, state: &[f64; 4], generator: &mut Pcg64Mcg) -> u32 {
        let [position, velocity, angle, angular_velocity] = state;
        // A leaning pole accelerates the cart, so a target velocity or position is reached by a lean.
        let lean = match self {
            Self::Random => return random::below(generator, 2) as u32,
            Self::Tip { rate } => rate * t as f64,
            Self::Leave { acceleration } => {
                let target = acceleration * TAU * t as f64;
                (acceleration / 9.8 + 0.1 * (target - velocity)).clamp(-0.15, 0.15)
            }
            Self::Balance => (-0.1 * (position + velocity)).clamp(-0.15, 0.15),
        };
        u32::from(angle - lean + 0.3 * angular_velocity > 0.0)
    }
}

/// Concatenated episodes, as arrays by step.
#[derive(Default)]
struct Log {
    /// `[n, 4]`
    obs: Vec<f32>,
    actions: Vec<i64>,
    episode_starts: Vec<bool>,
    terminals: Vec<bool>,
}

impl Log {
    /// Plays every episode.
    fn record() -> io::Result<Self> {
        let mut log = Self::default();
        for (episode, policy) in Policy::all().into_iter().enumerate() {
            log.play(policy, mix(SEED, episode as u64))?;
        }
        Ok(log)
    }

    /// Plays one episode and appends it. A share of the actions is replaced by the opposite one, so that the log also shows how
    /// to recover.
    fn play(&mut self, policy: Policy, seed: u64) -> io::Result<()> {
        let mut generator = random::generator(mix(seed, 1));
        let slip = [0.0, 0.05, 0.1][random::below(&mut generator, 3)];
        let mut cartpole = CartPole::new();
        let mut state = cartpole.reset(seed).map_err(io::Error::other)?.state;
        for t in 0.. {
            let observation: [f64; 4] = std::array::from_fn(|i| f64::from(state[i]));
            let slips = random::uniform(&mut generator) < slip;
            let action = policy.act(t, &observation, &mut generator) ^ u32::from(slips);
            let step = cartpole.step(&Action::Discrete(action)).map_err(io::Error::other)?;

            self.obs.append(&mut state);
            self.actions.push(i64::from(action));
            self.episode_starts.push(t == 0);
            self.terminals.push(step.terminated);
            if step.done() {
                break;
            }
            state = step.observation.state;
        }
        Ok(())
    }
}

/// Plays every episode and writes the log in NumPy's format: `obs [n, 4]`, `actions [n, 1]`,
/// `rewards [n]`, `episode_starts [n]`, `terminals [n]`.
pub fn npz() -> io::Result<Vec<u8>> {
    let log = Log::record()?;
    let n = log.actions.len() as u64;
    let mut npz = Npz::default();
    npz.add("obs", &[n, 4], &log.obs)?;
    npz.add("actions", &[n, 1], &log.actions)?;
    npz.add("rewards", &[n], &vec![1.0f32; log.actions.len()])?;
    npz.add("episode_starts", &[n], &log.episode_starts)?;
    npz.add("terminals", &[n], &log.terminals)?;
    npz.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The length of each episode, which is its return: each step has reward 1.
    fn returns(log: &Log) -> Vec<usize> {
        log.episode_starts
            .iter()
            .enumerate()
            .filter_map(|(step, start)| start.then_some(step))
            .chain([log.actions.len()])
            .collect::<Vec<_>>()
            .windows(2)
            .map(|pair| pair[1] - pair[0])
            .collect()
    }

    #[test]
    fn returns_spread_from_10_to_500() {
        let returns = returns(&Log::record().unwrap());
        let count = |low, high| returns.iter().filter(|r| (low..=high).contains(*r)).count();
        let mean = returns.iter().sum::<usize>() as f64 / returns.len() as f64;
        assert!((150.0..220.0).contains(&mean), "mean {mean}");
        assert!(count(0, 29) >= 30 && count(30, 70) >= 40 && count(150, 250) >= 40, "{returns:?}");
        assert_eq!(count(500, 500), 25, "each episode of `Balance`, and no other");
    }

    #[test]
    fn an_episode_ends_in_a_failure_or_at_the_time_limit() {
        let log = Log::record().unwrap();
        assert_eq!(log.obs.len(), 4 * log.actions.len());
        let mut start = 0;
        for length in returns(&log) {
            let episode = &log.terminals[start..start + length];
            assert!(episode[..length - 1].iter().all(|terminal| !terminal));
            assert_eq!(episode[length - 1], length < 500);
            start += length;
        }
    }
}
