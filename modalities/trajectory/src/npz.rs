//! Episodes in NumPy's `.npz` archives, in the layouts of imitation-learning data sets and of D4RL.
//!
//! | array | shape | holds |
//! | --- | --- | --- |
//! | `obs` or `observations` | `[n, state_dim]` | observations of all episodes, one after the other |
//! | the same, `uint8` | `[n, height, width]`, `[n, height, width, 1 or 3]` or channels first | images |
//! | `actions` | `[n, dim]` or `[n]` | integers: a choice, or with `dim` above 1 several; floats: continuous |
//! | `rewards` | `[n]` | rewards |
//! | `episode_starts` | `[n]` | 1 at the first step of each episode, else 0 |
//! | `terminals` or `terminations` | `[n]` | 1 where the environment ended an episode, else 0; may be left out |
//! | `timeouts` or `truncations` | `[n]` | 1 where a time limit cut it off, else 0; may be left out |
//!
//! Without `episode_starts` an episode begins behind each end, of which there must then be an array. States and actions
//! in parts are arrays such as `obs.position` and `actions.gripper`, which are put together in the order of their
//! names; images keep theirs. Numbers may be bool, integers or floats of any size and byte order; `[n, 1]` stands for `[n]` and the
//! other way round. Other arrays are not looked at; only images under another name are an error.

#[cfg(test)]
mod tests;

use crate::npy::{Array, holds_images};
use crate::table::{self, Column, Rewards, Role, role};
use crate::{Episode, TrajectoryError};
use std::io::Cursor;
use zip::ZipArchive;

/// The most bytes that an array's elements may take, unpacked: 4 GiB.
pub const MOST_ARRAY_BYTES: u64 = 4 << 30;

/// The episodes of an npz archive.
///
/// # Errors
/// [`TrajectoryError`] naming the array, and the step or the sizes: where one is missing, unreadable, larger
/// than [`MOST_ARRAY_BYTES`] or not as long as the observations; where a choice is negative; where the first step
/// starts no episode or one ends before its last step; where a number is not finite.
pub fn read(bytes: &[u8]) -> Result<Vec<Episode>, TrajectoryError> {
    let mut archive = ZipArchive::new(Cursor::new(bytes)).map_err(|e| TrajectoryError::Npz(e.to_string()))?;
    let mut names: Vec<String> = archive
        .file_names()
        .flatten()
        .filter_map(|file| Some(file.strip_suffix(".npy")?.to_string()))
        .collect();
    names.sort_unstable();
    let columns = names.into_iter().map(|name| match role(&name) {
        Role::Unknown => {
            // Numbers beside the known ones are for somebody else; images were meant to be seen.
            let unread = archive.by_name(&format!("{name}.npy"));
            if unread.is_ok_and(holds_images) {
                let problem =
                    format!("array {name:?} holds images; call it \"obs.{name}\" for them to be seen");
                return Err(TrajectoryError::Npz(problem));
            }
            Ok(Column { name, ..Column::default() })
        }
        Role::Aside => Ok(Column { name, ..Column::default() }),
        _ => column(&mut archive, name),
    });
    table::episodes(columns.collect::<Result<_, _>>()?, Rewards::Needed)
}

fn column(archive: &mut ZipArchive<Cursor<&[u8]>>, name: String) -> Result<Column, TrajectoryError> {
    let unreadable = |problem: String| TrajectoryError::Npz(format!("array {name:?}: {problem}"));
    let file = archive.by_name(&format!("{name}.npy")).map_err(|e| unreadable(e.to_string()))?;
    let array = Array::read(file, MOST_ARRAY_BYTES).map_err(unreadable)?;
    if array.is_images() {
        let images = array.images().map_err(unreadable)?;
        return Ok(Column::of_images(name, images));
    }
    Ok(Column {
        dim: array.columns,
        values: array.values().collect(),
        whole: array.is_integer(),
        name,
        ..Column::default()
    })
}
