//! One episode under way.

use crate::env::{Image, Observation, Step};
use smalti_contract::{Array, File, Numbers, Value};
use std::collections::{BTreeMap, VecDeque};

/// Everything observed and done so far. There is one observation more than actions: the last is yet to be answered.
pub(super) struct Episode {
    /// Its number among the episodes.
    pub(super) number: usize,
    /// Which of the environments it happens in.
    pub(super) slot: usize,
    states: Vec<Vec<f32>>,
    /// What the cameras show now, until it is kept.
    shown: BTreeMap<String, Image>,
    /// By camera, the last images.
    images: BTreeMap<String, VecDeque<Value>>,
    /// By part of an action, its value in each step.
    pub(super) actions: Vec<Vec<Value>>,
    pub(super) rewards: Vec<f32>,
    pub(super) total: f64,
    pub(super) over: bool,
}

impl Episode {
    pub(super) fn new(number: usize, slot: usize) -> Self {
        Self {
            number,
            slot,
            states: vec![],
            shown: BTreeMap::new(),
            images: BTreeMap::new(),
            actions: vec![],
            rewards: vec![],
            total: 0.0,
            over: false,
        }
    }

    pub(super) fn observe(&mut self, seen: Observation) {
        self.states.push(seen.state);
        self.shown = seen.images;
    }

    /// Appends what the environment answered to an action.
    pub(super) fn add(&mut self, step: Step) {
        self.over = step.done();
        self.rewards.push(step.reward);
        self.total += f64::from(step.reward);
        self.observe(step.seen);
    }

    /// Keeps what a camera shows now among its last `most` images.
    pub(super) fn keep_image(&mut self, camera: &str, most: usize) {
        let Some(shown) = self.shown.remove(camera) else { return };
        let images = self.images.entry(camera.into()).or_default();
        images.push_back(value(shown, camera));
        images.drain(..images.len().saturating_sub(most));
    }

    /// The step that is yet to be answered.
    pub(super) fn now(&self) -> usize {
        self.rewards.len()
    }

    /// The numbers of the state at a step; none at a step that is yet to come.
    pub(super) fn state(&self, step: usize) -> Option<&[f32]> {
        self.states.get(step).map(Vec::as_slice)
    }

    /// A camera's image at a step, if it is kept.
    pub(super) fn image(&self, camera: &str, step: usize) -> Value {
        let Some(images) = self.images.get(camera) else { return Value::Missing };
        let place = (step + images.len()).checked_sub(self.now() + 1);
        place.and_then(|place| images.get(place)).cloned().unwrap_or_default()
    }

    /// What is left of the target return at a step. Under a discount it stays within ±`most`.
    pub(super) fn return_to_go(&self, target: f32, discount: f32, most: f32, step: usize) -> f32 {
        self.rewards[..step].iter().fold(target, |left, &reward| left_to_go(left, reward, discount, most))
    }
}

/// The return that is left to reach after a step that earned `reward`: `R_t = r_t + discount · R_{t+1}`, by which
/// training sums, solved for `R_{t+1}`.
///
/// Under a discount, what is not earned grows with every step, in the end beyond all numbers. It is kept within
/// ±`most`, the largest return that was logged or asked for: nothing was learned of what lies beyond.
pub(super) fn left_to_go(to_go: f32, reward: f32, discount: f32, most: f32) -> f32 {
    let left = (to_go - reward) / discount;
    if discount < 1.0 { left.clamp(-most, most) } else { left }
}

/// An image of an environment as a table has it.
fn value(image: Image, camera: &str) -> Value {
    match image {
        Image::Encoded(bytes) => Value::File(File { name: format!("image of camera {camera:?}"), bytes }),
        Image::Pixels { height, width, channels, pixels } => {
            let shape = if channels == 1 { vec![height, width] } else { vec![height, width, channels] };
            Value::Array(Array { shape, numbers: Numbers::U8(pixels) })
        }
    }
}
