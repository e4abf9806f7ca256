//! Building a tokenizer from its saved name and configuration.

use crate::any_tokenizer::AnyTokenizer;
use crate::tokenizer::{TokenizeError, Tokenizer};
use crate::value::Values;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;

type Build = fn(&serde_json::Value) -> Result<Box<dyn AnyTokenizer>, TokenizeError>;
type Fit = fn(
    &serde_json::Value,
    Option<&serde_json::Value>,
    &dyn Values,
) -> Result<Box<dyn AnyTokenizer>, TokenizeError>;

/// Tokenizers by name, built-in and custom.
#[derive(Clone, Default)]
pub struct Registry {
    builders: BTreeMap<&'static str, (Build, Fit)>,
    schemas: BTreeMap<&'static str, fn() -> serde_json::Value>,
}

/// An error of a registry.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegistryError {
    /// The name is taken.
    #[error("a tokenizer named {0:?} is registered already")]
    Duplicate(&'static str),
    /// No tokenizer has this name.
    #[error("no tokenizer is named {name:?}; known: {known}")]
    Unknown {
        /// The requested name.
        name: String,
        /// The registered names.
        known: String,
    },
    /// The tokenizer's configuration is invalid.
    #[error(transparent)]
    Tokenizer(#[from] TokenizeError),
}

impl Registry {
    /// An empty registry.
    pub fn new() -> Self {
        Self::default()
    }

    /// Add a tokenizer under its [`Tokenizer::NAME`].
    ///
    /// # Errors
    /// [`RegistryError::Duplicate`] if the name is taken; the first registration stays.
    pub fn register<T: Tokenizer>(&mut self) -> Result<(), RegistryError> {
        if self.builders.contains_key(T::NAME) {
            return Err(RegistryError::Duplicate(T::NAME));
        }
        self.builders.insert(T::NAME, (build::<T>, fit::<T>));
        self.schemas.insert(T::NAME, T::settings_schema);
        Ok(())
    }

    /// The schema of each tokenizer's settings, by name ([`Tokenizer::settings_schema`]).
    pub fn settings_schemas(&self) -> impl Iterator<Item = (&'static str, serde_json::Value)> + '_ {
        self.schemas.iter().map(|(name, schema)| (*name, schema()))
    }

    /// Build the tokenizer of this name from a configuration that [`config_json`](AnyTokenizer::config_json) wrote.
    ///
    /// # Errors
    /// [`RegistryError::Unknown`], which lists the known names; [`RegistryError::Tokenizer`] for an invalid
    /// configuration.
    pub fn build(
        &self,
        name: &str,
        config: &serde_json::Value,
    ) -> Result<Box<dyn AnyTokenizer>, RegistryError> {
        let (build, _) = self.find(name)?;
        Ok(build(config)?)
    }

    /// Build the tokenizer of this name from settings, fitted to values ([`Tokenizer::fit`]).
    ///
    /// # Errors
    /// As of [`build`](Self::build).
    pub fn fit(
        &self,
        name: &str,
        settings: &serde_json::Value,
        before: Option<&serde_json::Value>,
        values: &dyn Values,
    ) -> Result<Box<dyn AnyTokenizer>, RegistryError> {
        let (_, fit) = self.find(name)?;
        Ok(fit(settings, before, values)?)
    }

    fn find(&self, name: &str) -> Result<(Build, Fit), RegistryError> {
        self.builders.get(name).copied().ok_or_else(|| {
            let known = self.names().collect::<Vec<_>>().join(", ");
            RegistryError::Unknown { name: name.into(), known }
        })
    }

    /// The registered names, in alphabetical order.
    pub fn names(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.builders.keys().copied()
    }
}

fn build<T: Tokenizer>(config: &serde_json::Value) -> Result<Box<dyn AnyTokenizer>, TokenizeError> {
    Ok(Box::new(T::new(parse::<T, T::Config>(config)?)?))
}

fn fit<T: Tokenizer>(
    settings: &serde_json::Value,
    before: Option<&serde_json::Value>,
    values: &dyn Values,
) -> Result<Box<dyn AnyTokenizer>, TokenizeError> {
    let before = before.map(parse::<T, T::Config>).transpose()?;
    Ok(Box::new(T::new(T::fit(parse::<T, T::Settings>(settings)?, before, values)?)?))
}

fn parse<T: Tokenizer, C: DeserializeOwned>(json: &serde_json::Value) -> Result<C, TokenizeError> {
    C::deserialize(json).map_err(|e| TokenizeError::Config { tokenizer: T::NAME, problem: e.to_string() })
}
