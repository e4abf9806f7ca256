//! A task as a policy: where the values of its parts come from in an environment, and its next actions.

use super::action::{self, ActionHead, vector};
use super::episode::Episode;
use super::{RolloutError, RolloutSettings};
use crate::data::{Sample, collate};
use crate::env::{Action, ActionSpec, VectorEnvironment};
use crate::inference::PredictError;
use crate::model::Model;
use crate::sample::{Composition, Part, Purpose, Role};
use crate::table::Derivation;
use smalti_contract::{TokenizeError, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

/// A task and the sources of its fields in an environment.
pub(super) struct Policy<'a> {
    task: &'a Composition,
    settings: &'a RolloutSettings,
    actions: Vec<ActionHead>,
    /// By field; what is not here is of the row, or missing.
    sources: BTreeMap<String, Source>,
}

/// Where the value of a field comes from in a time step.
#[derive(Clone)]
enum Source {
    /// These numbers of the state.
    State(Range<usize>),
    /// The image of this camera.
    Camera(String),
    /// The action of this number.
    Action(usize),
    Reward,
    ReturnToGo {
        discount: f32,
        most: f32,
    },
    First,
    /// Never, while an episode is under way.
    Last,
    Step,
    Next(Box<Source>),
    Previous(Box<Source>),
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
        let mut policy = Self { task, settings, actions, sources: BTreeMap::new() };
        let (state_dim, cameras) = policy.find_sources(&environments.cameras())?;
        let refuse = |problem| Err(RolloutError::Environment { name: environments.name().into(), problem });
        let found = environments.state_dim();
        if found != state_dim || policy.actions.is_empty() {
            let offered = action::offered(&environments.action_spec());
            return refuse(format!(
                "has states of {found} numbers and {offered}; the model has learned states of {state_dim} and {learned}"
            ));
        }
        let known = environments.cameras();
        let missing: Vec<&String> = cameras.iter().filter(|camera| !known.contains(camera)).collect();
        match missing.is_empty() {
            true => Ok(policy),
            false => refuse(format!("has cameras {known:?}; the model reads images of {missing:?}")),
        }
    }

    /// Finds the source of every field that has tokens in a series. Gives the numbers of the state, and the cameras that are
    /// read.
    fn find_sources(&mut self, known: &[String]) -> Result<(usize, Vec<String>), RolloutError> {
        let (mut state_dim, mut cameras) = (0, vec![]);
        let task = self.task;
        let parts = || task.parts().iter().filter(|part| part.series && !part.kinds.is_empty());
        for part in parts() {
            let unknown = part.fields.iter().filter(|field| self.source(field).is_none());
            let bases: Vec<&str> = unknown.map(|field| base(task, field)).collect();
            match part.tokenizer.width() {
                Some(width) => {
                    for (base, n) in self.shares(part, &bases, width)? {
                        self.sources.insert(base.into(), Source::State(state_dim..state_dim + n));
                        state_dim += n;
                    }
                }
                None => {
                    for base in bases {
                        let camera = camera(base, known);
                        self.sources.insert(base.into(), Source::Camera(camera.clone()));
                        cameras.push(camera);
                    }
                }
            }
        }
        for field in parts().flat_map(|part| &part.fields) {
            if let Some(source) = self.source(field) {
                self.sources.insert(field.clone(), source);
            }
        }
        Ok((state_dim, cameras))
    }

    /// How many numbers of the state each of a part's unknown fields has. Fields of the state that are read together are
    /// read as one: all of their numbers are those of the first.
    fn shares<'f>(
        &self,
        part: &Part,
        unknown: &[&'f str],
        width: usize,
    ) -> Result<Vec<(&'f str, usize)>, RolloutError> {
        let known: usize =
            part.fields.iter().filter_map(|field| self.source(field)).map(|it| self.width(&it)).sum();
        let distinct: BTreeSet<&str> = unknown.iter().copied().collect();
        let together =
            distinct.len() == part.fields.len() && !part.fields.iter().any(|it| self.is_derived(it));
        let rest = width.checked_sub(known);
        match (rest, unknown) {
            (Some(0), []) => Ok(vec![]),
            (Some(rest), [first, ..]) if distinct.len() == 1 && rest % unknown.len() == 0 => {
                Ok(vec![(first, rest / unknown.len())])
            }
            (Some(rest), [first, others @ ..]) if together => {
                Ok(std::iter::once((*first, rest)).chain(others.iter().map(|other| (*other, 0))).collect())
            }
            _ => {
                let table = if part.role == Role::Input { "inputs" } else { "outputs" };
                let problem = format!(
                    "expected fields whose numbers in the state are known; found {}, of {width} numbers in all: read each \
                     in an input of its own, or those of the state in one input, in the order of the state",
                    part.fields.join(", ")
                );
                Err(RolloutError::Part { part: format!("{table}.{}.field", part.name), problem })
            }
        }
    }

    fn is_derived(&self, field: &str) -> bool {
        self.task.derived().contains_key(field)
    }

    /// The source of a field; `None` for one of the state or of a camera that is not yet known.
    fn source(&self, field: &str) -> Option<Source> {
        let rewards = |it: &Derivation| matches!(it, Derivation::ReturnToGo { field: of, .. } | Derivation::Total { field: of } if of == field);
        let is_action = |head: &ActionHead| self.task.outputs()[head.output].fields == [field];
        match self.task.derived().get(field) {
            Some(Derivation::ReturnToGo { discount, .. }) => {
                let logged = self.task.largest_return(field).unwrap_or_default() as f32;
                let most = self.settings.target_return.abs().max(logged);
                Some(Source::ReturnToGo { discount: *discount as f32, most })
            }
            Some(Derivation::Next { field }) => Some(Source::Next(Box::new(self.source(field)?))),
            Some(Derivation::Previous { field }) => Some(Source::Previous(Box::new(self.source(field)?))),
            Some(Derivation::First { .. }) => Some(Source::First),
            Some(Derivation::Last { .. }) => Some(Source::Last),
            Some(Derivation::Step { .. }) => Some(Source::Step),
            Some(Derivation::Total { .. }) => None,
            None => match self.actions.iter().position(is_action) {
                Some(number) => Some(Source::Action(number)),
                None if field == REWARDS || self.task.derived().values().any(rewards) => Some(Source::Reward),
                None => self.sources.get(field).cloned(),
            },
        }
    }

    /// The numbers of a value.
    fn width(&self, source: &Source) -> usize {
        match source {
            Source::State(numbers) => numbers.len(),
            Source::Action(number) => match &self.actions[*number].takes {
                ActionSpec::Continuous { low, .. } => low.len(),
                ActionSpec::Discrete { .. } | ActionSpec::Parts(_) => 1,
            },
            Source::Next(of) | Source::Previous(of) => self.width(of),
            _ => 1,
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
            Source::First => number(f32::from(u8::from(step == 0))),
            Source::Last => number(0.0),
            Source::Step => number(step as f32),
            Source::Next(_) if step >= episode.now() => Value::Missing,
            Source::Next(of) => self.at(episode, of, step + 1),
            Source::Previous(of) => {
                step.checked_sub(1).map_or(Value::Missing, |step| self.at(episode, of, step))
            }
        }
    }

    /// The likeliest action in each episode. A part of an action that reads the parts before it is predicted after them.
    pub(super) fn act(
        &self,
        model: &Model,
        number: usize,
        playing: &mut [Episode],
    ) -> Result<Vec<Action>, RolloutError> {
        for episode in playing.iter_mut() {
            self.keep_images(episode);
            episode.actions.resize(self.actions.len(), vec![]);
        }
        let mut chosen: Vec<BTreeMap<String, Action>> = vec![BTreeMap::new(); playing.len()];
        for heads in self.actions.chunk_by(|head, _| !head.feedback) {
            let samples = playing.iter().map(|episode| Ok((number, self.sample(episode, heads)?)));
            let samples = samples.collect::<Result<Vec<_>, TokenizeError>>().map_err(PredictError::from)?;
            for (place, output, predicted) in self.predict(model, &samples)? {
                let Some(which) = self.actions.iter().position(|head| head.output == output) else {
                    continue;
                };
                let head = &self.actions[which];
                let action = head.action(predicted).map_err(PredictError::from)?;
                playing[place].actions[which].push(action::logged(&action));
                chosen[place].insert(head.name.clone(), action);
            }
        }
        // An action without parts has no name.
        Ok(chosen.into_iter().map(|mut parts| parts.remove("").unwrap_or(Action::Parts(parts))).collect())
    }

    fn keep_images(&self, episode: &mut Episode) {
        for source in self.sources.values() {
            if let Source::Camera(camera) = source {
                // The image before the window's first step is the previous one there.
                episode.keep_image(camera, self.task.context() + 1);
            }
        }
    }

    /// The last `context` steps of an episode, in which these heads are asked for the next action.
    fn sample(&self, episode: &Episode, heads: &[ActionHead]) -> Result<Sample, TokenizeError> {
        let end = episode.now() + 1;
        let steps = end.saturating_sub(self.task.context())..end;
        let get = |field: &str| Ok(self.value(episode, field, steps.clone()));
        let number = episode.number;
        let named = |e: TokenizeError| TokenizeError::Input(format!("episode {number}: {e}"));
        let id = number as u64;
        let mut sample = self.task.sample(&get, steps.clone(), Purpose::Predict, id).map_err(named)?;
        sample.outputs.retain(|output| heads.iter().any(|head| head.output == output.head));
        for output in &mut sample.outputs {
            // Actions of earlier steps are known.
            output.places = output.places.take().and_then(|places| places.last().map(|&last| vec![last]));
        }
        Ok(sample)
    }

    /// What is predicted of each sample: its place, the output and the value.
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

/// The field of rewards in a log of episodes.
const REWARDS: &str = "rewards";

/// The field that another is the next or the previous value of.
fn base<'f>(task: &'f Composition, field: &'f str) -> &'f str {
    match task.derived().get(field) {
        Some(Derivation::Next { field } | Derivation::Previous { field }) => base(task, field),
        _ => field,
    }
}

/// The camera whose images a field holds: one that has its name, or the only one if it has no name.
fn camera(field: &str, known: &[String]) -> String {
    let same = |camera: &&String| *camera == field || field.strip_prefix("observations.") == Some(camera);
    let unnamed = || known.first().filter(|camera| known.len() == 1 && camera.is_empty());
    known.iter().find(same).or_else(unnamed).map_or_else(|| field.into(), String::clone)
}
