//! Environments in which a trained policy acts, one step at a time.
//!
//! ```
//! use smalti::env::{Action, environment};
//!
//! let mut cartpole = environment("cartpole")?;
//! let observation = cartpole.reset(7)?; // the same seed, the same start
//! assert_eq!(observation.state.len(), cartpole.state_dim());
//!
//! let step = cartpole.step(&Action::Discrete(1))?;
//! assert_eq!(step.reward, 1.0);
//! # Ok::<(), smalti::env::EnvError>(())
//! ```
//!
//! A model acts in a batch of episodes at once, which costs little more than one: [`open`] returns a
//! [`VectorEnvironment`], of a built-in environment or of one in a process of its own ([`bridge`]).

mod action;
pub mod bridge;
mod cartpole;
mod copies;
mod key_to_door;
mod log;
mod observation;

pub use action::{Action, ActionSpec};
pub use bridge::Bridge;
pub use cartpole::CartPole;
pub use copies::Copies;
pub use key_to_door::KeyToDoor;
pub use log::{LogError, write_random_walks};
pub use observation::{Image, Observation};

use std::time::Duration;

/// An environment that answers each action with an observation and a reward.
///
/// An episode begins with [`reset`](Self::reset) and is over at the first [`Step`] that is `terminated` or
/// `truncated`. The terms are those of Gymnasium.
pub trait Environment {
    /// The environment's name, for tables and errors.
    fn name(&self) -> &str;

    /// Numbers in a state.
    fn state_dim(&self) -> usize;

    /// The cameras whose images are part of an observation; none by default.
    fn cameras(&self) -> Vec<String> {
        Vec::new()
    }

    /// The actions that it accepts.
    fn action_spec(&self) -> ActionSpec;

    /// The least return of a successful episode; `None` for an environment whose episodes have no success.
    fn success_return(&self) -> Option<f64> {
        None
    }

    /// Begins an episode; the same seed gives the same start.
    ///
    /// # Errors
    /// If an environment in another process does not answer; a built-in one does not fail.
    fn reset(&mut self, seed: u64) -> Result<Observation, EnvError>;

    /// Acts once.
    ///
    /// # Errors
    /// [`EnvError::Action`] if the action is not one of [`action_spec`](Self::action_spec), and
    /// [`EnvError::NotRunning`] before the first reset and after the end of an episode.
    fn step(&mut self, action: &Action) -> Result<Step, EnvError>;
}

/// Environments of one sort side by side. Each has a number, its slot, and plays one episode at a time.
pub trait VectorEnvironment {
    /// The environments' name, for tables and errors.
    fn name(&self) -> &str;

    /// Numbers in a state.
    fn state_dim(&self) -> usize;

    /// The cameras whose images are part of an observation; none by default.
    fn cameras(&self) -> Vec<String> {
        Vec::new()
    }

    /// The actions that each environment accepts.
    fn action_spec(&self) -> ActionSpec;

    /// The least return of a successful episode; `None` for environments whose episodes have no success.
    fn success_return(&self) -> Option<f64> {
        None
    }

    /// Number of slots: episodes that can be played at once.
    fn slots(&self) -> usize;

    /// Begins an episode in each of these slots, from its seed; returns the first observations, in the same order.
    /// Unfinished episodes in those slots are dropped.
    ///
    /// # Errors
    /// If an environment in another process does not answer.
    fn reset(&mut self, starts: &[(usize, u64)]) -> Result<Vec<Observation>, EnvError>;

    /// Acts once in each of these slots.
    ///
    /// # Errors
    /// As [`Environment::step`], and if an environment in another process does not answer.
    fn step(&mut self, actions: &[(usize, &Action)]) -> Result<Vec<Step>, EnvError>;
}

/// The answer of an environment to one action.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// The observation after the action.
    pub observation: Observation,
    /// The reward for the action.
    pub reward: f32,
    /// Whether the episode ended by itself: a failure or a goal.
    pub terminated: bool,
    /// Whether the time limit cut the episode; the last step may be both terminated and truncated.
    pub truncated: bool,
}

impl Step {
    /// Whether the episode is over, for either reason.
    pub fn done(&self) -> bool {
        self.terminated || self.truncated
    }
}

/// An environment failed.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum EnvError {
    /// A name that no built-in environment has.
    #[error("expected a built-in environment ({}); found {name:?}", known.join(", "))]
    Unknown {
        /// The requested name.
        name: String,
        /// The names of the built-in environments.
        known: &'static [&'static str],
    },
    /// A step before a reset, or after the end of an episode.
    #[error(
        "{environment}: no episode is running; call `reset` before the first step and after the end of an episode"
    )]
    NotRunning {
        /// The environment's name.
        environment: String,
    },
    /// An action that the environment does not accept.
    #[error("action: expected {expected}; found {found}")]
    Action {
        /// The actions that the environment accepts.
        expected: String,
        /// The action.
        found: String,
    },
    /// The process of an environment cannot be started, has ended, or breaks the protocol.
    #[error("{command}: {problem}")]
    Process {
        /// The command that starts it.
        command: String,
        /// The problem, and the last lines of its standard error.
        problem: String,
    },
}

/// The names of the built-in environments.
pub const NAMES: &[&str] = &[CartPole::NAME, KeyToDoor::NAME];

/// A built-in environment by its name.
///
/// # Errors
/// [`EnvError::Unknown`] for any other name.
pub fn environment(name: &str) -> Result<Box<dyn Environment>, EnvError> {
    match name {
        CartPole::NAME => Ok(Box::new(CartPole::new())),
        KeyToDoor::NAME => Ok(Box::new(KeyToDoor::new())),
        _ => Err(EnvError::Unknown { name: name.into(), known: NAMES }),
    }
}

/// Opens the built-in environments of this name, or else starts the process of this command, which has `timeout` for
/// each answer.
///
/// # Errors
/// [`EnvError::Process`] if the process cannot be started or breaks the protocol.
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
    fn every_listed_environment_exists_and_other_names_are_errors() {
        for name in NAMES {
            assert_eq!(environment(name).unwrap().name(), *name);
            assert_eq!(open(name, Duration::ZERO).unwrap().name(), *name);
        }
        let error = environment("cart-pole").err().unwrap();
        assert_eq!(
            error.to_string(),
            r#"expected a built-in environment (cartpole, key-to-door); found "cart-pole""#
        );
    }
}
