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

use crate::episode::check_alike;
use crate::npy::{self, Array};
use crate::{Actions, Episode, TrajectoryError};
use std::io::{Cursor, Write};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, DateTime, ZipArchive, ZipWriter};

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

/// The bytes of an npz archive that [`read`] reads, and NumPy too: `obs`, `rewards` and continuous `actions`
/// of 32-bit floats, discrete `actions` of 64-bit integers, `episode_starts` and `terminals` of bool. The
/// same episodes give the same bytes.
///
/// # Errors
/// [`TrajectoryError`] where there is no episode, one is invalid, or they are not alike.
pub fn write(episodes: &[Episode]) -> Result<Vec<u8>, TrajectoryError> {
    let first = check_alike(episodes)?;
    let steps: usize = episodes.iter().map(Episode::len).sum();
    let floats = |of: fn(&Episode) -> &[f32]| {
        episodes.iter().flat_map(move |episode| of(episode).iter().flat_map(|value| value.to_le_bytes()))
    };
    let flags = |of: fn(&Episode, usize) -> bool| {
        episodes.iter().flat_map(move |episode| (0..episode.len()).map(move |t| u8::from(of(episode, t))))
    };
    let one_axis = format!("({steps},)");
    let obs = npy::write("<f4", &format!("({steps}, {})", first.state_dim), floats(|e| &e.observations));
    let actions = match &first.actions {
        Actions::Discrete(_) => {
            let wide = |&id: &u32| i64::from(id).to_le_bytes();
            let ids = episodes.iter().flat_map(|e| discrete(&e.actions).iter().flat_map(wide));
            npy::write("<i8", &format!("({steps}, 1)"), ids)
        }
        Actions::Continuous { dim, .. } => {
            npy::write("<f4", &format!("({steps}, {dim})"), floats(|e| continuous(&e.actions)))
        }
    };
    archive(&[
        ("obs", obs),
        ("actions", actions),
        ("rewards", npy::write("<f4", &one_axis, floats(|e| &e.rewards))),
        ("episode_starts", npy::write("|b1", &one_axis, flags(|_, t| t == 0))),
        ("terminals", npy::write("|b1", &one_axis, flags(|e, t| e.terminated && t + 1 == e.len()))),
    ])
    .map_err(|e| TrajectoryError::Npz(e.to_string()))
}

/// A zip archive of arrays. Time, permissions and compression are fixed so that its bytes are, too.
fn archive(arrays: &[(&str, Vec<u8>)]) -> zip::result::ZipResult<Vec<u8>> {
    let options = SimpleFileOptions::default()
        .compression_method(CompressionMethod::Deflated)
        .compression_level(Some(6))
        .last_modified_time(DateTime::default())
        .unix_permissions(0o644)
        .system(zip::System::Unix);
    let mut writer = ZipWriter::new(Cursor::new(vec![]));
    for (name, array) in arrays {
        writer.start_file(format!("{name}.npy"), options.large_file(array.len() as u64 > u32::MAX.into()))?;
        writer.write_all(array)?;
    }
    Ok(writer.finish()?.into_inner())
}

fn discrete(actions: &Actions) -> &[u32] {
    match actions {
        Actions::Discrete(ids) => ids,
        Actions::Continuous { .. } => &[],
    }
}

