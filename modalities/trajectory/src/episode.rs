//! What was logged: episodes, their returns-to-go, and windows cut out of them.

use crate::TrajectoryError;
use std::ops::Range;

/// One episode: what was seen, done and earned at each time step, in raw units.
#[derive(Clone, Debug, PartialEq)]
pub struct Episode {
    /// Row-major `[steps, state_dim]`: what was seen before acting.
    pub observations: Vec<f32>,
    /// Numbers in an observation.
    pub state_dim: usize,
    /// `[steps]`: what was done.
    pub actions: Actions,
    /// `[steps]`: what each action earned.
    pub rewards: Vec<f32>,
    /// True where the environment ended the episode, false where it was cut off by a time limit or by
    /// the end of the log.
    pub terminated: bool,
}

/// The actions of consecutive time steps.
#[derive(Clone, Debug, PartialEq)]
pub enum Actions {
    /// `[steps]` choices out of `0..n`.
    Discrete(Vec<u32>),
    /// Row-major `[steps, dim]` real numbers.
    Continuous {
        /// The numbers, row-major.
        values: Vec<f32>,
        /// Numbers in an action.
        dim: usize,
    },
}

/// Consecutive time steps of an episode, in raw units: what is tokenized.
///
/// It holds `n` returns-to-go, `n` states and `n` actions. The last action may be missing: in a rollout it
/// is yet to be chosen.
#[derive(Clone, Debug, PartialEq)]
pub struct Window {
    /// Time step of the first, counted from the episode's beginning.
    pub start: usize,
    /// `[n]`: the sum of (discounted) rewards from each step to the end of the episode.
    pub returns_to_go: Vec<f32>,
    /// Row-major `[n, state_dim]`.
    pub states: Vec<f32>,
    /// `[n]` or `[n - 1]` actions.
    pub actions: Actions,
}

impl Actions {
    /// How many time steps there are.
    pub fn len(&self) -> usize {
        match self {
            Self::Discrete(ids) => ids.len(),
            Self::Continuous { values, dim } => values.len().checked_div(*dim).unwrap_or(0),
        }
    }

    /// True when there is no action.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The actions of these time steps, as far as there are any.
    pub(crate) fn slice(&self, steps: Range<usize>) -> Self {
        match self {
            Self::Discrete(ids) => Self::Discrete(rows(ids, 1, steps)),
            Self::Continuous { values, dim } => {
                Self::Continuous { values: rows(values, *dim, steps), dim: *dim }
            }
        }
    }

    /// Which actions these are, for comparing and for messages.
    pub(crate) fn describe(&self) -> String {
        match self {
            Self::Discrete(_) => "discrete numbers, 1 a step".into(),
            Self::Continuous { dim, .. } => format!("continuous numbers, {dim} a step"),
        }
    }
}

impl Episode {
    /// How many time steps there are.
    pub fn len(&self) -> usize {
        self.rewards.len()
    }

    /// True when there is no time step.
    pub fn is_empty(&self) -> bool {
        self.rewards.is_empty()
    }

    /// The sum of all rewards, undiscounted.
    pub fn total_return(&self) -> f32 {
        self.rewards.iter().map(|&reward| f64::from(reward)).sum::<f64>() as f32
    }

    /// `[steps]`: at each step `t` the sum of `discount^(k-t) · reward[k]` over this and all later steps
    /// `k`, accumulated in double precision. A decision transformer uses a discount of 1.
    pub fn returns_to_go(&self, discount: f32) -> Vec<f32> {
        let mut to_go = 0.0_f64;
        let mut returns: Vec<f32> = self
            .rewards
            .iter()
            .rev()
            .map(|&reward| {
                to_go = f64::from(reward) + f64::from(discount) * to_go;
                to_go as f32
            })
            .collect();
        returns.reverse();
        returns
    }

    /// Up to `steps` time steps from `start`: fewer where the episode ends before.
    ///
    /// `returns_to_go` are those of the whole episode, so that cutting many windows sums them only once.
    pub fn window(&self, start: usize, steps: usize, returns_to_go: &[f32]) -> Window {
        let steps = start..start.saturating_add(steps);
        Window {
            start,
            returns_to_go: rows(returns_to_go, 1, steps.clone()),
            states: rows(&self.observations, self.state_dim, steps.clone()),
            actions: self.actions.slice(steps),
        }
    }

    /// Where consecutive windows of `steps` time steps begin: together they cover the episode without overlap, and
    /// the last is as long as what is left.
    pub fn window_starts(&self, steps: usize) -> impl Iterator<Item = usize> + use<> {
        (0..self.len()).step_by(steps.max(1))
    }

    /// Checks that there is a step, that all arrays are as long as `rewards`, and all numbers finite.
    ///
    /// # Errors
    /// [`TrajectoryError::Shape`] or [`TrajectoryError::NotFinite`].
    pub fn validate(&self) -> Result<(), TrajectoryError> {
        let steps = self.len();
        let shape =
            |array, expected: String, found: String| Err(TrajectoryError::Shape { array, expected, found });
        if steps == 0 {
            return shape("rewards", "at least one step".into(), "none".into());
        }
        let has_rows = |array, found: usize, dim: usize| {
            if dim > 0 && steps.checked_mul(dim) == Some(found) {
                return Ok(());
            }
            let expected = format!("one or more numbers for each of the {steps} rewards");
            shape(array, expected, format!("{found} in rows of {dim}"))
        };
        has_rows("observations", self.observations.len(), self.state_dim)?;
        finite("observations", &self.observations, self.state_dim)?;
        match &self.actions {
            Actions::Discrete(ids) => has_rows("actions", ids.len(), 1)?,
            Actions::Continuous { values, dim } => {
                has_rows("actions", values.len(), *dim)?;
                finite("actions", values, *dim)?;
            }
        }
        finite("rewards", &self.rewards, 1)
    }
}

