//! Texts: length, lines, characters.

use super::counts::ValueType;
use super::field::Symbol;
use super::value::{Readers, ValueSummary};
use sha2::Digest;
use std::collections::BTreeMap;

/// Most ids to list.
const LISTED: usize = 20;
/// Longest text that may be a class, in bytes.
const LONGEST_LABEL: usize = 200;

/// Summarizes a text.
pub(super) fn summarize(readers: &Readers, summary: &mut ValueSummary, text: &str) {
    summary.counts.holds = ValueType::Text;
    let mut characters = 0;
    for character in text.chars() {
        *summary.counts.characters.entry(character).or_default() += 1;
        characters += 1;
    }
    summary.counts.measure("bytes", text.len() as f64);
    summary.counts.measure("characters", f64::from(characters));
    summary.counts.measure("lines", text.lines().count() as f64);
    text.lines().for_each(|line| summary.counts.measure("characters_in_a_line", line.chars().count() as f64));
    summary.tokens(Ok(if readers.bytes { text.len() } else { characters as usize }));
    if text.len() <= LONGEST_LABEL {
        summary.counts.label(text.into());
    }
    summary.digest.update(text);
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
