//! Episodes of a log.

#[cfg(test)]
mod tests;

use crate::{Images, TrajectoryError};
use std::collections::BTreeMap;
use std::ops::Range;

/// One episode: observation, action and reward of each time step, in raw units.
#[derive(Clone, Debug, PartialEq)]
pub struct Episode {
    /// Row-major `[steps, state_dim]`: the observation before each action.
    pub observations: Vec<f32>,
    /// The number of elements of an observation; 0 if it is only images.
    pub state_dim: usize,
    /// `[state_dim]`: the name of each element of an observation, such as `position.0`; empty if the file has no names.
    pub state_names: Vec<String>,
    /// The images before each action, by the camera's name, which is empty if the whole observation is an image.
    pub images: BTreeMap<String, Images>,
    /// `[steps]`: the actions.
    pub actions: Actions,
    /// `[steps]`: the reward of each action; empty if the log has none.
    pub rewards: Vec<f32>,
    /// The end of the episode.
    pub end: End,
}

/// The end of an episode.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum End {
    /// The environment ended the episode: all later rewards would be 0.
    Terminated,
    /// A time limit truncated the episode.
    TimeLimit,
    /// Unknown: the log stops here or does not state the reason.
    #[default]
    Unknown,
}

/// The actions of consecutive time steps.
#[derive(Clone, Debug, PartialEq)]
pub enum Actions {
    /// `[steps]` discrete actions out of `0..n`.
    Discrete(Vec<u32>),
    /// Row-major `[steps, dim]` real numbers.
    Continuous {
        /// The numbers, row-major.
        values: Vec<f32>,
        /// The number of elements of an action.
        dim: usize,
    },
    /// Several named actions at each step, such as a discrete one for the gripper and a continuous one for the arm; all
    /// have the same number of steps.
    Parts(BTreeMap<String, Actions>),
}

impl Actions {
    /// The number of time steps.
    pub fn len(&self) -> usize {
        match self {
            Self::Discrete(ids) => ids.len(),
            Self::Continuous { values, dim } => values.len().checked_div(*dim).unwrap_or(0),
            Self::Parts(parts) => parts.values().next().map_or(0, Actions::len),
        }
    }

    /// True when there is no action.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The actions of these time steps, cut at the end.
    pub(crate) fn slice(&self, steps: Range<usize>) -> Self {
        match self {
            Self::Discrete(ids) => Self::Discrete(rows(ids, 1, steps)),
            Self::Continuous { values, dim } => {
                Self::Continuous { values: rows(values, *dim, steps), dim: *dim }
            }
            Self::Parts(parts) => Self::Parts(
                parts.iter().map(|(name, part)| (name.clone(), part.slice(steps.clone()))).collect(),
            ),
        }
    }

    /// The named parts of the actions, or the whole actions under an empty name.
    pub fn parts(&self) -> Vec<(&str, &Actions)> {
        match self {
            Self::Parts(parts) => parts.iter().map(|(name, part)| (name.as_str(), part)).collect(),
            whole => vec![("", whole)],
        }
    }

    /// The part with this name, if there are parts.
    pub fn part(&self, name: &str) -> Option<&Actions> {
        match self {
            Self::Parts(parts) => parts.get(name),
            Self::Discrete(_) | Self::Continuous { .. } => None,
        }
    }

    /// A description of the type of actions, for comparisons and messages.
    pub(crate) fn describe(&self) -> String {
        match self {
            Self::Discrete(_) => "discrete numbers, 1 per step".into(),
            Self::Continuous { dim, .. } => format!("continuous numbers, {dim} per step"),
            Self::Parts(parts) => {
                let parts = parts.iter().map(|(name, part)| format!("{name}: {}", part.describe()));
                format!("parts ({})", parts.collect::<Vec<_>>().join("; "))
            }
        }
    }

    /// Check that there is an action for each of `steps`, and that all numbers are finite.
    fn validate(&self, array: &str, steps: usize) -> Result<(), TrajectoryError> {
        match self {
            Self::Discrete(ids) => has_rows(array, steps, ids.len(), 1),
            Self::Continuous { values, dim } => {
                has_rows(array, steps, values.len(), *dim)?;
                finite(array, values, *dim)
            }
            Self::Parts(parts) => {
                let flat = !parts.is_empty() && parts.values().all(|part| !matches!(part, Self::Parts(_)));
                if !flat {
                    let (expected, found) = ("discrete or continuous parts".into(), self.describe());
                    return Err(TrajectoryError::Shape { array: array.into(), expected, found });
                }
                parts.iter().try_for_each(|(name, part)| part.validate(&format!("{array}.{name}"), steps))
            }
        }
    }
}

