//! Building a tokenizer from its saved name and configuration.

use crate::tokenizer::{AnyTokenizer, TokenizeError, Tokenizer};
use std::collections::BTreeMap;

type Builder = fn(serde_json::Value) -> Result<Box<dyn AnyTokenizer>, TokenizeError>;

/// Tokenizers by name, the built-in ones and an outsider's alike.
#[derive(Default)]
pub struct Registry {
    builders: BTreeMap<&'static str, Builder>,
}

/// Why a registry refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegistryError {
    /// The name is taken.
    #[error("a tokenizer named {0:?} is registered already")]
    Duplicate(&'static str),
    /// No tokenizer has this name.
    #[error("no tokenizer is named {name:?}; known: {known}")]
    Unknown {
        /// The name that was asked for.
        name: String,
        /// The names there are.
        known: String,
    },
    /// The tokenizer refused its configuration.
    #[error(transparent)]
    Tokenizer(#[from] TokenizeError),
}

impl Registry {
    /// A registry of nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a tokenizer under its [`Tokenizer::NAME`].
    ///
    /// # Errors
    /// [`RegistryError::Duplicate`] where the name is taken; the first registration stays.
    pub fn register<T: Tokenizer>(&mut self) -> Result<(), RegistryError> {
        if self.builders.contains_key(T::NAME) {
            return Err(RegistryError::Duplicate(T::NAME));
        }
        self.builders.insert(T::NAME, |config| {
            let config = serde_json::from_value(config)
                .map_err(|e| TokenizeError::Config { tokenizer: T::NAME, problem: e.to_string() })?;
            Ok(Box::new(T::new(config)?))
        });
        Ok(())
    }

    /// The tokenizer of this name, made of a configuration that
    /// [`config_json`](AnyTokenizer::config_json) wrote.
    ///
    /// # Errors
    /// [`RegistryError::Unknown`], which lists the known names; or the tokenizer's own refusal.
    pub fn build(
        &self,
        name: &str,
        config: serde_json::Value,
    ) -> Result<Box<dyn AnyTokenizer>, RegistryError> {
        match self.builders.get(name) {
            Some(build) => Ok(build(config)?),
            None => {
                let known = self.names().collect::<Vec<_>>().join(", ");
                Err(RegistryError::Unknown { name: name.into(), known })
            }
        }
    }

    /// The registered names, in alphabetical order.
    pub fn names(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.builders.keys().copied()
    }
}
