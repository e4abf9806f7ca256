//! The ids of a text of any size.

use crate::blocks::Blocks;
use crate::error::TextError;
use crate::tokenizer::{TextTokenizer, whole};
use rayon::prelude::*;
use smalti_contract::{OpenDocument, Sequence, TokenizeError};
use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::ops::Range;

/// The maximal number of ids in memory; more are in a file.
const IN_MEMORY: usize = 1 << 22;

/// The number of documents that are encoded at once.
const BATCH: usize = 256;

/// The most bytes of a document that is encoded beside others, by all threads.
const SHORT: u64 = 1 << 20;

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
        let mut store = Store::new(tokenizer, in_memory);
        store.read_blocks(blocks, tokenizer)?;
        store.finish()
    }

    /// Encode `n` documents, each followed by the id `end`.
    ///
    /// # Errors
    /// As of [`read`](Self::read), with the number of the document.
    pub(crate) fn of_documents(
        n: usize,
        open: &OpenDocument,
        end: u32,
        tokenizer: &TextTokenizer,
    ) -> Result<Self, (usize, TokenizeError)> {
        let mut store = Store::new(tokenizer, IN_MEMORY);
        for first in (0..n).step_by(BATCH) {
            let batch = first..n.min(first + BATCH);
            let read = batch.into_par_iter().map(|number| Document::read(open(number)?, tokenizer));
            for (number, document) in (first..).zip(read.collect::<Vec<_>>()) {
                let add = || -> Result<(), TokenizeError> {
                    match document? {
                        Document::Missing => return Ok(()),
                        Document::Short(ids) => store.push(&ids)?,
                        Document::Long => {
                            let Some(bytes) = open(number)? else { return Ok(()) };
                            store.read(tokenizer.cased_bytes(bytes)?, tokenizer)?;
                        }
                    }
                    Ok(store.push(&[end])?)
                };
                add().map_err(|error| (number, error))?;
            }
        }
        store.finish().map_err(|error| (n, error.into()))
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

/// A document: the ids of one of at most [`SHORT`] bytes.
enum Document {
    Missing,
    Short(Vec<u32>),
    Long,
}

impl Document {
    fn read(bytes: Option<Box<dyn Read + Send>>, tokenizer: &TextTokenizer) -> Result<Self, TokenizeError> {
        let Some(bytes) = bytes else { return Ok(Self::Missing) };
        let mut text = vec![];
        let read = bytes.take(SHORT + 1).read_to_end(&mut text);
        read.map_err(TextError::Read)?;
        match text.len() as u64 {
            0 => Ok(Self::Missing),
            n if n > SHORT => Ok(Self::Long),
            _ => tokenizer.part_ids(&tokenizer.cased(whole(&text)?), 0).map(Self::Short),
        }
    }
}

/// Ids that are being collected: in memory until there are too many.
struct Store {
    held: Vec<u32>,
    disk: Option<Writer>,
    len: usize,
    in_memory: usize,
    vocabulary: usize,
}

impl Store {
    fn new(tokenizer: &TextTokenizer, in_memory: usize) -> Self {
        Self { held: vec![], disk: None, len: 0, in_memory, vocabulary: tokenizer.vocabulary_size() }
    }

    /// Append the ids of a text of any size.
    fn read(&mut self, text: impl Read, tokenizer: &TextTokenizer) -> Result<(), TextError> {
        self.read_blocks(Blocks::new(text, tokenizer.cuts()), tokenizer)
    }

    fn read_blocks<R: Read>(
        &mut self,
        blocks: Blocks<R>,
        tokenizer: &TextTokenizer,
    ) -> Result<(), TextError> {
        let mut characters = 0;
        for block in blocks {
            let block = block?;
            self.push(&tokenizer.part_ids(&block, characters)?)?;
            characters += block.chars().count();
        }
        Ok(())
    }

    fn push(&mut self, ids: &[u32]) -> Result<(), TextError> {
        self.len += ids.len();
        match &mut self.disk {
            Some(disk) => disk.write(ids)?,
            None => self.held.extend(ids),
        }
        if self.disk.is_none() && self.held.len() > self.in_memory {
            let disk = self.disk.insert(Writer::new(self.vocabulary)?);
            disk.write(&std::mem::take(&mut self.held))?;
        }
        Ok(())
    }

    fn finish(self) -> Result<Ids, TextError> {
        let held = match self.disk {
            Some(disk) => disk.finish()?,
            None => Held::Memory(self.held),
        };
        Ok(Ids { held, len: self.len })
    }
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
    fn each_document_is_encoded_alone_and_followed_by_the_end() {
        let long = "na\u{ef}ve \u{6771}\u{4eac} ".repeat(1 << 17);
        let documents = [Some("one"), None, Some(""), Some(&long), Some("two")];
        let tokenizer = tokenizer(Vocabulary::Bytes);
        let open = |number: usize| -> Result<Option<Box<dyn Read + Send>>, TokenizeError> {
            Ok(documents[number].map(|text| Box::new(io::Cursor::new(text.as_bytes().to_vec())) as _))
        };
        let ids = Ids::of_documents(documents.len(), &open, 300, &tokenizer).map_err(|(_, e)| e).unwrap();
        let mut expected = vec![];
        for text in ["one", &long, "two"] {
            expected.extend(tokenizer.ids(text).unwrap());
            expected.push(300);
        }
        assert_eq!(ids.window(0..ids.len()).unwrap(), expected);
        let unreadable = |number: usize| -> Result<Option<Box<dyn Read + Send>>, TokenizeError> {
            let bytes = if number == 301 { vec![0xff] } else { vec![b'a'] };
            Ok(Some(Box::new(io::Cursor::new(bytes))))
        };
        assert_eq!(Ids::of_documents(400, &unreadable, 300, &tokenizer).err().unwrap().0, 301);
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