impl Episode {
    /// The number of time steps.
    pub fn len(&self) -> usize {
        if self.rewards.is_empty() { self.actions.len() } else { self.rewards.len() }
    }

    /// True when there is no time step.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The sum of all rewards, undiscounted; 0 without rewards.
    pub fn total_return(&self) -> f32 {
        self.rewards.iter().map(|&reward| f64::from(reward)).sum::<f64>() as f32
    }

    /// Check that there is at least one step, that all arrays are as long as `rewards` (without rewards, as `actions`), and
    /// that all numbers are finite.
    ///
    /// # Errors
    /// [`TrajectoryError::Shape`] or [`TrajectoryError::NotFinite`].
    pub fn validate(&self) -> Result<(), TrajectoryError> {
        let steps = self.len();
        let shape = |array: &str, expected: String, found: String| {
            Err(TrajectoryError::Shape { array: array.into(), expected, found })
        };
        if steps == 0 {
            return shape("actions", "at least one step".into(), "none".into());
        }
        if self.images.is_empty() || self.state_dim > 0 || !self.observations.is_empty() {
            has_rows("observations", steps, self.observations.len(), self.state_dim)?;
        }
        finite("observations", &self.observations, self.state_dim)?;
        if !self.state_names.is_empty() && self.state_names.len() != self.state_dim {
            let expected = format!("a name for each of {} numbers, or none", self.state_dim);
            return shape("state_names", expected, self.state_names.len().to_string());
        }
        for (camera, images) in &self.images {
            images.validate(&named("observations", camera), steps)?;
        }
        self.actions.validate("actions", steps)?;
        finite("rewards", &self.rewards, 1)
    }
}

/// The name of an array, or of a named part of it.
fn named(array: &str, part: &str) -> String {
    if part.is_empty() { array.into() } else { format!("{array}.{part}") }
}

fn has_rows(array: &str, steps: usize, found: usize, dim: usize) -> Result<(), TrajectoryError> {
    if dim > 0 && steps.checked_mul(dim) == Some(found) {
        return Ok(());
    }
    Err(TrajectoryError::Shape {
        array: array.into(),
        expected: format!("one or more numbers for each of the {steps} rewards"),
        found: format!("{found} in rows of {dim}"),
    })
}

/// Check each episode, and that all have the same type of states, cameras and actions as the first one, which is
/// returned.
///
/// # Errors
/// [`TrajectoryError::Episode`] with the index of the first episode that is invalid or differs;
/// [`TrajectoryError::Empty`] without episodes.
pub fn check_compatible<'a>(episodes: &[&'a Episode]) -> Result<&'a Episode, TrajectoryError> {
    let first = *episodes.first().ok_or(TrajectoryError::Empty)?;
    for (e, episode) in episodes.iter().enumerate() {
        episode.validate().map_err(|error| error.in_episode(e))?;
        let differs = |array: &str, expected: String, found: String| {
            let (array, expected) = (array.into(), format!("{expected}, as in episode 0"));
            Err(TrajectoryError::Shape { array, expected, found }.in_episode(e))
        };
        if episode.state_dim != first.state_dim {
            let (expected, found) = (first.state_dim, episode.state_dim);
            return differs("observations", format!("{expected} numbers per step"), found.to_string());
        }
        if episode.state_names != first.state_names {
            let named = |names: &[String]| match names {
                [] => "numbers without names".to_string(),
                names => format!("the numbers {}", smalti_contract::listed(names, ", ")),
            };
            return differs("observations", named(&first.state_names), named(&episode.state_names));
        }
        if !episode.images.keys().eq(first.images.keys()) {
            let cameras = |episode: &Episode| match episode.images.len() {
                0 => "no images".to_string(),
                _ => {
                    let names = episode.images.keys().map(|camera| named("observations", camera));
                    format!("the images {}", smalti_contract::listed(names, ", "))
                }
            };
            return differs("observations", cameras(first), cameras(episode));
        }
        if episode.actions.describe() != first.actions.describe() {
            return differs("actions", first.actions.describe(), episode.actions.describe());
        }
    }
    Ok(first)
}

/// The rows in `range` of a row-major array of width `dim`, cut at the end.
fn rows<T: Copy>(values: &[T], dim: usize, range: Range<usize>) -> Vec<T> {
    let end = range.end.saturating_mul(dim).min(values.len());
    let start = range.start.saturating_mul(dim).min(end);
    values[start..end].to_vec()
}

fn finite(array: &str, values: &[f32], dim: usize) -> Result<(), TrajectoryError> {
    match values.iter().position(|value| !value.is_finite()) {
        None => Ok(()),
        Some(at) => {
            Err(TrajectoryError::NotFinite { array: array.into(), step: at / dim, found: values[at] })
        }
    }
}
