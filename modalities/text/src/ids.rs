//! The ids of a text of any size.

use crate::blocks::Blocks;
use crate::error::TextError;
use crate::tokenizer::TextTokenizer;
use smalti_contract::{Sequence, TokenizeError};
use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::ops::Range;

/// The maximal number of ids in memory; more are in a file.
const IN_MEMORY: usize = 1 << 22;

/// The ids of a text: in memory up to about four million, otherwise in an unnamed temporary file, which the system
/// deletes when the process ends.
///
/// Memory stays below 256 MiB for a text of any size: at most 32 MiB of ids, and the memory to encode 4 MiB of text.
pub struct Ids {
    held: Held,
    len: usize,
}

enum Held {
    Memory(Vec<u32>),
    /// Little-endian ids of 2 bytes if the vocabulary is small enough, otherwise of 4.
    Disk {
        file: File,
        width: usize,
    },
}

impl Ids {
    /// Encode a text; the ids equal those of [`TextTokenizer::ids`].
    ///
    /// # Errors
    /// [`TextError`] if the text cannot be read or is not UTF-8, a character is outside the vocabulary, or a vocabulary
    /// of subwords has no safe position to cut a text of more than 4 MiB.
    pub fn read(text: impl Read, tokenizer: &TextTokenizer) -> Result<Self, TextError> {
        Self::read_in(Blocks::new(text, tokenizer.cuts()), tokenizer, IN_MEMORY)
    }

    fn read_in<R: Read>(
        blocks: Blocks<R>,
        tokenizer: &TextTokenizer,
        in_memory: usize,
    ) -> Result<Self, TextError> {
        let (mut held, mut characters, mut len) = (Vec::new(), 0, 0);
        let mut disk: Option<Writer> = None;
        for block in blocks {
            let block = block?;
            let ids = tokenizer.part_ids(&block, characters)?;
            characters += block.chars().count();
            len += ids.len();
            match &mut disk {
                Some(disk) => disk.write(&ids)?,
                None => held.extend(ids),
            }
            if disk.is_none() && held.len() > in_memory {
                let file = disk.insert(Writer::new(tokenizer.vocabulary_size())?);
                file.write(&std::mem::take(&mut held))?;
            }
        }
        let held = match disk {
            Some(disk) => disk.finish()?,
            None => Held::Memory(held),
        };
        Ok(Self { held, len })
    }

    /// The number of ids.
    pub fn len(&self) -> usize {
        self.len
    }

    /// True if there is no id.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The ids in a range of indices.
    ///
    /// # Errors
    /// [`TextError::Temporary`] if the file cannot be read.
    ///
    /// # Panics
    /// If the range ends beyond the last id.
    pub fn window(&self, range: Range<usize>) -> Result<Vec<u32>, TextError> {
        assert!(range.end <= self.len, "ids {range:?} of {}", self.len);
        match &self.held {
            Held::Memory(ids) => Ok(ids[range].to_vec()),
            Held::Disk { file, width } => {
                let mut bytes = vec![0; range.len() * width];
                read_at(file, &mut bytes, (range.start * width) as u64).map_err(TextError::Temporary)?;
                let id = |bytes: &[u8]| bytes.iter().rev().fold(0, |id, byte| id << 8 | u32::from(*byte));
                Ok(bytes.chunks_exact(*width).map(id).collect())
            }
        }
    }
}

impl Sequence for Ids {
    fn len(&self) -> usize {
        self.len
    }

    fn window(&self, range: Range<usize>) -> Result<Vec<u32>, TokenizeError> {
        Ids::window(self, range).map_err(|e| TokenizeError::Input(e.to_string()))
    }
}

/// Fill a buffer without moving the file's cursor, which threads share.
#[cfg(unix)]
fn read_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, buffer, offset)
}

#[cfg(windows)]
fn read_at(file: &File, mut buffer: &mut [u8], mut offset: u64) -> io::Result<()> {
    while !buffer.is_empty() {
        match std::os::windows::fs::FileExt::seek_read(file, buffer, offset)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            n => {
                buffer = &mut buffer[n..];
                offset += n as u64;
            }
        }
    }
    Ok(())
}

struct Writer {
    file: BufWriter<File>,
    width: usize,
}

impl Writer {
    fn new(vocabulary: usize) -> Result<Self, TextError> {
        let file = tempfile::tempfile().map_err(TextError::Temporary)?;
        Ok(Self { file: BufWriter::new(file), width: if vocabulary <= 1 << 16 { 2 } else { 4 } })
    }

    fn write(&mut self, ids: &[u32]) -> Result<(), TextError> {
        let write = |id: &u32| self.file.write_all(&id.to_le_bytes()[..self.width]);
        ids.iter().try_for_each(write).map_err(TextError::Temporary)
    }

    fn finish(self) -> Result<Held, TextError> {
        let file = self.file.into_inner().map_err(|e| TextError::Temporary(e.into_error()))?;
        Ok(Held::Disk { file, width: self.width })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{TextConfig, Vocabulary};
    use crate::fit;
    use smalti_contract::Tokenizer;

    fn tokenizer(vocabulary: Vocabulary) -> TextTokenizer {
        TextTokenizer::new(TextConfig::new(vocabulary, 8)).unwrap()
    }

    fn read(text: &str, tokenizer: &TextTokenizer, block: usize, in_memory: usize) -> Ids {
        Ids::read_in(Blocks::of_size(text.as_bytes(), tokenizer.cuts(), block), tokenizer, in_memory).unwrap()
    }

    #[test]
    fn ids_are_the_same_in_memory_and_on_disk_for_any_block_size() {
        let text = "To be, or not to be: naïve 東京 🦀\n".repeat(20);
        let pairs = fit::bpe(text.as_bytes(), 280, vec![], 8).unwrap().vocabulary;
        let characters = fit::characters([&*text], vec![], 8).unwrap().vocabulary;
        for vocabulary in [Vocabulary::Bytes, characters, pairs] {
            let tokenizer = tokenizer(vocabulary);
            let expected = tokenizer.ids(&text).unwrap();
            for (block, in_memory) in [(16, 0), (16, 100), (64, 100), (4096, 0), (4096, 1 << 20)] {
                let ids = read(&text, &tokenizer, block, in_memory);
                assert_eq!(ids.window(0..ids.len()).unwrap(), expected, "{block} {in_memory}");
                assert_eq!(ids.window(5..9).unwrap(), expected[5..9]);
                assert_eq!(matches!(ids.held, Held::Disk { .. }), in_memory < expected.len());
            }
        }
    }

    #[test]
    fn wide_ids_take_four_bytes() {
        let mut writer = Writer::new((1 << 16) + 1).unwrap();
        writer.write(&[1, 1 << 16, u32::MAX]).unwrap();
        let ids = Ids { held: writer.finish().unwrap(), len: 3 };
        assert_eq!(ids.window(0..3).unwrap(), [1, 1 << 16, u32::MAX]);
        assert_eq!(ids.window(1..2).unwrap(), [1 << 16]);
    }

    #[test]
    fn an_unknown_character_has_its_index_in_the_whole_text() {
        let tokenizer = tokenizer(fit::characters(["abc"], vec![], 8).unwrap().vocabulary);
        let blocks = Blocks::of_size(&b"abcabcabcd"[..], tokenizer.cuts(), 4);
        let error = Ids::read_in(blocks, &tokenizer, 4).err().unwrap().to_string();
        assert!(error.starts_with("character 'd' (U+0064) at index 9 of the text"), "{error}");
    }
}
