//! The folder or file that a conversion writes.

use super::{ConvertError, Format, Options, ShardSize};
use crate::train::checkpoint::write_atomically;
use crate::train::{self, SaveError};
use indexmap::IndexSet;
use std::path::Path;

/// Whether `dest` is a single Parquet file and not a folder.
///
/// # Errors
/// [`ConvertError`] for a name that does not fit the format, and for a size of shards that there are none of.
pub(super) fn is_single(dest: &Path, options: &Options) -> Result<bool, ConvertError> {
    let ends_in = |ending: &str| dest.extension().is_some_and(|extension| extension == ending);
    let refuse = |problem: &str| Err(ConvertError::destination(dest, problem));
    match options.format {
        Format::Webdataset if ends_in("tar") => {
            refuse("expected a folder, which takes all shards; leave out .tar")
        }
        Format::Webdataset if ends_in("parquet") => {
            refuse("the format is webdataset; name a folder, or choose the format parquet")
        }
        Format::Parquet if !ends_in("parquet") => Ok(false),
        Format::Webdataset => Ok(false),
        Format::Parquet if dest.is_dir() => {
            refuse("expected a file; found a folder; name a folder without .parquet")
        }
        Format::Parquet => match options.shard_size {
            ShardSize::Rows(_) => {
                refuse("a single file has no shards; name a folder, or leave out the rows per shard")
            }
            ShardSize::Bytes(_) => Ok(true),
        },
    }
}

/// Fails if there is anything but a folder.
pub(super) fn check_folder(dest: &Path) -> Result<(), ConvertError> {
    match train::check_folder(dest) {
        Err(SaveError::NotReplaced { found, .. }) => Err(ConvertError::destination(
            dest,
            format!("expected a folder, or a file name that ends in .parquet; found {found}"),
        )),
        checked => Ok(checked?),
    }
}

/// The name of a file.
pub(super) fn name(file: &Path) -> String {
    file.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// The folder of a file.
pub(super) fn folder(file: &Path) -> &Path {
    file.parent().unwrap_or(Path::new(""))
}

/// Creates a folder and those above it.
pub(super) fn create(folder: &Path) -> Result<(), ConvertError> {
    match folder.as_os_str().is_empty() {
        true => Ok(()),
        false => std::fs::create_dir_all(folder).map_err(|e| ConvertError::destination(folder, e)),
    }
}

/// The folder of Parquet files, in the folder of a conversion.
pub(super) const DATA: &str = "data";
/// The file of class names, which readers of WebDataset find beside the shards.
pub(super) const CLASSES: &str = "classes.txt";

/// Writes the names of the classes, one per line.
pub(super) fn write_classes(folder: &Path, names: &IndexSet<String>) -> Result<(), ConvertError> {
    let lines: String = names.iter().map(|name| format!("{name}\n")).collect();
    Ok(write_atomically(&folder.join(CLASSES), lines.as_bytes())?)
}
