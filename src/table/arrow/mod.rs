//! Arrow streams, as `save_to_disk` of Hugging Face's `datasets` writes them: folders with `state.json`,
//! `dataset_info.json` and `data-00000-of-00001.arrow`, and a folder for each split beside `dataset_dict.json`. The values are
//! those of the layout `parquet`. A value is read with its record batch.

mod stream;
#[cfg(test)]
mod tests;

use super::columnar::{Columnar, ShardFile};
use super::place::{extension, file_name};
use super::{Place, Table};
use crate::data::{DataError, Files};
use rayon::prelude::*;
use serde_json::Value as Json;
use std::sync::Arc;
use stream::ArrowShard;

/// The layout's name.
pub const NAME: &str = "arrow";
/// The list of the files of a data set.
const STATE: &str = "state.json";
/// The description of a data set.
const INFO: &str = "dataset_info.json";

/// Opens a file, the files of a pattern, or a folder that `save_to_disk` wrote. Several files have the field `split` by their
/// names and folders, unless they already have one.
///
/// # Errors
/// [`DataError`] for files that cannot be read or have no row, and for a field with values of different types.
pub fn open(place: &Place) -> Result<Option<Arc<dyn Table>>, DataError> {
    let tree = place.files()?;
    let files: Vec<(ShardFile, Json)> = match &tree {
        Some(files) => of_tree(files)?,
        None => {
            let locations = place.locations()?;
            locations.iter().map(|location| (ShardFile::at(location), Json::Null)).collect()
        }
    };
    let other = files.iter().map(|(file, _)| file.location()).find(|location| extension(location) != "arrow");
    let reason = match (&tree, other) {
        (Some(_), _) if files.is_empty() => Some(format!("no {STATE} in it lists files named .arrow")),
        (_, Some(other)) => Some(format!("{} is not named .arrow", file_name(&other))),
        _ => None,
    };
    match reason {
        Some(reason) if place.is_requested(NAME) => {
            let problem =
                format!("{reason}; expected Arrow streams, as save_to_disk of datasets writes them");
            return Err(DataError::layout(&place.path, problem));
        }
        Some(reason) => return place.decline(reason),
        None => {}
    }
    place.refuse_columns(NAME)?;
    place.because(match tree {
        Some(_) => format!("{STATE} in it lists {} files named .arrow", files.len()),
        None => "it is named .arrow".into(),
    });
    let splits = tree.is_some() || place.is_pattern();
    let open = |(file, described): (ShardFile, Json)| {
        Ok((file.clone(), Box::new(ArrowShard::open(file, described)?) as _))
    };
    let shards = files.into_par_iter().map(open).collect::<Result<_, DataError>>()?;
    let table = Columnar::new(&place.path, "Arrow", shards, splits)?;
    Ok(Some(Arc::new(table.allow_outside(place.allow_outside))))
}

/// The files that each `state.json` of a folder lists, with their description; in a folder of such files only, all of them.
/// Others beside them are caches of `datasets`.
fn of_tree(files: &Arc<Files>) -> Result<Vec<(ShardFile, Json)>, DataError> {
    let all = || files.list().iter();
    let mut found = vec![];
    for state in all().filter(|path| file_name(path) == STATE) {
        let folder = &state[..state.len() - STATE.len()];
        let listed = json(files, state)?;
        let names = listed["_data_files"].as_array().into_iter().flatten();
        let names: Vec<&str> = names.filter_map(|file| file["filename"].as_str()).collect();
        let info = format!("{folder}{INFO}");
        let info = if files.contains(&info) { json(files, &info)? } else { Json::Null };
        for name in names {
            let path = format!("{folder}{name}");
            if !files.contains(&path) {
                let expected = format!("a file that {} lists", files.location(state));
                return Err(DataError::Missing { location: files.location(&path), expected });
            }
            found.push((ShardFile::new(files, &path), info["features"].clone()));
        }
    }
    if found.is_empty() && all().all(|path| ["arrow", "json", "md", "txt"].contains(&extension(path))) {
        let arrow = all().filter(|path| extension(path) == "arrow");
        found.extend(arrow.map(|path| (ShardFile::new(files, path), Json::Null)));
    }
    Ok(found)
}

fn json(files: &Files, path: &str) -> Result<Json, DataError> {
    serde_json::from_slice(&files.read(path)?)
        .map_err(|e| DataError::format(&files.location(path), "JSON", e.to_string()))
}
