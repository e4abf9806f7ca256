//! Reports on data: fields, types, missing values, sizes, classes, tokens, duplicates, corrupt rows.
//!
//! [`inspect_table`] reads the rows of any table, [`inspect`] the samples of a task. Each value is read once, and only
//! counts of it are kept.

#[cfg(feature = "audio")]
mod audio;
mod counts;
mod duplicates;
mod field;
mod findings;
#[cfg(any(feature = "image", feature = "trajectory"))]
mod image;
mod numbers;
mod open;
mod rows;
mod table;
mod task;
mod text;
mod value;

pub use duplicates::{Duplicates, LabelledRow};
pub use field::{FieldReport, Symbol};
pub use findings::{number, rounded};
pub use numbers::{Bin, NotTokenized, Spread, TokenReport, Total};
pub use open::open;
pub use rows::Corrupt;
pub use table::{TableReport, TableSplit, inspect_table};
pub use task::{PartReport, SplitReport, TaskReport, inspect};
pub use value::Slicing;
