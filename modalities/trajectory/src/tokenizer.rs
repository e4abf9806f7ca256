//! The tokenizer: windows of a trajectory to tokens and back.

use crate::layout::{Slot, slots};
use crate::{ActionSpec, Actions, Format, MuLaw, TrajectoryConfig, Window, episodes};
use smalti_contract::{
    Content, ContentSpec, Group, Records, TokenSpec, TokenizeError, Tokenizer, Tokens, Value, Values,
};
use std::borrow::Cow;

/// Turns windows of a trajectory into returns-to-go, states and actions, in the order of the decision
/// transformer (Chen et al. 2021), with each token's time step in the episode.
///
/// | kind | holds | order in step `t` of the window |
/// | --- | --- | --- |
/// | `return` | `return_to_go / return_scale` | `3t` |
/// | `state` | `(state - mean) / std`, `state_dim` features | `3t + 1` |
/// | `action` | an id for a discrete action, else its numbers as they are | `3t + 2` |
///
/// Where steps have no state, there is no such kind, and a step is two tokens. An action of several parts has a kind for each, `action.NAME`, and a token for each in a step, in the order of their
/// names.
///
/// With `discretise` every number is a token of its own with an id below `bins` (after Gato, Reed et al.
/// 2022), `1 + state_dim + dim` in a step, and states and continuous actions have the axis `element`:
/// states are normalised as above, μ-law companded and binned (a mean of 0 and deviation of 1 give Gato's
/// own, raw states); continuous actions go from `low..=high` to -1..=1 and are binned as they are, and so is
/// `return_to_go / return_scale`. What lies outside is clipped.
///
/// [`decode`](Tokenizer::decode) is the inverse up to rounding in single precision; what was discretised
/// comes back as the centre of its bin: see [`MuLaw`] for how far off that is.
pub struct TrajectoryTokenizer {
    config: TrajectoryConfig,
    spec: TokenSpec,
    slots: Vec<Slot>,
}

impl Tokenizer for TrajectoryTokenizer {
    const NAME: &'static str = "trajectory";
    type Settings = TrajectoryConfig;
    type Config = TrajectoryConfig;
    type Raw = Window;

    fn fit(
        settings: TrajectoryConfig,
        _before: Option<TrajectoryConfig>,
        _values: &dyn Values,
    ) -> Result<TrajectoryConfig, TokenizeError> {
        Ok(settings)
    }

    fn new(config: TrajectoryConfig) -> Result<Self, TokenizeError> {
        config.check().map_err(|problem| TokenizeError::Config { tokenizer: Self::NAME, problem })?;
        let slots = slots(&config);
        let numbers = |dim| match config.discretise {
            Some(law) => ContentSpec::Ids { vocabulary: law.bins },
            None => ContentSpec::Features { dim },
        };
        let part = |(_, part): &(&str, &ActionSpec)| match **part {
            ActionSpec::Discrete { n } => ContentSpec::Ids { vocabulary: n },
            ActionSpec::Continuous { dim, .. } => numbers(dim),
            ActionSpec::Parts(_) => ContentSpec::Ids { vocabulary: 0 },
        };
        let state = (config.state_dim() > 0).then(|| numbers(config.state_dim()));
        let parts = config.actions.parts();
        let contents = [numbers(1)].into_iter().chain(state).chain(parts.iter().map(part));
        let kinds = slots.iter().zip(contents).map(|(slot, content)| slot.spec(content, config.max_steps));
        let spec = TokenSpec { kinds: kinds.collect() };
        Ok(Self { config, spec, slots })
    }

    fn config(&self) -> &TrajectoryConfig {
        &self.config
    }

    fn spec(&self) -> &TokenSpec {
        &self.spec
    }

    /// # Errors
    /// Always: a window is several fields of a row.
    fn read(&self, value: Value) -> Result<Window, TokenizeError> {
        Err(value.unexpected("a window of an episode"))
    }

