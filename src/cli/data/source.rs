//! The options of commands that read a path as a table.

use crate::table::Source;
use clap::Args;

/// How to read a path as a table; a TOML file has these settings in `data.source`.
#[derive(Args)]
pub struct SourceOptions {
    /// Layout of the path [default: detected].
    #[arg(long, value_name = "NAME")]
    layout: Option<String>,
    /// Read files at absolute paths and above the table's folder, which the table names.
    #[arg(long)]
    allow_outside: bool,
}

impl SourceOptions {
    /// The source at a path.
    pub fn of(&self, path: &str) -> Source {
        Source { layout: self.layout.clone(), allow_outside: self.allow_outside, ..Source::new(path) }
    }
}
