//! One episode under way.

use super::TrajectoryTask;
use crate::env::{self, Action, Observation, Step};
use crate::tasks::TaskError;
use smalti_contract::{TokenizeError, Tokenizer};
use smalti_image::Image;
use smalti_trajectory::{ActionSpec, Actions, Window};
use std::collections::BTreeMap;

/// One episode under way: everything seen and done so far.
pub(super) struct Story {
    /// Its number among the episodes.
    pub(super) number: usize,
    /// Which of the environments it happens in.
    pub(super) slot: usize,
    /// One more than actions: the last is yet to be answered.
    pub(super) states: Vec<f32>,
    /// What the cameras see now, until it is on the film.
    pub(super) pictures: BTreeMap<String, env::Picture>,
    /// By camera, the last pictures as the model sees them: no more than it sees at once.
    pub(super) film: BTreeMap<String, Vec<Image>>,
    pub(super) actions: Vec<Action>,
    pub(super) last_reward: f32,
    pub(super) total: f64,
    pub(super) over: bool,
}

impl Story {
    pub(super) fn new(number: usize, slot: usize) -> Self {
        Self {
            number,
            slot,
            states: vec![],
            pictures: BTreeMap::new(),
            film: BTreeMap::new(),
            actions: vec![],
            last_reward: 0.0,
            total: 0.0,
            over: false,
        }
    }

    pub(super) fn sees(&mut self, seen: Observation) {
        self.states.extend(seen.state);
        self.pictures = seen.pictures;
    }

    /// Puts what the cameras see now behind what they saw.
    pub(super) fn shoot(&mut self, task: &TrajectoryTask) -> Result<(), TaskError> {
        let context = Tokenizer::config(task.tokenizer()).context;
        for camera in task.tokenizer.cameras() {
            let Some(picture) = self.pictures.remove(camera) else { continue };
            let named = |e: TokenizeError| TokenizeError::Input(format!("picture {camera:?}: {e}"));
            let image =
                image(picture).and_then(|image| task.tokenizer.prepare(camera, image)).map_err(named)?;
            let shot = self.film.entry(camera.to_string()).or_default();
            shot.drain(..(shot.len() + 1).saturating_sub(context));
            shot.push(image);
        }
        Ok(())
    }

    pub(super) fn goes_on(&mut self, action: Action, step: Step) {
        self.over = step.done();
        self.actions.push(action);
        self.last_reward = step.reward;
        self.total += f64::from(step.reward);
        self.sees(step.seen);
    }

    /// The last `context` steps, the action of the last one yet to be chosen.
    pub(super) fn window(&self, task: &TrajectoryTask, returns_to_go: &[f32]) -> Window {
        let config = Tokenizer::config(task.tokenizer());
        let start = returns_to_go.len().saturating_sub(config.context);
        let done = self.actions[start..].iter();
        let actions = logged(&config.actions, done);
        Window {
            start,
            returns_to_go: returns_to_go[start..].to_vec(),
            states: self.states[start * config.state_dim()..].to_vec(),
            actions,
        }
    }
}

/// What was done, as a log has it.
fn logged<'a>(spec: &ActionSpec, done: impl Iterator<Item = &'a Action> + Clone) -> Actions {
    match spec {
        ActionSpec::Discrete { .. } => Actions::Discrete(
            done.filter_map(|a| if let Action::Discrete(id) = a { Some(*id) } else { None }).collect(),
        ),
        ActionSpec::Continuous { dim, .. } => {
            let values = done.filter_map(|a| if let Action::Continuous(v) = a { Some(v) } else { None });
            Actions::Continuous { values: values.flatten().copied().collect(), dim: *dim }
        }
        ActionSpec::Parts(specs) => {
            let part = |(name, spec): (&String, &ActionSpec)| {
                let of_part = done.clone().filter_map(|action| match action {
                    Action::Parts(parts) => parts.get(name),
                    _ => None,
                });
                (name.clone(), logged(spec, of_part.collect::<Vec<_>>().into_iter()))
            };
            Actions::Parts(specs.iter().map(part).collect())
        }
    }
}

/// A picture of an environment as pixels.
fn image(picture: env::Picture) -> Result<Image, TokenizeError> {
    match picture {
        env::Picture::Encoded(file) => smalti_image::read(&file),
        env::Picture::Pixels { height, width, channels, pixels } => {
            Image::new(width, height, channels, pixels)
        }
    }
}
