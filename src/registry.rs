//! The registered modalities, heads and data layouts of a program: the built-in ones and yours.
//!
//! ```
//! use smalti::registry::Modalities;
//!
//! // Add a modality with `.with::<GeneTokenizer>()`.
//! let modalities = Modalities::builtin();
//! for name in modalities.tokenizers().names() {
//!     println!("{name}");
//! }
//! ```

use crate::head::{HeadKind, HeadRegistry};
use crate::table::{Opener, SourceRegistry, Table};
use smalti_contract::{Registry, Tokenizer};
use std::sync::Arc;

/// The modalities of a program, with which a [`Run`](crate::run::Run) is created and opened. `smalti::cli::main` is a whole
/// program for them.
#[derive(Clone)]
pub struct Modalities {
    tokenizers: Registry,
    heads: HeadRegistry,
    sources: SourceRegistry,
    /// The first registration that failed.
    failed: Option<RegistrationError>,
}

/// Why a registration failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RegistrationError {
    /// The name of a modality is taken.
    #[error("a modality named {0:?} is registered already; give yours another `Tokenizer::NAME`")]
    Modality(&'static str),
    /// The name of a head is taken.
    #[error("a head named {0:?} is registered already; give yours another `HeadKind::NAME`")]
    Head(&'static str),
    /// The name of a data layout is taken.
    #[error("a data layout named {0:?} is registered already; give yours another name")]
    Source(&'static str),
    /// The name of a table is taken.
    #[error("a table named {0:?} is registered already; give yours another `Table::name`")]
    Table(String),
}

impl Modalities {
    /// No modalities; the built-in heads and data layouts.
    pub fn empty() -> Self {
        let heads = HeadRegistry::builtin().unwrap_or_default(); // a test checks that their names are distinct
        let sources = SourceRegistry::builtin();
        Self { tokenizers: Registry::new(), heads, sources, failed: None }
    }

    /// Adds a modality under its [`Tokenizer::NAME`].
    ///
    /// If the name is taken, the first registration stays and [`check`](Self::check) returns the error, so that calls can be
    /// chained. Every function that takes `Modalities` checks them.
    #[must_use]
    pub fn with<T: Tokenizer>(mut self) -> Self {
        if self.tokenizers.register::<T>().is_err() {
            self.failed.get_or_insert(RegistrationError::Modality(T::NAME));
        }
        self
    }

    /// Adds a head under its [`HeadKind::NAME`]; a taken name is handled as by [`with`](Self::with).
    #[must_use]
    pub fn with_head<H: HeadKind>(mut self) -> Self {
        if self.heads.register::<H>().is_err() {
            self.failed.get_or_insert(RegistrationError::Head(H::NAME));
        }
        self
    }

    /// Adds a data layout, which is tried after the others; a taken name is handled as by [`with`](Self::with).
    #[must_use]
    pub fn with_source(mut self, name: &'static str, open: Opener) -> Self {
        if self.sources.register(name, open).is_err() {
            self.failed.get_or_insert(RegistrationError::Source(name));
        }
        self
    }

    /// Adds a table of the program, such as a [`MemoryTable`](crate::table::MemoryTable): the settings name it as
    /// `data.source = "memory:NAME"`, with its [`Table::name`]. A taken name is handled as by [`with`](Self::with).
    #[must_use]
    pub fn with_table(mut self, table: impl Table + 'static) -> Self {
        let name = table.name().to_string();
        if self.sources.add_table(Arc::new(table)).is_err() {
            self.failed.get_or_insert(RegistrationError::Table(name));
        }
        self
    }

    /// Checks that every registration succeeded.
    ///
    /// # Errors
    /// The first [`RegistrationError`].
    pub fn check(&self) -> Result<(), RegistrationError> {
        match &self.failed {
            Some(error) => Err(error.clone()),
            None => Ok(()),
        }
    }

    /// The heads by name.
    pub fn heads(&self) -> &HeadRegistry {
        &self.heads
    }

    /// The data layouts by name.
    pub fn sources(&self) -> &SourceRegistry {
        &self.sources
    }

    /// The tokenizers by name.
    pub fn tokenizers(&self) -> &Registry {
        &self.tokenizers
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::{MemoryTable, Source};
    use smalti_contract::Row;

    #[test]
    fn tables_in_memory_are_sources_by_name() {
        let table =
            |name: &str| MemoryTable::new(name, vec![Row::from([("x", 1.0.into()), ("y", "a".into())])]);
        let modalities = Modalities::empty().with_table(table("points"));
        let registry = modalities.sources();
        assert_eq!(registry.open(&Source::new("memory:points")).unwrap().fields(), ["x", "y"]);
        let message = |source: Source| registry.open(&source).map(|_| ()).unwrap_err().to_string();
        let unknown = message(Source::new("memory:lines"));
        assert_eq!(unknown, "memory:lines: no table of this name is registered; registered: points");
        let layout = message(Source { layout: Some("rows".into()), ..Source::new("memory:points") });
        assert!(layout.contains("has no `layout`"), "{layout}");
        let twice = modalities.with_table(table("points")).check().unwrap_err().to_string();
        assert!(twice.starts_with("a table named \"points\" is registered already"), "{twice}");
    }
}
