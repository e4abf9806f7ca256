//! Fitting a configuration to episodes.

use crate::{ActionSpec, Actions, Episode, MuLaw, TrajectoryConfig, TrajectoryError, episode::check_alike};
use serde::{Deserialize, Serialize};

/// What is decided before looking at the episodes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FitOptions {
    /// The most time steps in a window; 20.
    pub context: usize,
    /// How many time steps an episode may have; 1,000.
    pub max_steps: usize,
    /// Where given, every number becomes an id.
    pub discretise: Option<MuLaw>,
    /// What a reward loses with each step that it lies ahead; 1: nothing.
    pub discount: f32,
    /// What returns-to-go are divided by, where it should not be the largest magnitude among them.
    pub return_scale: Option<f32>,
}

impl Default for FitOptions {
    fn default() -> Self {
        Self { context: 20, max_steps: 1000, discretise: None, discount: 1.0, return_scale: None }
    }
}

/// More discrete actions than this are a broken log: a table with a row for each would fill the memory.
pub const MOST_ACTIONS: usize = 65_536;

/// A state's standard deviation is taken to be at least this, so that numbers which never change in the
/// episodes can be divided by it.
const LEAST_STD: f64 = 1e-6;

/// The configuration for these episodes: the states' mean and (population) standard deviation, at least
/// 1e-6; the largest magnitude of a return-to-go, or 1 where all are 0; for discrete actions their number,
/// the largest plus one, and for continuous ones their least and largest values.
///
/// # Errors
/// [`TrajectoryError`] where there is no episode, one is invalid or longer than `max_steps`, states or
/// actions are not alike in all of them, or the options cannot work together.
pub fn fit<'a>(
    episodes: impl IntoIterator<Item = &'a Episode>,
    options: FitOptions,
) -> Result<TrajectoryConfig, TrajectoryError> {
    let episodes: &[&Episode] = &episodes.into_iter().collect::<Vec<_>>();
    let first = check_alike(episodes)?;
    if let Some(long) = episodes.iter().position(|episode| episode.len() > options.max_steps) {
        let (expected, found) = (options.max_steps, episodes[long].len());
        let (expected, found) = (format!("at most max_steps = {expected} steps"), found.to_string());
        return Err(TrajectoryError::Shape { array: "rewards".into(), expected, found }.in_episode(long));
    }
    let all: Vec<&Actions> = episodes.iter().map(|episode| &episode.actions).collect();
    let actions = action_spec(&all)?;
    let (state_mean, state_std) = mean_and_std(episodes, first.state_dim);
    let return_scale = options.return_scale.unwrap_or_else(|| largest_return(episodes, options.discount));
    let config = TrajectoryConfig {
        state_mean,
        state_std,
        state_names: first.state_names.clone(),
        return_scale,
        discount: options.discount,
        actions,
        context: options.context,
        max_steps: options.max_steps,
        discretise: options.discretise,
    };
    config.check().map_err(TrajectoryError::Options)?;
    Ok(config)
}

/// Two passes in double precision: a single one would lose a small spread around a large mean.
fn mean_and_std(episodes: &[&Episode], state_dim: usize) -> (Vec<f32>, Vec<f32>) {
    let steps: usize = episodes.iter().map(|episode| episode.len()).sum();
    let average = |of: &dyn Fn(usize, f64) -> f64| {
        let mut sum = vec![0.0_f64; state_dim];
        for state in episodes.iter().flat_map(|episode| episode.observations.chunks_exact(state_dim.max(1))) {
            for (i, (sum, &value)) in sum.iter_mut().zip(state).enumerate() {
                *sum += of(i, f64::from(value));
            }
        }
        sum.into_iter().map(|sum| sum / steps as f64).collect::<Vec<f64>>()
    };
    let mean = average(&|_, value| value);
    let variance = average(&|i, value| (value - mean[i]).powi(2));
    let std = variance.iter().map(|variance| variance.sqrt().max(LEAST_STD) as f32);
    (mean.iter().map(|&mean| mean as f32).collect(), std.collect())
}

fn largest_return(episodes: &[&Episode], discount: f32) -> f32 {
    let returns = episodes.iter().flat_map(|episode| episode.returns_to_go(discount));
    let largest = returns.fold(0.0, |most: f32, to_go| most.max(to_go.abs()));
    if largest > 0.0 { largest } else { 1.0 }
}

