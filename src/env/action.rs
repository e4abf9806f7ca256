//! Actions, and the space of actions that an environment accepts.

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

/// The actions that an environment accepts.
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
    /// [`EnvError::Action`] if the action has another type or length, is out of range or not finite.
    pub fn check(&self, action: &Action) -> Result<(), EnvError> {
        let error = || EnvError::Action { expected: self.to_string(), found: action.to_string() };
        if self.contains(action) { Ok(()) } else { Err(error()) }
    }

    fn contains(&self, action: &Action) -> bool {
        match (self, action) {
            (Self::Discrete { n }, Action::Discrete(number)) => number < n,
            (Self::Continuous { low, high }, Action::Continuous(values)) => {
                let mut bounded = values.iter().zip(low.iter().zip(high));
                values.len() == low.len()
                    && bounded.all(|(value, (low, high))| value.is_finite() && (low..=high).contains(&value))
            }
            (Self::Parts(specs), Action::Parts(parts)) => {
                specs.keys().eq(parts.keys())
                    && specs.values().zip(parts.values()).all(|(spec, part)| spec.contains(part))
            }
            _ => false,
        }
    }

    /// Clips every number of an action to its bounds. NaN stays NaN.
    pub fn clip(&self, action: Action) -> Action {
        match (self, action) {
            (Self::Continuous { low, high }, Action::Continuous(mut values)) => {
                for (value, (low, high)) in values.iter_mut().zip(low.iter().zip(high)) {
                    // `f32::max` would replace NaN by a bound.
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
                let clipped = parts.into_iter().map(|(name, part)| match specs.get(&name) {
                    Some(spec) => (name, spec.clip(part)),
                    None => (name, part),
                });
                Action::Parts(clipped.collect())
            }
            (_, action) => action,
        }
    }

    /// Samples an action uniformly; `None` if a number is not bounded.
    pub fn sample(&self, generator: &mut Pcg64Mcg) -> Option<Action> {
        Some(match self {
            Self::Discrete { n } => Action::Discrete(random::below(generator, *n as usize) as u32),
            Self::Parts(specs) => {
                let parts = specs.iter().map(|(name, spec)| Some((name.clone(), spec.sample(generator)?)));
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
        assert_eq!(error.to_string(), "action: expected a whole number below 2; found the whole number 2");
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
        let invalid = [
            parts([]),
            parts([("arm", arm.clone())]),
            parts([("arm", arm.clone()), ("grip", Action::Discrete(3))]),
            parts([("arm", arm.clone()), ("claw", grip.clone())]),
            parts([("arm", arm.clone()), ("grip", grip.clone()), ("leg", grip.clone())]),
            arm,
        ];
        for action in invalid {
            assert!(hand().check(&action).is_err(), "{action:?}");
        }
        let error = hand().check(&parts([("grip", grip)])).unwrap_err().to_string();
        let expected = "action: expected parts (arm: 2 numbers from [-2.0, 0.5] to [-1.0, 0.5]; grip: a whole \
                        number below 3); found parts (grip: the whole number 2)";
        assert_eq!(error, expected);
    }

    #[test]
    fn continuous_actions_have_one_length_and_a_range() {
        let spec = ActionSpec::Continuous { low: vec![-1.0; 2], high: vec![1.0, f32::INFINITY] };
        assert_eq!(spec.check(&Action::Continuous(vec![-1.0, 1e9])), Ok(()));
        for values in
            [vec![], vec![0.0], vec![0.0; 3], vec![1.1, 0.0], vec![f32::NAN, 0.0], vec![0.0, f32::INFINITY]]
        {
            assert!(spec.check(&Action::Continuous(values.clone())).is_err(), "{values:?}");
        }
        assert!(spec.check(&Action::Discrete(0)).is_err());
    }

    #[test]
    fn clipping_moves_numbers_to_their_bounds_and_keeps_nan() {
        let spec = ActionSpec::Continuous { low: vec![-1.0; 3], high: vec![1.0; 3] };
        let Action::Continuous(values) = spec.clip(Action::Continuous(vec![-3.0, 1.5, f32::NAN])) else {
            panic!("expected a continuous action");
        };
        assert_eq!(values[..2], [-1.0, 1.0]);
        assert!(spec.check(&Action::Continuous(values)).is_err(), "the third is NaN");
        let clipped =
            hand().clip(parts([("arm", Action::Continuous(vec![0.0, 0.0])), ("grip", Action::Discrete(1))]));
        assert_eq!(hand().check(&clipped), Ok(()));
    }

    #[test]
    fn sampled_actions_are_accepted() {
        let mut generator = random::generator(1);
        for _ in 0..100 {
            assert_eq!(hand().check(&hand().sample(&mut generator).unwrap()), Ok(()));
        }
        let unbounded = ActionSpec::Continuous { low: vec![0.0], high: vec![f32::INFINITY] };
        assert_eq!(unbounded.sample(&mut generator), None);
        let hand = ActionSpec::Parts([("arm".to_string(), unbounded)].into());
        assert_eq!(hand.sample(&mut generator), None);
    }
}
