//! Episodes in NumPy's `.npz` archives, in the layout of imitation-learning data sets.
//!
//! | array | shape | holds |
//! | --- | --- | --- |
//! | `obs` | `[n, state_dim]` | observations of all episodes, one after the other |
//! | `actions` | `[n, dim]` or `[n]` | integers: discrete, one a step; floats: continuous |
//! | `rewards` | `[n]` | rewards |
//! | `episode_starts` | `[n]` | 1 at the first step of each episode, else 0 |
//! | `terminals` | `[n]` | 1 where the environment ended an episode, else 0; may be left out |
//!
//! Numbers may be bool, integers or floats of any size and byte order; `[n, 1]` stands for `[n]` and the
//! other way round. Other arrays are not looked at.

#[cfg(test)]
mod tests;

use crate::npy::Array;
use crate::{Actions, Episode, TrajectoryError};
use std::io::Cursor;
use zip::ZipArchive;

/// The most bytes that an array's elements may take, unpacked: 4 GiB.
pub const MOST_ARRAY_BYTES: u64 = 4 << 30;

/// True where bytes begin as a zip archive does, with a member or with the directory of none.
pub(crate) fn is_npz(bytes: &[u8]) -> bool {
    bytes.starts_with(b"PK\x03\x04") || bytes.starts_with(b"PK\x05\x06")
}

/// The episodes of an npz archive. Without an array `terminals`, no episode counts as terminated.
///
/// # Errors
/// [`TrajectoryError`] naming the array, and the step or the sizes: where one is missing, unreadable, larger
/// than [`MOST_ARRAY_BYTES`] or not as long as `obs`; where `actions` hold several integers a step or a
/// negative one; where the first step starts no episode or one terminates before its last step; where a
/// number is not finite.
pub fn read(bytes: &[u8]) -> Result<Vec<Episode>, TrajectoryError> {
    let mut archive = Archive::open(bytes)?;
    let obs = archive.array("obs", None)?;
    let steps = obs.rows;
    let actions = discrete_or_continuous(&archive.array("actions", Some(steps))?)?;
    let rewards = column("rewards", &archive.array("rewards", Some(steps))?)?;
    let starts = flags("episode_starts", &archive.array("episode_starts", Some(steps))?)?;
    let terminals = match archive.has("terminals") {
        true => flags("terminals", &archive.array("terminals", Some(steps))?)?,
        false => vec![false; steps],
    };
    let observations: Vec<f32> = obs.values().map(|value| value as f32).collect();

    check_flags(&starts, &terminals)?;
    let firsts: Vec<usize> = (0..steps).filter(|&step| starts[step]).collect();
    let ends = firsts.iter().skip(1).copied().chain([steps]);
    let episode = |(e, (start, end)): (usize, (usize, usize))| {
        let episode = Episode {
            observations: observations[start * obs.columns..end * obs.columns].to_vec(),
            state_dim: obs.columns,
            actions: actions.slice(start..end),
            rewards: rewards[start..end].to_vec(),
            terminated: terminals[end - 1],
        };
        episode.validate().map_err(|error| error.in_episode(e))?;
        Ok(episode)
    };
    firsts.iter().copied().zip(ends).enumerate().map(episode).collect()
}

struct Archive<'a>(ZipArchive<Cursor<&'a [u8]>>);

impl<'a> Archive<'a> {
    fn open(bytes: &'a [u8]) -> Result<Self, TrajectoryError> {
        let archive = ZipArchive::new(Cursor::new(bytes)).map_err(|e| TrajectoryError::Npz(e.to_string()))?;
        Ok(Self(archive))
    }

    fn has(&self, name: &str) -> bool {
        self.0.index_for_name(&format!("{name}.npy")).is_some()
    }

    /// The array of this name, with one row for each of `steps`.
    fn array(&mut self, name: &'static str, steps: Option<usize>) -> Result<Array, TrajectoryError> {
        if !self.has(name) {
            let found = self.0.file_names().flatten().map(|file| file.trim_end_matches(".npy").to_owned());
            let found = found.collect::<Vec<_>>().join(", ");
            return Err(TrajectoryError::MissingArray { array: name, found });
        }
        let unreadable = |problem: String| TrajectoryError::Npz(format!("array {name:?}: {problem}"));
        let file = self.0.by_name(&format!("{name}.npy")).map_err(|e| unreadable(e.to_string()))?;
        let array = Array::read(file, MOST_ARRAY_BYTES).map_err(unreadable)?;
        match steps {
            Some(steps) if array.rows != steps => Err(TrajectoryError::Shape {
                array: name,
                expected: format!("{steps} rows, as obs has"),
                found: array.rows.to_string(),
            }),
            _ => Ok(array),
        }
    }
}

fn discrete_or_continuous(array: &Array) -> Result<Actions, TrajectoryError> {
    if !array.is_integer() {
        let values = array.values().map(|value| value as f32).collect();
        return Ok(Actions::Continuous { values, dim: array.columns });
    }
    let id = |(step, value): (usize, f64)| match (0.0..=f64::from(u32::MAX)).contains(&value) {
        true => Ok(value as u32),
        false => {
            let expected = "a number from 0 to 4294967295";
            Err(TrajectoryError::Value { array: "actions", step, expected, found: value })
        }
    };
    one_column("actions", array)?;
    Ok(Actions::Discrete(array.values().enumerate().map(id).collect::<Result<_, _>>()?))
}

fn column(name: &'static str, array: &Array) -> Result<Vec<f32>, TrajectoryError> {
    one_column(name, array)?;
    Ok(array.values().map(|value| value as f32).collect())
}

fn flags(name: &'static str, array: &Array) -> Result<Vec<bool>, TrajectoryError> {
    one_column(name, array)?;
    let flag = |(step, value): (usize, f64)| match value {
        0.0 => Ok(false),
        1.0 => Ok(true),
        found => Err(TrajectoryError::Value { array: name, step, expected: "0 or 1", found }),
    };
    array.values().enumerate().map(flag).collect()
}

fn one_column(name: &'static str, array: &Array) -> Result<(), TrajectoryError> {
    if array.columns == 1 {
        return Ok(());
    }
    let (expected, found) = ("one number a step".into(), array.columns.to_string());
    Err(TrajectoryError::Shape { array: name, expected, found })
}

/// Episodes begin at the first step, and end only where the next begins.
fn check_flags(starts: &[bool], terminals: &[bool]) -> Result<(), TrajectoryError> {
    let value = |array, step, expected, found| {
        Err(TrajectoryError::Value { array, step, expected, found: f64::from(u8::from(found)) })
    };
    match starts.first() {
        None => return Err(TrajectoryError::Empty),
        Some(true) => {}
        Some(false) => return value("episode_starts", 0, "1 at the first step", false),
    }
    let goes_on = |&(&terminal, &next_starts): &(&bool, &bool)| terminal && !next_starts;
    match terminals.iter().zip(starts.iter().skip(1)).position(|pair| goes_on(&pair)) {
        None => Ok(()),
        Some(step) => value("terminals", step, "0 before an episode's last step", true),
    }
}
