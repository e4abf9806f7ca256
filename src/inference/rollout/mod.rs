//! Rollouts: episodes of a trained policy in an environment. A policy is a task that predicts an action at each time step.

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

/// The settings of a rollout.
#[derive(Clone, Debug, PartialEq)]
pub struct RolloutSettings {
    /// The target return. A policy without a return among its inputs ignores it.
    pub target_return: f32,
    /// The number of episodes.
    pub episodes: usize,
    /// Seed of the environments; the same seed starts the same episodes.
    pub seed: u64,
    /// The values of parts without a clock, such as an instruction; a part without a value is left out.
    pub row: Row,
}

impl Default for RolloutSettings {
    fn default() -> Self {
        Self { target_return: 0.0, episodes: 100, seed: 1337, row: Row::default() }
    }
}

/// The result of a rollout.
#[derive(Clone, Debug, PartialEq)]
pub struct Rollout {
    /// The return of each episode.
    pub returns: Vec<f64>,
    /// The number of episodes that were truncated because the model has learned no later time step.
    pub truncated: usize,
    /// The least return of a successful episode, for an environment with
    /// [successes](crate::env::Environment::success_return).
    pub success_return: Option<f64>,
}

/// Why a rollout failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RolloutError {
    /// An environment failed, or does not fit the policy.
    #[error("--env {name}: {problem}")]
    Environment {
        /// The environment's name.
        name: String,
        /// Expected and found.
        problem: String,
    },
    /// A task is not a policy.
    #[error("{part}: {problem}")]
    Part {
        /// The part: `inputs.observations`.
        part: String,
        /// Expected and found.
        problem: String,
    },
    /// An observation cannot be tokenized, or an operation failed.
    #[error(transparent)]
    Predict(#[from] PredictError),
}

impl Rollout {
    /// The mean return.
    pub fn return_mean(&self) -> f64 {
        self.returns.iter().sum::<f64>() / self.returns.len().max(1) as f64
    }

    /// The population standard deviation of the returns.
    pub fn return_std(&self) -> f64 {
        let mean = self.return_mean();
        let squares: f64 = self.returns.iter().map(|r| (r - mean).powi(2)).sum();
        (squares / self.returns.len().max(1) as f64).sqrt()
    }

    /// The share of successful episodes; `None` for an environment whose episodes have no success.
    pub fn success_rate(&self) -> Option<f64> {
        let least = self.success_return?;
        let successes = self.returns.iter().filter(|&&total| total >= least).count();
        Some(successes as f64 / self.returns.len().max(1) as f64)
    }
}

/// Run episodes with the most likely actions of a policy, as many in parallel as the environments allow. `number` is the task's
/// in the model. An episode ends when the environment terminates or truncates it, or is truncated after the last time step that
/// the model has learned ([`Rollout::truncated`]).
///
/// An output that is a series of classes or numbers is an action, or a part of one: outputs `arm` and `grip`, or outputs of
/// fields `actions.arm` and `actions.grip`. Classes are the numbers of discrete actions. The environment fills the inputs that
/// are series: images come from the camera with the field's name; the return-to-go is the target return minus the rewards so
/// far (Chen et al. 2021); `previous`, `first`, `last` and `step` come from the episode; all other numbers, one input after
/// another, come from the state.
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
    run(environments, settings.episodes, task.max_steps(), settings.seed, |running| {
        policy.act(model, number, running)
    })
}

/// Run episodes with uniformly random actions, as a baseline. An episode is truncated after `max_steps` steps.
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
        let problem = format!("expected actions with bounds, to draw random ones; found {spec}");
        RolloutError::Environment { name: name.clone(), problem }
    };
    run(environments, episodes, max_steps, seed, |running| {
        let drawn = running.iter().map(|episode| spec.sample(&mut generators[episode.number]));
        drawn.map(|action| action.ok_or_else(unbounded)).collect()
    })
}

/// Run `episodes` episodes of at most `max_steps` steps. The next episode begins as soon as a slot is free; `policy` gives one
/// action for each running episode.
fn run(
    environments: &mut dyn VectorEnvironment,
    episodes: usize,
    max_steps: usize,
    seed: u64,
    mut policy: impl FnMut(&mut [Episode]) -> Result<Vec<Action>, RolloutError>,
) -> Result<Rollout, RolloutError> {
    let name = environments.name().to_string();
    let failed = |error| failed(&name, error);
    let mut rollout =
        Rollout { returns: vec![0.0; episodes], truncated: 0, success_return: environments.success_return() };
    let mut free: Vec<usize> = (0..environments.slots().min(episodes)).rev().collect();
    let mut running: Vec<Episode> = Vec::new();
    let mut begun = 0;
    loop {
        let starting = free.len().min(episodes - begun);
        let slots = free.split_off(free.len() - starting).into_iter().rev();
        let fresh: Vec<Episode> =
            slots.zip(begun..).map(|(slot, number)| Episode::new(number, slot)).collect();
        begun += starting;
        let starts = fresh.iter().map(|episode| (episode.slot, mix(seed, episode.number as u64)));
        let seen = environments.reset(&starts.collect::<Vec<_>>()).map_err(failed)?;
        running.extend(fresh.into_iter().zip(seen).map(|(mut episode, seen)| {
            episode.observe(seen);
            episode
        }));
        if running.is_empty() {
            return Ok(rollout);
        }
        let actions = policy(&mut running)?;
        let chosen: Vec<(usize, &Action)> =
            running.iter().map(|episode| episode.slot).zip(&actions).collect();
        let steps = environments.step(&chosen).map_err(failed)?;
        running.iter_mut().zip(steps).for_each(|(episode, step)| episode.add(step));
        running.retain(|episode| {
            let truncated = !episode.done && episode.rewards.len() >= max_steps;
            if episode.done || truncated {
                rollout.returns[episode.number] = episode.total;
                rollout.truncated += usize::from(truncated);
                free.push(episode.slot);
            }
            !(episode.done || truncated)
        });
    }
}

fn failed(name: &str, error: EnvError) -> RolloutError {
    let problem = match error {
        EnvError::Process { problem, .. } => problem, // without the command, which this error names
        error => error.to_string(),
    };
    RolloutError::Environment { name: name.into(), problem }
}
