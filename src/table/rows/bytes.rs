//! The bytes of a text of records.

use crate::data::DataError;
use crate::data::files::{self, Cursor, Extent};
use smalti_contract::memory;
use std::io::{self, Read};

/// The memory of a decoded record for each of its bytes.
const DECODED: u64 = 16;

/// The bytes of a text in UTF-8, and the offset after its byte-order mark. A text in UTF-16 is converted.
pub fn text(location: &str) -> Result<(Extent, u64), DataError> {
    let bytes = files::extent(location)?;
    let failed = |e| DataError::io(location, "a table", e);
    let mut mark = [0; 3];
    let read = bytes.read_at(&mut mark, 0).map_err(failed)?;
    match &mark[..read] {
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => {
            memory::check(bytes.len()).map_err(failed)?;
            let text = files::text(location, bytes.read().map_err(failed)?)?;
            Ok((Extent::memory(text.into_bytes().into()), 0))
        }
        b"\xef\xbb\xbf" => Ok((bytes, 3)),
        _ => Ok((bytes, 0)),
    }
}

/// A reader of records that fails if one needs too much memory.
pub struct Bounded {
    bytes: Cursor,
    /// The offset at which it began.
    pub start: u64,
    /// The bytes that were read since a record began.
    pub record: u64,
}

impl Bounded {
    /// A reader from an offset on.
    pub fn new(bytes: &Extent, start: u64) -> Self {
        let rest = bytes.slice(start, bytes.len().saturating_sub(start));
        Self { bytes: rest.as_ref().unwrap_or(bytes).reader(), start, record: 0 }
    }
}

impl Read for Bounded {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.bytes.read(buffer)?;
        self.record += n as u64;
        memory::check(self.record.saturating_mul(DECODED))?;
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_without_an_end_is_not_read_into_memory() {
        let bytes = Extent::memory(b"0123456789".as_slice().into());
        let mut reader = Bounded::new(&bytes, 2);
        let mut read = [0; 4];
        assert_eq!((reader.read(&mut read).unwrap(), read, reader.record), (4, *b"2345", 4));
        reader.record = memory::unpack_limit();
        let error = reader.read(&mut read).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
        assert!(error.to_string().contains("SMALTI_MEMORY"), "{error}");
    }
}
