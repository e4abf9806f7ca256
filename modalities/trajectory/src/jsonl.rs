//! Episodes as JSON lines: one object a line, one episode an object.
//!
//! ```json
//! {"observations": [[0.1, 2.0], [0.2, 1.9]], "actions": [0, 1], "rewards": [1, 1], "terminated": true}
//! ```
//!
//! `actions` are discrete where they are a list of integers, continuous where they are a list of lists, or
//! of numbers among which one is written with a fraction or an exponent; `[[1], [-1]]` is the safe way to
//! write continuous actions of one number.
//!
//! Where observations or actions have parts, they are a list of objects or an object of lists:
//!
//! ```json
//! {"observations": {"goal": [[3, 4], [3, 4]], "speed": [0.5, 0.7]}, "actions": {"arm": [[0.1], [0]], "grip": [0, 1]}, "rewards": [0, 1]}
//! ```
//!
//! The parts of an observation are put into one state, sorted by their keys, and each number keeps its name:
//! `goal.0`, `goal.1`, `speed`. An action of several parts stays one; where none is a choice, they are one
//! continuous action, sorted in the same way. `state_names` may name the numbers of observations that are lists.
//!
//! Images of named cameras stand beside the observations or instead of them, in one of three forms:
//!
//! ```json
//! {"images": {"front": {"files": ["0/000.png", "0/001.png"]}}, "actions": [0, 1], "rewards": [1, 1]}
//! {"images": {"front": {"encoded": ["iVBORw0KGgo…", "iVBORw0KGgo…"]}}, "actions": [0, 1], "rewards": [1, 1]}
//! {"images": {"front": {"frames": {"height": 84, "width": 84, "channels": 3, "pixels": "AAAA…"}}}, "actions": [0, 1], "rewards": [1, 1]}
//! ```
//!
//! `files` are paths from the folder in which the log lies, one for each step; `encoded` are such files in base64;
//! `frames` are all pixels `[steps, height, width, channels]`, a byte each, in base64.
//!
//! `terminated` (the environment ended the episode) and `truncated` (a time limit did) may be left out and are then
//! false. Empty lines are passed over.

mod images;
mod series;
#[cfg(test)]
mod tests;
mod write;

pub use write::write;

use crate::table::{self, Column};
use crate::{End, Episode, TrajectoryError};
use serde::{Deserialize, Deserializer};
use series::Series;
use std::collections::BTreeMap;

/// One line.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    #[serde(default)]
    state_names: Vec<String>,
    #[serde(default = "Series::none", deserialize_with = "observations")]
    observations: Series,
    #[serde(default)]
    images: BTreeMap<String, images::Form>,
    #[serde(deserialize_with = "actions")]
    actions: Series,
    rewards: Vec<f64>,
    #[serde(default)]
    terminated: bool,
    #[serde(default)]
    truncated: bool,
}

fn observations<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Series, D::Error> {
    Series::of("observations", deserializer)
}

fn actions<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Series, D::Error> {
    Series::of("actions", deserializer)
}

/// All episodes of a file of JSON lines.
///
/// # Errors
/// [`TrajectoryError::Line`] with the number of the first line that is not an episode;
/// [`TrajectoryError::Empty`] where there is none.
pub fn read(bytes: &[u8]) -> Result<Vec<Episode>, TrajectoryError> {
    episodes(bytes).collect()
}

/// The same, each line read when it is asked for.
pub(crate) fn episodes(bytes: &[u8]) -> impl Iterator<Item = Result<Episode, TrajectoryError>> + '_ {
    let lines = bytes.split(|&byte| byte == b'\n').enumerate();
    let lines = lines.filter(|(_, line)| !line.trim_ascii().is_empty());
    let nothing = bytes.trim_ascii().is_empty().then_some(Err(TrajectoryError::Empty));
    nothing.into_iter().chain(lines.map(|(place, line)| {
        episode(line).map_err(|problem| TrajectoryError::Line { line: place + 1, problem })
    }))
}

fn episode(line: &[u8]) -> Result<Episode, String> {
    let line: Line = serde_json::from_slice(line).map_err(|error| {
        // The message ends in a place within the line, of which "line 1" would mislead.
        let text = error.to_string();
        let message = text.rsplit_once(" at line ").map_or(text.as_str(), |(message, _)| message);
        format!("column {}: {message}", error.column())
    })?;
    if line.rewards.is_empty() {
        return Err("rewards must have at least one step; found none".into());
    }
    let mut columns = line.observations.columns();
    if !line.state_names.is_empty() {
        name(&mut columns, line.state_names)?;
    }
    for (camera, form) in line.images {
        let images = form.images().map_err(|problem| format!("images.{camera}: {problem}"))?;
        columns.push(Column::of_images(series::joined("observations", &camera), images));
    }
    columns.extend(line.actions.columns());
    columns.push(Column { name: "rewards".into(), dim: 1, values: line.rewards, ..Column::default() });
    let end = End::of(line.terminated, line.truncated);
    table::episode(columns, Some(end)).map_err(|error| error.to_string())
}

/// Names the numbers of observations that are lists.
fn name(columns: &mut [Column], names: Vec<String>) -> Result<(), String> {
    match columns {
        [column] if column.name == "observations" && column.dim == names.len() => {
            column.elements = names;
            Ok(())
        }
        [column] if column.name == "observations" => {
            Err(format!("{} state_names; observations have {} numbers a step", names.len(), column.dim))
        }
        _ => Err("state_names are for observations that are lists; these have names".into()),
    }
}
