//! Episodes in NumPy's `.npz` archives, in the layouts of imitation-learning data sets and of D4RL.
//!
//! | array | shape | content |
//! | --- | --- | --- |
//! | `obs` or `observations` | `[n, state_dim]` | observations of all episodes, concatenated |
//! | the same, `uint8` | `[n, height, width]`, `[n, height, width, 1 or 3]` or channels first | images |
//! | the same, `uint8` | `[n, frames, …]`, or more channels | stacked frames, which are placed side by side |
//! | the same, other numbers | 4 or more axes, as above | images, from 0 to 1 or whole numbers from 0 to 255 |
//! | `actions` | `[n, dim]` or `[n]` | integers: discrete, several for `dim` above 1; floats: continuous |
//! | `rewards` | `[n]` | rewards |
//! | `episode_starts` | `[n]` | 1 at the first step of each episode, otherwise 0 |
//! | `terminals` or `terminations` | `[n]` | optional: 1 if the environment ended the episode, otherwise 0 |
//! | `timeouts` or `truncations` | `[n]` | optional: 1 if a time limit ended the episode, otherwise 0 |
//!
//! Observations may have one more for each episode, after its last action, which is dropped. Without `episode_starts`, an
//! episode begins after each end, and there must be an array of ends. States and actions
//! in parts are arrays such as `obs.position` and `actions.gripper`, which are concatenated in the order of their
//! names; images stay separate. Numbers may be bool, integers or floats of any size and byte order; `[n, 1]` is the
//! same as `[n]`. `act`, `acts`, `action`, `rew` and `reward` are names of actions and rewards, too; `done` or `dones` is 1 at
//! any end. Other arrays are ignored, but images under another name are an error.

#[cfg(test)]
mod tests;

use crate::table::{self, Column, Role, role};
use crate::{Episode, Images, TrajectoryError};
use smalti_contract::memory;
use smalti_npy::{Array, Npz};

/// Read the episodes of an npz archive.
///
/// # Errors
/// [`TrajectoryError`], which names the array, if one is missing, unreadable or not as
/// long as the observations; if a discrete action is negative; if the first step does not start an episode or an
/// episode ends before its last step; if a number is not finite; if the arrays unpack to
/// more than [`memory::unpack_limit`], where a number counts as the 8 bytes that it takes while it is read.
pub fn read(bytes: &[u8]) -> Result<Vec<Episode>, TrajectoryError> {
    let mut archive = Npz::new(bytes).map_err(TrajectoryError::Npz)?;
    let names = archive.names();
    let mut left = memory::unpack_limit();
    let columns = names.into_iter().map(|name| match role(&name) {
        Role::Unknown => {
            // Unknown arrays of numbers are ignored, but unknown images are probably meant as observations.
            if archive.holds_images(&name) {
                let problem = format!(
                    "array {name:?} has images; rename it to \"obs.{name}\" to use them as observations"
                );
                return Err(TrajectoryError::Npz(problem));
            }
            Ok(Column { name, ..Column::default() })
        }
        Role::Ignored | Role::Index => Ok(Column { name, ..Column::default() }),
        _ => column(&mut archive, name, &mut left),
    });
    table::episodes(columns.collect::<Result<_, _>>()?)
}

/// Read an array within the bytes that are left.
fn column(archive: &mut Npz, name: String, left: &mut u64) -> Result<Column, TrajectoryError> {
    let unreadable = |problem: String| TrajectoryError::Npz(format!("array {name:?}: {problem}"));
    let array = archive.array(&name, *left).map_err(|problem| match problem.contains(" exceeds ") {
        true => unreadable(format!("{problem}: {}", memory::describe_limit())),
        false => unreadable(problem),
    })?;
    // Pixels stay bytes; other numbers become `f64`.
    let numbers: u64 = array.shape().iter().map(|&side| side as u64).product();
    let bytes = if array.is_bytes() && array.shape().len() > 2 { numbers } else { 8 * numbers };
    *left = left.checked_sub(bytes).ok_or_else(|| {
        let problem = format!("its {numbers} numbers take {bytes} bytes: {}", memory::describe_limit());
        unreadable(problem)
    })?;
    let dim = match *array.shape() {
        [_] => 1,
        [_, columns] if columns > 0 => columns,
        ref shape if shape.len() >= if array.is_bytes() { 3 } else { 4 } => {
            return Ok(Column::of_images(name.clone(), images(array).map_err(unreadable)?));
        }
        ref shape => {
            return Err(unreadable(format!(
                "shape must be (rows,) or (rows, columns), or of images: 3 or more axes of uint8, or (rows, height, \
                 width, channels); found {shape:?}"
            )));
        }
    };
    let (values, whole) = (array.values().collect(), array.is_integer());
    Ok(Column { dim, values, whole, name, ..Column::default() })
}

/// Images of an array of pixels.
fn images(array: Array) -> Result<Images, String> {
    if array.is_fortran_order() {
        return Err(
            "images must be in row-major order (numpy.ascontiguousarray); found column-major order".into()
        );
    }
    let shape = array.shape().to_vec();
    match array.is_bytes() {
        true => Images::of_array(&shape, array.into_data()),
        false => Images::of_numbers(&shape, &array.values().collect::<Vec<_>>(), array.is_integer()),
    }
}
