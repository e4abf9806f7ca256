//! Logged episodes.

use super::digest::Digest;
use super::numbers::Numbers;
use super::part::{Named, Part, Seen, each};
use smalti::tasks::modalities::trajectory::{
    ActionSpec, Episode, FitOptions, TrajectoryConfig, TrajectoryError, TrajectoryTokenizer, episodes, fit,
};
use smalti_contract::Tokenizer;
use std::sync::Arc;

/// What is kept of an episode.
struct Size {
    steps: usize,
    total_return: f32,
    terminated: bool,
    /// What it and the first episode fit to.
    fitted: TrajectoryConfig,
}

/// Reads every episode, and looks whether all have the same sort of states and actions as the first good one.
pub fn check(bytes: &[u8]) -> Part {
    let mut part = Part::new("episodes");
    let mut first: Option<Arc<Episode>> = None;
    let with_first = episodes(bytes).enumerate().map(|(i, episode)| {
        if let (None, Ok(episode)) = (&first, &episode) {
            first = Some(Arc::new(episode.clone()));
        }
        (i, episode, first.clone())
    });
    let (mut steps, mut returns, mut terminated) = (Numbers::default(), Numbers::default(), 0);
    let mut fitted: Option<TrajectoryConfig> = None;
    each(
        with_first,
        None,
        |(i, episode, first)| look(i, episode, first),
        |(name, read)| {
            if let Some(size) = part.count(|| name, read) {
                steps.add(size.steps as f64);
                returns.add(f64::from(size.total_return));
                terminated += usize::from(size.terminated);
                fitted = Some(wider(fitted.take(), size.fitted));
            }
        },
    );
    part.find("steps", steps.total());
    part.find("steps_of_an_episode", steps.spread());
    part.find("return_of_an_episode", returns.spread());
    part.find("terminated", terminated);
    if let Some(fitted) = fitted {
        part.find("state_dim", fitted.state_dim());
        part.find("actions", describe(&fitted.actions));
    }
    part.named = Box::new(|number| Named { name: format!("episode {number}"), split: None, label: None });
    part
}

/// An episode's name, and what it is.
fn look(
    i: usize,
    episode: Result<Episode, TrajectoryError>,
    first: Option<Arc<Episode>>,
) -> (String, Result<Seen<Size>, String>) {
    let named = |i: usize| format!("episode {i}");
    match (episode, first) {
        (Ok(episode), Some(first)) => (named(i), measure(episode, &first)),
        (Ok(episode), None) => (named(i), measure(episode.clone(), &episode)),
        // An archive is read at once: the error knows which episode it is.
        (Err(TrajectoryError::Episode { episode, error }), _) => (named(episode), Err(error.to_string())),
        (Err(error), _) => (named(i), Err(error.to_string())),
    }
}

fn measure(episode: Episode, first: &Episode) -> Result<Seen<Size>, String> {
    let content = Digest::of_value(&episode);
    let (steps, total_return, terminated) = (episode.len(), episode.total_return(), episode.terminated);
    let window = episode.window(0, steps, &episode.returns_to_go(1.0));
    let most = steps.max(first.len());
    let options = FitOptions { context: most, max_steps: most, ..FitOptions::default() };
    let fitted = fit(&[first.clone(), episode], options).map_err(|error| match error {
        TrajectoryError::Episode { error, .. } => error.to_string(),
        other => other.to_string(),
    })?;
    let tokens = TrajectoryTokenizer::new(fitted.clone()).and_then(|tokenizer| tokenizer.encode(&window));
    let tokens = tokens.map(|tokens| tokens.len()).map_err(|e| e.to_string());
    Ok(Seen { content, tokens, size: Size { steps, total_return, terminated, fitted } })
}

/// Of two fits, the one with more actions.
fn wider(one: Option<TrajectoryConfig>, other: TrajectoryConfig) -> TrajectoryConfig {
    let choices = |config: &TrajectoryConfig| match config.actions {
        ActionSpec::Discrete { n } => n,
        _ => 0,
    };
    one.filter(|one| choices(one) >= choices(&other)).unwrap_or(other)
}

fn describe(actions: &ActionSpec) -> String {
    match actions {
        ActionSpec::Discrete { n } => format!("{n} discrete"),
        ActionSpec::Continuous { dim, .. } => format!("continuous, {dim} numbers"),
    }
}
