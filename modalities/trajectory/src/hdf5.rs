//! Episodes in HDF5, in D4RL's and in Minari's layouts.
//!
//! D4RL: the datasets `observations`, `actions`, `rewards`, `terminals` and `timeouts` hold the steps of all episodes,
//! as the arrays of an [`npz`](crate::npz) archive do; an episode begins behind each end.
//!
//! Minari (`main_data.hdf5`): a group `episode_0`, `episode_1` … for each episode, with `observations`, `actions`,
//! `rewards`, `terminations` and `truncations`. Observations and actions in parts are groups of such datasets, which are
//! put together in the order of their names. The observation behind the last action is left out.
//!
//! Observations, or parts of them, of 8 bits without a sign and more axes than two are images, as in an archive. Integers
//! are choices and floats continuous actions, as in the other formats. Uncompressed or with gzip. What lies in
//! other files (links, external and virtual datasets) is refused: a file of data must not name files of its reader's.
//!
//! The C library underneath is no match for hostile files: [`read_apart`] has a process of its own read them, which
//! wants [`serve`] to be called first in `main`.

mod process;

pub use process::{read_apart, serve};

use crate::table::{self, Column, Rewards, Role, role};
use crate::{Episode, Images, TrajectoryError};
use ::hdf5_metno::dataset::Layout;
use ::hdf5_metno::types::{IntSize, TypeDescriptor};
use ::hdf5_metno::{Dataset, File, Group, LinkType};
use std::path::Path;

/// Numbers that any file may hold, and that it may for each of its bytes: gzip packs at most a thousand into one, and
/// not those of states.
const NUMBERS: u64 = 1 << 24;
const NUMBERS_OF_BYTE: u64 = 256;
/// How deep the parts of an observation may nest.
const DEEPEST: usize = 16;

/// The episodes of an HDF5 file, read in this process: for files that are trusted.
///
/// # Errors
/// [`TrajectoryError`] where the library refuses the file, a dataset is missing, of another type or shape, larger than
/// files of its size are, or its rows are not episodes.
pub fn read(path: &Path) -> Result<Vec<Episode>, TrajectoryError> {
    let size = std::fs::metadata(path).map_err(|e| TrajectoryError::Hdf5(e.to_string()))?.len();
    let file = File::open(path).map_err(|e| TrajectoryError::Hdf5(e.to_string()))?;
    let mut reader = Reader { left: NUMBERS + NUMBERS_OF_BYTE * size };
    let names = members(&file)?;
    let mut groups: Vec<(u64, &str)> = names
        .iter()
        .filter_map(|name| Some((name.strip_prefix("episode_")?.parse().ok()?, name.as_str())))
        .collect();
    if groups.is_empty() {
        let columns = reader.columns(&file, names)?;
        return table::episodes(columns, Rewards::Needed);
    }
    groups.sort_unstable();
    groups.into_iter().enumerate().map(|(e, (_, name))| reader.minari(&file, name, e)).collect()
}

/// The names in a group, sorted, without those that lead to other files.
fn members(group: &Group) -> Result<Vec<String>, TrajectoryError> {
    let mut names = vec![];
    let visited = group.iter_visit_default(|name, link| {
        if link.link_type == LinkType::Hard {
            names.push(name.to_string());
        }
        Ok(())
    });
    visited.map_err(|e| TrajectoryError::Hdf5(e.to_string()))?;
    names.sort_unstable();
    Ok(names)
}

struct Reader {
    /// Numbers that the file may still hold.
    left: u64,
}

impl Reader {
    /// The datasets of a group that steps have, by their names.
    fn columns(&mut self, group: &Group, names: Vec<String>) -> Result<Vec<Column>, TrajectoryError> {
        let mut columns = vec![];
        for name in names {
            match role(&name) {
                Role::Unknown | Role::Aside => columns.push(Column { name, ..Column::default() }),
                _ => self.below(group, &name, &name, &mut columns, 0)?,
            }
        }
        Ok(columns)
    }

