//! A trained policy in an environment.

use super::TrajectoryTask;
use crate::data::{Sample, Target, collate};
use crate::env::{self, Action, EnvError, Environment};
use crate::model::Model;
use crate::random::{self, mix};
use crate::tasks::TaskError;
use candle_core::Tensor;
use smalti_contract::Tokenizer;
use smalti_trajectory::{ActionSpec, Actions, TrajectoryConfig, Window};

/// One episode under way: everything seen so far.
struct Story {
    environment: Box<dyn Environment>,
    returns_to_go: Vec<f32>,
    states: Vec<f32>,
    actions: Vec<Action>,
    total: f64,
    over: bool,
}

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

/// Plays `episodes` episodes side by side, each told to reach `target_return`; what is earned is taken off it,
/// under the discount that the model has learned with. Always the likeliest action. An episode ends at the
/// environment's word, or it is cut when the model knows no later time step ([`Rollout::cut`]).
///
/// # Errors
/// Where states or actions of the environment are not those that the model has learned.
pub fn rollout(
    task: &TrajectoryTask,
    model: &Model,
    number: usize,
    name: &str,
    target_return: f32,
    episodes: usize,
    seed: u64,
) -> Result<Rollout, TaskError> {
    let mut stories = Vec::with_capacity(episodes);
    for episode in 0..episodes as u64 {
        let mut environment = env::environment(name).map_err(|e| failed(name, e))?;
        fits(task, environment.as_ref())?;
        let states = environment.reset(mix(seed, episode)).map_err(|e| failed(name, e))?;
        let returns_to_go = vec![target_return];
        stories.push(Story { environment, returns_to_go, states, actions: vec![], total: 0.0, over: false });
    }
    let config = Tokenizer::config(&task.tokenizer);
    for _ in 0..config.max_steps {
        let mut playing: Vec<&mut Story> = stories.iter_mut().filter(|story| !story.over).collect();
        if playing.is_empty() {
            break;
        }
        let windows: Vec<Window> = playing.iter().map(|story| story.window(task)).collect();
        let actions = task.act(model, number, &windows)?;
        for (story, action) in playing.iter_mut().zip(actions) {
            story.step(action, config)?;
        }
    }
    let cut = stories.iter().filter(|story| !story.over).count();
    Ok(Rollout { returns: stories.iter().map(|story| story.total).collect(), cut })
}

