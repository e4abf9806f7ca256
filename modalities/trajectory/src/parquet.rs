//! Episodes in Parquet: one row for each step, as in LeRobot's layout, or one row for each episode.
//!
//! | column | type | content |
//! | --- | --- | --- |
//! | `observation.state` and other `observation.NAME` | number, or list of constant length | the state, in the columns' order |
//! | `observation.NAME` | `{bytes, path}`, or bytes | images, such as PNG, or their paths in the data set |
//! | `action`, or `action.NAME` for several | the same | integers: discrete; floats: continuous |
//! | `next.reward` (also `reward`) | a number | optional: the rewards |
//! | `episode_index` (also `episode`) | integer | the same at each step of an episode |
//! | `frame_index` | integer | optional: the step in the episode, from 0 |
//! | `terminated`, `truncated` | bool or 0 and 1 | optional: termination, and a time limit |
//! | `next.done` | bool | any end; used only if no other column gives the episode boundaries |
//!
//! If each row is an episode, these columns are lists with a value for each step, and `observations` may have one more:
//! `observations`, `actions`, `rewards`, `terminations`, `truncations` (Minari), or `continuous_observations`,
//! `discrete_actions` and the like (JAT).
//!
//! `timestamp`, `index`, `task_index`, `next.success` and `infos` are ignored. Other columns, such as texts, are not read and
//! are listed in [`Read::skipped`]. Files may be uncompressed or compressed with Snappy or Zstandard.

mod images;
mod leaf;
mod nested;
mod pages;

use crate::table::{self, Column, INDEX, Role, role};
use crate::{Read, TrajectoryError};
use ::parquet::basic::Type;
use ::parquet::column::reader::ColumnReader;
use ::parquet::file::reader::{FileReader, SerializedFileReader};
use ::parquet::schema::types::ColumnDescriptor;
use bytes::Bytes;
use images::{Field, ImageColumn};
use leaf::Leaf;
use nested::{Episodes, Ragged};
use pages::Budget;
use std::any::Any;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Read the episodes of a Parquet file.
///
/// # Errors
/// [`TrajectoryError`] if the file is corrupt or needs too much memory for its size, a column is missing, has gaps or
/// rows of different lengths, or rows are not episodes.
pub fn read(bytes: &[u8]) -> Result<Read, TrajectoryError> {
    read_named(bytes, &BTreeMap::new())
}

/// Read the episodes of a Parquet file, with names for the elements of some columns.
pub(crate) fn read_named(
    bytes: &[u8],
    names: &BTreeMap<String, Vec<String>>,
) -> Result<Read, TrajectoryError> {
    // One of 20,000 damaged files made the decoder slice out of range (parquet 60.1, numbers whose bytes are split over
    // streams), deep inside a page; a check would have to decode the page. No state outlives the call.
    let content = catch_unwind(AssertUnwindSafe(|| content(bytes, names)));
    let content = content.unwrap_or_else(|panic| Err(message(&*panic))).map_err(TrajectoryError::Parquet)?;
    let columns = match content.episodes {
        Some(episodes) => episodes.columns()?,
        None => content.columns,
    };
    let episodes = table::episodes(columns)?;
    Ok(Read { episodes, skipped: content.skipped })
}

/// Whether the rows of a Parquet file are episodes, by the types of its columns.
pub fn has_episode_rows(bytes: &[u8]) -> bool {
    let of_schema = || {
        let file = SerializedFileReader::new(Bytes::copy_from_slice(bytes)).ok()?;
        Some(nested::has_episode_rows(file.metadata().file_metadata().schema_descr()))
    };
    matches!(catch_unwind(AssertUnwindSafe(of_schema)), Ok(Some(true)))
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("no reason given");
    format!("corrupt: {text}")
}

