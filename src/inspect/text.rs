//! Texts: length, lines, characters.

use super::counts::ValueType;
use super::field::Symbol;
use super::value::{Readers, ValueSummary};
use crate::data::files::blocks;
use sha2::Digest;
use std::collections::BTreeMap;
use std::io::{Cursor, Read};

/// Most ids to list.
const LISTED: usize = 20;
/// Longest text that may be a class, in bytes.
const LONGEST_LABEL: usize = 200;

/// Longest text that is held as one value, in bytes.
const LONGEST_HELD: u64 = 1 << 20;

/// Counts over the parts of a text.
struct Scan<'a> {
    summary: &'a mut ValueSummary,
    /// The counts of ASCII, which is most of most texts.
    ascii: [usize; 128],
    bytes: usize,
    characters: usize,
    lines: usize,
    /// The characters since the last line feed.
    in_line: usize,
    last: char,
}

impl<'a> Scan<'a> {
    fn new(summary: &'a mut ValueSummary) -> Self {
        summary.counts.holds = ValueType::Text;
        Self { summary, ascii: [0; 128], bytes: 0, characters: 0, lines: 0, in_line: 0, last: '\n' }
    }

    fn add(&mut self, part: &str) {
        for character in part.chars() {
            match self.ascii.get_mut(character as usize) {
                Some(count) => *count += 1,
                None => *self.summary.counts.characters.entry(character).or_default() += 1,
            }
            self.characters += 1;
            match character {
                '\n' => self.end_line(usize::from(self.last == '\r')),
                _ => self.in_line += 1,
            }
            self.last = character;
        }
        self.bytes += part.len();
        self.summary.digest.update(part);
    }

    /// Count a line without the characters of its end, as [`str::lines`] does.
    fn end_line(&mut self, of_end: usize) {
        *self.summary.counts.lines.entry(self.in_line - of_end).or_default() += 1;
        self.lines += 1;
        self.in_line = 0;
    }

    fn finish(mut self, readers: &Readers) {
        if self.in_line > 0 {
            self.end_line(0);
        }
        let counts = &mut self.summary.counts;
        let ascii = (0_u8..).map(char::from).zip(self.ascii).filter(|(_, n)| *n > 0);
        ascii.for_each(|(character, n)| *counts.characters.entry(character).or_default() += n);
        counts.measure("bytes", self.bytes as f64);
        counts.measure("characters", self.characters as f64);
        counts.measure("lines", self.lines as f64);
        self.summary.tokens(Ok(if readers.bytes { self.bytes } else { self.characters }));
    }
}

/// Summarizes the text of a file that is too long to be held; `None` for a shorter one, and for one in UTF-16.
///
/// # Errors
/// If the file cannot be read or is not UTF-8.
pub(super) fn summarize_long(
    readers: &Readers,
    mut file: Box<dyn Read + Send>,
) -> Result<Option<ValueSummary>, String> {
    let mut start = vec![];
    let read = (&mut file).take(LONGEST_HELD).read_to_end(&mut start).map_err(|e| e.to_string())?;
    let is_utf16 = matches!(start[..], [0xff, 0xfe, ..] | [0xfe, 0xff, ..]);
    if (read as u64) < LONGEST_HELD || is_utf16 {
        return Ok(None);
    }
    let mut summary = ValueSummary::default();
    summary.counts.values += 1;
    let mut scan = Scan::new(&mut summary);
    blocks(Cursor::new(start).chain(file), &mut |part| scan.add(part)).map_err(|e| e.to_string())?;
    scan.finish(readers);
    Ok(Some(summary))
}

/// Summarizes a text.
pub(super) fn summarize(readers: &Readers, summary: &mut ValueSummary, text: &str) {
    let mut scan = Scan::new(summary);
    scan.add(text);
    scan.finish(readers);
    if text.len() <= LONGEST_LABEL {
        summary.counts.label(text.into());
    }
}

/// The most frequent ids under a vocabulary fitted to the texts: their characters in order, or bytes.
pub(super) fn most_frequent(characters: BTreeMap<char, usize>, bytes: bool) -> Vec<Symbol> {
    let mut symbols: Vec<(u32, String, usize)> = match bytes {
        true => of_bytes(&characters),
        false => (0..).zip(characters).map(|(id, (character, n))| (id, character.to_string(), n)).collect(),
    };
    let all: usize = symbols.iter().map(|(.., n)| n).sum();
    symbols.sort_by_key(|(.., n)| std::cmp::Reverse(*n));
    symbols.truncate(LISTED);
    let symbol = |(id, reads, count)| Symbol { id, reads, count, share: count as f64 / all as f64 };
    symbols.into_iter().map(symbol).collect()
}

fn of_bytes(characters: &BTreeMap<char, usize>) -> Vec<(u32, String, usize)> {
    let mut counts = [0; 256];
    for (character, n) in characters {
        character.encode_utf8(&mut [0; 4]).bytes().for_each(|byte| counts[usize::from(byte)] += n);
    }
    let reads =
        |byte: u8| if byte.is_ascii() { char::from(byte).to_string() } else { format!("\\x{byte:02x}") };
    let counts = (0..=255_u8).zip(counts).filter(|(_, n)| *n > 0);
    counts.map(|(byte, n)| (u32::from(byte), reads(byte), n)).collect()
}

#[cfg(test)]
mod tests {
    use super::super::value::Slicing;
    use super::*;

    #[test]
    fn a_long_text_is_summarized_in_parts() {
        let readers = Readers::new(&Slicing::default()).unwrap();
        let text = "naïve 東京\r\n\nto be\r".repeat(100_000);
        let mut whole = ValueSummary::default();
        summarize(&readers, &mut whole, &text);
        let parts =
            summarize_long(&readers, Box::new(Cursor::new(text.clone().into_bytes()))).unwrap().unwrap();
        assert_eq!(parts.tokens, whole.tokens);
        assert_eq!(
            (&parts.counts.characters, &parts.counts.lines),
            (&whole.counts.characters, &whole.counts.lines)
        );
        assert_eq!(parts.digest.finalize(), whole.digest.finalize());
        let lines = text.lines().fold(BTreeMap::new(), |mut lines, line| {
            *lines.entry(line.chars().count()).or_default() += 1;
            lines
        });
        assert_eq!(whole.counts.lines, lines);
        assert!(summarize_long(&readers, Box::new(&b"short"[..])).unwrap().is_none());
        let wrong = [text.as_bytes(), b"\xff"].concat();
        let error = summarize_long(&readers, Box::new(Cursor::new(wrong))).err().unwrap();
        assert!(error.starts_with("byte 0xff at offset"), "{error}");
    }
}
