//! Logged episodes.

use super::Part;
use anyhow::Result;
use smalti::tasks::modalities::trajectory::{ActionSpec, End, Episode, FitOptions, fit};
use smalti::tasks::trajectory::read;

/// Reads every episode, and looks whether all have the same sort of states and actions.
pub fn check(location: &str) -> Result<Part> {
    let mut part = Part::new("episodes");
    let mut good = Vec::new();
    let log = read(location)?;
    for (i, (file, episode)) in log.episodes.into_iter().enumerate() {
        let name = || match file == location {
            true => format!("episode {i}"),
            false => format!("episode {i} ({file})"),
        };
        good.extend(part.count(name, episode.map_err(|e| e.to_string())));
    }
    part.skipped = log.skipped;
    let lengths = || good.iter().map(Episode::len);
    let returns = || good.iter().map(Episode::total_return);
    part.find("steps", lengths().sum::<usize>());
    part.find("shortest_steps", lengths().min());
    part.find("longest_steps", lengths().max());
    part.find("least_return", returns().reduce(f32::min));
    part.find("largest_return", returns().reduce(f32::max));
    let ends = |end: End| good.iter().filter(|episode| episode.end == end).count();
    part.find("terminated", ends(End::Terminated));
    part.find("time_limit", ends(End::TimeLimit));
    let options = FitOptions { max_steps: lengths().max().unwrap_or(1), context: 1, ..FitOptions::default() };
    match fit(&good, options) {
        Ok(fitted) => {
            part.find("state_dim", fitted.state_dim());
            if !fitted.state_names.is_empty() {
                part.find("state", &fitted.state_names);
            }
            part.find("actions", described(&fitted.actions));
        }
        // With nothing to fit, all that is wrong has been said.
        Err(error) if !good.is_empty() => {
            part.bad.push(super::Bad { name: "all".into(), problem: error.to_string() })
        }
        Err(_) => {}
    }
    Ok(part)
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
