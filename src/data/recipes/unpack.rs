//! Unpacking a verified `.tar.gz`, and knowing later that its members are still there.
//!
//! Beside the members lies a list of them in the form of `sha256sum`, which can check it too. Its first line
//! names the archive's own checksum.

use super::fetch::{is_file, place, sha256_of};
use super::{Remote, refused};
use crate::data::error::{DataError, contained};
use flate2::read::GzDecoder;
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::Path;

const HEADER: &str = "# members of ";

/// Unpacks `archive` by way of the empty folder `workshop` into `folder`.
pub(super) fn unpack(
    remote: &Remote,
    archive: &Path,
    workshop: &Path,
    folder: &Path,
) -> Result<(), DataError> {
    let name = remote.file_name();
    let damaged = |problem: String| DataError::format(name, "a tar archive", problem);
    let mut list = format!("{HEADER}{}\n", remote.sha256);
    let mut members = Vec::new();
    let file = File::open(archive).map_err(|e| refused(archive, e))?;
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
        let to = workshop.join(path);
        write(&mut entry, &to).map_err(|e| refused(&to, e))?;
        list.push_str(&format!("{}  {path}\n", sha256_of(&to)?));
        members.push(path.to_string());
    }
    for member in &members {
        place(&workshop.join(member), &folder.join(member))?;
    }
    // The list comes last: where it lies, everything lies.
    let listed = archive.with_extension("list");
    fs::write(&listed, list).map_err(|e| refused(&listed, e))?;
    place(&listed, &remote.destination(folder))
}

fn write(from: &mut impl io::Read, to: &Path) -> io::Result<()> {
    if let Some(folder) = to.parent() {
        fs::create_dir_all(folder)?;
    }
    // A second member of the same name is refused here.
    io::copy(from, &mut File::create_new(to)?)?;
    Ok(())
}

/// Whether the members that a list names are there and unchanged.
pub(super) fn is_present(list: &Path, archive_sha256: &str) -> Result<bool, DataError> {
    let text = match fs::read_to_string(list) {
        Ok(text) => text,
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::InvalidData) => return Ok(false),
        Err(e) => return Err(refused(list, e)),
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
