//! Reading a text of any size in blocks of a few megabytes.

use crate::border::Cuts;
use crate::error::TextError;
use smalti_contract::TokenizeError;
use std::io::Read;

/// The maximal size of a block, in bytes.
pub(crate) const BLOCK: usize = 4 << 20;

/// The blocks of a text, each of at most [`BLOCK`] bytes and cut where the ids of the parts equal those of the whole.
pub(crate) struct Blocks<R> {
    reader: R,
    cuts: Cuts,
    size: usize,
    /// Bytes that have been read but not returned.
    buffer: Vec<u8>,
    /// The offset of the buffer in the text.
    offset: u64,
    ended: bool,
}

impl<R: Read> Blocks<R> {
    pub fn new(reader: R, cuts: Cuts) -> Self {
        Self::of_size(reader, cuts, BLOCK)
    }

    /// Blocks of at most `size` bytes.
    pub fn of_size(reader: R, cuts: Cuts, size: usize) -> Self {
        Self { reader, cuts, size, buffer: Vec::new(), offset: 0, ended: false }
    }

    fn block(&mut self) -> Result<String, TextError> {
        if !self.ended {
            let wanted = self.size - self.buffer.len();
            let read = (&mut self.reader).take(wanted as u64).read_to_end(&mut self.buffer);
            self.ended = read.map_err(TextError::Read)? < wanted;
        }
        let text = self.valid()?;
        let end = if self.ended { Some(text.len()) } else { self.cuts.last(text) };
        let Some(end) = end else { return Err(self.uncut().into()) };
        let block = text[..end].to_string();
        self.buffer.drain(..end);
        self.offset += end as u64;
        Ok(block)
    }

    /// The buffer without an incomplete last character.
    fn valid(&self) -> Result<&str, TokenizeError> {
        match std::str::from_utf8(&self.buffer) {
            Ok(text) => Ok(text),
            Err(e) if e.error_len().is_none() && !self.ended => {
                Ok(std::str::from_utf8(&self.buffer[..e.valid_up_to()]).unwrap_or_default())
            }
            Err(e) => {
                let (byte, at) = (self.buffer[e.valid_up_to()], self.offset + e.valid_up_to() as u64);
                let problem = format!("invalid byte {byte:#04x} at offset {at}");
                Err(TokenizeError::Format { format: "UTF-8 text", problem })
            }
        }
    }

    fn uncut(&self) -> TokenizeError {
        let (size, from) = (self.size, self.offset);
        let why = match self.cuts {
            Cuts::Nowhere => "subwords may cross any position, so only shorter texts can be read",
            _ => "a text of subwords can only be cut before white space",
        };
        TokenizeError::Input(format!("the text cannot be cut within {size} bytes from byte {from} on: {why}"))
    }
}

impl<R: Read> Iterator for Blocks<R> {
    type Item = Result<String, TextError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended && self.buffer.is_empty() {
            return None;
        }
        let block = self.block();
        if block.is_err() {
            self.ended = true;
            self.buffer.clear();
        }
        Some(block).filter(|block| !block.as_ref().is_ok_and(String::is_empty))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8], size: usize, cuts: Cuts) -> Result<Vec<String>, String> {
        Blocks::of_size(bytes, cuts, size).collect::<Result<_, _>>().map_err(|e: TextError| e.to_string())
    }

    #[test]
    fn blocks_are_cut_between_characters() {
        let text = "naïve 東京 🦀";
        for size in 4..30 {
            let blocks = read(text.as_bytes(), size, Cuts::Anywhere).unwrap();
            assert_eq!(blocks.concat(), text);
            assert!(blocks.iter().all(|block| block.len() <= size && !block.is_empty()), "{blocks:?}");
        }
        assert_eq!(read(b"", 4, Cuts::Anywhere).unwrap(), [""; 0]);
    }

    #[test]
    fn errors_have_offsets_in_the_whole_text() {
        let invalid = |text: &[u8]| read(text, 4, Cuts::Anywhere).unwrap_err();
        assert_eq!(invalid(b"abcdefg\xffh"), "not readable as UTF-8 text: invalid byte 0xff at offset 7");
        assert_eq!(invalid(b"abcdefg\xc3"), "not readable as UTF-8 text: invalid byte 0xc3 at offset 7");
        let uncut = read(b"abcdefg", 4, Cuts::Nowhere).unwrap_err();
        assert!(uncut.contains("cannot be cut within 4 bytes from byte 0 on"), "{uncut}");
        assert_eq!(read(b"abc", 4, Cuts::Nowhere).unwrap(), ["abc"]);
    }
}
