//! The lines of a text, parted among the splits.

use super::table::SPLITS;
use super::{Sizes, SyntheticError, setting};
use crate::data::files::extent;
use crate::data::{DataError, read_text};
use smalti_contract::memory;
use std::collections::HashSet;

/// The different lines of the text at a location whose number of characters is from `min_length` to `max_length`, in the order
/// of the text. `kind` is the kind of data whose settings these are.
pub(super) fn of_text(
    kind: &str,
    location: &str,
    min_length: usize,
    max_length: usize,
) -> Result<Vec<String>, SyntheticError> {
    if min_length > max_length {
        return Err(setting(kind, "min_length", format!("at most max_length = {max_length}"), min_length));
    }
    let size = extent(location)?.len();
    memory::check(size).map_err(|e| DataError::io(location, "a text", e))?;
    let text = read_text(location)?;
    let mut seen = HashSet::new();
    let is_used = |line: &&str| (min_length..=max_length).contains(&line.chars().count());
    let lines = text.lines().map(str::trim).filter(is_used).filter(|line| seen.insert(*line));
    Ok(lines.map(String::from).collect())
}

/// The lines of each split: a stretch of the text, in proportion to the number of rows.
pub(super) fn stretches<'a>(lines: &'a [String], sizes: &Sizes) -> [&'a [String]; SPLITS.len()] {
    let n_rows = (sizes.train + sizes.validation + sizes.test).max(1);
    let place = |rows: usize| lines.len() * rows / n_rows;
    let (train, validation) = (place(sizes.train), place(sizes.train + sizes.validation));
    [&lines[..train], &lines[train..validation], &lines[validation..]]
}

/// Fails if a split has rows and `is_empty` is true of it: its lines have no `what`.
pub(super) fn check(
    location: &str,
    sizes: &Sizes,
    what: &str,
    is_empty: impl Fn(usize) -> bool,
) -> Result<(), SyntheticError> {
    let n_rows = [sizes.train, sizes.validation, sizes.test];
    match (0..SPLITS.len()).find(|&split| n_rows[split] > 0 && is_empty(split)) {
        Some(split) => {
            let problem = format!("the lines of {} have no {what}; use a longer text", SPLITS[split]);
            Err(DataError::layout(location, problem).into())
        }
        None => Ok(()),
    }
}
