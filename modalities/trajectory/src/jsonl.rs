//! Episodes as JSON lines: one object in each line is one episode.
//!
//! ```json
//! {"observations": [[0.1, 2.0], [0.2, 1.9]], "actions": [0, 1], "rewards": [1, 1], "terminated": true}
//! ```
//!
//! `actions` are discrete if they are a list of integers, and continuous if they are a list of lists, or of numbers
//! with at least one fraction or exponent; `[[1], [-1]]` is the safe way to write continuous actions of one number.
//!
//! Observations or actions with parts are a list of objects or an object of lists:
//!
//! ```json
//! {"observations": {"goal": [[3, 4], [3, 4]], "speed": [0.5, 0.7]}, "actions": {"arm": [[0.1], [0]], "grip": [0, 1]}, "rewards": [0, 1]}
//! ```
//!
//! The parts of an observation are concatenated to one state, sorted by their keys, and each number keeps its name:
//! `goal.0`, `goal.1`, `speed`. Parts of an action stay separate; if all are continuous, they are concatenated in the
//! same way. `state_names` may name the numbers of observations that are lists.
//!
//! Images of named cameras are given in addition to the observations or instead of them, in one of three forms:
//!
//! ```json
//! {"images": {"front": {"files": ["0/000.png", "0/001.png"]}}, "actions": [0, 1], "rewards": [1, 1]}
//! {"images": {"front": {"encoded": ["iVBORw0KGgo…", "iVBORw0KGgo…"]}}, "actions": [0, 1], "rewards": [1, 1]}
//! {"images": {"front": {"frames": {"height": 84, "width": 84, "channels": 3, "pixels": "AAAA…"}}}, "actions": [0, 1], "rewards": [1, 1]}
//! ```
//!
//! `files` are paths relative to the log's folder, one for each step; `encoded` are the contents of such files in
//! base64; `frames` are all pixels `[steps, height, width, channels]`, one byte each, in base64.
//!
//! `rewards` may be left out, as in demonstrations. `terminated` (the environment ended the episode) and `truncated` (a time limit ended it) are false by default, and may be
//! a list with a value for each step, also as `terminals`, `terminations`, `truncations`, `timeouts` and `dones`. An
//! observation after the last action is dropped. `observation`, `action`, `reward`, their short forms `obs`, `act` and `rew`,
//! and `continuous_observations`, `discrete_actions` and the like (JAT) are the same keys. The number of the episode
//! (`episode`, `episode_id`), an index of pandas and `infos` (Minari) are ignored. Empty lines are skipped.

mod images;
mod series;
#[cfg(test)]
mod tests;
mod write;

pub use write::write;

use crate::table::{self, Column};
use crate::{End, Episode, TrajectoryError};
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};
use serde_json::Value as Json;
use series::Series;
use std::collections::BTreeMap;

/// One line.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    #[serde(default)]
    state_names: Vec<String>,
    #[serde(default = "Series::none", deserialize_with = "observations")]
    #[serde(alias = "obs", alias = "observation")]
    #[serde(alias = "continuous_observations", alias = "discrete_observations")]
    observations: Series,
    #[serde(default)]
    images: BTreeMap<String, images::Form>,
    #[serde(deserialize_with = "actions", alias = "continuous_actions", alias = "discrete_actions")]
    #[serde(alias = "act", alias = "acts", alias = "action")]
    actions: Series,
    #[serde(default, alias = "rew", alias = "rews", alias = "reward")]
    rewards: Option<Vec<f64>>,
    #[serde(default, alias = "terminal", alias = "terminals", alias = "terminations")]
    terminated: Flags,
    #[serde(default, alias = "truncations", alias = "timeouts")]
    truncated: Flags,
    #[serde(default, alias = "done")]
    dones: Flags,
    #[serde(default, rename = "infos")]
    _infos: IgnoredAny,
    #[serde(default, rename = "episode", alias = "episode_id", alias = "episode_index")]
    _episode: IgnoredAny,
    #[serde(default, rename = "index", alias = "Unnamed: 0", alias = "__index_level_0__")]
    _index: IgnoredAny,
}

