//! Members of archives, and the index of a tar archive.

use super::extent::Extent;
use super::zip::Zipped;
use crate::data::error::{DataError, contained};
use std::collections::BTreeMap;
use std::io;

/// A file of an archive.
#[derive(Debug, Clone)]
pub(super) enum Member {
    /// Bytes that are not packed.
    Plain(Extent),
    /// A member of a zip archive.
    Zipped(Zipped),
}

impl Member {
    /// The bytes of the member at this location.
    pub fn open(&self, location: &str) -> Result<Extent, DataError> {
        match self {
            Member::Plain(extent) => Ok(extent.clone()),
            Member::Zipped(zipped) => zipped.open(location),
        }
    }

    /// Its range in the archive, and the size and time of change or version of the archive; `None` in memory.
    pub fn stamp(&self) -> Option<String> {
        match self {
            Member::Plain(extent) => extent.stamp(),
            Member::Zipped(zipped) => zipped.stamp(),
        }
    }
}

impl From<Extent> for Member {
    fn from(extent: Extent) -> Self {
        Member::Plain(extent)
    }
}

/// The index of an archive.
pub(super) struct Index {
    /// The files, by path.
    pub members: BTreeMap<String, Member>,
    /// Members that are not files, with the reason why they cannot be read.
    pub skipped: Vec<(String, &'static str)>,
}

/// Bytes of a header; the size of a member is rounded up to a multiple.
const BLOCK: u64 = 512;

/// Indexes a tar archive.
///
/// # Errors
/// [`DataError::Format`] if it is no tar archive, a member reaches past the end, the closing blocks of zeros are missing (it
/// is truncated between two members), or a path occurs twice.
pub(super) fn index(location: &str, archive: &Extent) -> Result<Index, DataError> {
    let fail = |problem: String| DataError::format(location, "a tar archive", problem);
    if archive.len() == 0 {
        return Err(DataError::Empty { location: location.to_string(), expected: "a tar archive" });
    }
    if let Some(other) =
        compressed(archive).map_err(|source| DataError::io(location, "a tar archive", source))?
    {
        return Err(fail(format!("it is compressed with {other}; unpack it first")));
    }
    let damaged = |error: io::Error| fail(error.to_string());
    let mut index = Index { members: BTreeMap::new(), skipped: Vec::new() };
    let mut end = 0;
    let mut tar = tar::Archive::new(archive.reader());
    for entry in tar.entries_with_seek().map_err(damaged)? {
        let entry = entry.map_err(damaged)?;
        let path = std::str::from_utf8(&entry.path_bytes())
            .map_err(|_| fail(format!("the member name {:?} is not UTF-8", entry.path())))?
            .to_string();
        let kind = entry.header().entry_type();
        // A sparse file takes fewer bytes here than its size, which may be anything.
        let size =
            if kind.is_gnu_sparse() { entry.header().entry_size().map_err(damaged)? } else { entry.size() };
        let offset = entry.raw_file_position();
        let member = archive.slice(offset, size).ok_or_else(|| {
            fail(format!("truncated: {path} takes {size} bytes from {offset} on, of {}", archive.len()))
        })?;
        end = offset + size.next_multiple_of(BLOCK);
        if kind.is_file() || kind.is_contiguous() {
            let path = contained(location, &path)?;
            if index.members.insert(path.clone(), member.into()).is_some() {
                return Err(fail(format!("the member {path} occurs twice")));
            }
        } else if !(kind.is_dir() || kind.is_pax_global_extensions()) {
            index.skipped.push((path, "not a plain file but a link, a device or sparse"));
        }
    }
    let mut closing = [1; BLOCK as usize];
    let read = archive.read_at(&mut closing, end).map_err(damaged)?;
    if read < closing.len() {
        return Err(fail(format!(
            "truncated: no closing block of zeros at {end}, of {} bytes",
            archive.len()
        )));
    }
    Ok(index)
}

/// Whether a file is no tar archive: it is not empty, does not begin with the header of a member and is not compressed.
pub(super) fn is_other(location: &str, file: &Extent) -> Result<bool, DataError> {
    let io_error = |source| DataError::io(location, "a tar archive", source);
    let mut block = [0; BLOCK as usize];
    let read = file.read_at(&mut block, 0).map_err(io_error)?;
    let header = tar::Header::from_byte_slice(&block);
    // The checksum of a header counts its own bytes as spaces.
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    let own: u32 = header.as_old().cksum.iter().map(|byte| u32::from(*byte)).sum();
    let member =
        read == block.len() && header.cksum().is_ok_and(|stored| stored == sum - own + 8 * u32::from(b' '));
    let closing = read == block.len() && sum == 0;
    Ok(read > 0 && !member && !closing && compressed(file).map_err(io_error)?.is_none())
}

/// The compression of a file, by its first bytes.
fn compressed(archive: &Extent) -> io::Result<Option<&'static str>> {
    let mut magic = [0; 6];
    let read = archive.read_at(&mut magic, 0)?;
    Ok(match magic.get(..read).unwrap_or_default() {
        [0x1f, 0x8b, ..] => Some("gzip"),
        [b'B', b'Z', b'h', ..] => Some("bzip2"),
        [0xfd, b'7', b'z', b'X', b'Z', 0] => Some("xz"),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Some("zstd"),
        _ => None,
    })
}