fn continuous(actions: &Actions) -> &[f32] {
    match actions {
        Actions::Discrete(_) => &[],
        Actions::Continuous { values, .. } => values,
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Three steps in two episodes.
    fn arrays() -> Vec<(&'static str, Vec<u8>)> {
        let floats = |values: &[f32]| values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>();
        vec![
            ("obs", npy::write("<f4", "(3, 2)", floats(&[0.0, 0.5, 1.0, 1.5, 2.0, 2.5]))),
            ("actions", npy::write("|u1", "(3,)", vec![0, 2, 1])),
            (
                "rewards",
                npy::write("<f8", "(3, 1)", [1.0_f64, 2.0, 3.0].iter().flat_map(|v| v.to_le_bytes())),
            ),
            ("episode_starts", npy::write("<f4", "(3,)", floats(&[1.0, 0.0, 1.0]))),
        ]
    }

    /// The arrays with one replaced or added.
    fn with(name: &'static str, array: Vec<u8>) -> Vec<(&'static str, Vec<u8>)> {
        let mut arrays = arrays();
        arrays.retain(|&(other, _)| other != name);
        arrays.push((name, array));
        arrays
    }

    fn error(arrays: &[(&str, Vec<u8>)]) -> String {
        read(&archive(arrays).unwrap()).unwrap_err().to_string()
    }

    #[test]
    fn mixed_types_are_read() {
        let terminals = with("terminals", npy::write("|b1", "(3,)", vec![0, 1, 0]));
        let episodes = read(&archive(&terminals).unwrap()).unwrap();
        assert_eq!(
            episodes[0],
            Episode {
                observations: vec![0.0, 0.5, 1.0, 1.5],
                state_dim: 2,
                actions: Actions::Discrete(vec![0, 2]),
                rewards: vec![1.0, 2.0],
                terminated: true,
            }
        );
        assert_eq!((episodes.len(), episodes[1].terminated), (2, false));
    }

    #[test]
    fn what_is_missing_is_named() {
        let mut arrays = arrays();
        arrays.pop();
        assert_eq!(error(&arrays), "npz: array \"episode_starts\" is missing; found: obs, actions, rewards");
    }

    #[test]
    fn ragged_and_senseless_arrays_are_named() {
        let zeros = |descr: &str, shape: &str, bytes| npy::write(descr, shape, vec![0; bytes]);
        assert_eq!(
            error(&with("actions", zeros("|i1", "(4,)", 4))),
            "actions must have 3 rows, as obs has; found 4"
        );
        assert_eq!(
            error(&with("actions", zeros("|i1", "(3, 2)", 6))),
            "actions must have one number a step; found 2"
        );
        assert_eq!(
            error(&with("actions", npy::write("|i1", "(3,)", vec![0, 0xFF, 0]))),
            "actions at step 1 is -1; it must be a number from 0 to 4294967295"
        );
        assert_eq!(
            error(&with("episode_starts", zeros("|b1", "(3,)", 3))),
            "episode_starts at step 0 is 0; it must be 1 at the first step"
        );
        assert_eq!(
            error(&with("terminals", npy::write("|b1", "(3,)", vec![1, 0, 0]))),
            "terminals at step 0 is 1; it must be 0 before an episode's last step"
        );
        let nan = [0.0, 1.0, f32::NAN].iter().flat_map(|v| v.to_le_bytes());
        assert_eq!(
            error(&with("rewards", npy::write("<f4", "(3,)", nan.collect::<Vec<_>>()))),
            "episode 1: rewards at step 0 is NaN; it must be finite"
        );
        assert_eq!(error(&[("obs", zeros("<f4", "(0, 2)", 0))]), {
            "npz: array \"actions\" is missing; found: obs"
        });
    }

    #[test]
    fn a_declared_size_is_not_allocated() {
        let bomb = with("obs", npy::write("<f8", "(1000000000000, 1000)", vec![]));
        assert_eq!(
            error(&bomb),
            "npz: array \"obs\": shape (1000000000000, 1000) of 8-byte numbers exceeds 4294967296 bytes"
        );
        // Within the limit, and yet far more than there is.
        let short = with("obs", npy::write("<f4", "(1000000, 1000)", vec![0; 64]));
        assert!(error(&short).ends_with("takes 4000000000 bytes; found 64"));
    }

    #[test]
    fn bytes_are_those_of_the_episodes_alone() {
        let episodes = read(&archive(&arrays()).unwrap()).unwrap();
        let bytes = write(&episodes).unwrap();
        assert_eq!(write(&episodes).unwrap(), bytes);
        assert_eq!(read(&bytes).unwrap(), episodes);
        assert!(is_npz(&bytes));
        assert_eq!(write(&[]), Err(TrajectoryError::Empty));
    }
}
