//! Environments: the worlds in which a trained policy acts, one step at a time.
//!
//! ```
//! use smalti::env::{Action, environment};
//!
//! let mut cartpole = environment("cartpole")?;
//! let state = cartpole.reset(7)?; // the same seed, the same start
//! assert_eq!(state.len(), cartpole.state_dim());
//!
//! let step = cartpole.step(&Action::Discrete(1))?;
//! assert_eq!(step.reward, 1.0);
//! # Ok::<(), smalti::env::EnvError>(())
//! ```

mod cartpole;

pub use cartpole::CartPole;

/// A world that answers each action with a new state and a reward.
///
/// An episode begins with [`reset`](Self::reset) and is over at the first [`Step`] that is `terminated` or
/// `truncated`. The parts and their names are those of Gymnasium.
pub trait Environment {
    /// The environment's name, for tables and errors.
    fn name(&self) -> &str;

    /// How many numbers a state has.
    fn state_dim(&self) -> usize;

    /// Which actions it takes.
    fn action_spec(&self) -> ActionSpec;

    /// Begins an episode; the same seed gives the same start.
    ///
    /// # Errors
    /// An environment outside this process may fail to answer; a built-in one does not fail.
    fn reset(&mut self, seed: u64) -> Result<Vec<f32>, EnvError>;

    /// Acts once.
    ///
    /// # Errors
    /// [`EnvError::Action`] for an action that breaks [`action_spec`](Self::action_spec), and
    /// [`EnvError::NotRunning`] before the first reset and after an episode's end.
    fn step(&mut self, action: &Action) -> Result<Step, EnvError>;
}

/// What an environment answers to one action.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// The state after the action, `[state_dim]`.
    pub state: Vec<f32>,
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

/// One action.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// The number of one of finitely many actions.
    Discrete(u32),
    /// One number for each dimension of the action.
    Continuous(Vec<f32>),
}

/// Which actions an environment takes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ActionSpec {
    /// The numbers `0..n`.
    Discrete {
        /// How many actions there are.
        n: u32,
    },
    /// `dim` numbers, each in `low..=high`.
    Continuous {
        /// Numbers in an action.
        dim: usize,
        /// The least value of each.
        low: f32,
        /// The greatest value of each.
        high: f32,
    },
}

impl ActionSpec {
    /// Checks that `action` is one of these.
    ///
    /// # Errors
    /// [`EnvError::Action`] for an action of the other sort, of another length, out of range or not a number.
    pub fn check(&self, action: &Action) -> Result<(), EnvError> {
        let valid = match (self, action) {
            (Self::Discrete { n }, Action::Discrete(number)) => number < n,
            (Self::Continuous { dim, low, high }, Action::Continuous(values)) => {
                values.len() == *dim && values.iter().all(|value| (*low..=*high).contains(value))
            }
            _ => false,
        };
        let error = || EnvError::Action { expected: self.to_string(), found: action.to_string() };
        if valid { Ok(()) } else { Err(error()) }
    }
}

impl std::fmt::Display for ActionSpec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Discrete { n } => write!(f, "a whole number below {n}"),
            Self::Continuous { dim, low, high } => write!(f, "{dim} numbers from {low} to {high}"),
        }
    }
}

impl std::fmt::Display for Action {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Discrete(number) => write!(f, "the whole number {number}"),
            Self::Continuous(values) => write!(f, "the numbers {values:?}"),
        }
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
}

/// The names of the built-in environments.
const NAMES: &[&str] = &[CartPole::NAME];

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_listed_environment_exists_and_others_are_refused() {
        for name in NAMES {
            assert_eq!(environment(name).unwrap().name(), *name);
        }
        let error = environment("cart-pole").err().unwrap();
        assert_eq!(error.to_string(), r#"no environment is called "cart-pole"; there is cartpole"#);
    }

    #[test]
    fn discrete_actions_are_bounded() {
        let spec = ActionSpec::Discrete { n: 2 };
        assert_eq!(spec.check(&Action::Discrete(1)), Ok(()));
        let error = spec.check(&Action::Discrete(2)).unwrap_err();
        assert_eq!(error.to_string(), "an action must be a whole number below 2; found the whole number 2");
        assert!(spec.check(&Action::Continuous(vec![0.0])).is_err());
    }

    #[test]
    fn continuous_actions_have_one_length_and_a_range() {
        let spec = ActionSpec::Continuous { dim: 2, low: -1.0, high: 1.0 };
        assert_eq!(spec.check(&Action::Continuous(vec![-1.0, 1.0])), Ok(()));
        for bad in [vec![], vec![0.0], vec![0.0; 3], vec![0.0, 1.1], vec![f32::NAN, 0.0]] {
            assert!(spec.check(&Action::Continuous(bad.clone())).is_err(), "{bad:?}");
        }
        assert!(spec.check(&Action::Discrete(0)).is_err());
    }
}
