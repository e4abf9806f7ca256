//! Logged episodes.

use super::Part;
use smalti::tasks::modalities::trajectory::{ActionSpec, Episode, FitOptions, episodes, fit};

/// Reads every episode, and looks whether all have the same sort of states and actions.
pub fn check(bytes: &[u8]) -> Part {
    let mut part = Part::new("episodes");
    let mut good = Vec::new();
    for (i, episode) in episodes(bytes).enumerate() {
        good.extend(part.count(|| format!("episode {i}"), episode.map_err(|e| e.to_string())));
    }
    let lengths = || good.iter().map(Episode::len);
    let returns = || good.iter().map(Episode::total_return);
    part.find("steps", lengths().sum::<usize>());
    part.find("shortest_steps", lengths().min());
    part.find("longest_steps", lengths().max());
    part.find("least_return", returns().reduce(f32::min));
    part.find("largest_return", returns().reduce(f32::max));
    part.find("terminated", good.iter().filter(|episode| episode.terminated).count());
    let options = FitOptions { max_steps: lengths().max().unwrap_or(1), context: 1, ..FitOptions::default() };
    match fit(&good, options) {
        Ok(fitted) => {
            part.find("state_dim", fitted.state_dim());
            part.find(
                "actions",
                match fitted.actions {
                    ActionSpec::Discrete { n } => format!("{n} discrete"),
                    ActionSpec::Continuous { dim, .. } => format!("continuous, {dim} numbers"),
                },
            );
        }
        // With nothing to fit, all that is wrong has been said.
        Err(error) if !good.is_empty() => {
            part.bad.push(super::Bad { name: "all".into(), problem: error.to_string() })
        }
        Err(_) => {}
    }
    part
}
