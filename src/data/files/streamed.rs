//! Texts that may be larger than memory.

use super::place::{Place, locate};
use super::{glob, gzip};
use crate::data::DataError;
use std::io::{self, BufRead, BufReader, Read};

/// A reader of a text that may be larger than memory: of one file, or of all files of a pattern (see [`glob::expand`]),
/// concatenated, each from the start of a line. A file whose name ends in `.gz` is unpacked; a byte-order mark is left out.
///
/// # Errors
/// The errors of [`read`](super::read); [`DataError::Missing`] if no file matches. Corruption inside a `.gz` and errors of later files of
/// a pattern are returned by the reader.
pub fn open_text(location: &str) -> Result<Box<dyn Read + Send>, DataError> {
    if !glob::is_pattern(location) {
        return open_one(location);
    }
    let mut files = glob::expand(location)?.into_iter();
    let Some(first) = files.next() else {
        return Err(DataError::Missing { location: location.into(), expected: "files that match".into() });
    };
    Ok(Box::new(Lined { file: open_one(&first)?, last: b'\n', rest: files }))
}

fn open_one(location: &str) -> Result<Box<dyn Read + Send>, DataError> {
    let file = match locate(location, "a file")? {
        Place::File(file) => file,
        Place::Tree(_) => return Err(DataError::IsFolder { location: location.to_string() }),
    };
    if file.len() == 0 {
        return Err(DataError::Empty { location: location.to_string(), expected: "data" });
    }
    let bytes: Box<dyn Read + Send> = match location.ends_with(".gz") {
        true => Box::new(gzip::stream(&file)),
        false => Box::new(file.reader()),
    };
    let mut text = BufReader::new(bytes);
    let begins = text.fill_buf().map_err(|e| DataError::io(location, "a file", e))?;
    let mark = if begins.starts_with("\u{feff}".as_bytes()) { 3 } else { 0 };
    text.consume(mark);
    Ok(Box::new(text))
}

/// The bytes of a text that are read at once.
const BLOCK: usize = 1 << 20;

/// Pass the blocks of a text in UTF-8 of any size to `each`; a block ends between two characters.
///
/// # Errors
/// As of the reader; [`io::ErrorKind::InvalidData`] with the place of the first byte that is not UTF-8.
pub(crate) fn blocks(mut text: impl Read, each: &mut dyn FnMut(&str)) -> io::Result<()> {
    let (mut block, mut offset) = (Vec::with_capacity(BLOCK), 0);
    loop {
        let room = (BLOCK - block.len()) as u64;
        let ended = (&mut text).take(room).read_to_end(&mut block)? < room as usize;
        let whole = match std::str::from_utf8(&block) {
            Ok(_) => block.len(),
            // The rest of a character that the block cuts.
            Err(e) if e.error_len().is_none() && !ended => e.valid_up_to(),
            Err(e) => {
                let at = e.valid_up_to();
                let byte = block.get(at).copied().unwrap_or_default();
                let problem = format!("byte {byte:#04x} at offset {} is not UTF-8", offset + at);
                return Err(io::Error::new(io::ErrorKind::InvalidData, problem));
            }
        };
        each(std::str::from_utf8(&block[..whole]).unwrap_or_default());
        block.drain(..whole);
        offset += whole;
        if ended {
            return Ok(());
        }
    }
}

/// Concatenated text files; a last line without an end is ended before the next file.
struct Lined {
    file: Box<dyn Read + Send>,
    /// The last byte that was read.
    last: u8,
    rest: std::vec::IntoIter<String>,
}

impl Read for Lined {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        loop {
            let n = self.file.read(buffer)?;
            if n > 0 || buffer.is_empty() {
                self.last = buffer[..n].last().copied().unwrap_or(self.last);
                return Ok(n);
            }
            let Some(next) = self.rest.next() else { return Ok(0) };
            self.file = open_one(&next).map_err(std::io::Error::other)?;
            if std::mem::replace(&mut self.last, b'\n') != b'\n' {
                buffer[0] = b'\n';
                return Ok(1);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_cut_between_characters() {
        let text = "naïve 東京 🦀 ".repeat(100_000);
        let (mut read, mut n) = (String::new(), 0);
        let mut each = |block: &str| {
            read.push_str(block);
            n += 1;
        };
        blocks(text.as_bytes(), &mut each).unwrap();
        assert!(read == text && n > 1);
        blocks(&b""[..], &mut |block| assert_eq!(block, "")).unwrap();
        let cut = &text.as_bytes()[..text.len() - 2];
        let error = blocks(cut, &mut |_| {}).unwrap_err().to_string();
        assert_eq!(error, format!("byte 0xf0 at offset {} is not UTF-8", text.len() - 5));
    }
}
