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
//! `observations`, `actions`, `rewards`, `terminations`, `truncations`, or `continuous_observations`, `image_observations`,
//! `discrete_actions` and the like (JAT).
//!
//! Bytes in lists of lists are images `[height, width]`, with one more depth `[height, width, channels]`, as in an
//! [`npz`](crate::npz) archive; so are other numbers in lists of that depth, from 0 to 1 or whole numbers to 255.
//!
//! `timestamp`, `index`, `task_index`, `next.success` and `infos` are ignored. Other columns, such as texts, are not read and
//! are listed in [`Read::skipped`]. Files may be uncompressed or compressed with Snappy or Zstandard.

mod images;
mod leaf;
mod nested;
mod pages;

use crate::table::{self, Column, INDEX, Role, role};
use crate::{Read, TrajectoryError};
use ::parquet::column::reader::ColumnReader;
use ::parquet::file::reader::{FileReader, SerializedFileReader};
use ::parquet::schema::types::ColumnDescriptor;
use bytes::Bytes;
use images::{Field, ImageColumn};
use leaf::Leaf;
use nested::Episodes;
use pages::Budget;
use smalti_contract::caught;
use std::collections::BTreeMap;

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
    let content = content(bytes, names)?;
    let columns = match content.episodes {
        Some(episodes) => episodes.columns()?,
        None => content.columns,
    };
    let episodes = table::episodes(columns)?;
    Ok(Read { episodes, skipped: content.skipped })
}

/// Read the one episode of a file whose last row has an observation after the last action, and padding.
pub(crate) fn read_padded(bytes: &[u8]) -> Result<Read, TrajectoryError> {
    let Content { mut columns, skipped, .. } = content(bytes, &BTreeMap::new())?;
    for column in columns.iter_mut().filter(|column| !matches!(role(&column.name), Role::State(_))) {
        column.values.truncate(column.values.len().saturating_sub(column.dim));
    }
    Ok(Read { episodes: vec![table::episode(columns, None)?], skipped })
}

/// Whether the rows of a Parquet file are episodes, by the types of its columns.
pub fn has_episode_rows(bytes: &[u8]) -> bool {
    let of_schema = || {
        let metadata = smalti_parquet::metadata(smalti_parquet::footer(bytes).ok()?).ok()?;
        Some(nested::has_episode_rows(metadata.file_metadata().schema_descr()))
    };
    matches!(caught(of_schema), Ok(Some(true)))
}

/// The columns of a file, before they become episodes.
struct Content {
    /// Of steps.
    columns: Vec<Column>,
    /// Of episodes, if each row is one.
    episodes: Option<Episodes>,
    skipped: Vec<(String, &'static str)>,
}

fn content(bytes: &[u8], names: &BTreeMap<String, Vec<String>>) -> Result<Content, TrajectoryError> {
    // One of 20,000 damaged files made the decoder slice out of range (parquet 60.1, numbers whose bytes are split over
    // streams), deep inside a page; a check would have to decode the page. No state outlives the call.
    let content = caught(|| decoded(bytes, names));
    content.unwrap_or_else(|panic| Err(format!("corrupt: {panic}"))).map_err(TrajectoryError::Parquet)
}

fn decoded(bytes: &[u8], names: &BTreeMap<String, Vec<String>>) -> Result<Content, String> {
    smalti_parquet::metadata(smalti_parquet::footer(bytes)?)?;
    let file = SerializedFileReader::new(Bytes::copy_from_slice(bytes)).map_err(|e| e.to_string())?;
    let schema = file.metadata().file_metadata().schema_descr_ptr();
    let are_episodes = nested::has_episode_rows(&schema);
    let (mut columns, mut ends, mut skipped) = (vec![], vec![], vec![]);
    let (mut budget, mut image_columns) = (Budget::of(bytes), vec![]);
    for (i, descriptor) in schema.columns().iter().enumerate() {
        let name = name(descriptor);
        let in_column = |e: String| format!("{name}: {e}");
        let role = role(&name);
        let chunks = |budget: &mut Budget| chunks(&file, bytes, i, budget).map_err(in_column);
        match role {
            Role::Ignored => {}
            Role::Index => skipped.push((name, INDEX)),
            Role::Unknown => skipped.push((name, "unknown column")),
            role if !nested::is_number(descriptor) => {
                let image = Field::of(descriptor, &name, are_episodes);
                match image.filter(|_| matches!(role, Role::State(_))) {
                    Some((field, image)) => {
                        let images = ImageColumn::find_or_add(&mut image_columns, image);
                        for (reader, rows) in chunks(&mut budget)? {
                            images.read(field, descriptor, reader, rows, &mut budget).map_err(in_column)?;
                        }
                    }
                    None => skipped.push((name, "only numbers and an image for each step are read")),
                }
            }
            role => {
                let once = are_episodes && descriptor.max_rep_level() == 0;
                if once && !matches!(role, Role::Terminated | Role::Truncated) {
                    skipped.push((name, "a value for each episode, not for each step"));
                    continue;
                }
                let mut leaf = Leaf::new(descriptor, are_episodes);
                for (reader, rows) in chunks(&mut budget)? {
                    leaf.read(reader, rows).map_err(in_column)?;
                }
                let elements = names.get(&name).map_or(&[][..], Vec::as_slice);
                let column = leaf.column(name.clone(), elements).map_err(in_column)?;
                if once { ends.push(column.0) } else { columns.push(column) }
            }
        }
    }
    for images in image_columns {
        columns.push(images.column()?);
    }
    Ok(match are_episodes {
        true => Content { columns: vec![], episodes: Some(Episodes { columns, ends }), skipped },
        false => {
            let columns = columns.into_iter().map(|(column, _)| column).collect();
            Content { columns, episodes: None, skipped }
        }
    })
}

/// The readers of a column, one for each row group, with its number of rows.
fn chunks(
    file: &SerializedFileReader<Bytes>,
    bytes: &[u8],
    column: usize,
    budget: &mut Budget,
) -> Result<Vec<(ColumnReader, usize)>, String> {
    let chunk = |group: usize| {
        let group = file.get_row_group(group).map_err(|e| e.to_string())?;
        budget.spend(bytes, group.metadata().column(column))?;
        let rows = usize::try_from(group.metadata().num_rows()).unwrap_or(0);
        Ok((group.get_column_reader(column).map_err(|e| e.to_string())?, rows))
    };
    (0..file.num_row_groups()).map(chunk).collect()
}

/// The name of a column: that of its root and of nested fields, without the groups of lists.
fn name(descriptor: &ColumnDescriptor) -> String {
    let parts = descriptor.path().parts();
    let fields =
        parts.iter().skip(1).filter(|part| !matches!(part.as_str(), "list" | "element" | "item" | "array"));
    parts.iter().take(1).chain(fields).map(String::as_str).collect::<Vec<_>>().join(".")
}
