//! Environments: the worlds in which a trained policy acts, one step at a time.
//!
//! ```
//! use smalti::env::{Action, environment};
//!
//! let mut cartpole = environment("cartpole")?;
//! let seen = cartpole.reset(7)?; // the same seed, the same start
//! assert_eq!(seen.state.len(), cartpole.state_dim());
//!
//! let step = cartpole.step(&Action::Discrete(1))?;
//! assert_eq!(step.reward, 1.0);
//! # Ok::<(), smalti::env::EnvError>(())
//! ```
//!
//! A model acts in many episodes at once, because a batch of them costs little more than one: [`open`] gives a
//! [`VectorEnvironment`], of a built-in environment or of one in a process of its own ([`bridge`]).

mod action;
pub mod bridge;
mod cartpole;
mod copies;
mod observation;

pub use action::{Action, ActionSpec};
pub use bridge::Bridge;
pub use cartpole::CartPole;
pub use copies::Copies;
pub use observation::{Image, Observation};

use std::time::Duration;

/// A world that answers each action with a new state and a reward.
///
/// An episode begins with [`reset`](Self::reset) and is over at the first [`Step`] that is `terminated` or
/// `truncated`. The parts and their names are those of Gymnasium.
pub trait Environment {
    /// The environment's name, for tables and errors.
    fn name(&self) -> &str;

    /// How many numbers a state has.
    fn state_dim(&self) -> usize;

    /// Whose images are a part of what is seen; none by default.
    fn cameras(&self) -> Vec<String> {
        Vec::new()
    }

    /// Which actions it takes.
    fn action_spec(&self) -> ActionSpec;

    /// Begins an episode; the same seed gives the same start.
    ///
    /// # Errors
    /// An environment outside this process may fail to answer; a built-in one does not fail.
    fn reset(&mut self, seed: u64) -> Result<Observation, EnvError>;

    /// Acts once.
    ///
    /// # Errors
    /// [`EnvError::Action`] for an action that breaks [`action_spec`](Self::action_spec), and
    /// [`EnvError::NotRunning`] before the first reset and after an episode's end.
    fn step(&mut self, action: &Action) -> Result<Step, EnvError>;
}

/// Environments of one sort side by side, told apart by a number, the slot: in each an episode may be under way.
pub trait VectorEnvironment {
    /// Their name, for tables and errors.
    fn name(&self) -> &str;

    /// How many numbers a state has.
    fn state_dim(&self) -> usize;

    /// Whose images are a part of what is seen; none by default.
    fn cameras(&self) -> Vec<String> {
        Vec::new()
    }

    /// Which actions each takes.
    fn action_spec(&self) -> ActionSpec;

    /// How many slots there are: episodes that can be under way at once.
    fn slots(&self) -> usize;

    /// Begins an episode in each slot that is given with a seed, and gives what is seen first, in the same order.
    /// What was under way in those slots is dropped.
    ///
    /// # Errors
    /// An environment outside this process may fail to answer.
    fn reset(&mut self, starts: &[(usize, u64)]) -> Result<Vec<Observation>, EnvError>;

    /// Acts once in each slot that is given with an action.
    ///
    /// # Errors
    /// As [`Environment::step`], and an environment outside this process may fail to answer.
    fn step(&mut self, actions: &[(usize, &Action)]) -> Result<Vec<Step>, EnvError>;
}

/// What an environment answers to one action.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// What is seen after the action.
    pub seen: Observation,
    /// The reward for the action.
    pub reward: f32,
    /// Whether the episode ended of itself: a failure, a goal.
    pub terminated: bool,
    /// Whether the episode was cut by its time limit; the last step may be both.
    pub truncated: bool,
}

impl Step {
    /// Whether the episode is over, for either reason.
    pub fn done(&self) -> bool {
        self.terminated || self.truncated
    }
}

/// Why an environment did not answer.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum EnvError {
    /// A name that no built-in environment has.
    #[error("no environment is called {name:?}; there is {}", known.join(", "))]
    Unknown {
        /// The name that was asked for.
        name: String,
        /// The names of the built-in environments.
        known: &'static [&'static str],
    },
    /// A step without an episode to step in.
    #[error(
        "{environment}: no episode is running; call `reset` before the first step and after an episode's end"
    )]
    NotRunning {
        /// The environment's name.
        environment: String,
    },
    /// An action that the environment does not take.
    #[error("an action must be {expected}; found {found}")]
    Action {
        /// What the environment takes.
        expected: String,
        /// What it was given.
        found: String,
    },
    /// An environment outside this process cannot be started, has ended, or does not keep to the protocol.
    #[error("{command}: {problem}")]
    Outside {
        /// The command that it was to be started with.
        command: String,
        /// What is wrong, and the last that it said on its standard error.
        problem: String,
    },
}

/// The names of the built-in environments.
pub const NAMES: &[&str] = &[CartPole::NAME];

/// The built-in environment of this name.
///
/// # Errors
/// [`EnvError::Unknown`] for any other name.
pub fn environment(name: &str) -> Result<Box<dyn Environment>, EnvError> {
    match name {
        CartPole::NAME => Ok(Box::new(CartPole::new())),
        _ => Err(EnvError::Unknown { name: name.into(), known: NAMES }),
    }
}

/// The environments that a name or a command stands for: built-in ones by their name, and otherwise those of a
/// process that `command` starts and that may take as long as `timeout` for an answer.
///
/// # Errors
/// [`EnvError::Outside`] where the process cannot be started or does not speak the protocol.
pub fn open(command: &str, timeout: Duration) -> Result<Box<dyn VectorEnvironment>, EnvError> {
    if NAMES.contains(&command) {
        return Ok(Box::new(Copies::new(command)?));
    }
    Ok(Box::new(Bridge::start(command, timeout)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_listed_environment_exists_and_others_are_refused() {
        for name in NAMES {
            assert_eq!(environment(name).unwrap().name(), *name);
            assert_eq!(open(name, Duration::ZERO).unwrap().name(), *name);
        }
        let error = environment("cart-pole").err().unwrap();
        assert_eq!(error.to_string(), r#"no environment is called "cart-pole"; there is cartpole"#);
    }
}
