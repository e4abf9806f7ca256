//! What there is in the rows of a task: fields, classes, missing values, tokens of each part, corrupt samples.

mod task;

pub use task::{FieldReport, PartReport, SplitReport, TaskReport, inspect};
