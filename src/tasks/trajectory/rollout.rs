//! A trained policy in an environment.

use super::story::Story;
use super::{Pictured, TrajectoryTask};
use crate::data::{Sample, collate};
use crate::env::{self, Action, EnvError, VectorEnvironment};
use crate::model::Model;
use crate::random::{self, mix};
use crate::tasks::TaskError;
use candle_core::Tensor;
use smalti_contract::Tokenizer;
use smalti_trajectory::ActionSpec;

/// What a policy earned.
#[derive(Clone, Debug, PartialEq)]
pub struct Rollout {
    /// The return of each episode.
    pub returns: Vec<f64>,
    /// How many of them were cut while they went on, because the model knows no later time step.
    pub cut: usize,
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

/// Plays `episodes` episodes, as many side by side as the environments can, each told to reach `target_return`; what
/// is earned is taken off it, under the discount that the model has learned with. Always the likeliest action, within
/// what was logged and what the environment takes. An episode ends at the environment's word, or it is cut when the
/// model knows no later time step ([`Rollout::cut`]).
///
/// # Errors
/// Where states or actions of the environment are not those that the model has learned, or the environment fails.
pub fn rollout(
    task: &TrajectoryTask,
    model: &Model,
    number: usize,
    environments: &mut dyn VectorEnvironment,
    target_return: f32,
    episodes: usize,
    seed: u64,
) -> Result<Rollout, TaskError> {
    fits(task, environments)?;
    let config = Tokenizer::config(task.tokenizer());
    let most = config.return_scale.max(target_return.abs());
    let name = environments.name().to_string();
    let mut to_go: Vec<Vec<f32>> = vec![Vec::new(); episodes];
    play(environments, episodes, config.max_steps, seed, |playing| {
        let windows = playing.iter_mut().map(|story| {
            let told = &mut to_go[story.number];
            let next = |&left| left_to_go(left, story.last_reward, config.discount, most);
            told.push(told.last().map_or(target_return, next));
            story.shoot(task).map_err(|e| {
                let (number, step) = (story.number, story.actions.len());
                let problem = format!("episode {number}, step {step}: {e}");
                TaskError::Environment { name: name.clone(), problem }
            })?;
            Ok(Pictured { window: story.window(task, told), pictures: story.film.clone() })
        });
        let windows = windows.collect::<Result<Vec<_>, TaskError>>()?;
        task.act(model, number, windows)
    })
}

/// What actions drawn evenly earn: the return to beat. An episode is cut after `max_steps`.
///
/// # Errors
/// Where an action has no bounds to draw between, or the environment fails.
pub fn random_policy(
    environments: &mut dyn VectorEnvironment,
    max_steps: usize,
    episodes: usize,
    seed: u64,
) -> Result<Rollout, TaskError> {
    let (name, spec) = (environments.name().to_string(), environments.action_spec());
    let mut generators: Vec<_> =
        (0..episodes as u64).map(|episode| random::generator(mix(seed, !episode))).collect();
    let unbounded = || {
        let problem = format!("takes {spec}; there are no random actions without bounds");
        TaskError::Environment { name: name.clone(), problem }
    };
    play(environments, episodes, max_steps, seed, |playing| {
        let drawn = playing.iter().map(|story| spec.draw(&mut generators[story.number]));
        drawn.map(|action| action.ok_or_else(unbounded)).collect()
    })
}

/// Plays `episodes` episodes of at most `max_steps` steps. Whenever a slot is free, the next episode begins there;
/// `policy` acts once in each episode under way.
fn play(
    environments: &mut dyn VectorEnvironment,
    episodes: usize,
    max_steps: usize,
    seed: u64,
    mut policy: impl FnMut(&mut [Story]) -> Result<Vec<Action>, TaskError>,
) -> Result<Rollout, TaskError> {
    let name = environments.name().to_string();
    let failed = |error| failed(&name, error);
    let spec = environments.action_spec();
    let mut rollout = Rollout { returns: vec![0.0; episodes], cut: 0 };
    let mut free: Vec<usize> = (0..environments.slots().min(episodes)).rev().collect();
    let mut playing: Vec<Story> = Vec::new();
    let mut begun = 0;
    loop {
        let starting = free.len().min(episodes - begun);
        let slots = free.split_off(free.len() - starting).into_iter().rev();
        let fresh: Vec<Story> = slots.zip(begun..).map(|(slot, number)| Story::new(number, slot)).collect();
        begun += starting;
        let starts = fresh.iter().map(|story| (story.slot, mix(seed, story.number as u64)));
        let seen = environments.reset(&starts.collect::<Vec<_>>()).map_err(failed)?;
        playing.extend(fresh.into_iter().zip(seen).map(|(mut story, seen)| {
            story.sees(seen);
            story
        }));
        if playing.is_empty() {
            return Ok(rollout);
        }
        let actions: Vec<Action> =
            policy(&mut playing)?.into_iter().map(|action| spec.bounded(action)).collect();
        let asked: Vec<(usize, &Action)> = playing.iter().map(|story| story.slot).zip(&actions).collect();
        let steps = environments.step(&asked).map_err(failed)?;
        for ((story, action), step) in playing.iter_mut().zip(actions).zip(steps) {
            story.goes_on(action, step);
        }
        playing.retain(|story| {
            let cut = !story.over && story.actions.len() >= max_steps;
            if story.over || cut {
                rollout.returns[story.number] = story.total;
                rollout.cut += usize::from(cut);
                free.push(story.slot);
            }
            !(story.over || cut)
        });
    }
}

fn failed(name: &str, error: EnvError) -> TaskError {
    let problem = match error {
        EnvError::Outside { problem, .. } => problem, // it names the command, and so does the task's error
        error => error.to_string(),
    };
    TaskError::Environment { name: name.into(), problem }
}

/// The return that is left to reach behind a step that earned `reward`: `R_t = r_t + discount · R_{t+1}`, by which
/// training sums, solved for `R_{t+1}`.
///
/// Under a discount, what is not earned grows with every step, in the end beyond all numbers. It is kept within
/// ±`most`, the largest return that was logged or asked for: nothing was learned of what lies beyond.
pub(super) fn left_to_go(to_go: f32, reward: f32, discount: f32, most: f32) -> f32 {
    let left = (to_go - reward) / discount;
    if discount < 1.0 { left.clamp(-most, most) } else { left }
}

/// Whether a model knows the environment's states and actions.
fn fits(task: &TrajectoryTask, environments: &dyn VectorEnvironment) -> Result<(), TaskError> {
    let config = Tokenizer::config(task.tokenizer());
    let (learned, offered) = (learned(&config.actions), offered(&environments.action_spec()));
    let (expected, found) = (config.state_dim(), environments.state_dim());
    if found != expected || learned != offered {
        let problem = format!(
            "has states of {found} numbers and {offered}; the model has learned states of {expected} and {learned}"
        );
        return Err(TaskError::Environment { name: environments.name().into(), problem });
    }
    let cameras = environments.cameras();
    let missing: Vec<&str> =
        task.tokenizer.cameras().filter(|camera| !cameras.iter().any(|it| it == camera)).collect();
    if !missing.is_empty() {
        let problem = format!("has pictures of {cameras:?}; the model has learned to see {missing:?}");
        return Err(TaskError::Environment { name: environments.name().into(), problem });
    }
    Ok(())
}

fn learned(actions: &ActionSpec) -> String {
    match actions {
        ActionSpec::Discrete { n } => format!("{n} actions"),
        ActionSpec::Continuous { dim, .. } => format!("actions of {dim} numbers"),
        ActionSpec::Parts(parts) => side_by_side(parts.iter().map(|(name, part)| (name, learned(part)))),
    }
}

fn offered(actions: &env::ActionSpec) -> String {
    match actions {
        env::ActionSpec::Discrete { n } => format!("{n} actions"),
        env::ActionSpec::Continuous { low, .. } => format!("actions of {} numbers", low.len()),
        env::ActionSpec::Parts(parts) => side_by_side(parts.iter().map(|(name, part)| (name, offered(part)))),
    }
}

fn side_by_side<'a>(parts: impl Iterator<Item = (&'a String, String)>) -> String {
    let parts: Vec<String> = parts.map(|(name, part)| format!("{name}: {part}")).collect();
    format!("actions of parts ({})", parts.join("; "))
}

