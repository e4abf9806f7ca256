//! The trait of a kind of generated data, and how its splits differ.

use super::{Sizes, SyntheticError};
use crate::config::read_table;
use crate::random;
use rand_pcg::Pcg64Mcg;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use smalti_contract::Value;

/// The settings of a kind of generated data.
pub(super) trait Kind: DeserializeOwned + JsonSchema + Sized {
    /// Its name.
    const NAME: &'static str;
    /// A description of one line.
    const ABOUT: &'static str;
    /// The paper whose experiment it follows.
    const PAPER: &'static str;
    /// The fields of its rows, without `split`.
    const FIELDS: &'static [&'static str];

    /// Checks the settings together, and prepares the rows.
    fn open(self, sizes: &Sizes) -> Result<Box<dyn Rows>, SyntheticError>;
}

/// Rows that are computed one by one.
pub(super) trait Rows: Send + Sync {
    /// Why the rows of two splits differ.
    fn distinct(&self) -> Distinct;

    /// The values of the fields of a row; `None` to draw again.
    fn row(&self, draw: &mut Draw) -> Option<Vec<Value>>;

    /// The number of time steps of each row; 0 without series.
    fn steps(&self) -> usize {
        0
    }
}

/// Why the rows of two splits differ.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Distinct {
    /// There are this many different rows, and each number below is one; no row is drawn twice, in any split.
    Numbered(u64),
    /// A digest of the first field assigns each possible row to one split. Rows may repeat within a split.
    ByFirstField,
    /// By the random numbers in the row, or because the kind itself draws each split from other material.
    ByDraw,
}

/// What a row is computed from.
pub(super) struct Draw {
    /// The number of the row, permuted if rows are [numbered](Distinct::Numbered).
    pub number: u64,
    /// The number of its split: training, validation, test.
    pub split: usize,
    pub generator: Pcg64Mcg,
}

impl Draw {
    /// A whole number in `0..bound`.
    pub fn below(&mut self, bound: usize) -> usize {
        random::below(&mut self.generator, bound)
    }

    /// One of some items, of which there is at least one.
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len())]
    }
}

/// Opens the rows of a kind with its settings.
pub(super) type Open = fn(toml::Table, &Sizes) -> Result<Box<dyn Rows>, SyntheticError>;

/// A kind in the list of all.
pub(super) struct Entry {
    pub name: &'static str,
    pub about: &'static str,
    pub paper: &'static str,
    pub fields: &'static [&'static str],
    pub schema: fn() -> serde_json::Value,
    pub open: Open,
}

/// The entry of a kind.
pub(super) const fn entry<K: Kind>() -> Entry {
    Entry {
        name: K::NAME,
        about: K::ABOUT,
        paper: K::PAPER,
        fields: K::FIELDS,
        schema: || schemars::schema_for!(K).into(),
        open: |settings, sizes| read_table::<K>(K::NAME, settings)?.open(sizes),
    }
}
