//! Downloading one file and verifying its checksum.

use super::{Remote, Unpack, io_error};
use crate::data::error::DataError;
use crate::data::files::download;
use flate2::read::MultiGzDecoder;
use sha2::{Digest, Sha256};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::Path;

/// Bytes copied at a time.
const CHUNK: usize = 1 << 16;

/// Downloads a file to `path` and verifies it.
pub(super) fn fetch(
    remote: &Remote,
    mirror: Option<&str>,
    path: &Path,
    progress: &mut dyn FnMut(u64),
) -> Result<(), DataError> {
    let location = match mirror {
        Some(mirror) => format!("{}/{}", mirror.trim_end_matches('/'), remote.file_name()),
        None => remote.url.clone(),
    };
    let packed = if is_address(&location) { download(&location)? } else { open(&location)? };
    let reader: Box<dyn Read> = match remote.unpack {
        // No gzip of `size` bytes is longer; the limit ends an endless one that yields nothing.
        Unpack::Gzip => Box::new(MultiGzDecoder::new(packed.take(remote.size + remote.size / 100 + 4096))),
        Unpack::None | Unpack::TarGz => packed,
    };
    // One byte too many is enough to detect another file.
    let (count, sha256) = copy(&location, &mut reader.take(remote.size + 1), path, progress)?;
    let mismatch = |what, expected: String, found: String| {
        Err(DataError::Checksum { location: location.clone(), what, expected, found })
    };
    match remote.size {
        size if count > size => mismatch("size", size.to_string(), format!("more than {size}")),
        size if count < size => mismatch("size", size.to_string(), count.to_string()),
        _ if sha256 != remote.sha256 => mismatch("sha256", remote.sha256.clone(), sha256),
        _ => Ok(()),
    }
}

/// Copies `reader` to a new file; returns the number of bytes and their SHA-256.
fn copy(
    location: &str,
    reader: &mut dyn Read,
    path: &Path,
    progress: &mut dyn FnMut(u64),
) -> Result<(u64, String), DataError> {
    let mut file = File::create_new(path).map_err(|e| io_error(path, e))?;
    let (mut hasher, mut count, mut chunk) = (Sha256::new(), 0, vec![0; CHUNK]);
    loop {
        let n = match reader.read(&mut chunk) {
            Ok(0) => return Ok((count, format!("{:x}", hasher.finalize()))),
            Ok(n) => n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => {
                let problem = format!("broke off after {count} bytes: {e}");
                return Err(DataError::Download { location: location.to_string(), problem });
            }
        };
        let read = chunk.get(..n).unwrap_or_default();
        hasher.update(read);
        file.write_all(read).map_err(|e| io_error(path, e))?;
        count += n as u64;
        progress(count);
    }
}

fn is_address(location: &str) -> bool {
    location.starts_with("http://") || location.starts_with("https://")
}

fn open(location: &str) -> Result<Box<dyn Read>, DataError> {
    let file = File::open(location).map_err(|e| DataError::io(location, "a file of the recipe", e))?;
    let is_dir = file.metadata().is_ok_and(|metadata| metadata.is_dir());
    if is_dir { Err(DataError::IsFolder { location: location.to_string() }) } else { Ok(Box::new(file)) }
}

/// Moves a verified file to its path, atomically.
pub(super) fn place(from: &Path, to: &Path) -> Result<(), DataError> {
    if let Some(folder) = to.parent() {
        fs::create_dir_all(folder).map_err(|e| io_error(folder, e))?;
    }
    // A device or a link of this name is no earlier download.
    if fs::symlink_metadata(to).is_ok_and(|there| !there.is_file()) {
        let problem = "expected a regular file to replace, or none; found a folder, a link or a device";
        return Err(DataError::layout(&to.display().to_string(), problem));
    }
    fs::rename(from, to).map_err(|e| io_error(to, e))
}

/// Whether a file exists with this size and checksum.
pub(super) fn is_file(path: &Path, size: Option<u64>, sha256: &str) -> Result<bool, DataError> {
    match fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => {
            Err(DataError::IsFolder { location: path.display().to_string() })
        }
        Ok(metadata) if size.is_some_and(|size| size != metadata.len()) => Ok(false),
        Ok(_) => Ok(sha256_of(path)? == sha256),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(io_error(path, e)),
    }
}

/// The SHA-256 of a file, in lower-case hexadecimal.
pub(super) fn sha256_of(path: &Path) -> Result<String, DataError> {
    let mut hasher = Sha256::new();
    let mut file = File::open(path).map_err(|e| io_error(path, e))?;
    io::copy(&mut file, &mut hasher).map_err(|e| io_error(path, e))?;
    Ok(format!("{:x}", hasher.finalize()))
}
