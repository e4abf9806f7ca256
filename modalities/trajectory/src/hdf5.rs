//! Episodes in HDF5, in D4RL's and in Minari's layouts.
//!
//! D4RL: the datasets `observations`, `actions`, `rewards`, `terminals` and `timeouts` have the steps of all episodes,
//! like the arrays of an [`npz`](crate::npz) archive; an episode begins after each end.
//!
//! Minari (`main_data.hdf5`): a group `episode_0`, `episode_1` … for each episode, with `observations`, `actions`,
//! `rewards`, `terminations` and `truncations`. Observations and actions in parts are groups of such datasets, which
//! are concatenated in the order of their names. The observation after the last action is dropped.
//!
//! Observations, or parts of them, of unsigned 8-bit integers with more than two axes are images, as in an archive; other
//! numbers with more than three axes, too.
//! Integers are discrete actions and floats continuous ones, as in the other formats. Data may be uncompressed or
//! compressed with gzip. References to other files (links, external and virtual datasets) are an error, because an
//! untrusted file must not read other files.
//!
//! The C library is not safe for untrusted files: [`read_in_subprocess`] reads them in a separate process, for which
//! `main` must begin with [`serve`].

mod process;

pub use process::{read_in_subprocess, serve};

use crate::table::{self, Column, Role, role};
use crate::{Episode, Images, TrajectoryError};
use ::hdf5_metno::dataset::Layout;
use ::hdf5_metno::types::{IntSize, TypeDescriptor};
use ::hdf5_metno::{Dataset, File, Group, LinkType};
use std::path::Path;

/// The maximal number of elements of a file: a constant, plus this number for each of its bytes. gzip compresses at
/// most by a factor of 1,000, and real states by far less.
const ELEMENTS: u64 = 1 << 24;
const ELEMENTS_PER_BYTE: u64 = 256;
/// The maximal nesting of an observation's parts.
const MAX_DEPTH: usize = 16;

/// Read the episodes of an HDF5 file in this process: only for trusted files.
///
/// # Errors
/// [`TrajectoryError`] if the library cannot read the file, a dataset is missing, of another type or shape, or too
/// large for the file's size, or its rows are not episodes.
pub fn read(path: &Path) -> Result<Vec<Episode>, TrajectoryError> {
    let size = std::fs::metadata(path).map_err(|e| TrajectoryError::Hdf5(e.to_string()))?.len();
    let file = File::open(path).map_err(|e| TrajectoryError::Hdf5(e.to_string()))?;
    let mut reader = Reader { left: ELEMENTS + ELEMENTS_PER_BYTE * size };
    let names = members(&file)?;
    let mut groups: Vec<(u64, &str)> = names
        .iter()
        .filter_map(|name| Some((name.strip_prefix("episode_")?.parse().ok()?, name.as_str())))
        .collect();
    if groups.is_empty() {
        let columns = reader.columns(&file, names)?;
        return table::episodes(columns);
    }
    groups.sort_unstable();
    groups.into_iter().enumerate().map(|(e, (_, name))| reader.minari(&file, name, e)).collect()
}

/// The names in a group, sorted, without links to other files.
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
    /// The number of elements that the file may still have.
    left: u64,
}

impl Reader {
    /// Read the datasets of a group that are columns of steps, by their names.
    fn columns(&mut self, group: &Group, names: Vec<String>) -> Result<Vec<Column>, TrajectoryError> {
        let mut columns = vec![];
        for name in names {
            match role(&name) {
                Role::Unknown | Role::Ignored | Role::Index => {
                    columns.push(Column { name, ..Column::default() })
                }
                _ => self.read_columns(group, &name, &name, &mut columns, 0)?,
            }
        }
        Ok(columns)
    }

    /// Read the dataset with this name, or those of the group with this name.
    fn read_columns(
        &mut self,
        group: &Group,
        name: &str,
        path: &str,
        columns: &mut Vec<Column>,
        depth: usize,
    ) -> Result<(), TrajectoryError> {
        let invalid = |problem: String| TrajectoryError::Hdf5(format!("{path}: {problem}"));
        if let Ok(dataset) = group.dataset(name) {
            columns.push(self.column(&dataset, path).map_err(invalid)?);
            return Ok(());
        }
        if depth >= MAX_DEPTH {
            return Err(invalid("groups are nested too deeply; expected at most 16 levels".into()));
        }
        let inner = group.group(name).map_err(|_| invalid("expected a dataset or a group".into()))?;
        for name in members(&inner)? {
            self.read_columns(&inner, &name, &format!("{path}/{name}"), columns, depth + 1)?;
        }
        Ok(())
    }

    fn column(&mut self, dataset: &Dataset, path: &str) -> Result<Column, String> {
        let shape = dataset.shape();
        let [rows, axes @ ..] = &shape[..] else {
            return Err("expected one value for each step; found a single value".into());
        };
        let numbers = shape.iter().try_fold(1_u64, |product, &size| product.checked_mul(size as u64));
        let left = numbers.and_then(|numbers| self.left.checked_sub(numbers));
        self.left =
            left.ok_or_else(|| format!("the shape {shape:?} is too large for a file of this size"))?;
        let plist = dataset.create_plist().map_err(|e| e.to_string())?;
        let inside = matches!(plist.layout(), Layout::Compact | Layout::Contiguous | Layout::Chunked);
        if !inside || !plist.external().is_empty() {
            return Err("its elements are in other files, which are not read".into());
        }
        let message = |e: hdf5_metno::Error| e.to_string();
        let kind = dataset.dtype().and_then(|kind| kind.to_descriptor()).map_err(message)?;
        if axes.len() > 1 && kind == TypeDescriptor::Unsigned(IntSize::U1) {
            let images = Images::of_array(&shape, dataset.read_raw::<u8>().map_err(message)?)?;
            return Ok(Column::of_images(path.to_string(), images));
        }
        let (values, whole) = match kind {
            TypeDescriptor::Boolean => {
                // Read as integers, because a corrupt file may have values other than 0 and 1.
                (dataset.read_raw::<i8>().map_err(message)?.into_iter().map(f64::from).collect(), true)
            }
            TypeDescriptor::Integer(_) => {
                (dataset.read_raw::<i64>().map_err(message)?.into_iter().map(|id| id as f64).collect(), true)
            }
            TypeDescriptor::Unsigned(_) => {
                (dataset.read_raw::<u64>().map_err(message)?.into_iter().map(|id| id as f64).collect(), true)
            }
            TypeDescriptor::Float(_) => (dataset.read_raw::<f64>().map_err(message)?, false),
            other => return Err(format!("expected numbers; found {other}")),
        };
        if axes.len() > 2 {
            return Ok(Column::of_images(path.to_string(), Images::of_numbers(&shape, &values, whole)?));
        }
        let dim = axes.iter().product::<usize>();
        if dim == 0 || *rows == 0 {
            return Err(format!("the shape {shape:?} has no elements"));
        }
        Ok(Column { name: path.to_string(), dim, values, whole, ..Column::default() })
    }

    /// Read episode `e`, which has its own group.
    fn minari(&mut self, file: &File, name: &str, e: usize) -> Result<Episode, TrajectoryError> {
        let group = file.group(name).map_err(|error| TrajectoryError::Hdf5(format!("{name}: {error}")))?;
        let columns = self.columns(&group, members(&group)?).map_err(|error| error.in_episode(e))?;
        table::episode(columns, None).map_err(|error| error.in_episode(e))
    }
}
