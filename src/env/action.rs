//! Actions, and which of them an environment takes.

use super::EnvError;
use crate::random;
use rand_pcg::Pcg64Mcg;
use std::fmt::{Display, Formatter, Result as Written};

/// One action.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// The number of one of finitely many actions.
    Discrete(u32),
    /// Several choices at once, each a number.
    MultiDiscrete(Vec<u32>),
    /// One number for each dimension of the action.
    Continuous(Vec<f32>),
}

/// Which actions an environment takes.
#[derive(Clone, Debug, PartialEq)]
pub enum ActionSpec {
    /// The numbers `0..n`.
    Discrete {
        /// How many actions there are.
        n: u32,
    },
    /// Several choices at once, each out of the numbers below its own `n`.
    MultiDiscrete {
        /// How many numbers each choice is out of.
        n: Vec<u32>,
    },
    /// Numbers, each between its bounds, which may be infinite.
    Continuous {
        /// `[dim]`: the least value of each.
        low: Vec<f32>,
        /// `[dim]`: the greatest value of each.
        high: Vec<f32>,
    },
}

impl ActionSpec {
    /// Checks that `action` is one of these.
    ///
    /// # Errors
    /// [`EnvError::Action`] for an action of another sort, of another length, out of range or not finite.
    pub fn check(&self, action: &Action) -> Result<(), EnvError> {
        let valid = match (self, action) {
            (Self::Discrete { n }, Action::Discrete(number)) => number < n,
            (Self::MultiDiscrete { n }, Action::MultiDiscrete(numbers)) => {
                numbers.len() == n.len() && numbers.iter().zip(n).all(|(number, n)| number < n)
            }
            (Self::Continuous { low, high }, Action::Continuous(values)) => {
                let mut bounded = values.iter().zip(low.iter().zip(high));
                values.len() == low.len()
                    && bounded.all(|(value, (low, high))| value.is_finite() && (low..=high).contains(&value))
            }
            _ => false,
        };
        let error = || EnvError::Action { expected: self.to_string(), found: action.to_string() };
        if valid { Ok(()) } else { Err(error()) }
    }

    /// The action with every number brought within its bounds; what is no number, or has none, stays as it is.
    pub fn bounded(&self, action: Action) -> Action {
        match (self, action) {
            (Self::Continuous { low, high }, Action::Continuous(mut values)) => {
                for (value, (low, high)) in values.iter_mut().zip(low.iter().zip(high)) {
                    // Not `f32::max`, which would make a number of what is none.
                    *value = if *value < *low {
                        *low
                    } else if *value > *high {
                        *high
                    } else {
                        *value
                    };
                }
                Action::Continuous(values)
            }
            (_, action) => action,
        }
    }

    /// An action drawn evenly; `None` where a number has no bounds to draw between.
    pub fn draw(&self, generator: &mut Pcg64Mcg) -> Option<Action> {
        let mut below = |n: &u32| random::below(generator, *n as usize) as u32;
        Some(match self {
            Self::Discrete { n } => Action::Discrete(below(n)),
            Self::MultiDiscrete { n } => Action::MultiDiscrete(n.iter().map(below).collect()),
            Self::Continuous { low, high } => {
                let values = low.iter().zip(high).map(|(low, high)| {
                    let value = low + (high - low) * random::uniform(generator) as f32;
                    value.is_finite().then_some(value.min(*high))
                });
                Action::Continuous(values.collect::<Option<_>>()?)
            }
        })
    }
}

impl Display for ActionSpec {
    fn fmt(&self, f: &mut Formatter<'_>) -> Written {
        let one = |values: &[f32]| values.first().copied().filter(|first| values.iter().all(|v| v == first));
        match self {
            Self::Discrete { n } => write!(f, "a whole number below {n}"),
            Self::MultiDiscrete { n } => write!(f, "{} whole numbers below {n:?}", n.len()),
            Self::Continuous { low, high } => match (one(low), one(high)) {
                (Some(least), Some(most)) => write!(f, "{} numbers from {least} to {most}", low.len()),
                _ => write!(f, "{} numbers from {low:?} to {high:?}", low.len()),
            },
        }
    }
}

impl Display for Action {
    fn fmt(&self, f: &mut Formatter<'_>) -> Written {
        match self {
            Self::Discrete(number) => write!(f, "the whole number {number}"),
            Self::MultiDiscrete(numbers) => write!(f, "the whole numbers {numbers:?}"),
            Self::Continuous(values) => write!(f, "the numbers {values:?}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn discrete_actions_are_bounded() {
        let spec = ActionSpec::Discrete { n: 2 };
        assert_eq!(spec.check(&Action::Discrete(1)), Ok(()));
        let error = spec.check(&Action::Discrete(2)).unwrap_err();
        assert_eq!(error.to_string(), "an action must be a whole number below 2; found the whole number 2");
        assert!(spec.check(&Action::Continuous(vec![0.0])).is_err());
    }

    #[test]
    fn several_choices_have_a_bound_each() {
        let spec = ActionSpec::MultiDiscrete { n: vec![2, 3] };
        assert_eq!(spec.check(&Action::MultiDiscrete(vec![1, 2])), Ok(()));
        for bad in [vec![], vec![0], vec![2, 0], vec![0, 3], vec![0; 3]] {
            assert!(spec.check(&Action::MultiDiscrete(bad.clone())).is_err(), "{bad:?}");
        }
        let error = spec.check(&Action::Discrete(0)).unwrap_err().to_string();
        assert_eq!(error, "an action must be 2 whole numbers below [2, 3]; found the whole number 0");
    }

    #[test]
    fn continuous_actions_have_one_length_and_a_range() {
        let spec = ActionSpec::Continuous { low: vec![-1.0; 2], high: vec![1.0, f32::INFINITY] };
        assert_eq!(spec.check(&Action::Continuous(vec![-1.0, 1e9])), Ok(()));
        for bad in
            [vec![], vec![0.0], vec![0.0; 3], vec![1.1, 0.0], vec![f32::NAN, 0.0], vec![0.0, f32::INFINITY]]
        {
            assert!(spec.check(&Action::Continuous(bad.clone())).is_err(), "{bad:?}");
        }
        assert!(spec.check(&Action::Discrete(0)).is_err());
    }

    #[test]
    fn what_goes_too_far_is_brought_back_and_what_is_no_number_is_not() {
        let spec = ActionSpec::Continuous { low: vec![-1.0; 3], high: vec![1.0; 3] };
        let Action::Continuous(values) = spec.bounded(Action::Continuous(vec![-3.0, 1.5, f32::NAN])) else {
            panic!("another sort of action");
        };
        assert_eq!(values[..2], [-1.0, 1.0]);
        assert!(spec.check(&Action::Continuous(values)).is_err(), "the third is no number");
    }

    #[test]
    fn drawn_actions_are_among_those_that_are_taken() {
        let mut generator = random::generator(1);
        let specs = [
            ActionSpec::Discrete { n: 3 },
            ActionSpec::MultiDiscrete { n: vec![1, 5] },
            ActionSpec::Continuous { low: vec![-2.0, 0.5], high: vec![-1.0, 0.5] },
        ];
        for spec in specs {
            for _ in 0..100 {
                assert_eq!(spec.check(&spec.draw(&mut generator).unwrap()), Ok(()));
            }
        }
        let endless = ActionSpec::Continuous { low: vec![0.0], high: vec![f32::INFINITY] };
        assert_eq!(endless.draw(&mut generator), None);
    }
}