/// The likeliest action, from the outputs of the heads at one state: one head for each part of the action.
fn likeliest(spec: &ActionSpec, outputs: &[Tensor]) -> Result<Action, TaskError> {
    Ok(match (spec, outputs) {
        (ActionSpec::Discrete { .. }, [output]) => Action::Discrete(output.argmax(0)?.to_scalar::<u32>()?),
        (ActionSpec::Continuous { low, high, .. }, [output]) => {
            let spec = env::ActionSpec::Continuous { low: low.clone(), high: high.clone() };
            spec.bounded(Action::Continuous(output.to_vec1::<f32>()?))
        }
        (ActionSpec::Parts(specs), outputs) => {
            let parts = specs.iter().zip(outputs.chunks(1));
            let parts = parts.map(|((name, spec), output)| Ok((name.clone(), likeliest(spec, output)?)));
            Action::Parts(parts.collect::<Result<_, TaskError>>()?)
        }
        (_, outputs) => {
            let problem = format!("expected one output for an action; found {}", outputs.len());
            return Err(candle_core::Error::Msg(problem).into());
        }
    })
}

impl TrajectoryTask {
    /// The likeliest action after each window, whose last action is missing.
    fn act(&self, model: &Model, number: usize, windows: Vec<Pictured>) -> Result<Vec<Action>, TaskError> {
        let samples = windows.into_iter().enumerate().map(|(i, window)| {
            let (inputs, outputs) = (self.inputs(window)?, self.unknown_outputs());
            Ok((number, Sample { inputs, outputs, id: i as u64 }))
        });
        let batch = collate(model.layouts(), &samples.collect::<Result<Vec<_>, TaskError>>()?)?;
        let outputs = model.outputs(&batch)?;
        let Some(read) = batch.heads.first() else { return Ok(vec![]) };
        let actions = read.documents.iter().map(|rows| {
            let last = outputs.iter().map(|part| part.get(rows.end - 1)).collect::<Result<Vec<_>, _>>()?;
            likeliest(&Tokenizer::config(self.tokenizer()).actions, &last)
        });
        actions.collect()
    }
}
