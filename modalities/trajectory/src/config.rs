//! Settings and fitted state of the tokenizer.

use crate::MuLaw;
use crate::episode::describe_parts;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Settings and fitted state; [`fit`](crate::fit) makes one from episodes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrajectoryConfig {
    /// `[state_dim]`: subtracted from a state; empty where steps have none, but pictures.
    pub state_mean: Vec<f32>,
    /// `[state_dim]`: what a state is then divided by.
    pub state_std: Vec<f32>,
    /// `[state_dim]`: what each number of a state is; empty where the episodes' file did not say.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub state_names: Vec<String>,
    /// What a return-to-go is divided by.
    pub return_scale: f32,
    /// What a reward loses with each step that it lies ahead, in 0..=1 without 0; 1 by default.
    #[serde(default = "undiscounted")]
    pub discount: f32,
    /// What an action is.
    pub actions: ActionSpec,
    /// The most time steps in a window, K in the decision transformer paper.
    pub context: usize,
    /// How many time steps an episode may have: the size of the time axis.
    pub max_steps: usize,
    /// Where given, every number becomes an id.
    #[serde(default)]
    pub discretise: Option<MuLaw>,
}

/// What an action is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum ActionSpec {
    /// A choice out of `0..n`.
    Discrete {
        /// How many choices there are.
        n: usize,
    },
    /// Real numbers.
    Continuous {
        /// Numbers in an action.
        dim: usize,
        /// `[dim]`: the least that each may be.
        low: Vec<f32>,
        /// `[dim]`: the most that each may be.
        high: Vec<f32>,
    },
    /// Several at a time, by name: each a choice or real numbers.
    Parts(BTreeMap<String, ActionSpec>),
}

fn undiscounted() -> f32 {
    1.0
}

impl TrajectoryConfig {
    /// Numbers in a state.
    pub fn state_dim(&self) -> usize {
        self.state_mean.len()
    }

    /// What is wrong with the settings, if anything.
    pub(crate) fn check(&self) -> Result<(), String> {
        let (mean, std) = (&self.state_mean, &self.state_std);
        if mean.len() != std.len() {
            let (mean, std) = (mean.len(), std.len());
            return Err(format!(
                "state_mean has {mean} numbers and state_std {std}; both must have state_dim"
            ));
        }
        if !self.state_names.is_empty() && self.state_names.len() != mean.len() {
            let (names, dim) = (self.state_names.len(), mean.len());
            return Err(format!("state_names has {names} names; a state has {dim} numbers"));
        }
        if let Some(bad) = mean.iter().find(|mean| !mean.is_finite()) {
            return Err(format!("state_mean holds {bad}; it must be finite"));
        }
        if let Some(bad) = std.iter().find(|&&std| !is_positive(std)) {
            return Err(format!("state_std holds {bad}; it must be positive and finite"));
        }
        if !is_positive(self.return_scale) {
            return Err(format!("return_scale is {}; it must be positive and finite", self.return_scale));
        }
        if !(is_positive(self.discount) && self.discount <= 1.0) {
            return Err(format!("discount is {}; it must be above 0 and at most 1", self.discount));
        }
        self.actions.check()?;
        self.discretise.map_or(Ok(()), |law| law.check().map_err(|e| format!("discretise.{e}")))?;
        self.check_sizes()
    }

    /// Times and places in the sequence are kept in 32 bits.
    fn check_sizes(&self) -> Result<(), String> {
        let (context, max_steps) = (self.context, self.max_steps);
        for (name, size) in [("context", context), ("max_steps", max_steps)] {
            if size == 0 {
                return Err(format!("{name} is 0; it must be at least 1"));
            }
        }
        let tokens = context.checked_mul(self.tokens_per_step());
        if max_steps > u32::MAX as usize || tokens.is_none_or(|tokens| tokens > u32::MAX as usize) {
            return Err(format!(
                "max_steps is {max_steps} and context {context} steps of {} tokens; neither time nor order \
                 may exceed {}",
                self.tokens_per_step(),
                u32::MAX
            ));
        }
        Ok(())
    }

    /// Tokens in a time step: its return-to-go, its state and its action.
    pub fn tokens_per_step(&self) -> usize {
        1 + self.state_tokens() + self.action_tokens()
    }

    /// Tokens of a state: its numbers where they are discretised, else one; none where there are no numbers.
    pub fn state_tokens(&self) -> usize {
        if self.discretise.is_some() { self.state_dim() } else { self.state_dim().min(1) }
    }

    /// Tokens of an action, all its parts together.
    pub(crate) fn action_tokens(&self) -> usize {
        self.actions.parts().iter().map(|(_, part)| self.part_tokens(part)).sum()
    }

    /// Tokens of one part of an action.
    pub(crate) fn part_tokens(&self, part: &ActionSpec) -> usize {
        match part {
            ActionSpec::Continuous { low, .. } if self.discretise.is_some() => low.len(),
            _ => 1,
        }
    }
}

