//! Texts: length, lines, characters.

use super::counts::Holds;
use super::field::Symbol;
use super::look::{Look, Readers};
use sha2::Digest;
use std::collections::BTreeMap;

/// Ids that are listed.
const LISTED: usize = 20;
/// Longer texts, in bytes, are no classes.
const LONGEST_LABEL: usize = 200;

/// A text.
pub(super) fn look(readers: &Readers, look: &mut Look, text: &str) {
    look.counts.holds = Holds::Text;
    let mut characters = 0;
    for character in text.chars() {
        *look.counts.characters.entry(character).or_default() += 1;
        characters += 1;
    }
    look.counts.measure("bytes", text.len() as f64);
    look.counts.measure("characters", f64::from(characters));
    look.counts.measure("lines", text.lines().count() as f64);
    text.lines().for_each(|line| look.counts.measure("characters_in_a_line", line.chars().count() as f64));
    look.tokens(Ok(if readers.bytes { text.len() } else { characters as usize }));
    if text.len() <= LONGEST_LABEL {
        look.counts.label(text.into());
    }
    look.digest.update(text);
}

/// The most frequent ids of a vocabulary that is fitted to the texts: characters in their order, or bytes.
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