fn failed(name: &str, error: EnvError) -> TaskError {
    TaskError::Environment { name: name.into(), problem: error.to_string() }
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
fn fits(task: &TrajectoryTask, environment: &dyn Environment) -> Result<(), TaskError> {
    let config = Tokenizer::config(&task.tokenizer);
    let learned = match &config.actions {
        ActionSpec::Discrete { n } => format!("{n} actions"),
        ActionSpec::Continuous { dim, .. } => format!("actions of {dim} numbers"),
        ActionSpec::Parts(parts) => format!("actions of {} parts", parts.len()),
    };
    let offered = match environment.action_spec() {
        env::ActionSpec::Discrete { n } => format!("{n} actions"),
        env::ActionSpec::Continuous { dim, .. } => format!("actions of {dim} numbers"),
    };
    if environment.state_dim() != config.state_dim() || learned != offered {
        let problem = format!(
            "{} has states of {} numbers and {offered}; the model has learned states of {} and {learned}",
            environment.name(),
            environment.state_dim(),
            config.state_dim()
        );
        return Err(TaskError::Environment { name: environment.name().into(), problem });
    }
    Ok(())
}

impl Story {
    /// The last `context` steps, the action of the last one yet to be chosen.
    fn window(&self, task: &TrajectoryTask) -> Window {
        let config = Tokenizer::config(&task.tokenizer);
        let steps = self.returns_to_go.len();
        let start = steps.saturating_sub(config.context);
        let actions = match &config.actions {
            ActionSpec::Discrete { .. } => Actions::Discrete(
                self.actions[start..]
                    .iter()
                    .filter_map(|a| if let Action::Discrete(id) = a { Some(*id) } else { None })
                    .collect(),
            ),
            ActionSpec::Continuous { dim, .. } => {
                let values = self.actions[start..].iter().filter_map(|a| match a {
                    Action::Continuous(values) => Some(values.clone()),
                    Action::Discrete(_) => None,
                });
                Actions::Continuous { values: values.flatten().collect(), dim: *dim }
            }
            // No environment offers such actions, so none fits such a task.
            ActionSpec::Parts(_) => Actions::Parts(Default::default()),
        };
        Window {
            start,
            returns_to_go: self.returns_to_go[start..].to_vec(),
            states: self.states[start * config.state_dim()..].to_vec(),
            actions,
        }
    }

    fn step(&mut self, action: Action, config: &TrajectoryConfig) -> Result<(), TaskError> {
        let step = self.environment.step(&action).map_err(|e| failed(self.environment.name(), e))?;
        self.actions.push(action);
        self.total += f64::from(step.reward);
        self.over = step.done();
        let asked = self.returns_to_go.first().copied().unwrap_or_default();
        let to_go = self.returns_to_go.last().copied().unwrap_or_default();
        let most = config.return_scale.max(asked.abs());
        self.returns_to_go.push(left_to_go(to_go, step.reward, config.discount, most));
        self.states.extend(step.state);
        Ok(())
    }
}

impl TrajectoryTask {
    /// The likeliest action behind each window, whose last action is missing.
    fn act(&self, model: &Model, number: usize, windows: &[Window]) -> Result<Vec<Action>, TaskError> {
        let samples = windows.iter().enumerate().map(|(i, window)| {
            let sample = Sample { inputs: self.inputs(window)?, target: Target::Unknown, id: i as u64 };
            Ok((number, sample))
        });
        let batch = collate(model.layouts(), &samples.collect::<Result<Vec<_>, TaskError>>()?)?;
        let mut outputs = model.outputs(&batch)?;
        let (Some(output), Some(read)) = (outputs.pop(), batch.heads.first()) else { return Ok(vec![]) };
        read.documents.iter().map(|rows| self.action(&output.get(rows.end - 1)?)).collect()
    }

    fn action(&self, said: &Tensor) -> Result<Action, TaskError> {
        Ok(match &Tokenizer::config(&self.tokenizer).actions {
            ActionSpec::Discrete { .. } => Action::Discrete(said.argmax(0)?.to_scalar::<u32>()?),
            ActionSpec::Continuous { low, high, .. } => {
                let values = said.to_vec1::<f32>()?;
                let bounded =
                    values.iter().zip(low.iter().zip(high)).map(|(v, (low, high))| v.clamp(*low, *high));
                Action::Continuous(bounded.collect())
            }
            ActionSpec::Parts(parts) => {
                let problem = format!("actions of {} parts: no environment offers such", parts.len());
                return Err(TaskError::Environment { name: self.spec.name.clone(), problem });
            }
        })
    }
}

/// What actions drawn evenly earn: the return to beat.
///
/// # Errors
/// For an unknown environment.
pub fn random_policy(name: &str, episodes: usize, seed: u64) -> Result<Rollout, TaskError> {
    let mut returns = Vec::with_capacity(episodes);
    for episode in 0..episodes as u64 {
        let mut environment = env::environment(name).map_err(|e| failed(name, e))?;
        let mut random = random::generator(mix(seed, !episode));
        environment.reset(mix(seed, episode)).map_err(|e| failed(name, e))?;
        let mut total = 0.0;
        loop {
            let action = match environment.action_spec() {
                env::ActionSpec::Discrete { n } => {
                    Action::Discrete(random::below(&mut random, n as usize) as u32)
                }
                env::ActionSpec::Continuous { dim, low, high } => Action::Continuous(
                    (0..dim).map(|_| low + (high - low) * random::uniform(&mut random) as f32).collect(),
                ),
            };
            let step = environment.step(&action).map_err(|e| failed(name, e))?;
            total += f64::from(step.reward);
            if step.done() {
                break;
            }
        }
        returns.push(total);
    }
    Ok(Rollout { returns, cut: 0 })
}
