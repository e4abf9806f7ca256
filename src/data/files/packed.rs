//! Files in gzip whose bytes are read in any order: unpacked once, into memory or into a temporary file.

use super::extent::Extent;
use super::gzip;
use crate::data::error::DataError;
use std::io::{Read, Write};
use tempfile::{SpooledData, SpooledTempFile};

/// The most unpacked bytes in memory; more are in an unnamed temporary file, which the system deletes when it is closed.
const IN_MEMORY: usize = 64 << 20;

/// The unpacked bytes of a file in gzip; any other file as it is.
///
/// # Errors
/// [`DataError::Format`] for corrupt gzip and for too many bytes from a small file; [`DataError::Io`] if there is no space for them.
pub(super) fn unpacked(location: &str, file: &Extent) -> Result<Extent, DataError> {
    let mut magic = [0; 2];
    let read = file.read_at(&mut magic, 0).map_err(|e| DataError::io(location, "a file", e))?;
    if magic[..read] != [0x1f, 0x8b] {
        return Ok(file.clone());
    }
    let damaged = |problem: String| DataError::format(location, "gzip", problem);
    let unwritable = |source| DataError::Io { location: format!("{location}, unpacked"), source };
    let mut unpacked = gzip::stream(file);
    let mut bytes = SpooledTempFile::new(IN_MEMORY);
    let (mut buffer, mut len) = (vec![0; 1 << 16], 0);
    loop {
        let n = unpacked.read(&mut buffer).map_err(|e| damaged(format!("{e}, after {len} bytes")))?;
        if n == 0 {
            break;
        }
        len += n as u64;
        bytes.write_all(buffer.get(..n).unwrap_or_default()).map_err(unwritable)?;
    }
    match bytes.into_inner() {
        SpooledData::InMemory(bytes) => Ok(Extent::memory(bytes.into_inner().into())),
        SpooledData::OnDisk(file_on_disk) => {
            Extent::temporary(file_on_disk, file.stamp()).map_err(unwritable)
        }
    }
}
