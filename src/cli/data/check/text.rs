//! Texts.

use super::numbers::Numbers;
use super::part::{Frequent, Part};
use crate::cli::tokenize::Cut;
use anyhow::{Context, Result};
use std::collections::BTreeMap;

/// Ids that are listed.
const LISTED: usize = 20;

/// Reads a UTF-8 text.
pub fn check(path: &str, bytes: &[u8], cut: &Cut) -> Result<Part> {
    let text = std::str::from_utf8(bytes).with_context(|| format!("{path}: not readable as UTF-8 text"))?;
    let mut part = Part::new("text");
    part.samples = 1;
    let mut lines = Numbers::default();
    text.lines().for_each(|line| lines.add(line.chars().count() as f64));
    let mut characters: BTreeMap<char, usize> = BTreeMap::new();
    text.chars().for_each(|character| *characters.entry(character).or_default() += 1);
    part.find("bytes", bytes.len());
    part.find("characters", characters.values().sum::<usize>());
    part.find("distinct_characters", characters.len());
    part.find("lines", text.lines().count());
    part.find("characters_in_a_line", lines.spread());
    let counts = match cut.bytes() {
        true => of_bytes(bytes),
        // The ids of a fitted vocabulary: the characters in their order.
        false => (0..).zip(characters).map(|(id, (character, n))| (id, character.to_string(), n)).collect(),
    };
    let tokens = counts.iter().map(|(.., n)| n).sum();
    part.tokens.add(Ok(tokens));
    part.frequent = most_frequent(counts, tokens);
    Ok(part)
}

fn of_bytes(bytes: &[u8]) -> Vec<(u32, String, usize)> {
    let mut counts = [0; 256];
    bytes.iter().for_each(|byte| counts[usize::from(*byte)] += 1);
    let reads =
        |byte: u8| if byte.is_ascii() { char::from(byte).to_string() } else { format!("\\x{byte:02x}") };
    let counts = (0..=255_u8).zip(counts).filter(|(_, n)| *n > 0);
    counts.map(|(byte, n)| (u32::from(byte), reads(byte), n)).collect()
}

fn most_frequent(mut counts: Vec<(u32, String, usize)>, tokens: usize) -> Vec<Frequent> {
    counts.sort_by_key(|(.., n)| std::cmp::Reverse(*n));
    counts.truncate(LISTED);
    let frequent = |(id, reads, count)| Frequent { id, reads, count, share: count as f64 / tokens as f64 };
    counts.into_iter().map(frequent).collect()
}
