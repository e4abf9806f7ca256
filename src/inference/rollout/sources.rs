//! Where the values of a policy's fields come from in an environment.

use super::RolloutError;
use super::action::ActionHead;
use crate::env::ActionSpec;
use crate::sample::{Composition, Part, Role};
use crate::table::Derivation;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

/// Where the value of a field comes from in a time step.
#[derive(Clone)]
pub(super) enum Source {
    /// The numbers of the state in this range.
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
    /// 1 at this step, 0 at every other.
    At(usize),
    /// 0: a running episode has not reached its last step.
    Last,
    Step,
    Next(Box<Source>),
    Previous(Box<Source>),
}

/// The sources of all fields with tokens in a series.
pub(super) struct Sources<'a> {
    task: &'a Composition,
    actions: &'a [ActionHead],
    target_return: f32,
    /// By field.
    pub(super) found: BTreeMap<String, Source>,
    /// How many numbers of the state are read.
    pub(super) state_dim: usize,
    /// The cameras that are read.
    pub(super) cameras: Vec<String>,
}

impl<'a> Sources<'a> {
    /// Find the source of every field with tokens in a series; `cameras` are those of the environment.
    ///
    /// # Errors
    /// [`RolloutError::Part`] if it is not known which numbers of the state a field has.
    pub(super) fn find(
        task: &'a Composition,
        actions: &'a [ActionHead],
        target_return: f32,
        cameras: &[String],
    ) -> Result<Self, RolloutError> {
        let mut sources =
            Self { task, actions, target_return, found: BTreeMap::new(), state_dim: 0, cameras: vec![] };
        let parts = || task.parts().iter().filter(|part| part.series && !part.kinds.is_empty());
        for part in parts() {
            let unknown = part.fields.iter().filter(|field| sources.source(field).is_none());
            let bases: Vec<&str> = unknown.map(|field| base(task, field)).collect();
            match part.tokenizer.width() {
                Some(width) => {
                    let mut start = sources.state_dim;
                    for (base, n) in sources.shares(part, &bases, width)? {
                        sources.found.insert(base.into(), Source::State(start..start + n));
                        start += n;
                    }
                    sources.state_dim = start;
                }
                None => {
                    for base in bases {
                        let camera = camera(base, cameras);
                        sources.found.insert(base.into(), Source::Camera(camera.clone()));
                        sources.cameras.push(camera);
                    }
                }
            }
        }
        for field in parts().flat_map(|part| &part.fields) {
            if let Some(source) = sources.source(field) {
                sources.found.insert(field.clone(), source);
            }
        }
        Ok(sources)
    }

    /// How many numbers of the state each unknown field of a part has. Fields that one part reads together count as one: the
    /// first has all of their numbers.
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
                    "expected fields whose places in the state are known; found {}, {width} numbers in all; give each field an \
                     input of its own, or put those of the state into one input, in the order of the state",
                    part.fields.join(", ")
                );
                Err(RolloutError::Part { part: format!("{table}.{}.field", part.name), problem })
            }
        }
    }

    fn is_derived(&self, field: &str) -> bool {
        self.task.derived().contains_key(field)
    }

    /// The source of a field; `None` for a field of the state or of a camera whose source is not yet found.
    fn source(&self, field: &str) -> Option<Source> {
        let rewards = |it: &Derivation| matches!(it, Derivation::ReturnToGo { field: of, .. } | Derivation::Total { field: of } if of == field);
        let is_action = |head: &ActionHead| self.task.outputs()[head.output].fields == [field];
        match self.task.derived().get(field) {
            Some(Derivation::ReturnToGo { discount, .. }) => {
                let logged = self.task.largest_return(field).unwrap_or_default() as f32;
                let most = self.target_return.abs().max(logged);
                Some(Source::ReturnToGo { discount: *discount as f32, most })
            }
            Some(Derivation::Next { field }) => Some(Source::Next(Box::new(self.source(field)?))),
            Some(Derivation::Previous { field }) => Some(Source::Previous(Box::new(self.source(field)?))),
            Some(Derivation::First { .. }) => Some(Source::At(0)),
            Some(Derivation::At { step, .. }) => Some(Source::At(*step)),
            Some(Derivation::Last { .. }) => Some(Source::Last),
            Some(Derivation::Step { .. }) => Some(Source::Step),
            Some(Derivation::Total { .. }) => None,
            None => match self.actions.iter().position(is_action) {
                Some(number) => Some(Source::Action(number)),
                None if field == REWARDS || self.task.derived().values().any(rewards) => Some(Source::Reward),
                None => self.found.get(field).cloned(),
            },
        }
    }

    /// The numbers of a value.
    fn width(&self, source: &Source) -> usize {
        match source {
            Source::State(numbers) => numbers.len(),
            Source::Action(number) => match &self.actions[*number].spec {
                ActionSpec::Continuous { low, .. } => low.len(),
                ActionSpec::Discrete { .. } | ActionSpec::Parts(_) => 1,
            },
            Source::Next(of) | Source::Previous(of) => self.width(of),
            _ => 1,
        }
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

/// The camera of a field: the one with the field's name, or the only camera if that has no name.
fn camera(field: &str, known: &[String]) -> String {
    let same = |camera: &&String| *camera == field || field.strip_prefix("observations.") == Some(camera);
    let unnamed = || known.first().filter(|camera| known.len() == 1 && camera.is_empty());
    known.iter().find(same).or_else(unnamed).map_or_else(|| field.into(), String::clone)
}
