//! The file or folder at a location: on disk, in an archive, inside the binary or on another machine.

use super::extent::Extent;
#[cfg(feature = "remote")]
use super::is_archive;
use super::{Files, is_hub};
#[cfg(feature = "remote")]
use super::{hub, remote};
use crate::data::error::DataError;
use crate::data::shipped;
use std::borrow::Cow;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

/// The prefix of locations inside the binary.
const BUILTIN: &str = "builtin:";

/// The file or folder at a location.
pub(super) enum Place {
    File(Extent),
    Tree(Files),
}

/// Whether a location lies on another machine.
pub(crate) fn is_remote(location: &str) -> bool {
    ["s3://", "gs://", "http://", "https://"].iter().any(|scheme| location.starts_with(scheme))
}

/// Finds the file or folder at a location; `expected` describes it in errors.
pub(super) fn locate(location: &str, expected: &str) -> Result<Place, DataError> {
    if let Some(rest) = location.strip_prefix(BUILTIN) {
        let files =
            shipped::files().iter().map(|(path, bytes)| (path.to_string(), Cow::Borrowed(bytes.as_slice())));
        return Files::from_memory(BUILTIN, files.collect()).enter(rest, expected);
    }
    if is_remote(location) || is_hub(location) {
        return locate_remote(location, expected);
    }
    let path = match location.trim_end_matches('/') {
        "" => Path::new(location),
        trimmed => Path::new(trimmed),
    };
    // The longest part of the path that exists is on disk; the rest is a path inside it.
    for on_disk in path.ancestors() {
        let metadata = match fs::metadata(on_disk) {
            Ok(metadata) => metadata,
            Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => continue,
            Err(e) => return Err(DataError::io(location, expected, e)),
        };
        if metadata.is_dir() {
            if on_disk == path {
                return Files::folder(location).map(Place::Tree);
            }
            break;
        }
        if !metadata.is_file() {
            return Err(DataError::layout(location, "neither a file nor a folder"));
        }
        let file = Extent::open(on_disk).map_err(|e| DataError::io(location, expected, e))?;
        let Some(rest) = path.strip_prefix(on_disk).ok().and_then(Path::to_str) else { break };
        if rest.is_empty() {
            return Ok(Place::File(file));
        }
        return Files::archive(&on_disk.display().to_string(), &file)?.enter(rest, expected);
    }
    Err(DataError::Missing { location: location.to_string(), expected: expected.to_string() })
}

#[cfg(not(feature = "remote"))]
fn locate_remote(location: &str, _: &str) -> Result<Place, DataError> {
    Err(without_remote(location))
}

/// The error of a build that reads no files of other machines.
#[cfg(not(feature = "remote"))]
pub(super) fn without_remote(location: &str) -> DataError {
    DataError::layout(location, "this build cannot read remote files; build with the feature `remote`")
}

/// A file or folder on the Hub, an object, a member of an archive that is an object, or all objects below a prefix.
#[cfg(feature = "remote")]
fn locate_remote(location: &str, expected: &str) -> Result<Place, DataError> {
    if is_hub(location) {
        return hub::locate(location, expected);
    }
    if !location.ends_with('/')
        && let Some(file) = remote::open(location)?
    {
        return Ok(Place::File(file));
    }
    let location = location.trim_end_matches('/');
    for (at, _) in location.match_indices('/') {
        let (archive, inside) = location.split_at(at);
        if is_archive(archive)
            && let Some(file) = remote::open(archive)?
        {
            return Files::archive(archive, &file)?.enter(inside.trim_start_matches('/'), expected);
        }
    }
    let members = remote::list(location)?;
    if !members.is_empty() {
        let members = members.into_iter().map(|(path, file)| (path, file.into())).collect();
        return Ok(Place::Tree(Files::members(location, members)));
    }
    let hint = match location.starts_with("http") && expected.contains("folder") {
        true => " (a folder cannot be listed over HTTP: name shards as {000..127}.tar, or a manifest)",
        false => "",
    };
    Err(DataError::Missing { location: location.to_string(), expected: format!("{expected}{hint}") })
}
