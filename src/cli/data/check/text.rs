//! Texts.

use super::Part;
use anyhow::{Context, Result};
use std::collections::BTreeSet;

/// Reads a UTF-8 text.
pub fn check(bytes: &[u8]) -> Result<Part> {
    let text = std::str::from_utf8(bytes).context("not readable as UTF-8 text")?;
    let mut part = Part::new("text");
    part.samples = 1;
    part.find("bytes", bytes.len());
    part.find("characters", text.chars().count());
    part.find("distinct_characters", text.chars().collect::<BTreeSet<char>>().len());
    part.find("lines", text.lines().count());
    Ok(part)
}
