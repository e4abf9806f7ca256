//! One running episode.

use crate::env::{Image, Observation, Step};
use smalti_contract::{Array, File, Numbers, Value};
use std::collections::{BTreeMap, VecDeque};

/// The observations, actions and rewards so far. There is one observation more than actions: the policy has not acted on the
/// last one yet.
pub(super) struct Episode {
    /// Its number in the rollout.
    pub(super) number: usize,
    /// The slot of its environment.
    pub(super) slot: usize,
    states: Vec<Vec<f32>>,
    /// The current image of each camera, until it is kept.
    current_images: BTreeMap<String, Image>,
    /// The last images of each camera.
    images: BTreeMap<String, VecDeque<Value>>,
    /// For each part of an action, its value in each step.
    pub(super) actions: Vec<Vec<Value>>,
    pub(super) rewards: Vec<f32>,
    pub(super) total: f64,
    pub(super) done: bool,
}

impl Episode {
    pub(super) fn new(number: usize, slot: usize) -> Self {
        Self {
            number,
            slot,
            states: vec![],
            current_images: BTreeMap::new(),
            images: BTreeMap::new(),
            actions: vec![],
            rewards: vec![],
            total: 0.0,
            done: false,
        }
    }

    pub(super) fn observe(&mut self, seen: Observation) {
        self.states.push(seen.state);
        self.current_images = seen.images;
    }

    /// Append the environment's answer to an action.
    pub(super) fn add(&mut self, step: Step) {
        self.done = step.done();
        self.rewards.push(step.reward);
        self.total += f64::from(step.reward);
        self.observe(step.observation);
    }

    /// Keep the current image of a camera, and at most `most` of its images.
    pub(super) fn keep_image(&mut self, camera: &str, most: usize) {
        let Some(image) = self.current_images.remove(camera) else { return };
        let images = self.images.entry(camera.into()).or_default();
        images.push_back(value(image, camera));
        images.drain(..images.len().saturating_sub(most));
    }

    /// The step of the next action.
    pub(super) fn now(&self) -> usize {
        self.rewards.len()
    }

    /// The state at a step; `None` at a later step than the current one.
    pub(super) fn state(&self, step: usize) -> Option<&[f32]> {
        self.states.get(step).map(Vec::as_slice)
    }

    /// A camera's image at a step, if it is kept.
    pub(super) fn image(&self, camera: &str, step: usize) -> Value {
        let Some(images) = self.images.get(camera) else { return Value::Missing };
        let place = (step + images.len()).checked_sub(self.now() + 1);
        place.and_then(|place| images.get(place)).cloned().unwrap_or_default()
    }

    /// The return-to-go at a step. With a discount, it stays within ±`most`.
    pub(super) fn return_to_go(&self, target: f32, discount: f32, most: f32, step: usize) -> f32 {
        self.rewards[..step]
            .iter()
            .fold(target, |left, &reward| next_return_to_go(left, reward, discount, most))
    }
}

/// The return-to-go after a step with this reward: `R_t = r_t + discount · R_{t+1}`, as in training, solved for `R_{t+1}`.
///
/// With a discount, a return that is not earned grows at every step, without bound. It is clamped to ±`most`, the largest
/// logged or target return, because the policy has learned no larger one.
pub(super) fn next_return_to_go(to_go: f32, reward: f32, discount: f32, most: f32) -> f32 {
    let left = (to_go - reward) / discount;
    if discount < 1.0 { left.clamp(-most, most) } else { left }
}

/// An environment's image as a value of a table.
fn value(image: Image, camera: &str) -> Value {
    match image {
        Image::Encoded(bytes) => Value::File(File { name: format!("image of camera {camera:?}"), bytes }),
        Image::Pixels { height, width, channels, pixels } => {
            let shape = if channels == 1 { vec![height, width] } else { vec![height, width, channels] };
            Value::Array(Array { shape, numbers: Numbers::U8(pixels) })
        }
    }
}
