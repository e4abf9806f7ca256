//! The checksum of a file.

use crate::train::SaveError;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::fs::File;
use std::io;
use std::path::Path;

/// The size and the CRC-32 of a file (that of zip, gzip and zlib): it finds every damage within 32 bits, and any other but for
/// one in four thousand million. It is no defence against a forger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Checksum {
    /// The CRC-32, eight hexadecimal digits.
    pub crc32: String,
    /// The size of the file.
    pub bytes: u64,
}

impl Checksum {
    pub(crate) fn of_bytes(bytes: &[u8]) -> Self {
        Self { crc32: digits(crc32fast::hash(bytes)), bytes: bytes.len() as u64 }
    }

    /// Of all bytes that went into a hasher.
    pub(crate) fn of_hasher(hasher: crc32fast::Hasher, bytes: u64) -> Self {
        Self { crc32: digits(hasher.finalize()), bytes }
    }

    /// Of an open file. Its position may change.
    pub(crate) fn of(file: &File) -> io::Result<Self> {
        let bytes = file.metadata()?.len();
        Ok(Self::of_hasher(hash(file, bytes)?, bytes))
    }

    pub(crate) fn of_path(path: &Path) -> Result<Self, SaveError> {
        let checksum = File::open(path).and_then(|file| Self::of(&file));
        checksum.map_err(|source| SaveError::Read { path: path.into(), source })
    }
}

impl fmt::Display for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "CRC-32 {} of {} bytes", self.crc32, self.bytes)
    }
}

fn digits(crc32: u32) -> String {
    format!("{crc32:08x}")
}

/// Bytes that a thread reads at a time: they fit into its cache.
const BLOCK_BYTES: u64 = 1 << 18;

/// Reads and hashes a file on all threads: the sums of blocks combine to that of the whole.
#[cfg(unix)]
fn hash(file: &File, bytes: u64) -> io::Result<crc32fast::Hasher> {
    use rayon::prelude::*;
    use std::os::unix::fs::FileExt;

    let of_block = |block: &mut Vec<u8>, number: u64| {
        let start = number * BLOCK_BYTES;
        block.resize(BLOCK_BYTES.min(bytes - start) as usize, 0);
        file.read_exact_at(block, start)?;
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(block);
        Ok(hasher)
    };
    let hashers = (0..bytes.div_ceil(BLOCK_BYTES)).into_par_iter().map_init(Vec::new, of_block);
    hashers.try_reduce(crc32fast::Hasher::new, |mut before, after| {
        before.combine(&after);
        Ok(before)
    })
}

/// Reads and hashes a file.
#[cfg(not(unix))]
fn hash(mut file: &File, bytes: u64) -> io::Result<crc32fast::Hasher> {
    use std::io::{Read, Seek, SeekFrom};

    file.seek(SeekFrom::Start(0))?;
    let (mut hasher, mut left) = (crc32fast::Hasher::new(), bytes);
    let mut block = vec![0; BLOCK_BYTES as usize];
    while left > 0 {
        let block = &mut block[..BLOCK_BYTES.min(left) as usize];
        file.read_exact(block)?;
        hasher.update(block);
        left -= block.len() as u64;
    }
    Ok(hasher)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_blocks_of_a_file_make_the_checksum_of_its_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        for length in [0, 1, BLOCK_BYTES, BLOCK_BYTES + 1, 5 * BLOCK_BYTES - 1] {
            let bytes: Vec<u8> = (0..length).map(|i| (i * i % 251) as u8).collect();
            std::fs::write(&path, &bytes).unwrap();
            assert_eq!(Checksum::of_path(&path).unwrap(), Checksum::of_bytes(&bytes), "{length} bytes");
        }
        // As of `gzip`, `zlib.crc32` and the catalogue of CRCs.
        assert_eq!(Checksum::of_bytes(b"123456789").to_string(), "CRC-32 cbf43926 of 9 bytes");
    }
}
