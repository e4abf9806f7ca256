//! Episodes in Parquet: a column for each thing that a step has, as LeRobot lays them out.
//!
//! | column | type | holds |
//! | --- | --- | --- |
//! | `observation.state` and other `observation.NAME` | a number or a list of as many throughout | the state, in the columns' order |
//! | `observation.NAME` | `{bytes, path}`, or bytes | images, such as PNG, or where they lie in the data set |
//! | `action`, or `action.NAME` for several | the same | integers: choices; floats: continuous |
//! | `next.reward` (also `reward`) | a number | rewards; without it every step earns 0, as in demonstrations |
//! | `episode_index` (also `episode`) | integer | the same at each step of an episode |
//! | `frame_index` | integer | may be left out: counts each episode from 0 |
//! | `terminated`, `truncated` | bool or 0 and 1 | may be left out: a true end, and a time limit |
//! | `next.done` | bool | an end of whatever sort, asked only where nothing else tells where episodes begin |
//!
//! `timestamp`, `index`, `task_index` and `next.success` are known and not used. What else there is, such as texts,
//! is not read and listed in [`Read::skipped`]. Compressed with Snappy or Zstandard, or not at all.

mod leaf;
mod pages;
mod shots;

use crate::table::{self, Column, Rewards, Role, role};
use crate::{Episode, TrajectoryError};
use ::parquet::basic::Type;
use ::parquet::column::reader::ColumnReader;
use ::parquet::file::reader::{FileReader, SerializedFileReader};
use ::parquet::schema::types::ColumnDescriptor;
use bytes::Bytes;
use leaf::Leaf;
use pages::Budget;
use shots::{Field, Shots};
use std::any::Any;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// What was read of a file, and what was not.
#[derive(Clone, Debug, PartialEq)]
pub struct Read {
    /// The episodes.
    pub episodes: Vec<Episode>,
    /// Columns that were not read, and why.
    pub skipped: Vec<(String, &'static str)>,
}

/// The episodes of a Parquet file.
///
/// # Errors
/// [`TrajectoryError`] where the file is damaged or asks for more memory than files of its size do, a column is
/// missing, has gaps or rows of different lengths, or rows are not episodes.
pub fn read(bytes: &[u8]) -> Result<Read, TrajectoryError> {
    read_named(bytes, &BTreeMap::new())
}

/// The same, the numbers of some columns having names.
pub(crate) fn read_named(
    bytes: &[u8],
    names: &BTreeMap<String, Vec<String>>,
) -> Result<Read, TrajectoryError> {
    // Of 20,000 damaged files one made the decoder slice out of range (parquet 60.1, numbers whose bytes are split over
    // streams), deep inside a page: to foresee it would be to decode the page here. Nothing outlives the call.
    let columns = catch_unwind(AssertUnwindSafe(|| columns(bytes, names)));
    let (columns, skipped) =
        columns.unwrap_or_else(|panic| Err(message(&*panic))).map_err(TrajectoryError::Parquet)?;
    let episodes = table::episodes(columns, Rewards::ZeroWhereMissing)?;
    Ok(Read { episodes, skipped })
}

fn message(panic: &(dyn Any + Send)) -> String {
    let said = panic.downcast_ref::<String>().map(String::as_str);
    let said = said.or(panic.downcast_ref::<&str>().copied()).unwrap_or("no reason given");
    format!("damaged: {said}")
}

type Columns = (Vec<Column>, Vec<(String, &'static str)>);

fn columns(bytes: &[u8], names: &BTreeMap<String, Vec<String>>) -> Result<Columns, String> {
    let file = SerializedFileReader::new(Bytes::copy_from_slice(bytes)).map_err(|e| e.to_string())?;
    let schema = file.metadata().file_metadata().schema_descr_ptr();
    let (mut columns, mut skipped) = (vec![], vec![]);
    let (mut budget, mut shots) = (Budget::of(bytes), vec![]);
    for (i, descriptor) in schema.columns().iter().enumerate() {
        let name = name(descriptor);
        let in_column = |e: String| format!("{name}: {e}");
        // Each row group's part of the column, and its rows.
        let chunks = |budget: &mut Budget| -> Result<Vec<(ColumnReader, usize)>, String> {
            let chunk = |group: usize| {
                let group = file.get_row_group(group).map_err(|e| e.to_string())?;
                budget.spend(bytes, group.metadata().column(i)).map_err(in_column)?;
                let rows = usize::try_from(group.metadata().num_rows()).unwrap_or(0);
                Ok((group.get_column_reader(i).map_err(|e| e.to_string())?, rows))
            };
            (0..file.num_row_groups()).map(chunk).collect()
        };
        match (role(&name), descriptor.physical_type()) {
            (Role::Aside, _) => {}
            (Role::Unknown, _) => skipped.push((name, "a column that steps are not known to have")),
            (role, Type::BYTE_ARRAY | Type::FIXED_LEN_BYTE_ARRAY | Type::INT96) => {
                match Field::of(descriptor, &name).filter(|_| matches!(role, Role::State(_))) {
                    Some((field, image)) => {
                        let shots = Shots::among(&mut shots, image);
                        for (reader, rows) in chunks(&mut budget)? {
                            shots.read(field, reader, rows, &mut budget).map_err(in_column)?;
                        }
                    }
                    None => skipped.push((name, "text, dates and lists of images are not read")),
                }
            }
            (_, physical) => {
                let mut leaf = Leaf::new(descriptor);
                for (reader, rows) in chunks(&mut budget)? {
                    leaf.read(reader, rows).map_err(in_column)?;
                }
                let whole = matches!(physical, Type::INT32 | Type::INT64 | Type::BOOLEAN);
                let elements = names.get(&name).filter(|names| names.len() == leaf.dim());
                columns.push(Column {
                    dim: leaf.dim(),
                    whole,
                    elements: elements.cloned().unwrap_or_default(),
                    values: leaf.values,
                    name,
                    images: None,
                });
            }
        }
    }
    let images = shots.into_iter().map(Shots::column).collect::<Result<Vec<_>, _>>()?;
    columns.extend(images);
    Ok((columns, skipped))
}

/// The name of a column: that of its root, and of fields within. The groups that make a list are no names.
fn name(descriptor: &ColumnDescriptor) -> String {
    let parts = descriptor.path().parts();
    let fields =
        parts.iter().skip(1).filter(|part| !matches!(part.as_str(), "list" | "element" | "item" | "array"));
    parts.iter().take(1).chain(fields).map(String::as_str).collect::<Vec<_>>().join(".")
}
