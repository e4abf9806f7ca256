//! Detection of episodes by the names and first bytes of files.

use super::log::is_log;
use crate::data::{DataError, open_text};
use crate::table::parquet::{self, is_parquet};
use crate::table::place::extension;
use crate::table::{Place, rows};
use smalti_trajectory::lerobot::INFO;
use smalti_trajectory::parquet::has_episode_rows;
use std::io::Read;

/// Endings of files that always hold episodes.
const EPISODES: [&str; 3] = ["h5", "hdf5", "npz"];
/// Bytes of a text file that are searched for the fields of episodes.
const PROBED: u64 = 1 << 20;
/// Keys of observations and of actions; the last ones are JAT's.
const OBSERVATIONS: [&str; 3] = ["observations", "continuous_observations", "discrete_observations"];
const ACTIONS: [&str; 3] = ["actions", "continuous_actions", "discrete_actions"];

/// Whether a source holds episodes, by the names of its files or, for tables, by the columns of the first.
///
/// # Errors
/// [`DataError`] for files that cannot be read.
pub(super) fn holds_episodes(place: &Place) -> Result<bool, DataError> {
    let locations: Vec<String> = match place.files()? {
        Some(files) if files.contains(INFO) => return Ok(true),
        Some(files) if !is_log(&files) => return Ok(false),
        Some(files) => {
            let named = files.list().iter().filter(|path| is_named(path));
            named.map(|path| files.location(path)).collect()
        }
        None => place.locations()?,
    };
    if locations.is_empty() || !locations.iter().all(|location| is_named(location)) {
        return Ok(false);
    }
    match locations.iter().find(|location| is_table(location)) {
        None => Ok(true),
        Some(table) => has_steps(table),
    }
}

fn is_named(location: &str) -> bool {
    EPISODES.contains(&extension(location)) || is_table(location) && extension(location) != "tsv"
}

fn is_table(location: &str) -> bool {
    rows::is_table(location) || is_parquet(location)
}

/// Whether a table has columns of states and actions.
fn has_steps(location: &str) -> Result<bool, DataError> {
    if is_parquet(location) {
        let (columns, footer) = parquet::columns(location)?;
        let has_episodes = || columns.iter().any(|name| is_episode_column(name)) || has_episode_rows(&footer);
        return Ok(of_steps(&columns) && has_episodes());
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
        return Ok(of_steps(&columns));
    }
    let has = |keys: &[&str]| keys.iter().any(|key| line.contains(&format!("\"{key}\"")));
    // The line of a long episode may be read only in part.
    Ok((has(&OBSERVATIONS) || has(&["images"])) && (has(&ACTIONS) || !whole))
}

fn of_steps(columns: &[String]) -> bool {
    let has = |words: &[&str]| {
        columns.iter().any(|name| words.contains(&name.split(['.', '/']).next().unwrap_or(name)))
    };
    (has(&OBSERVATIONS) || has(&["obs", "observation"])) && (has(&ACTIONS) || has(&["action"]))
}

/// Whether a column numbers episodes or has their ends.
fn is_episode_column(column: &str) -> bool {
    let numbers = ["episode", "episode_id", "episode_index", "episode_starts"];
    let ends = ["done", "dones", "next.done", "terminals", "terminated", "terminations"];
    let limits = ["timeouts", "truncated", "truncations"];
    [&numbers[..], &ends, &limits].iter().any(|names| names.contains(&column))
}
