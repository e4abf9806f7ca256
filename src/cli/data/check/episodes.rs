//! Logged episodes.

mod film;

use self::film::{Film, First};
use super::numbers::Numbers;
use super::part::{Named, Part, Seen, each};
use crate::cli::tokenize::Cut;
use crate::tasks::modalities::trajectory::{
    ActionSpec, End, Episode, FitOptions, TrajectoryConfig, TrajectoryError, fit,
};
use crate::tasks::trajectory::read;
use anyhow::Result;
use std::sync::Arc;

/// What is kept of an episode.
struct Size {
    steps: usize,
    total_return: f32,
    end: End,
    /// What its cameras saw.
    film: Film,
    /// What it and the first episode fit to.
    fitted: TrajectoryConfig,
}

/// Reads every episode with its pictures, and looks whether all have the same sort of states, pictures and actions as
/// the first good one.
pub fn check(location: &str, cut: &Cut) -> Result<Part> {
    let log = read(location)?;
    let mut part = Part { skipped: log.skipped, ..Part::new("episodes") };
    let mut first: Option<Arc<First>> = None;
    let pictures = log.files;
    let files: Vec<String> = log.episodes.iter().map(|(file, _)| file.clone()).collect();
    let name = {
        let location = location.to_string();
        move |number: usize| match files.get(number).filter(|file| **file != location) {
            Some(file) => format!("episode {number} ({file})"),
            None => format!("episode {number}"),
        }
    };
    let with_first = log.episodes.into_iter().enumerate().map(|(i, (file, episode))| {
        if let (None, Ok(episode)) = (&first, &episode) {
            first = Some(Arc::new(First::new(file, i, episode.clone(), pictures.clone(), cut)));
        }
        (i, episode, first.clone())
    });
    let (mut steps, mut returns, mut ends) = (Numbers::default(), Numbers::default(), Vec::new());
    let mut fitted: Option<TrajectoryConfig> = None;
    let mut film = Film::default();
    each(
        with_first,
        None,
        |(i, episode, first)| look(i, episode, first),
        |(number, read)| {
            if let Some(size) = part.count(|| name(number), read) {
                steps.add(size.steps as f64);
                returns.add(f64::from(size.total_return));
                ends.push(size.end);
                film.add(size.film);
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
        film.find(&mut part);
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
    first: Option<Arc<First>>,
) -> (usize, Result<Seen<Size>, String>) {
    match (episode, first) {
        (Ok(episode), Some(first)) => (i, measure(episode, &first)),
        (Ok(_), None) => (i, Err("comes before the first good one".into())),
        // An archive is read at once: the error knows which episode it is.
        (Err(TrajectoryError::Episode { episode, error }), _) => (episode, Err(error.to_string())),
        (Err(error), _) => (i, Err(error.to_string())),
    }
}

fn measure(mut episode: Episode, first: &First) -> Result<Seen<Size>, String> {
    let content = film::digest(&mut episode);
    let (steps, total_return, end) = (episode.len(), episode.total_return(), episode.end);
    let most = steps.max(first.episode().len());
    let options = FitOptions { context: most, max_steps: most, ..FitOptions::default() };
    let fitted = fit([first.episode(), &episode], options).map_err(|error| match error {
        TrajectoryError::Episode { error, .. } => error.to_string(),
        other => other.to_string(),
    })?;
    let film = first.film(&episode)?;
    let tokens = first.tokens(&episode, fitted.clone())?;
    Ok(Seen { content, tokens, size: Size { steps, total_return, end, film, fitted } })
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
