//! A task as a policy: it reads an environment and predicts the next actions.

use super::action::{self, ActionHead, vector};
use super::episode::Episode;
use super::sources::{Source, Sources};
use super::{RolloutError, RolloutSettings};
use crate::data::{Sample, collate};
use crate::env::{Action, VectorEnvironment};
use crate::inference::PredictError;
use crate::model::Model;
use crate::sample::{Composition, Purpose};
use crate::table::Derivation;
use smalti_contract::{TokenizeError, Value};
use std::collections::BTreeMap;
use std::ops::Range;

/// A task and the sources of its fields in an environment.
pub(super) struct Policy<'a> {
    task: &'a Composition,
    settings: &'a RolloutSettings,
    pub(super) actions: Vec<ActionHead>,
    /// The source of each field. A field without one has a value in the settings' row, or is missing.
    sources: BTreeMap<String, Source>,
}

impl<'a> Policy<'a> {
    /// A policy for these environments.
    ///
    /// # Errors
    /// [`RolloutError`] if states, cameras or actions are not those of the policy.
    pub(super) fn new(
        task: &'a Composition,
        environments: &dyn VectorEnvironment,
        settings: &'a RolloutSettings,
    ) -> Result<Self, RolloutError> {
        let (actions, learned) = action::heads(task, environments)?;
        let fit = actions.iter().all(|head| head.fits);
        let known = environments.cameras();
        let Sources { found: sources, state_dim, cameras, .. } =
            Sources::find(task, &actions, settings.target_return, &known)?;
        let refuse = |problem| Err(RolloutError::Environment { name: environments.name().into(), problem });
        let found = environments.state_dim();
        if found != state_dim || !fit {
            let offered = action::words(&environments.action_spec());
            return refuse(format!(
                "has states of {found} numbers and {offered}; the model has learned states of {state_dim} and {learned}"
            ));
        }
        let missing: Vec<&String> = cameras.iter().filter(|camera| !known.contains(camera)).collect();
        match missing.is_empty() {
            true => Ok(Self { task, settings, actions, sources }),
            false => refuse(format!("has cameras {known:?}; the model reads images of {missing:?}")),
        }
    }

    /// The value of a field in these steps of an episode.
    fn value(&self, episode: &Episode, field: &str, steps: Range<usize>) -> Value {
        match (self.sources.get(field), self.settings.row.get(field), self.task.derived().get(field)) {
            (Some(source), ..) => Value::Series(steps.map(|step| self.at(episode, source, step)).collect()),
            (None, Value::Missing, Some(Derivation::Total { .. })) => {
                Value::Number(f64::from(self.settings.target_return))
            }
            (None, given, _) => given.clone(),
        }
    }

    fn at(&self, episode: &Episode, source: &Source, step: usize) -> Value {
        let number = |number: f32| Value::Number(f64::from(number));
        match source {
            Source::State(numbers) => {
                episode.state(step).map_or(Value::Missing, |state| vector(&state[numbers.clone()]))
            }
            Source::Camera(camera) => episode.image(camera, step),
            Source::Action(number) => {
                let done = episode.actions.get(*number).and_then(|done| done.get(step));
                done.cloned().unwrap_or_default()
            }
            Source::Reward => episode.rewards.get(step).map_or(Value::Missing, |&reward| number(reward)),
            Source::ReturnToGo { discount, most } => {
                number(episode.return_to_go(self.settings.target_return, *discount, *most, step))
            }
            Source::At(one) => number(f32::from(u8::from(step == *one))),
            Source::Last => number(0.0),
            Source::Step => number(step as f32),
            Source::Next(_) if step >= episode.now() => Value::Missing,
            Source::Next(of) => self.at(episode, of, step + 1),
            Source::Previous(of) => {
                step.checked_sub(1).map_or(Value::Missing, |step| self.at(episode, of, step))
            }
        }
    }

    /// The most likely action in each episode. A part of an action is predicted after the parts that it reads.
    pub(super) fn act(
        &self,
        model: &Model,
        number: usize,
        running: &mut [Episode],
    ) -> Result<Vec<Action>, RolloutError> {
        for episode in running.iter_mut() {
            self.keep_images(episode);
            episode.actions.resize(self.actions.len(), vec![]);
        }
        let mut chosen: Vec<BTreeMap<String, Action>> = vec![BTreeMap::new(); running.len()];
        for heads in self.actions.chunk_by(|head, _| !head.feedback) {
            let samples = running.iter().map(|episode| Ok((number, self.sample(episode, heads)?)));
            let samples = samples.collect::<Result<Vec<_>, TokenizeError>>().map_err(PredictError::from)?;
            for (place, output, predicted) in self.predict(model, &samples)? {
                let Some(which) = self.actions.iter().position(|head| head.output == output) else {
                    continue;
                };
                let head = &self.actions[which];
                let action = head.action(predicted).map_err(PredictError::from)?;
                running[place].actions[which].push(action::logged(&action));
                chosen[place].insert(head.name.clone(), action);
            }
        }
        // An action without parts has no name.
        Ok(chosen.into_iter().map(|mut parts| parts.remove("").unwrap_or(Action::Parts(parts))).collect())
    }

    /// Keep the current images of the cameras that the policy reads.
    pub(super) fn keep_images(&self, episode: &mut Episode) {
        for source in self.sources.values() {
            if let Source::Camera(camera) = source {
                // One more than the window: `previous` at its first step is the image before.
                episode.keep_image(camera, self.task.context() + 1);
            }
        }
    }

    /// The last `context` steps of an episode, as a sample in which these heads predict the next action.
    pub(super) fn sample(&self, episode: &Episode, heads: &[ActionHead]) -> Result<Sample, TokenizeError> {
        let end = episode.now() + 1;
        let steps = end.saturating_sub(self.task.context())..end;
        let get = |field: &str| Ok(self.value(episode, field, steps.clone()));
        let number = episode.number;
        let named = |e: TokenizeError| TokenizeError::Input(format!("episode {number}: {e}"));
        let id = number as u64;
        let mut sample = self.task.sample(&get, steps.clone(), Purpose::Predict, id).map_err(named)?;
        sample.outputs.retain(|output| heads.iter().any(|head| head.output == output.head));
        for output in &mut sample.outputs {
            // The actions of earlier steps are known.
            output.places = output.places.take().and_then(|places| places.last().map(|&last| vec![last]));
        }
        Ok(sample)
    }

    /// Predictions: the sample's place, the output and the value.
    fn predict(
        &self,
        model: &Model,
        samples: &[(usize, Sample)],
    ) -> Result<Vec<(usize, usize, Value)>, PredictError> {
        let batch = collate(model.layouts(), samples)?;
        let mut predicted = vec![];
        for (read, output) in batch.heads.iter().zip(model.outputs(&batch)?) {
            let predictions = self.task.outputs()[read.head].head.predict(&output, &read.documents)?;
            let values = read.places.iter().zip(predictions);
            predicted.extend(values.map(|(&place, prediction)| (place, read.head, prediction.value)));
        }
        Ok(predicted)
    }
}
