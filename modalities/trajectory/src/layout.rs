//! Where tokens stand: return-to-go, state, action; then the next time step.

use crate::{ActionSpec, TrajectoryConfig};
use smalti_contract::{Axis, Content, ContentSpec, Group, KindSpec};

/// The place of one kind's tokens within a time step.
pub(crate) struct Slot {
    pub(crate) kind: String,
    /// Tokens of a step that come before.
    first: usize,
    /// Tokens of this kind in a step.
    pub(crate) tokens: usize,
    /// Tokens of all kinds in a step.
    stride: usize,
    /// The axis on which a step's tokens of this kind are told apart, where each is one element.
    axis: Option<&'static str>,
}

/// The slots of a return-to-go, of a state where there is one, and of each part of an action.
pub(crate) fn slots(config: &TrajectoryConfig) -> Vec<Slot> {
    let discretised = config.discretise.is_some();
    let mut first = 0;
    let mut slot = |kind: String, tokens: usize, of_elements: bool| {
        let axis = of_elements.then_some("element");
        let slot = Slot { kind, first, tokens, stride: config.tokens_per_step(), axis };
        first += tokens;
        slot
    };
    let mut slots = vec![slot("return".into(), 1, false)];
    if config.state_dim() > 0 {
        slots.push(slot("state".into(), config.state_tokens(), discretised));
    }
    for (name, part) in config.actions.parts() {
        let kind = if name.is_empty() { "action".into() } else { format!("action.{name}") };
        let continuous = matches!(part, ActionSpec::Continuous { .. });
        slots.push(slot(kind, config.part_tokens(part), discretised && continuous));
    }
    slots
}

impl Slot {
    /// What is promised of this kind, holding `content`.
    pub(crate) fn spec(&self, content: ContentSpec, max_steps: usize) -> KindSpec {
        KindSpec {
            name: self.kind.clone(),
            content,
            axes: self.axis.iter().map(|&name| Axis::new(name, self.tokens)).collect(),
            time_steps: Some(max_steps),
        }
    }

    /// `content` in its places, the first token being of time step `start`.
    pub(crate) fn group(&self, content: Content, start: usize) -> Group {
        let tokens = 0..content.len();
        let order = tokens.clone().map(|i| self.order(i)).collect();
        let time = tokens.clone().map(|i| (start + i / self.tokens) as u32).collect();
        let positions = match self.axis {
            Some(_) => tokens.map(|i| (i % self.tokens) as u32).collect(),
            None => vec![],
        };
        Group { content, positions, order, time }
    }

    /// The first token, if any, that does not stand where [`group`](Self::group) puts it.
    pub(crate) fn misplaced(&self, group: &Group, start: usize) -> Option<usize> {
        (0..group.len()).find(|&i| {
            let element = self.axis.map(|_| (i % self.tokens) as u32);
            group.order[i] != self.order(i)
                || group.time[i] as usize != start + i / self.tokens
                || element.is_some_and(|element| group.positions[i] != element)
        })
    }

    fn order(&self, i: usize) -> u32 {
        (i / self.tokens * self.stride + self.first + i % self.tokens) as u32
    }
}
