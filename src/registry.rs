//! What a program can work with, by name: the built-in modalities and yours.
//!
//! ```
//! use smalti::registry::Modalities;
//!
//! // Yours are added with `.with::<GeneTokenizer>()`.
//! let modalities = Modalities::builtin();
//! for name in modalities.tokenizers().names() {
//!     println!("{name}");
//! }
//! ```

use crate::head::{HeadKind, HeadRegistry};
use crate::table::{Opener, SourceRegistry};
use smalti_contract::{Registry, Tokenizer};

/// The modalities of a program: a [`Run`](crate::run::Run) is opened and created with them, and `smalti::cli::main` is a
/// whole program over them.
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
    /// The name is taken.
    #[error("a modality named {0:?} is registered already; give yours another `Tokenizer::NAME`")]
    Modality(&'static str),
    /// The name of a head is taken.
    #[error("a head named {0:?} is registered already; give yours another `HeadKind::NAME`")]
    Head(&'static str),
    /// The name of a layout is taken.
    #[error("a layout named {0:?} is registered already; give yours another name")]
    Source(&'static str),
}

impl Modalities {
    /// No modality, over the built-in heads and layouts of data.
    pub fn empty() -> Self {
        let heads = HeadRegistry::builtin().unwrap_or_default(); // a test holds that their names are distinct
        let sources = SourceRegistry::builtin();
        Self { tokenizers: Registry::new(), heads, sources, failed: None }
    }

    /// These modalities and one more, under its [`Tokenizer::NAME`].
    ///
    /// If the name is taken, the first registration stays. The error is kept until [`check`](Self::check), so that
    /// registrations can be chained; whatever takes `Modalities` checks them.
    #[must_use]
    pub fn with<T: Tokenizer>(mut self) -> Self {
        if self.tokenizers.register::<T>().is_err() {
            self.failed.get_or_insert(RegistrationError::Modality(T::NAME));
        }
        self
    }

    /// These modalities with one head more, under its [`HeadKind::NAME`]; as of [`with`](Self::with).
    #[must_use]
    pub fn with_head<H: HeadKind>(mut self) -> Self {
        if self.heads.register::<H>().is_err() {
            self.failed.get_or_insert(RegistrationError::Head(H::NAME));
        }
        self
    }

    /// These modalities with one layout of data more, which is tried after the others; as of [`with`](Self::with).
    #[must_use]
    pub fn with_source(mut self, name: &'static str, open: Opener) -> Self {
        if self.sources.register(name, open).is_err() {
            self.failed.get_or_insert(RegistrationError::Source(name));
        }
        self
    }

    /// Checks that every registration succeeded.
    ///
    /// # Errors
    /// The first [`RegistrationError`] of [`with`](Self::with).
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

    /// The layouts of data by name.
    pub fn sources(&self) -> &SourceRegistry {
        &self.sources
    }

    /// The tokenizers by name.
    pub fn tokenizers(&self) -> &Registry {
        &self.tokenizers
    }
}
