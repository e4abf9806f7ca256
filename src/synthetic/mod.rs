//! Generated data with known answers: sums, dates, recall, regression in context. Each kind follows a published experiment.
//!
//! A kind of data is a [`SyntheticTable`]: row i is computed from the seed and i, so a table of any size takes no memory, and the
//! same settings give the same rows on every machine. [`table()`] opens one and [`write()`] writes it as Parquet or WebDataset:
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use smalti::table::Table;
//! let settings = r#"form = "reversed"
//!     train = 100"#;
//! let table = smalti::synthetic::table("addition", settings.parse()?)?;
//! let (question, answer) = (table.value(0, "question")?, table.value(0, "answer")?);
//! println!("{question:?} {answer:?} {:?}", table.value(0, "split")?); // of 2,100 rows: 1,000 validate, 1,000 test
//! # assert_eq!(table.len(), 2100);
//! # Ok(())
//! # }
//! ```
//!
//! The splits have no row in common. Of sums and dates no row occurs twice at all; of other kinds a digest assigns each possible
//! row to one split.

mod addition;
mod captions;
mod dates;
mod estimators;
mod kind;
mod lines;
mod listops;
mod number_words;
mod preferences;
mod recall;
mod regression;
mod table;
#[cfg(test)]
mod tests;

pub use table::SyntheticTable;

use crate::config::{SettingKey, SettingsError, keys_of, read_table};
use crate::convert::{ConvertError, Options, Outcome, Progress, convert};
use crate::data::DataError;
use crate::table::Table;
use kind::{Entry, entry};
use serde::Deserialize;
use std::path::Path;
use std::sync::atomic::AtomicBool;

/// Why a table cannot be generated.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SyntheticError {
    /// A setting that is unknown or has a wrong value.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// An unknown kind, or a text that cannot be read.
    #[error(transparent)]
    Data(#[from] DataError),
}

/// The numbers of rows, and the seed, which all kinds have.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Sizes {
    /// Number of rows of the split `train`.
    #[schemars(range(max = 10_000_000))]
    pub train: usize,
    /// Number of rows of the split `validation`.
    #[schemars(range(max = 10_000_000))]
    pub validation: usize,
    /// Number of rows of the split `test`.
    #[schemars(range(max = 10_000_000))]
    pub test: usize,
    /// Seed of all rows.
    pub seed: u64,
}

impl Default for Sizes {
    fn default() -> Self {
        Self { train: 10_000, validation: 1000, test: 1000, seed: 0 }
    }
}

/// The settings of [`Sizes`].
const OF_ALL: [&str; 4] = ["train", "validation", "test", "seed"];

static KINDS: [Entry; 8] = [
    entry::<addition::Addition>(),
    entry::<captions::Captions>(),
    entry::<dates::Dates>(),
    entry::<listops::ListOps>(),
    entry::<number_words::NumberWords>(),
    entry::<preferences::Preferences>(),
    entry::<recall::Recall>(),
    entry::<regression::Regression>(),
];

/// A kind of generated data.
#[derive(Clone, Debug)]
pub struct KindReport {
    /// Its name.
    pub name: &'static str,
    /// A description of one line.
    pub about: &'static str,
    /// The paper whose experiment it follows.
    pub paper: &'static str,
    /// The fields of its rows, without `split`.
    pub fields: &'static [&'static str],
    /// Its settings.
    pub settings: Vec<SettingKey>,
}

/// All kinds.
pub fn kinds() -> impl Iterator<Item = KindReport> {
    KINDS.iter().map(report)
}

/// The kind of this name.
///
/// # Errors
/// [`DataError::Unknown`] with the known names.
pub fn kind(name: &str) -> Result<KindReport, SyntheticError> {
    find(name).map(report)
}

fn report(entry: &Entry) -> KindReport {
    let &Entry { name, about, paper, fields, .. } = entry;
    let sizes: serde_json::Value = schemars::schema_for!(Sizes).into();
    let settings = [keys_of(&(entry.schema)()), keys_of(&sizes)].concat();
    KindReport { name, about, paper, fields, settings }
}

fn find(name: &str) -> Result<&'static Entry, SyntheticError> {
    let found = KINDS.iter().find(|entry| entry.name == name);
    Ok(found.ok_or_else(|| DataError::Unknown {
        location: "generated data".into(),
        what: "kind",
        name: name.into(),
        known: KINDS.each_ref().map(|entry| entry.name).join(", "),
    })?)
}

/// The table of a kind with these settings, among them the numbers of rows and the seed ([`Sizes`]).
///
/// # Errors
/// [`SyntheticError::Settings`] for an unknown setting, one outside its bounds, and settings that allow too few different rows;
/// [`SyntheticError::Data`] for an unknown kind and for a text that cannot be read.
pub fn table(kind: &str, settings: toml::Table) -> Result<SyntheticTable, SyntheticError> {
    let entry = find(kind)?;
    let name = format!("{kind} {}", serde_json::to_string(&settings).unwrap_or_default());
    let (of_all, own) = settings.into_iter().partition(|(key, _)| OF_ALL.contains(&key.as_str()));
    let sizes: Sizes = read_table(kind, of_all)?;
    let rows = (entry.open)(own, &sizes)?;
    SyntheticTable::new(name, entry, sizes, rows)
}

/// Writes a table as [`convert`] does: `dest` is a file that ends in `.parquet`, or a folder of shards. Once `stop` is true, the
/// shard that is being written is dropped.
///
/// # Errors
/// Those of [`convert`].
pub fn write(
    table: &SyntheticTable,
    dest: &Path,
    options: &Options,
    stop: &AtomicBool,
    progress: &mut Progress<'_>,
) -> Result<Outcome, ConvertError> {
    convert(table, table.name(), dest, options, stop, progress)
}

/// The error of a setting that fits its type, but not the other settings.
fn setting(origin: &str, key: &str, expected: impl Into<String>, found: impl ToString) -> SyntheticError {
    let (key, expected) = (key.into(), expected.into());
    SettingsError::Type { key, expected, found: found.to_string(), origin: origin.into() }.into()
}