    /// The episodes of a file (see [`episodes`]), each cut into consecutive windows of
    /// `context` steps; an episode's last window is as long as what is left.
    fn records<'a>(&'a self, bytes: &'a [u8]) -> Records<'a, Window> {
        let format = Format::of(bytes).unwrap_or(Format::JsonLines).name();
        let context = self.config.context;
        Box::new(episodes(bytes).flat_map(move |episode| -> Records<'a, Window> {
            match episode {
                Ok(episode) => {
                    let returns_to_go = episode.returns_to_go(self.config.discount);
                    let starts = episode.window_starts(context);
                    Box::new(starts.map(move |start| Ok(episode.window(start, context, &returns_to_go))))
                }
                Err(error) => {
                    let problem = error.to_string();
                    Box::new(std::iter::once(Err(TokenizeError::Format { format, problem })))
                }
            }
        }))
    }

    fn encode(&self, window: &Window) -> Result<Tokens, TokenizeError> {
        self.check(window)?;
        self.check_finite(window)?;
        let returns = window.returns_to_go.iter().map(|to_go| to_go / self.config.return_scale).collect();
        let mut contents = vec![self.content(Cow::Owned(returns), 1, |_, y| y)];
        if self.config.state_dim() > 0 {
            let states = Cow::Owned(self.normalised(&window.states));
            contents.push(self.content(states, self.config.state_dim(), MuLaw::compand));
        }
        for ((_, spec), (_, part)) in self.config.actions.parts().into_iter().zip(window.actions.parts()) {
            contents.push(self.action_content(spec, part));
        }
        let groups = self.slots.iter().zip(contents).map(|(slot, content)| slot.group(content, window.start));
        let tokens = Tokens::new(groups.collect());
        self.spec.check(&tokens)?;
        Ok(tokens)
    }

    fn decode(&self, tokens: &Tokens) -> Result<Window, TokenizeError> {
        self.spec.check(tokens)?;
        let Some((returns, rest)) = tokens.groups.split_first() else {
            return Err(TokenizeError::Input(format!("0 groups; there must be {}", self.slots.len())));
        };
        let (states, actions) = rest.split_at(self.config.state_dim().min(1));
        let states = states.first().map(|states| self.numbers(&states.content, MuLaw::expand));
        let returns_to_go = self.numbers(&returns.content, |_, y| y);
        let window = Window {
            start: returns.time.first().map_or(0, |&time| time as usize),
            returns_to_go: returns_to_go.iter().map(|to_go| to_go * self.config.return_scale).collect(),
            states: self.denormalised(&states.unwrap_or_default()),
            actions: self.actions(actions),
        };
        self.check(&window)?;
        for (slot, group) in self.slots.iter().zip(&tokens.groups) {
            if let Some(token) = slot.misplaced(group, window.start) {
                let kind = &slot.kind;
                let problem = format!("{kind} token {token} is not at the place that encoding gives it");
                return Err(TokenizeError::Input(problem));
            }
        }
        Ok(window)
    }
}

/// Shapes and bounds of a window.
impl TrajectoryTokenizer {
    fn check(&self, window: &Window) -> Result<(), TokenizeError> {
        let TrajectoryConfig { context, max_steps, .. } = self.config;
        let (start, steps, state_dim) = (window.start, window.returns_to_go.len(), self.config.state_dim());
        let refuse = |problem| Err(TokenizeError::Input(problem));
        if steps == 0 || steps > context {
            return refuse(format!("window has {steps} steps; it must have 1 to context = {context}"));
        }
        if start > max_steps || steps > max_steps - start {
            return refuse(format!("window has {steps} steps from {start}; max_steps is {max_steps}"));
        }
        let (found, expected) = (window.states.len(), steps * state_dim);
        if found != expected {
            return refuse(format!(
                "window has {found} numbers in states; {steps} of {state_dim} are {expected}"
            ));
        }
        let (found, expected) = (window.actions.describe(), self.config.actions.describe());
        let parts = window.actions.parts();
        let whole = |part: &Actions| match part {
            Actions::Continuous { values, dim } => values.len().is_multiple_of(*dim),
            Actions::Discrete(_) | Actions::Parts(_) => true,
        };
        if found != expected || !parts.iter().all(|(_, part)| whole(part)) {
            return refuse(format!("window has actions of {found}; expected {expected}"));
        }
        let actions = window.actions.len();
        let odd = parts.iter().map(|(_, part)| part.len()).find(|&part| part != actions);
        if let Some(odd) = odd {
            return refuse(format!("window has {actions} actions in one part and {odd} in another"));
        }
        if actions != steps && actions + 1 != steps {
            return refuse(format!(
                "window has {actions} actions; {steps} steps have {} or {steps}",
                steps - 1
            ));
        }
        Ok(())
    }

    fn check_finite(&self, window: &Window) -> Result<(), TokenizeError> {
        let numbers = |part: &'_ Actions| match part {
            Actions::Continuous { dim, .. } => *dim,
            Actions::Discrete(_) | Actions::Parts(_) => 1,
        };
        let returns = (window.returns_to_go.as_slice(), 1);
        let state_dim = self.config.state_dim();
        let states = (state_dim > 0).then_some((window.states.as_slice(), state_dim));
        let parts = window.actions.parts();
        let parts = parts.iter().map(|(_, part)| (part.numbers(), numbers(part)));
        for (slot, (values, dim)) in self.slots.iter().zip([returns].into_iter().chain(states).chain(parts)) {
            if let Some(at) = values.iter().position(|value| !value.is_finite()) {
                let (kind, step, found) = (&slot.kind, window.start + at / dim, values[at]);
                return Err(TokenizeError::Input(format!(
                    "{kind} at step {step} has {found} at element {}; it must be finite",
                    at % dim
                )));
            }
        }
        Ok(())
    }
}

