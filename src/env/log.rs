//! Logs of random walks in built-in environments.

use super::{Action, EnvError, Environment, environment};
use crate::random::{self, mix};
use serde::Serialize;
use std::io::{self, Write};

/// Why a log cannot be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LogError {
    /// The environment failed, or there is none of this name.
    #[error(transparent)]
    Environment(#[from] EnvError),
    /// The log cannot be written.
    #[error("the log cannot be written: {0}")]
    Write(#[from] io::Error),
}

/// An episode, as a line of a log: the layout `episodes` reads it.
#[derive(Default, Serialize)]
struct Line {
    /// The observation before each action.
    observations: Vec<Vec<f32>>,
    actions: Vec<u32>,
    rewards: Vec<f32>,
    terminated: bool,
    truncated: bool,
}

/// Writes `episodes` episodes of uniformly random actions in the built-in environment `name`, each as a line of JSON. The same
/// seed gives the same bytes. Returns the share of successful episodes, for an environment with
/// [successes](Environment::success_return).
///
/// # Errors
/// [`EnvError::Unknown`] for any other name, and if `to` cannot be written to.
pub fn write_random_walks(
    name: &str,
    episodes: usize,
    seed: u64,
    mut to: impl Write,
) -> Result<Option<f64>, LogError> {
    let mut environment = environment(name)?;
    let mut successes = 0;
    for episode in 0..episodes as u64 {
        let line = walk(environment.as_mut(), mix(seed, episode), mix(seed, !episode))?;
        let total: f64 = line.rewards.iter().map(|&reward| f64::from(reward)).sum();
        successes += usize::from(environment.success_return().is_some_and(|least| total >= least));
        serde_json::to_writer(&mut to, &line).map_err(io::Error::from)?;
        to.write_all(b"\n")?;
    }
    to.flush()?;
    Ok(environment.success_return().map(|_| successes as f64 / episodes.max(1) as f64))
}

/// One episode of random actions, which have the seed `actions`.
fn walk(environment: &mut dyn Environment, seed: u64, actions: u64) -> Result<Line, EnvError> {
    let (spec, generator) = (environment.action_spec(), &mut random::generator(actions));
    let mut line = Line::default();
    let mut seen = environment.reset(seed)?;
    loop {
        // Every built-in environment has discrete actions; of another, a log of its own would be needed.
        let Some(Action::Discrete(action)) = spec.sample(generator) else {
            return Err(EnvError::Action { expected: "a discrete action".into(), found: spec.to_string() });
        };
        let step = environment.step(&Action::Discrete(action))?;
        line.observations.push(std::mem::replace(&mut seen, step.observation.clone()).state);
        line.actions.push(action);
        line.rewards.push(step.reward);
        if step.done() {
            (line.terminated, line.truncated) = (step.terminated, step.truncated && !step.terminated);
            return Ok(line);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::{CartPole, KeyToDoor, NAMES};

    fn log(name: &str, episodes: usize, seed: u64) -> (String, Option<f64>) {
        let mut bytes = vec![];
        let share = write_random_walks(name, episodes, seed, &mut bytes).unwrap();
        (String::from_utf8(bytes).unwrap(), share)
    }

    #[test]
    fn a_log_has_a_line_for_each_episode_and_depends_on_the_seed_alone() {
        for name in NAMES {
            let (text, _) = log(name, 5, 1);
            assert_eq!(text.lines().count(), 5);
            assert_eq!(text, log(name, 5, 1).0);
            assert_ne!(text, log(name, 5, 2).0);
            // More episodes are the same ones and others.
            assert!(log(name, 7, 1).0.starts_with(&text));
        }
        assert!(write_random_walks("cart-pole", 1, 1, vec![]).is_err());
    }

    #[test]
    fn three_in_a_hundred_random_walks_reach_the_door_with_the_key() {
        let (text, share) = log(KeyToDoor::NAME, 4000, 7);
        let share = share.unwrap();
        assert!((0.02..0.045).contains(&share), "{share}");
        let successes = text.lines().filter(|line| line.contains("1.0],\"terminated\":true")).count();
        assert_eq!(successes as f64 / 4000.0, share);
        assert_eq!(log(CartPole::NAME, 2, 7).1, None);
    }
}
