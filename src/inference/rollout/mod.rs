//! A trained policy in an environment: any task that predicts actions in each step of a series.

mod action;
mod episode;
mod policy;
mod sources;
#[cfg(test)]
mod tests;

use self::episode::Episode;
use self::policy::Policy;
use super::PredictError;
use crate::env::{Action, EnvError, VectorEnvironment};
use crate::model::Model;
use crate::random::{self, mix};
use crate::sample::Composition;
use smalti_contract::Row;

/// How episodes are played.
#[derive(Clone, Debug, PartialEq)]
pub struct RolloutSettings {
    /// The return that the policy is told to reach. A policy whose inputs have no return ignores it.
    pub target_return: f32,
    /// The number of episodes.
    pub episodes: usize,
    /// The same seed starts the same episodes.
    pub seed: u64,
    /// The values of parts without a clock, such as a task in words; a part that has none is left out.
    pub row: Row,
}

impl Default for RolloutSettings {
    fn default() -> Self {
        Self { target_return: 0.0, episodes: 100, seed: 1337, row: Row::default() }
    }
}

/// What a policy earned.
#[derive(Clone, Debug, PartialEq)]
pub struct Rollout {
    /// The return of each episode.
    pub returns: Vec<f64>,
    /// The number of episodes that were cut before their end, because the model knows no later time step.
    pub cut: usize,
}

/// Why a policy cannot act.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RolloutError {
    /// An environment that failed, or that does not fit the policy.
    #[error("--env {name}: {problem}")]
    Environment {
        /// The environment's name.
        name: String,
        /// What is wrong, with the expected and the actual value.
        problem: String,
    },
    /// A task that is no policy.
    #[error("{part}: {problem}")]
    Part {
        /// The part: `inputs.observations`.
        part: String,
        /// What is wrong, with the expected and the actual value.
        problem: String,
    },
    /// An observation that cannot become tokens, or an operation that failed.
    #[error(transparent)]
    Predict(#[from] PredictError),
}

impl Rollout {
    /// The mean return.
    pub fn return_mean(&self) -> f64 {
        self.returns.iter().sum::<f64>() / self.returns.len().max(1) as f64
    }

    /// The (population) standard deviation of the returns.
    pub fn return_std(&self) -> f64 {
        let mean = self.return_mean();
        let squares: f64 = self.returns.iter().map(|r| (r - mean).powi(2)).sum();
        (squares / self.returns.len().max(1) as f64).sqrt()
    }
}

/// Plays episodes with the likeliest actions of a policy, as many side by side as the environments allow. `number` is the
/// task's among the model's. An episode ends when the environment says so, or it is cut when the model knows no later time
/// step ([`Rollout::cut`]).
///
/// An output that is a series of classes or numbers is an action, or a part of one: outputs `arm` and `grip`, or outputs of
/// fields `actions.arm` and `actions.grip`. Classes are the numbers of discrete actions. Inputs that are series are filled
/// from the environment: images from the camera named as their field, a return-to-go from the target return minus what is
/// earned (Chen et al. 2021), `previous`, `first`, `last` and `step` from the episode, and all other numbers, one input after
/// another, from the state.
///
/// # Errors
/// [`RolloutError`] if states, cameras or actions of the environment are not those of the policy, or the environment fails.
pub fn rollout(
    task: &Composition,
    model: &Model,
    number: usize,
    environments: &mut dyn VectorEnvironment,
    settings: &RolloutSettings,
) -> Result<Rollout, RolloutError> {
    let policy = Policy::new(task, environments, settings)?;
    play(environments, settings.episodes, task.max_steps(), settings.seed, |playing| {
        policy.act(model, number, playing)
    })
}

/// What uniformly random actions earn: the return to beat. An episode is cut after `max_steps`.
///
/// # Errors
/// [`RolloutError`] if an action has no bounds to draw between, or the environment fails.
pub fn random_policy(
    environments: &mut dyn VectorEnvironment,
    max_steps: usize,
    episodes: usize,
    seed: u64,
) -> Result<Rollout, RolloutError> {
    let (name, spec) = (environments.name().to_string(), environments.action_spec());
    let mut generators: Vec<_> =
        (0..episodes as u64).map(|episode| random::generator(mix(seed, !episode))).collect();
    let unbounded = || {
        let problem = format!("takes {spec}; there are no random actions without bounds");
        RolloutError::Environment { name: name.clone(), problem }
    };
    play(environments, episodes, max_steps, seed, |playing| {
        let drawn = playing.iter().map(|episode| spec.draw(&mut generators[episode.number]));
        drawn.map(|action| action.ok_or_else(unbounded)).collect()
    })
}

/// Plays `episodes` episodes of at most `max_steps` steps. Whenever a slot is free, the next episode begins there;
/// `policy` gives one action for each episode under way.
fn play(
    environments: &mut dyn VectorEnvironment,
    episodes: usize,
    max_steps: usize,
    seed: u64,
    mut policy: impl FnMut(&mut [Episode]) -> Result<Vec<Action>, RolloutError>,
) -> Result<Rollout, RolloutError> {
    let name = environments.name().to_string();
    let failed = |error| failed(&name, error);
    let mut rollout = Rollout { returns: vec![0.0; episodes], cut: 0 };
    let mut free: Vec<usize> = (0..environments.slots().min(episodes)).rev().collect();
    let mut playing: Vec<Episode> = Vec::new();
    let mut begun = 0;
    loop {
        let starting = free.len().min(episodes - begun);
        let slots = free.split_off(free.len() - starting).into_iter().rev();
        let fresh: Vec<Episode> =
            slots.zip(begun..).map(|(slot, number)| Episode::new(number, slot)).collect();
        begun += starting;
        let starts = fresh.iter().map(|episode| (episode.slot, mix(seed, episode.number as u64)));
        let seen = environments.reset(&starts.collect::<Vec<_>>()).map_err(failed)?;
        playing.extend(fresh.into_iter().zip(seen).map(|(mut episode, seen)| {
            episode.observe(seen);
            episode
        }));
        if playing.is_empty() {
            return Ok(rollout);
        }
        let actions = policy(&mut playing)?;
        let asked: Vec<(usize, &Action)> = playing.iter().map(|episode| episode.slot).zip(&actions).collect();
        let steps = environments.step(&asked).map_err(failed)?;
        playing.iter_mut().zip(steps).for_each(|(episode, step)| episode.add(step));
        playing.retain(|episode| {
            let cut = !episode.over && episode.rewards.len() >= max_steps;
            if episode.over || cut {
                rollout.returns[episode.number] = episode.total;
                rollout.cut += usize::from(cut);
                free.push(episode.slot);
            }
            !(episode.over || cut)
        });
    }
}

fn failed(name: &str, error: EnvError) -> RolloutError {
    let problem = match error {
        EnvError::Outside { problem, .. } => problem, // it names the command, and so does this error
        error => error.to_string(),
    };
    RolloutError::Environment { name: name.into(), problem }
}
