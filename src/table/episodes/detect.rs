//! Detection of episodes by the names and first bytes of files.

use super::log::{is_log, minari_info};
use crate::data::{DataError, open_text};
use crate::table::parquet::{self, is_parquet};
use crate::table::place::extension;
use crate::table::{Place, rows};
use smalti_contract::listed;
use smalti_trajectory::lerobot::INFO;
use smalti_trajectory::parquet::has_episode_rows;
use std::io::Read;

/// Endings of files that always hold episodes.
const EPISODES: [&str; 3] = ["h5", "hdf5", "npz"];
/// Bytes of a text file that are searched for the fields of episodes.
const PROBED: u64 = 1 << 20;
/// Names of observations and of actions; the last ones are JAT's.
const OBSERVATIONS: [&str; 6] = [
    "observations",
    "observation",
    "obs",
    "continuous_observations",
    "discrete_observations",
    "image_observations",
];
const ACTIONS: [&str; 6] = ["actions", "action", "acts", "act", "continuous_actions", "discrete_actions"];

/// The reason that a source holds episodes, or else the reason that it does not, by the names of its files or, for tables,
/// by the columns of the first.
///
/// # Errors
/// [`DataError`] for files that cannot be read.
pub(super) fn reason(place: &Place) -> Result<Result<String, String>, DataError> {
    let locations: Vec<String> = match place.files()? {
        Some(files) if files.contains(INFO) => {
            return Ok(Ok(format!("it has LeRobot's description, {INFO}")));
        }
        Some(files) if minari_info(&files).is_some() => {
            return Ok(Ok("it has Minari's description, metadata.json".into()));
        }
        Some(files) if !is_log(&files) => {
            let other = files.list().iter().find(|path| !is_named(path));
            let other = other.map_or(String::new(), |path| format!(", but others, such as {path}"));
            return Ok(Err(format!("its files are not only logs{other}")));
        }
        Some(files) => {
            let named = files.list().iter().filter(|path| is_named(path));
            named.map(|path| files.location(path)).collect()
        }
        None => place.locations()?,
    };
    if locations.is_empty() || !locations.iter().all(|location| is_named(location)) {
        return Ok(
            Err("its name does not end in .npz, .hdf5, .h5, .csv, .jsonl, .ndjson or .parquet".into()),
        );
    }
    match locations.iter().find(|location| is_table(location)) {
        None => Ok(Ok("files that end in .npz, .h5 or .hdf5 are logs of episodes".into())),
        Some(table) => of_table(table),
    }
}

fn is_named(location: &str) -> bool {
    EPISODES.contains(&extension(location)) || is_table(location) && extension(location) != "tsv"
}

fn is_table(location: &str) -> bool {
    rows::is_table(location) || is_parquet(location)
}

/// The reason for or against a table, by its columns: states and actions are those of steps or of episodes.
fn of_table(location: &str) -> Result<Result<String, String>, DataError> {
    if is_parquet(location) {
        let parquet::Columns { names: columns, footer, has_series } = parquet::columns(location)?;
        let has_episodes = || columns.iter().any(|name| is_episode_column(name)) || has_episode_rows(&footer);
        return Ok(match of_steps(&columns) {
            true if has_series => Err("its metadata names the fields that are series".into()),
            true if !has_episodes() => {
                Err(format!("no column has the numbers or the ends of episodes; {}", found(&columns)))
            }
            _ => of_columns(&columns),
        });
    }
    let mut start = vec![];
    let read = open_text(location)?.take(PROBED).read_to_end(&mut start);
    read.map_err(|e| DataError::io(location, "a table", e))?;
    let start = String::from_utf8_lossy(&start);
    let (line, whole) =
        start.trim_start().split_once('\n').map_or((&*start, false), |(line, _)| (line, true));
    if extension(location) == "csv" {
        let columns: Vec<String> =
            line.split(',').map(|name| name.trim().trim_matches('"').to_string()).collect();
        return Ok(
            of_columns(&columns).map_err(|_| no_steps(&rows::first_cells(location, start.trim_start())))
        );
    }
    let after = |key: &str| line.split_once(&format!("\"{key}\"")).map(|(_, value)| value);
    let is_series = |value: &str| value.trim_start_matches([':', ' ']).starts_with(['[', '{']);
    let observes = OBSERVATIONS.iter().chain(&["images"]).any(|key| after(key).is_some_and(is_series));
    // The line of a long episode may be read only in part.
    let acts = ACTIONS.iter().any(|key| after(key).is_some());
    Ok(match observes && (acts || !whole) {
        true => Ok("its lines have observations and actions".into()),
        false => Err("its first line has no observations and actions".into()),
    })
}

fn of_columns(columns: &[String]) -> Result<String, String> {
    match of_steps(columns) {
        true => Ok("it has columns of observations and actions".into()),
        false => Err(no_steps(columns)),
    }
}

fn no_steps(columns: &[String]) -> String {
    format!("it has no columns of observations and actions; {}", found(columns))
}

/// The names of the columns, each cut if it is long: a file may be no table.
fn found(columns: &[String]) -> String {
    let short: Vec<String> = columns.iter().map(|name| name.chars().take(40).collect()).collect();
    format!("found {}", listed(short, ", "))
}

fn of_steps(columns: &[String]) -> bool {
    let has = |words: &[&str]| {
        columns.iter().any(|name| words.contains(&name.split(['.', '/']).next().unwrap_or(name)))
    };
    has(&OBSERVATIONS) && has(&ACTIONS)
}

/// Whether a column numbers episodes or has their ends.
fn is_episode_column(column: &str) -> bool {
    let numbers = ["episode", "episode_id", "episode_index", "episode_starts"];
    let ends = ["done", "dones", "next.done", "terminal", "terminals", "terminated", "terminations"];
    let limits = ["timeouts", "truncated", "truncations"];
    [&numbers[..], &ends, &limits].iter().any(|names| names.contains(&column))
}
