//! The registry of heads: the built-in heads and your own.

use super::{
    Classify, Ctc, FitData, Generate, Head, HeadInput, HeadKind, Masked, Multilabel, Prefer, Reconstruct,
    Regress, Represent, Tag,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use smalti_contract::TokenizeError;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The registered heads, by name.
#[derive(Clone, Default)]
pub struct HeadRegistry {
    entries: BTreeMap<&'static str, Entry>,
}

/// A head's saved state, and the head.
type Fitted = (Value, Arc<dyn Head>);

#[derive(Clone, Copy)]
struct Entry {
    fit: fn(Value, &FitData) -> Result<Fitted, TokenizeError>,
    restore: fn(Value) -> Result<Arc<dyn Head>, TokenizeError>,
    defaults: fn() -> Result<Value, TokenizeError>,
    input: HeadInput,
    predicts_labels: bool,
    schema: fn() -> Value,
}

/// A fitted head, as a run saves it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SavedHead {
    /// The name in the registry.
    pub name: String,
    /// Settings and fitted state.
    pub state: Value,
}

/// Errors of registering, fitting or restoring a head.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HeadError {
    /// A head of this name is registered already.
    #[error("a head named {0:?} is registered already")]
    Duplicate(&'static str),
    /// No head of this name is registered.
    #[error("no head is named {name:?}; known: {known}")]
    Unknown {
        /// The requested name.
        name: String,
        /// The registered names.
        known: String,
    },
    /// Settings, values or a saved state that the head cannot use.
    #[error(transparent)]
    Head(#[from] TokenizeError),
}

impl HeadRegistry {
    /// The built-in heads.
    ///
    /// # Errors
    /// Never: all built-in heads have different names.
    pub fn builtin() -> Result<Self, HeadError> {
        let mut registry = Self::default();
        registry.register::<Classify>()?;
        registry.register::<Multilabel>()?;
        registry.register::<Tag>()?;
        registry.register::<Regress>()?;
        registry.register::<Ctc>()?;
        registry.register::<Generate>()?;
        registry.register::<Masked>()?;
        registry.register::<Prefer>()?;
        registry.register::<Represent>()?;
        registry.register::<Reconstruct>()?;
        Ok(registry)
    }

    /// Registers a head under its [`HeadKind::NAME`].
    ///
    /// # Errors
    /// [`HeadError::Duplicate`] if the name is taken; the earlier head stays registered.
    pub fn register<H: HeadKind>(&mut self) -> Result<(), HeadError> {
        if self.entries.contains_key(H::NAME) {
            return Err(HeadError::Duplicate(H::NAME));
        }
        let entry = Entry {
            fit: fit::<H>,
            restore: restore::<H>,
            defaults: defaults::<H>,
            input: H::INPUT,
            predicts_labels: H::PREDICTS_LABELS,
            schema: H::settings_schema,
        };
        self.entries.insert(H::NAME, entry);
        Ok(())
    }

    /// The registered names, in alphabetical order.
    pub fn names(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.entries.keys().copied()
    }

    /// The schema of each head's settings, by name ([`HeadKind::settings_schema`]).
    pub fn settings_schemas(&self) -> impl Iterator<Item = (&'static str, Value)> + '_ {
        self.entries.iter().map(|(name, entry)| (*name, (entry.schema)()))
    }

    /// The names of a head's settings: the keys of the default of [`HeadKind::Settings`].
    ///
    /// # Errors
    /// [`HeadError::Unknown`], which lists the known names.
    pub fn keys(&self, name: &str) -> Result<Vec<String>, HeadError> {
        let defaults = (self.find(name)?.defaults)()?;
        Ok(defaults.as_object().into_iter().flatten().map(|(key, _)| key.clone()).collect())
    }

    /// The tokens that a head reads: [`HeadKind::INPUT`].
    ///
    /// # Errors
    /// [`HeadError::Unknown`], which lists the known names.
    pub fn input(&self, name: &str) -> Result<HeadInput, HeadError> {
        Ok(self.find(name)?.input)
    }

    /// Whether a head predicts one of several labels: [`HeadKind::PREDICTS_LABELS`].
    ///
    /// # Errors
    /// [`HeadError::Unknown`], which lists the known names.
    pub fn predicts_labels(&self, name: &str) -> Result<bool, HeadError> {
        Ok(self.find(name)?.predicts_labels)
    }

    /// Fits a head to the values of the training rows.
    ///
    /// # Errors
    /// [`HeadError::Unknown`], which lists the known names; [`HeadError::Head`] for settings or values that the head cannot
    /// use.
    pub fn fit(
        &self,
        name: &str,
        settings: Value,
        data: &FitData,
    ) -> Result<(SavedHead, Arc<dyn Head>), HeadError> {
        let (state, head) = (self.find(name)?.fit)(settings, data)?;
        Ok((SavedHead { name: name.into(), state }, head))
    }

    /// Restores a head that [`fit`](Self::fit) saved.
    ///
    /// # Errors
    /// [`HeadError::Unknown`], which lists the known names; [`HeadError::Head`] for a state that the head cannot use.
    pub fn restore(&self, saved: &SavedHead) -> Result<Arc<dyn Head>, HeadError> {
        Ok((self.find(&saved.name)?.restore)(saved.state.clone())?)
    }

    fn find(&self, name: &str) -> Result<&Entry, HeadError> {
        self.entries.get(name).ok_or_else(|| {
            let known = self.names().collect::<Vec<_>>().join(", ");
            HeadError::Unknown { name: name.into(), known }
        })
    }
}

fn fit<H: HeadKind>(settings: Value, data: &FitData) -> Result<Fitted, TokenizeError> {
    let head = H::fit(parse::<H, H::Settings>(settings)?, data)?;
    Ok((write::<H>(&head)?, Arc::new(head)))
}

fn restore<H: HeadKind>(state: Value) -> Result<Arc<dyn Head>, TokenizeError> {
    Ok(Arc::new(parse::<H, H>(state)?))
}

fn defaults<H: HeadKind>() -> Result<Value, TokenizeError> {
    write::<H>(&H::Settings::default())
}

fn parse<H: HeadKind, T: DeserializeOwned>(json: Value) -> Result<T, TokenizeError> {
    serde_json::from_value(json).map_err(|e| config_error::<H>(&e))
}

fn write<H: HeadKind>(value: &impl Serialize) -> Result<Value, TokenizeError> {
    serde_json::to_value(value).map_err(|e| config_error::<H>(&e))
}

fn config_error<H: HeadKind>(problem: &serde_json::Error) -> TokenizeError {
    TokenizeError::Config { tokenizer: H::NAME, problem: problem.to_string() }
}