    /// The dataset of this name, or those of the group of this name.
    fn below(
        &mut self,
        group: &Group,
        name: &str,
        path: &str,
        columns: &mut Vec<Column>,
        depth: usize,
    ) -> Result<(), TrajectoryError> {
        let refuse = |problem: String| TrajectoryError::Hdf5(format!("{path}: {problem}"));
        if let Ok(dataset) = group.dataset(name) {
            columns.push(self.column(&dataset, path).map_err(refuse)?);
            return Ok(());
        }
        if depth >= DEEPEST {
            return Err(refuse("groups nest deeper than observations do".into()));
        }
        let inner = group.group(name).map_err(|_| refuse("neither a dataset nor a group".into()))?;
        for name in members(&inner)? {
            self.below(&inner, &name, &format!("{path}/{name}"), columns, depth + 1)?;
        }
        Ok(())
    }

    fn column(&mut self, dataset: &Dataset, path: &str) -> Result<Column, String> {
        let shape = dataset.shape();
        let [rows, axes @ ..] = &shape[..] else {
            return Err("a single value; expected one for each step".into());
        };
        let numbers = shape.iter().try_fold(1_u64, |product, &size| product.checked_mul(size as u64));
        let left = numbers.and_then(|numbers| self.left.checked_sub(numbers));
        self.left =
            left.ok_or_else(|| format!("a shape of {shape:?}: more than a file of this size holds"))?;
        let plist = dataset.create_plist().map_err(|e| e.to_string())?;
        let inside = matches!(plist.layout(), Layout::Compact | Layout::Contiguous | Layout::Chunked);
        if !inside || !plist.external().is_empty() {
            return Err("its numbers lie in other files".into());
        }
        let said = |e: hdf5_metno::Error| e.to_string();
        let kind = dataset.dtype().and_then(|kind| kind.to_descriptor()).map_err(said)?;
        if axes.len() > 1 && kind == TypeDescriptor::Unsigned(IntSize::U1) {
            let images = Images::of_array(&shape, dataset.read_raw::<u8>().map_err(said)?)?;
            return Ok(Column::of_images(path.to_string(), images));
        }
        if axes.len() > 2 {
            return Err(format!("{} axes of {kind}; images are of 8 bits (uint8)", shape.len()));
        }
        let (values, whole) = match kind {
            TypeDescriptor::Boolean => {
                // As numbers: a damaged file may hold others than those that are truth values.
                (dataset.read_raw::<i8>().map_err(said)?.into_iter().map(f64::from).collect(), true)
            }
            TypeDescriptor::Integer(_) => {
                (dataset.read_raw::<i64>().map_err(said)?.into_iter().map(|id| id as f64).collect(), true)
            }
            TypeDescriptor::Unsigned(_) => {
                (dataset.read_raw::<u64>().map_err(said)?.into_iter().map(|id| id as f64).collect(), true)
            }
            TypeDescriptor::Float(_) => (dataset.read_raw::<f64>().map_err(said)?, false),
            other => return Err(format!("holds {other}; expected numbers")),
        };
        let dim = axes.iter().product::<usize>();
        if dim == 0 || *rows == 0 {
            return Err(format!("a shape of {shape:?} holds nothing"));
        }
        Ok(Column { name: path.to_string(), dim, values, whole, ..Column::default() })
    }

    /// An episode in a group of its own, the `e`-th.
    fn minari(&mut self, file: &File, name: &str, e: usize) -> Result<Episode, TrajectoryError> {
        let group = file.group(name).map_err(|error| TrajectoryError::Hdf5(format!("{name}: {error}")))?;
        let mut columns = self.columns(&group, members(&group)?).map_err(|error| error.in_episode(e))?;
        let steps = columns.iter().find(|column| role(&column.name) == Role::Reward).map_or(0, Column::rows);
        for column in &mut columns {
            if matches!(role(&column.name), Role::State(_)) && column.rows() == steps + 1 {
                column.values.truncate(steps * column.dim);
                column.images = column.images.take().map(|images| images.slice(0..steps));
            }
        }
        table::episode(columns, None).map_err(|error| error.in_episode(e))
    }
}