/// Checks each episode, and that all have states and actions like the first one's, which is returned.
pub(crate) fn check_alike(episodes: &[Episode]) -> Result<&Episode, TrajectoryError> {
    let first = episodes.first().ok_or(TrajectoryError::Empty)?;
    for (e, episode) in episodes.iter().enumerate() {
        episode.validate().map_err(|error| error.in_episode(e))?;
        let differs = |array, expected: String, found: String| {
            let expected = format!("{expected}, as in episode 0");
            Err(TrajectoryError::Shape { array, expected, found }.in_episode(e))
        };
        if episode.state_dim != first.state_dim {
            let (expected, found) = (first.state_dim, episode.state_dim);
            return differs("observations", format!("{expected} numbers a step"), found.to_string());
        }
        if episode.actions.describe() != first.actions.describe() {
            return differs("actions", first.actions.describe(), episode.actions.describe());
        }
    }
    Ok(first)
}

/// Rows `range` of a row-major array of width `dim`, as far as there are any.
fn rows<T: Copy>(values: &[T], dim: usize, range: Range<usize>) -> Vec<T> {
    let end = range.end.saturating_mul(dim).min(values.len());
    let start = range.start.saturating_mul(dim).min(end);
    values[start..end].to_vec()
}

fn finite(array: &'static str, values: &[f32], dim: usize) -> Result<(), TrajectoryError> {
    match values.iter().position(|value| !value.is_finite()) {
        None => Ok(()),
        Some(at) => Err(TrajectoryError::NotFinite { array, step: at / dim, found: values[at] }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn episode() -> Episode {
        Episode {
            observations: vec![0.0, 0.1, 1.0, 1.1, 2.0, 2.1],
            state_dim: 2,
            actions: Actions::Continuous { values: vec![-1.0, 0.0, 1.0], dim: 1 },
            rewards: vec![1.0, 2.0, 4.0],
            terminated: true,
        }
    }

    #[test]
    fn returns_are_discounted_sums_to_the_end() {
        assert_eq!(episode().returns_to_go(1.0), [7.0, 6.0, 4.0]);
        assert_eq!(episode().returns_to_go(0.5), [3.0, 4.0, 4.0]);
        assert_eq!(episode().total_return(), 7.0);
    }

    #[test]
    fn long_returns_keep_small_rewards() {
        // In single precision a sum stops growing at 2^24.
        let long = Episode { rewards: vec![1.0; (1 << 24) + 4], ..episode() };
        assert_eq!(long.returns_to_go(1.0)[0], ((1 << 24) + 4) as f32);
    }

    #[test]
    fn a_window_ends_with_the_episode() {
        let returns = episode().returns_to_go(1.0);
        let window = episode().window(1, 5, &returns);
        assert_eq!((window.start, window.returns_to_go), (1, vec![6.0, 4.0]));
        assert_eq!(window.states, [1.0, 1.1, 2.0, 2.1]);
        assert_eq!(window.actions, Actions::Continuous { values: vec![0.0, 1.0], dim: 1 });
        assert!(episode().window(7, usize::MAX, &returns).states.is_empty());
    }

    #[test]
    fn windows_follow_one_another() {
        let starts = |steps| episode().window_starts(steps).collect::<Vec<usize>>();
        assert_eq!((starts(1), starts(2)), (vec![0, 1, 2], vec![0, 2]));
        assert_eq!((starts(3), starts(9)), (vec![0], vec![0]));
    }

    #[test]
    fn validate_names_what_is_wrong() {
        let error = |episode: Episode| episode.validate().unwrap_err().to_string();
        assert_eq!(episode().validate(), Ok(()));
        assert_eq!(
            error(Episode { state_dim: 4, ..episode() }),
            "observations must have one or more numbers for each of the 3 rewards; found 6 in rows of 4"
        );
        assert_eq!(
            error(Episode { actions: Actions::Discrete(vec![1]), ..episode() }),
            "actions must have one or more numbers for each of the 3 rewards; found 1 in rows of 1"
        );
        assert_eq!(
            error(Episode { rewards: vec![1.0, f32::NAN, 0.0], ..episode() }),
            "rewards at step 1 is NaN; it must be finite"
        );
        assert_eq!(
            error(Episode { rewards: vec![], ..episode() }),
            "rewards must have at least one step; found none"
        );
        let nan = Actions::Continuous { values: vec![0.0, 0.0, f32::INFINITY], dim: 1 };
        assert_eq!(
            error(Episode { actions: nan, ..episode() }),
            "actions at step 2 is inf; it must be finite"
        );
    }

    #[test]
    fn episodes_must_be_alike() {
        let discrete = Episode { actions: Actions::Discrete(vec![0, 1, 0]), ..episode() };
        assert_eq!(
            check_alike(&[episode(), discrete]).unwrap_err().to_string(),
            "episode 1: actions must have continuous numbers, 1 a step, as in episode 0; found discrete numbers, 1 a step"
        );
        let narrow = Episode { observations: vec![0.0; 3], state_dim: 1, ..episode() };
        assert_eq!(
            check_alike(&[episode(), narrow]).unwrap_err().to_string(),
            "episode 1: observations must have 2 numbers a step, as in episode 0; found 1"
        );
        assert_eq!(check_alike(&[]), Err(TrajectoryError::Empty));
    }
}