/// The columns of a file, before they become episodes.
struct Content {
    /// Of steps.
    columns: Vec<Column>,
    /// Of episodes, if each row is one.
    episodes: Option<Episodes>,
    skipped: Vec<(String, &'static str)>,
}

fn content(bytes: &[u8], names: &BTreeMap<String, Vec<String>>) -> Result<Content, String> {
    let file = SerializedFileReader::new(Bytes::copy_from_slice(bytes)).map_err(|e| e.to_string())?;
    let schema = file.metadata().file_metadata().schema_descr_ptr();
    let mut episodes = nested::has_episode_rows(&schema).then(Episodes::default);
    let (mut columns, mut skipped) = (vec![], vec![]);
    let (mut budget, mut image_columns) = (Budget::of(bytes), vec![]);
    for (i, descriptor) in schema.columns().iter().enumerate() {
        let name = name(descriptor);
        let in_column = |e: String| format!("{name}: {e}");
        // For each row group, the column's reader and the number of rows.
        let chunks = |budget: &mut Budget| -> Result<Vec<(ColumnReader, usize)>, String> {
            let chunk = |group: usize| {
                let group = file.get_row_group(group).map_err(|e| e.to_string())?;
                budget.spend(bytes, group.metadata().column(i)).map_err(in_column)?;
                let rows = usize::try_from(group.metadata().num_rows()).unwrap_or(0);
                Ok((group.get_column_reader(i).map_err(|e| e.to_string())?, rows))
            };
            (0..file.num_row_groups()).map(chunk).collect()
        };
        let physical = descriptor.physical_type();
        let whole = matches!(physical, Type::INT32 | Type::INT64 | Type::BOOLEAN);
        match (role(&name), &mut episodes) {
            (Role::Ignored, _) => {}
            (Role::Index, _) => skipped.push((name, INDEX)),
            (Role::Unknown, _) => skipped.push((name, "unknown column")),
            (role, episodes) if !nested::is_number(descriptor) => {
                let image = Field::of(descriptor, &name).filter(|_| episodes.is_none());
                match image.filter(|_| matches!(role, Role::State(_))) {
                    Some((field, image)) => {
                        let images = ImageColumn::find_or_add(&mut image_columns, image);
                        for (reader, rows) in chunks(&mut budget)? {
                            images.read(field, reader, rows, &mut budget).map_err(in_column)?;
                        }
                    }
                    None => skipped.push((name, "text, dates and lists of images are not read")),
                }
            }
            (role, Some(episodes)) => {
                if descriptor.max_rep_level() == 0 && !matches!(role, Role::Terminated | Role::Truncated) {
                    skipped.push((name, "a value for each episode, not for each step"));
                    continue;
                }
                let mut ragged = Ragged::new(descriptor);
                for (reader, rows) in chunks(&mut budget)? {
                    ragged.read(reader, rows).map_err(in_column)?;
                }
                episodes.add(name, ragged, whole);
            }
            (_, None) => {
                let mut leaf = Leaf::new(descriptor);
                for (reader, rows) in chunks(&mut budget)? {
                    leaf.read(reader, rows).map_err(in_column)?;
                }
                let (dim, values) = (leaf.dim(), leaf.values);
                let elements =
                    names.get(&name).filter(|names| names.len() == dim).cloned().unwrap_or_default();
                columns.push(Column { dim, whole, elements, values, name, images: None });
            }
        }
    }
    let images = image_columns.into_iter().map(ImageColumn::column).collect::<Result<Vec<_>, _>>()?;
    columns.extend(images);
    Ok(Content { columns, episodes, skipped })
}

/// The name of a column: that of its root and of nested fields, without the groups of lists.
fn name(descriptor: &ColumnDescriptor) -> String {
    let parts = descriptor.path().parts();
    let fields =
        parts.iter().skip(1).filter(|part| !matches!(part.as_str(), "list" | "element" | "item" | "array"));
    parts.iter().take(1).chain(fields).map(String::as_str).collect::<Vec<_>>().join(".")
}