/// Numbers to what tokens hold, and back.
impl TrajectoryTokenizer {
    /// Row-major numbers as features of `dim`, or squashed to -1..=1 and binned.
    fn content(&self, values: Cow<[f32]>, dim: usize, squash: fn(&MuLaw, f32) -> f32) -> Content {
        match &self.config.discretise {
            None => Content::Features { values: values.into_owned(), dim },
            Some(law) => Content::Ids(values.iter().map(|&value| law.bin(squash(law, value))).collect()),
        }
    }

    /// The inverse of [`content`](Self::content).
    fn numbers<'t>(&self, content: &'t Content, expand: fn(&MuLaw, f32) -> f32) -> Cow<'t, [f32]> {
        match (content, &self.config.discretise) {
            (Content::Ids(ids), Some(law)) => ids.iter().map(|&id| expand(law, law.centre(id))).collect(),
            (Content::Features { values, .. }, _) => Cow::Borrowed(values),
            (Content::Ids(_), None) => Cow::Borrowed(&[]),
        }
    }

    /// One part of the actions, or all of them.
    fn action_content(&self, spec: &ActionSpec, part: &Actions) -> Content {
        match part {
            Actions::Discrete(ids) => Content::Ids(ids.clone()),
            Actions::Continuous { values, dim } if self.config.discretise.is_some() => {
                self.content(Cow::Owned(over_bounds(spec, values, to_unit)), *dim, |_, y| y)
            }
            Actions::Continuous { values, dim } => self.content(Cow::Borrowed(values), *dim, |_, y| y),
            Actions::Parts(_) => Content::Ids(vec![]),
        }
    }

    /// The inverse of [`action_content`](Self::action_content) for all parts.
    fn actions(&self, groups: &[Group]) -> Actions {
        match &self.config.actions {
            ActionSpec::Parts(specs) => Actions::Parts(
                specs
                    .iter()
                    .zip(groups)
                    .map(|((name, spec), group)| (name.clone(), self.part(spec, &group.content)))
                    .collect(),
            ),
            whole => {
                groups.first().map_or(Actions::Discrete(vec![]), |group| self.part(whole, &group.content))
            }
        }
    }

    fn part(&self, spec: &ActionSpec, content: &Content) -> Actions {
        match (spec, content) {
            (ActionSpec::Continuous { dim, .. }, Content::Features { values, .. }) => {
                Actions::Continuous { values: values.clone(), dim: *dim }
            }
            (ActionSpec::Continuous { dim, .. }, content) => {
                let units = self.numbers(content, |_, y| y);
                Actions::Continuous { values: over_bounds(spec, &units, from_unit), dim: *dim }
            }
            (_, content) => Actions::Discrete(content.ids().unwrap_or_default().to_vec()),
        }
    }

    fn normalised(&self, states: &[f32]) -> Vec<f32> {
        let statistics = self.config.state_mean.iter().zip(&self.config.state_std).cycle();
        states.iter().zip(statistics).map(|(state, (mean, std))| (state - mean) / std).collect()
    }

    fn denormalised(&self, states: &[f32]) -> Vec<f32> {
        let statistics = self.config.state_mean.iter().zip(&self.config.state_std).cycle();
        states.iter().zip(statistics).map(|(state, (mean, std))| state * std + mean).collect()
    }
}

/// Each number of `[n, dim]` actions, with its `low` and `high`, through `map`.
fn over_bounds(spec: &ActionSpec, values: &[f32], map: fn(f32, f32, f32) -> f32) -> Vec<f32> {
    let ActionSpec::Continuous { low, high, .. } = spec else { return vec![] };
    let bounds = low.iter().zip(high).cycle();
    values.iter().zip(bounds).map(|(&value, (&low, &high))| map(value, low, high)).collect()
}

/// `low..=high` to -1..=1; where the bounds are one number, 0.
fn to_unit(value: f32, low: f32, high: f32) -> f32 {
    let (value, low, high) = (f64::from(value), f64::from(low), f64::from(high));
    if low == high { 0.0 } else { ((value - low) / (high - low) * 2.0 - 1.0) as f32 }
}

/// -1..=1 to `low..=high`.
fn from_unit(unit: f32, low: f32, high: f32) -> f32 {
    let (unit, low, high) = (f64::from(unit), f64::from(low), f64::from(high));
    (low + (unit + 1.0) / 2.0 * (high - low)) as f32
}
