//! Zip archives: their index, and members that are stored or packed by deflate.

use super::archive::{Index, Member};
use super::extent::Extent;
use crate::data::error::{DataError, contained};
use smalti_contract::memory;
use std::collections::BTreeMap;
use std::io::{BufReader, Read};
use std::sync::Arc;
use zip::read::{ZipArchiveMetadata, ZipFileEntry};
use zip::{CompressionMethod, ZipArchive, ZipReadOptions};

/// The most bytes that deflate packs in one byte.
const DEFLATE_RATIO: u64 = 1032;

/// A member of a zip archive.
#[derive(Debug, Clone)]
pub(super) struct Zipped {
    archive: Extent,
    directory: Arc<ZipArchiveMetadata>,
    number: usize,
}

/// Whether a location has the name of a zip archive. Others, such as `.npz`, are files of their own formats.
pub(super) fn is_zip(location: &str) -> bool {
    location.trim_end_matches('/').to_ascii_lowercase().ends_with(".zip")
}

/// Indexes a zip archive by its directory.
///
/// # Errors
/// [`DataError::Format`] if it is no zip archive, if a path occurs twice, and for a member that is encrypted, neither stored
/// nor deflated, or larger than deflate can pack or than [`memory::unpack_limit`] unpacked.
pub(super) fn index(location: &str, archive: &Extent) -> Result<Index, DataError> {
    let fail = |problem: String| DataError::format(location, "a zip archive", problem);
    if archive.len() == 0 {
        return Err(DataError::Empty { location: location.to_string(), expected: "a zip archive" });
    }
    let zip = ZipArchive::new(BufReader::new(archive.reader())).map_err(|e| fail(e.to_string()))?;
    if zip.has_duplicate_names() {
        return Err(fail("two members have the same name".into()));
    }
    let directory = zip.metadata();
    let mut index = Index { members: BTreeMap::new(), skipped: Vec::new() };
    for number in 0..directory.len() {
        let entry = directory.entry(number).map_err(|e| fail(e.to_string()))?;
        // Some programs for Windows write backslashes.
        let path = entry.name().map_err(|e| fail(e.to_string()))?.replace('\\', "/");
        if path.ends_with('/') || entry.is_dir() {
            continue;
        }
        if entry.is_symlink() {
            index.skipped.push((path, "not a plain file but a link"));
            continue;
        }
        let path = contained(location, &path)?;
        check(&entry, archive.len()).map_err(|problem| fail(format!("the member {path} {problem}")))?;
        let member = Zipped { archive: archive.clone(), directory: directory.clone(), number };
        if index.members.insert(path.clone(), Member::Zipped(member)).is_some() {
            return Err(fail(format!("the member {path} occurs twice")));
        }
    }
    Ok(index)
}

/// Checks that a member can be read, and that its size is possible.
fn check(entry: &ZipFileEntry, archive: u64) -> Result<(), String> {
    if entry.encrypted() {
        return Err("is encrypted; unpack the archive with its password and name the folder".into());
    }
    let (packed, size) = (entry.compressed_size(), entry.size());
    if packed > archive {
        return Err(format!("takes {packed} bytes of {archive}: the archive is truncated or corrupt"));
    }
    match entry.compression() {
        CompressionMethod::Stored if packed == size => Ok(()),
        CompressionMethod::Deflated if size <= packed.saturating_mul(DEFLATE_RATIO) => memory::check(size)
            .map_err(|_| {
                format!("unpacks to {size} bytes: {}; or unpack the archive", memory::describe_limit())
            }),
        CompressionMethod::Stored | CompressionMethod::Deflated => {
            Err(format!("declares {size} bytes in {packed}, which is impossible: the archive is corrupt"))
        }
        other => Err(format!(
            "is packed by {other:?}; expected no compression or deflate; unpack the archive and name the folder"
        )),
    }
}

impl Zipped {
    /// The bytes of the member at this location: in the archive if it is stored, else unpacked in memory.
    pub fn open(&self, location: &str) -> Result<Extent, DataError> {
        let damaged = |problem: String| DataError::format(location, "a member of a zip archive", problem);
        let entry = self.directory.entry(self.number).map_err(|e| damaged(e.to_string()))?;
        let (method, size) = (entry.compression(), entry.size());
        let mut archive = BufReader::new(self.archive.reader());
        let mut file =
            entry.with_reader(&mut archive, ZipReadOptions::new()).map_err(|e| damaged(e.to_string()))?;
        if method == CompressionMethod::Stored {
            let bytes = file.data_start().and_then(|start| self.archive.slice(start, size));
            return bytes.ok_or_else(|| damaged(format!("truncated: its {size} bytes exceed the archive")));
        }
        let mut bytes = Vec::new();
        // A member that unpacks to more than it declares is corrupt.
        file.by_ref().take(size + 1).read_to_end(&mut bytes).map_err(|e| damaged(e.to_string()))?;
        if bytes.len() as u64 != size {
            return Err(damaged(format!("expected {size} bytes; found {}", bytes.len())));
        }
        Ok(Extent::unpacked(bytes.into(), self.stamp()))
    }

    /// Its number, and the stamp of the archive; `None` in memory.
    pub fn stamp(&self) -> Option<String> {
        Some(format!("member {} of {}", self.number, self.archive.stamp()?))
    }
}
