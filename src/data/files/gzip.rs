//! Unpacking of gzip within bounds.

use super::extent::{Cursor, Extent};
use flate2::read::MultiGzDecoder;
use smalti_contract::memory;
use std::io::{self, Read};

/// Unpacked bytes for each packed byte that no corpus reaches: texts and logs take 3 to 30.
const MOST_PER_BYTE: u64 = 200;

/// The unpacked bytes of a file in gzip, which are never held at once.
///
/// They may be more than the memory, but not from a small file: beyond [`memory::unpack_limit`], reading fails after 200 bytes
/// for each packed one.
pub(super) fn stream(file: &Extent) -> Expanding<MultiGzDecoder<Cursor>> {
    let left = memory::unpack_limit().max(file.len().saturating_mul(MOST_PER_BYTE));
    Expanding { unpacked: MultiGzDecoder::new(file.reader()), packed: file.len(), limit: left, left }
}

/// A reader that fails after `limit` bytes.
pub(super) struct Expanding<R> {
    unpacked: R,
    packed: u64,
    limit: u64,
    left: u64,
}

impl<R: Read> Read for Expanding<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.unpacked.read(buffer)?;
        self.left = self.left.checked_sub(n as u64).ok_or_else(|| {
            let problem = format!(
                "its {} bytes of gzip unpack to more than {} bytes: {}",
                self.packed,
                self.limit,
                memory::describe_limit()
            );
            io::Error::new(io::ErrorKind::FileTooLarge, problem)
        })?;
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_file_does_not_unpack_to_any_size() {
        let unpacked = io::repeat(b'a');
        let mut reader = Expanding { unpacked, packed: 100, limit: 20_000, left: 20_000 };
        let error = io::copy(&mut reader, &mut io::sink()).unwrap_err().to_string();
        assert!(
            error.starts_with("its 100 bytes of gzip unpack to more than 20000 bytes: the limit is"),
            "{error}"
        );
        assert!(error.contains("SMALTI_MEMORY"), "{error}");
    }
}
