//! Logged episodes.

use super::digest::Digest;
use super::numbers::Numbers;
use super::part::{Named, Part, Seen, each};
use anyhow::Result;
use smalti::tasks::modalities::trajectory::{
    ActionSpec, End, Episode, FitOptions, TrajectoryConfig, TrajectoryError, TrajectoryTokenizer, fit,
};
use smalti::tasks::trajectory::read;
use smalti_contract::Tokenizer;
use std::sync::Arc;

/// What is kept of an episode.
struct Size {
    steps: usize,
    total_return: f32,
    end: End,
    /// What it and the first episode fit to.
    fitted: TrajectoryConfig,
}

/// Reads every episode, and looks whether all have the same sort of states and actions as the first good one.
pub fn check(location: &str) -> Result<Part> {
    let log = read(location)?;
    let mut part = Part { skipped: log.skipped, ..Part::new("episodes") };
    let mut first: Option<Arc<Episode>> = None;
    let files: Vec<String> = log.episodes.iter().map(|(file, _)| file.clone()).collect();
    let name = {
        let location = location.to_string();
        move |number: usize| match files.get(number).filter(|file| **file != location) {
            Some(file) => format!("episode {number} ({file})"),
            None => format!("episode {number}"),
        }
    };
    let with_first = log.episodes.into_iter().enumerate().map(|(i, (_, episode))| {
        if let (None, Ok(episode)) = (&first, &episode) {
            first = Some(Arc::new(episode.clone()));
        }
        (i, episode, first.clone())
    });
    let (mut steps, mut returns, mut ends) = (Numbers::default(), Numbers::default(), Vec::new());
    let mut fitted: Option<TrajectoryConfig> = None;
    each(
        with_first,
        None,
        |(i, episode, first)| look(i, episode, first),
        |(number, read)| {
            if let Some(size) = part.count(|| name(number), read) {
                steps.add(size.steps as f64);
                returns.add(f64::from(size.total_return));
                ends.push(size.end);
                fitted = Some(wider(fitted.take(), size.fitted));
            }
        },
    );
    part.find("steps", steps.total() as u64);
    part.find("steps_of_an_episode", steps.spread());
    part.find("return_of_an_episode", returns.spread());
    let ended = |by: End| ends.iter().filter(|end| **end == by).count();
    part.find("terminated", ended(End::Terminated));
    part.find("time_limit", ended(End::TimeLimit));
    if let Some(fitted) = fitted {
        part.find("state_dim", fitted.state_dim());
        if !fitted.state_names.is_empty() {
            part.find("state", &fitted.state_names);
        }
        part.find("actions", described(&fitted.actions));
    }
    part.named = Box::new(move |number| Named { name: name(number), split: None, label: None });
    Ok(part)
}

/// An episode's number, and what it is.
fn look(
    i: usize,
    episode: Result<Episode, TrajectoryError>,
    first: Option<Arc<Episode>>,
) -> (usize, Result<Seen<Size>, String>) {
    match (episode, first) {
        (Ok(episode), Some(first)) => (i, measure(episode, &first)),
        (Ok(episode), None) => (i, measure(episode.clone(), &episode)),
        // An archive is read at once: the error knows which episode it is.
        (Err(TrajectoryError::Episode { episode, error }), _) => (episode, Err(error.to_string())),
        (Err(error), _) => (i, Err(error.to_string())),
    }
}

fn measure(episode: Episode, first: &Episode) -> Result<Seen<Size>, String> {
    let content = Digest::of_value(&episode);
    let (steps, total_return, end) = (episode.len(), episode.total_return(), episode.end);
    let window = episode.window(0, steps, &episode.returns_to_go(1.0));
    let most = steps.max(first.len());
    let options = FitOptions { context: most, max_steps: most, ..FitOptions::default() };
    let fitted = fit(&[first.clone(), episode], options).map_err(|error| match error {
        TrajectoryError::Episode { error, .. } => error.to_string(),
        other => other.to_string(),
    })?;
    let tokens = TrajectoryTokenizer::new(fitted.clone()).and_then(|tokenizer| tokenizer.encode(&window));
    let tokens = tokens.map(|tokens| tokens.len()).map_err(|e| e.to_string());
    Ok(Seen { content, tokens, size: Size { steps, total_return, end, fitted } })
}

/// Of two fits, the one with more actions.
fn wider(one: Option<TrajectoryConfig>, other: TrajectoryConfig) -> TrajectoryConfig {
    let choices = |config: &TrajectoryConfig| match config.actions {
        ActionSpec::Discrete { n } => n,
        _ => 0,
    };
    one.filter(|one| choices(one) >= choices(&other)).unwrap_or(other)
}

fn described(actions: &ActionSpec) -> String {
    match actions {
        ActionSpec::Discrete { n } => format!("{n} discrete"),
        ActionSpec::Continuous { dim, .. } => format!("continuous, {dim} numbers"),
        ActionSpec::Parts(parts) => {
            let parts = parts.iter().map(|(name, part)| format!("{name}: {}", described(part)));
            parts.collect::<Vec<_>>().join("; ")
        }
    }
}
