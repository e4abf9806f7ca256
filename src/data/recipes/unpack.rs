//! Unpacking a verified `.tar.gz`, and checking later that its members are unchanged.
//!
//! A list of the members is written beside them in the format of `sha256sum`. Its first line is the archive's checksum.

use super::fetch::{is_file, place, sha256_of};
use super::{Remote, io_error};
use crate::data::error::{DataError, contained};
use flate2::read::GzDecoder;
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::Path;

const HEADER: &str = "# members of ";

/// Unpacks `archive` into `folder`, by way of the new folder `temporary`.
pub(super) fn unpack(
    remote: &Remote,
    archive: &Path,
    temporary: &Path,
    folder: &Path,
) -> Result<(), DataError> {
    let name = remote.file_name();
    let damaged = |problem: String| DataError::format(name, "a tar archive", problem);
    let mut list = format!("{HEADER}{}\n", remote.sha256);
    let mut members = Vec::new();
    let file = File::open(archive).map_err(|e| io_error(archive, e))?;
    let mut tar = tar::Archive::new(GzDecoder::new(file));
    for entry in tar.entries().map_err(|e| damaged(e.to_string()))? {
        let mut entry = entry.map_err(|e| damaged(e.to_string()))?;
        let kind = entry.header().entry_type();
        if kind.is_dir() || kind.is_pax_global_extensions() {
            continue;
        }
        let path = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        if !kind.is_file() {
            return Err(damaged(format!("{path} is a link or a device; expected plain files")));
        }
        let path = contained(name, &path)?;
        let (_top, path) = path.split_once('/').ok_or_else(|| damaged(format!("{path} is in no folder")))?;
        let to = temporary.join(path);
        write(&mut entry, &to).map_err(|e| io_error(&to, e))?;
        list.push_str(&format!("{}  {path}\n", sha256_of(&to)?));
        members.push(path.to_string());
    }
    for member in &members {
        place(&temporary.join(member), &folder.join(member))?;
    }
    // The list comes last: it proves that all members are there.
    let listed = archive.with_extension("list");
    fs::write(&listed, list).map_err(|e| io_error(&listed, e))?;
    place(&listed, &remote.destination(folder))
}

fn write(from: &mut impl io::Read, to: &Path) -> io::Result<()> {
    if let Some(folder) = to.parent() {
        fs::create_dir_all(folder)?;
    }
    // Fails for a second member of the same name.
    io::copy(from, &mut File::create_new(to)?)?;
    Ok(())
}

/// Whether the members that a list names exist unchanged.
pub(super) fn is_present(list: &Path, archive_sha256: &str) -> Result<bool, DataError> {
    let text = match fs::read_to_string(list) {
        Ok(text) => text,
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::InvalidData) => return Ok(false),
        Err(e) => return Err(io_error(list, e)),
    };
    let (Some(folder), Some((header, members))) = (list.parent(), text.split_once('\n')) else {
        return Ok(false);
    };
    if header.strip_prefix(HEADER) != Some(archive_sha256) {
        return Ok(false);
    }
    for line in members.lines() {
        let Some((sha256, path)) = line.split_once("  ") else { return Ok(false) };
        if !is_file(&folder.join(path), None, sha256)? {
            return Ok(false);
        }
    }
    Ok(true)
}
