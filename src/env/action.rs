//! Actions, and which of them an environment takes.

use super::EnvError;
use crate::random;
use rand_pcg::Pcg64Mcg;
use std::collections::BTreeMap;
use std::fmt::{Display, Formatter, Result as Written};

/// One action.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// The number of one of finitely many actions.
    Discrete(u32),
    /// One number for each dimension of the action.
    Continuous(Vec<f32>),
    /// Several actions at once, by name: a choice for the gripper, numbers for the arm.
    Parts(BTreeMap<String, Action>),
}

/// Which actions an environment takes.
#[derive(Clone, Debug, PartialEq)]
pub enum ActionSpec {
    /// The numbers `0..n`.
    Discrete {
        /// How many actions there are.
        n: u32,
    },
    /// Numbers, each between its bounds, which may be infinite.
    Continuous {
        /// `[dim]`: the least value of each.
        low: Vec<f32>,
        /// `[dim]`: the greatest value of each.
        high: Vec<f32>,
    },
    /// Several actions at once, by name.
    Parts(BTreeMap<String, ActionSpec>),
}

impl ActionSpec {
    /// Checks that `action` is one of these.
    ///
    /// # Errors
    /// [`EnvError::Action`] for an action of another sort, of another length, out of range or not finite.
    pub fn check(&self, action: &Action) -> Result<(), EnvError> {
        let error = || EnvError::Action { expected: self.to_string(), found: action.to_string() };
        if self.takes(action) { Ok(()) } else { Err(error()) }
    }

    fn takes(&self, action: &Action) -> bool {
        match (self, action) {
            (Self::Discrete { n }, Action::Discrete(number)) => number < n,
            (Self::Continuous { low, high }, Action::Continuous(values)) => {
                let mut bounded = values.iter().zip(low.iter().zip(high));
                values.len() == low.len()
                    && bounded.all(|(value, (low, high))| value.is_finite() && (low..=high).contains(&value))
            }
            (Self::Parts(specs), Action::Parts(parts)) => {
                specs.keys().eq(parts.keys())
                    && specs.values().zip(parts.values()).all(|(spec, part)| spec.takes(part))
            }
            _ => false,
        }
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
            (Self::Parts(specs), Action::Parts(parts)) => {
                let bounded = parts.into_iter().map(|(name, part)| match specs.get(&name) {
                    Some(spec) => (name, spec.bounded(part)),
                    None => (name, part),
                });
                Action::Parts(bounded.collect())
            }
            (_, action) => action,
        }
    }

    /// An action drawn evenly; `None` where a number has no bounds to draw between.
    pub fn draw(&self, generator: &mut Pcg64Mcg) -> Option<Action> {
        Some(match self {
            Self::Discrete { n } => Action::Discrete(random::below(generator, *n as usize) as u32),
            Self::Parts(specs) => {
                let parts = specs.iter().map(|(name, spec)| Some((name.clone(), spec.draw(generator)?)));
                Action::Parts(parts.collect::<Option<_>>()?)
            }
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
            Self::Continuous { low, high } => match (one(low), one(high)) {
                (Some(least), Some(most)) => write!(f, "{} numbers from {least} to {most}", low.len()),
                _ => write!(f, "{} numbers from {low:?} to {high:?}", low.len()),
            },
            Self::Parts(specs) => write_parts(f, specs),
        }
    }
}

impl Display for Action {
    fn fmt(&self, f: &mut Formatter<'_>) -> Written {
        match self {
            Self::Discrete(number) => write!(f, "the whole number {number}"),
            Self::Continuous(values) => write!(f, "the numbers {values:?}"),
            Self::Parts(parts) => write_parts(f, parts),
        }
    }
}

fn write_parts(f: &mut Formatter<'_>, parts: &BTreeMap<String, impl Display>) -> Written {
    let parts = parts.iter().map(|(name, part)| format!("{name}: {part}"));
    write!(f, "parts ({})", parts.collect::<Vec<_>>().join("; "))
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

    /// A choice and numbers.
    fn hand() -> ActionSpec {
        let arm = ActionSpec::Continuous { low: vec![-2.0, 0.5], high: vec![-1.0, 0.5] };
        let parts = [("arm".to_string(), arm), ("grip".to_string(), ActionSpec::Discrete { n: 3 })];
        ActionSpec::Parts(parts.into())
    }

    fn parts<const N: usize>(parts: [(&str, Action); N]) -> Action {
        Action::Parts(parts.map(|(name, part)| (name.to_string(), part)).into())
    }

    #[test]
    fn an_action_of_parts_has_every_part() {
        let (arm, grip) = (Action::Continuous(vec![-1.5, 0.5]), Action::Discrete(2));
        assert_eq!(hand().check(&parts([("grip", grip.clone()), ("arm", arm.clone())])), Ok(()));
        let bad = [
            parts([]),
            parts([("arm", arm.clone())]),
            parts([("arm", arm.clone()), ("grip", Action::Discrete(3))]),
            parts([("arm", arm.clone()), ("claw", grip.clone())]),
            parts([("arm", arm.clone()), ("grip", grip.clone()), ("leg", grip.clone())]),
            arm,
        ];
        for bad in bad {
            assert!(hand().check(&bad).is_err(), "{bad:?}");
        }
        let error = hand().check(&parts([("grip", grip)])).unwrap_err().to_string();
        let expected = "an action must be parts (arm: 2 numbers from [-2.0, 0.5] to [-1.0, 0.5]; grip: a whole \
                        number below 3); found parts (grip: the whole number 2)";
        assert_eq!(error, expected);
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
        let bounded = hand()
            .bounded(parts([("arm", Action::Continuous(vec![0.0, 0.0])), ("grip", Action::Discrete(1))]));
        assert_eq!(hand().check(&bounded), Ok(()));
    }

    #[test]
    fn drawn_actions_are_among_those_that_are_taken() {
        let mut generator = random::generator(1);
        for _ in 0..100 {
            assert_eq!(hand().check(&hand().draw(&mut generator).unwrap()), Ok(()));
        }
        let endless = ActionSpec::Continuous { low: vec![0.0], high: vec![f32::INFINITY] };
        assert_eq!(endless.draw(&mut generator), None);
        let hand = ActionSpec::Parts([("arm".to_string(), endless)].into());
        assert_eq!(hand.draw(&mut generator), None);
    }
}