/// Whether the episode ended: said once, or at each step.
#[derive(Deserialize)]
#[serde(try_from = "serde_json::Value")]
enum Flags {
    Once(bool),
    Steps(Vec<f64>),
}

impl Default for Flags {
    fn default() -> Self {
        Self::Once(false)
    }
}

impl TryFrom<Json> for Flags {
    type Error = String;

    fn try_from(json: Json) -> Result<Self, String> {
        let flag = |json: &Json| match json {
            Json::Bool(flag) => Ok(f64::from(u8::from(*flag))),
            Json::Number(number) => Ok(number.as_f64().unwrap_or(f64::NAN)),
            other => Err(format!("expected true or false, or a list of them; found {other}")),
        };
        match json {
            Json::Array(flags) => Ok(Self::Steps(flags.iter().map(flag).collect::<Result<_, _>>()?)),
            json => Ok(Self::Once(flag(&json)? != 0.0)),
        }
    }
}

fn observations<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Series, D::Error> {
    Series::of("observations", deserializer)
}

fn actions<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Series, D::Error> {
    Series::of("actions", deserializer)
}

/// Read all episodes of a file of JSON lines.
///
/// # Errors
/// [`TrajectoryError::Line`] with the number of the first line that is not an episode; [`TrajectoryError::Empty`] if
/// there is no line.
pub fn read(bytes: &[u8]) -> Result<Vec<Episode>, TrajectoryError> {
    episodes(bytes).collect()
}

/// Read the episodes of a file of JSON lines lazily, line by line.
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
        // The message ends with a position, whose "line 1" would be misleading.
        let text = error.to_string();
        let message = text.rsplit_once(" at line ").map_or(text.as_str(), |(message, _)| message);
        match not_finite(line, error.column()) {
            Some(word) => {
                format!("column {}: {word} is not JSON; all numbers must be finite", error.column())
            }
            None => format!("column {}: {message}", error.column()),
        }
    })?;
    if line.rewards.as_ref().is_some_and(Vec::is_empty) {
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
    let rewards = |values| Column { name: "rewards".into(), dim: 1, values, ..Column::default() };
    columns.extend(line.rewards.map(rewards));
    let mut once = |name: &str, flags: Flags| match flags {
        Flags::Once(flag) => flag,
        Flags::Steps(values) => {
            columns.push(Column { name: name.into(), dim: 1, values, whole: true, ..Column::default() });
            false
        }
    };
    let end = End::of(once("terminated", line.terminated), once("truncated", line.truncated));
    once("dones", line.dones);
    let end = (end != End::Unknown).then_some(end);
    table::episode(columns, end).map_err(|error| error.to_string())
}

/// The word near a column that Python writes for a number that is not finite, which JSON does not have.
fn not_finite(line: &[u8], column: usize) -> Option<&'static str> {
    const NEAR: usize = 10;
    let near = line.get(column.saturating_sub(NEAR)..line.len().min(column.saturating_add(NEAR)))?;
    ["NaN", "Infinity"]
        .into_iter()
        .find(|word| near.windows(word.len()).any(|found| found == word.as_bytes()))
}

/// Name the numbers of observations that are lists.
fn name(columns: &mut [Column], names: Vec<String>) -> Result<(), String> {
    match columns {
        [column] if column.name == "observations" && column.dim == names.len() => {
            column.elements = names;
            Ok(())
        }
        [column] if column.name == "observations" => {
            let (expected, found) = (column.dim, names.len());
            Err(format!(
                "expected {expected} state_names, one for each number of an observation; found {found}"
            ))
        }
        _ => Err("state_names is set; it is only for observations that are lists without names".into()),
    }
}