/// What these actions are, which are of one sort.
fn action_spec(all: &[&Actions]) -> Result<ActionSpec, TrajectoryError> {
    match all.first() {
        None => Err(TrajectoryError::Empty),
        Some(Actions::Discrete(_)) => {
            let choices = all.iter().flat_map(|actions| match actions {
                Actions::Discrete(ids) => ids.as_slice(),
                Actions::Continuous { .. } | Actions::Parts(_) => &[],
            });
            let n = choices.max().map_or(0, |&last| last as usize + 1);
            if n > MOST_ACTIONS {
                return Err(TrajectoryError::Options(format!(
                    "actions hold the number {}; discrete actions must be below {MOST_ACTIONS}",
                    n - 1
                )));
            }
            Ok(ActionSpec::Discrete { n })
        }
        Some(&&Actions::Continuous { dim, .. }) => Ok(bounds(all, dim)),
        Some(Actions::Parts(first)) => {
            let spec_of = |name: &String| {
                let parts: Vec<&Actions> = all.iter().filter_map(|actions| actions.part(name)).collect();
                Ok((name.clone(), action_spec(&parts)?))
            };
            Ok(ActionSpec::Parts(first.keys().map(spec_of).collect::<Result<_, TrajectoryError>>()?))
        }
    }
}

/// The least and the largest of each number.
fn bounds(all: &[&Actions], dim: usize) -> ActionSpec {
    let (mut low, mut high) = (vec![f32::INFINITY; dim], vec![f32::NEG_INFINITY; dim]);
    for actions in all {
        let Actions::Continuous { values, .. } = actions else { continue };
        for action in values.chunks_exact(dim) {
            for (i, &value) in action.iter().enumerate() {
                low[i] = low[i].min(value);
                high[i] = high[i].max(value);
            }
        }
    }
    ActionSpec::Continuous { dim, low, high }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::End;
    use std::collections::BTreeMap;

    fn episode(observations: Vec<f32>, actions: Actions, rewards: Vec<f32>) -> Episode {
        let state_dim = observations.len() / rewards.len();
        let (state_names, end) = (vec![], End::Unknown);
        let pictures = BTreeMap::new();
        Episode { observations, state_dim, state_names, pictures, actions, rewards, end }
    }

    fn discrete() -> Vec<Episode> {
        vec![
            episode(vec![1.0, 7.0, 3.0, 7.0], Actions::Discrete(vec![0, 4]), vec![1.0, 2.0]),
            episode(vec![5.0, 7.0], Actions::Discrete(vec![1]), vec![-9.0]),
        ]
    }

    #[test]
    fn statistics_and_actions_come_from_all_episodes() {
        let config = fit(&discrete(), FitOptions::default()).unwrap();
        assert_eq!(config.state_mean, [3.0, 7.0]);
        assert_eq!(config.state_std, [(8.0_f32 / 3.0).sqrt(), 1e-6], "a constant has the least deviation");
        assert_eq!(config.return_scale, 9.0);
        assert_eq!(config.actions, ActionSpec::Discrete { n: 5 });

        let actions = Actions::Continuous { values: vec![-1.0, 5.0, 2.0, 4.0], dim: 2 };
        let config = fit(&[episode(vec![0.0; 2], actions, vec![0.0; 2])], FitOptions::default()).unwrap();
        let (low, high) = (vec![-1.0, 4.0], vec![2.0, 5.0]);
        assert_eq!(config.actions, ActionSpec::Continuous { dim: 2, low, high });
        assert_eq!(config.return_scale, 1.0, "returns of 0 are not scaled");
    }

    #[test]
    fn parts_are_fitted_each_and_names_are_kept() {
        let arm = Actions::Continuous { values: vec![-1.0, 2.0], dim: 1 };
        let parts = [("arm".to_string(), arm), ("grip".to_string(), Actions::Discrete(vec![0, 6]))];
        let mut named = episode(vec![1.0; 2], Actions::Parts(parts.into()), vec![1.0; 2]);
        named.state_names = vec!["height".into()];
        let config = fit(&[named.clone()], FitOptions::default()).unwrap();
        let arm = ActionSpec::Continuous { dim: 1, low: vec![-1.0], high: vec![2.0] };
        let parts = [("arm".to_string(), arm), ("grip".to_string(), ActionSpec::Discrete { n: 7 })];
        assert_eq!(config.actions, ActionSpec::Parts(parts.into()));
        assert_eq!(config.state_names, ["height"]);

        let Actions::Parts(parts) = &mut named.actions else { panic!("parts") };
        parts.insert("grip".into(), Actions::Discrete(vec![0, 1 << 20]));
        let error = fit(&[named], FitOptions::default()).unwrap_err().to_string();
        assert_eq!(error, "actions hold the number 1048576; discrete actions must be below 65536");
    }

    #[test]
    fn options_are_kept_and_checked() {
        let options = FitOptions { discount: 0.5, return_scale: Some(100.0), ..FitOptions::default() };
        let config = fit(&discrete(), options).unwrap();
        assert_eq!((config.discount, config.return_scale), (0.5, 100.0));

        let error = |options| fit(&discrete(), options).unwrap_err().to_string();
        assert_eq!(
            error(FitOptions { max_steps: 1, ..FitOptions::default() }),
            "episode 0: rewards must have at most max_steps = 1 steps; found 2"
        );
        assert_eq!(
            error(FitOptions { context: 0, ..FitOptions::default() }),
            "context is 0; it must be at least 1"
        );
        assert_eq!(fit(&[], FitOptions::default()), Err(TrajectoryError::Empty));
    }
}
