//! What there is in data: fields, types, missing values, sizes, classes, tokens, duplicates, corrupt rows.
//!
//! [`inspect_table`] reads the rows of any table, [`inspect`] the samples of a task. each value is read once, and
//! only counts of it are kept.

#[cfg(feature = "audio")]
mod audio;
mod counts;
mod duplicates;
mod field;
#[cfg(any(feature = "image", feature = "trajectory"))]
mod image;
mod look;
mod numbers;
mod open;
mod rows;
mod table;
mod task;
mod text;

pub use duplicates::{Duplicates, Named};
pub use field::{FieldReport, Symbol};
pub use look::Slicing;
pub use numbers::{Bin, Refused, Spread, TokenReport, Total};
pub use open::open;
pub use rows::Corrupt;
pub use table::{TableReport, TableSplit, inspect_table};
pub use task::{PartReport, SplitReport, TaskReport, inspect};