impl ActionSpec {
    /// The action itself, under an empty name, or its parts by name.
    pub fn parts(&self) -> Vec<(&str, &ActionSpec)> {
        match self {
            Self::Parts(parts) => parts.iter().map(|(name, part)| (name.as_str(), part)).collect(),
            whole => vec![("", whole)],
        }
    }

    /// Which actions these are, in the words of [`Actions::describe`](crate::Actions::describe).
    pub(crate) fn describe(&self) -> String {
        match self {
            Self::Discrete { .. } => "discrete numbers, 1 a step".into(),
            Self::Continuous { dim, .. } => format!("continuous numbers, {dim} a step"),
            Self::Parts(parts) => describe_parts(parts, ActionSpec::describe),
        }
    }

    fn check(&self) -> Result<(), String> {
        match self {
            Self::Discrete { n } if *n == 0 || *n > u32::MAX as usize => {
                Err(format!("actions.n is {n}; it must be in 1..={}", u32::MAX))
            }
            Self::Discrete { .. } => Ok(()),
            Self::Parts(parts) => {
                if parts.is_empty() || parts.values().any(|part| matches!(part, Self::Parts(_))) {
                    let found = self.describe();
                    return Err(format!("actions have {found}; parts must be discrete or continuous"));
                }
                parts.iter().try_for_each(|(name, part)| part.check().map_err(|e| format!("{name}: {e}")))
            }
            Self::Continuous { dim, low, high } => {
                if *dim == 0 || low.len() != *dim || high.len() != *dim {
                    let (low, high) = (low.len(), high.len());
                    return Err(format!(
                        "actions have dim {dim}, {low} low and {high} high; all must be the same and not 0"
                    ));
                }
                let mut bounds = low.iter().zip(high);
                match bounds.find(|(low, high)| !(low.is_finite() && high.is_finite() && low <= high)) {
                    None => Ok(()),
                    Some((low, high)) => {
                        Err(format!("actions go from {low} to {high}; bounds must be finite and in order"))
                    }
                }
            }
        }
    }
}

fn is_positive(number: f32) -> bool {
    number.is_finite() && number > 0.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> TrajectoryConfig {
        TrajectoryConfig {
            state_mean: vec![0.0, 1.0],
            state_std: vec![1.0, 2.0],
            state_names: vec![],
            return_scale: 10.0,
            discount: 1.0,
            actions: ActionSpec::Continuous { dim: 1, low: vec![-1.0], high: vec![1.0] },
            context: 4,
            max_steps: 100,
            discretise: None,
        }
    }

    #[test]
    fn what_cannot_work_is_said_with_numbers() {
        assert_eq!(config().check(), Ok(()));
        let continuous =
            |low: f32, high: f32| ActionSpec::Continuous { dim: 1, low: vec![low], high: vec![high] };
        let cases = [
            (
                TrajectoryConfig { state_std: vec![1.0], ..config() },
                "state_mean has 2 numbers and state_std 1",
            ),
            (TrajectoryConfig { state_std: vec![1.0, 0.0], ..config() }, "state_std holds 0"),
            (TrajectoryConfig { state_mean: vec![1.0, f32::NAN], ..config() }, "state_mean holds NaN"),
            (
                TrajectoryConfig { state_names: vec!["x".into()], ..config() },
                "state_names has 1 names; a state has 2 numbers",
            ),
            (
                TrajectoryConfig { actions: ActionSpec::Parts(BTreeMap::new()), ..config() },
                "actions have parts (); parts must be discrete or continuous",
            ),
            (
                TrajectoryConfig {
                    actions: ActionSpec::Parts([("a".into(), ActionSpec::Discrete { n: 0 })].into()),
                    ..config()
                },
                "a: actions.n is 0",
            ),
            (TrajectoryConfig { return_scale: 0.0, ..config() }, "return_scale is 0"),
            (TrajectoryConfig { discount: 1.5, ..config() }, "discount is 1.5"),
            (TrajectoryConfig { context: 0, ..config() }, "context is 0"),
            (TrajectoryConfig { context: usize::MAX, ..config() }, "max_steps is 100 and context"),
            (TrajectoryConfig { actions: ActionSpec::Discrete { n: 0 }, ..config() }, "actions.n is 0"),
            (TrajectoryConfig { actions: continuous(1.0, -1.0), ..config() }, "actions go from 1 to -1"),
            (
                TrajectoryConfig { discretise: Some(MuLaw { bins: 0, ..MuLaw::default() }), ..config() },
                "discretise.bins is 0",
            ),
        ];
        for (config, expected) in cases {
            let found = config.check().unwrap_err();
            assert!(found.starts_with(expected), "{found:?} should start with {expected:?}");
        }
    }

    #[test]
    fn unknown_settings_are_refused() {
        let mut json = serde_json::to_value(config()).unwrap();
        assert_eq!(serde_json::from_value::<TrajectoryConfig>(json.clone()).unwrap(), config());
        json["colour"] = "red".into();
        assert!(serde_json::from_value::<TrajectoryConfig>(json).is_err());
    }
}
