//! Heads by name: the built-in ones, and yours.

use super::{
    Classify, Ctc, Fit, Generate, Head, HeadKind, Masked, Multilabel, Reads, Reconstruct, Regress, Represent,
    Tag,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use smalti_contract::TokenizeError;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Heads by name.
#[derive(Clone, Default)]
pub struct HeadRegistry {
    entries: BTreeMap<&'static str, Entry>,
}

/// A head's saved state, and the head.
type Fitted = (Value, Arc<dyn Head>);

#[derive(Clone, Copy)]
struct Entry {
    fit: fn(Value, &Fit) -> Result<Fitted, TokenizeError>,
    restore: fn(Value) -> Result<Arc<dyn Head>, TokenizeError>,
    defaults: fn() -> Result<Value, TokenizeError>,
    reads: Reads,
    predicts_labels: bool,
}

/// A fitted head, as a run keeps it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SavedHead {
    /// The name under which it is registered.
    pub name: String,
    /// Settings and fitted state.
    pub state: Value,
}

/// Why a head cannot be registered or made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HeadError {
    /// The name is taken.
    #[error("a head named {0:?} is registered already")]
    Duplicate(&'static str),
    /// No head has this name.
    #[error("no head is named {name:?}; known: {known}")]
    Unknown {
        /// The name that was asked for.
        name: String,
        /// The names there are.
        known: String,
    },
    /// The settings, the values or the saved state are not those of the head.
    #[error(transparent)]
    Head(#[from] TokenizeError),
}

impl HeadRegistry {
    /// The built-in heads.
    ///
    /// # Errors
    /// Never, unless two built-in heads have one name.
    pub fn builtin() -> Result<Self, HeadError> {
        let mut registry = Self::default();
        registry.register::<Classify>()?;
        registry.register::<Multilabel>()?;
        registry.register::<Tag>()?;
        registry.register::<Regress>()?;
        registry.register::<Ctc>()?;
        registry.register::<Generate>()?;
        registry.register::<Masked>()?;
        registry.register::<Represent>()?;
        registry.register::<Reconstruct>()?;
        Ok(registry)
    }

    /// Adds a head under its [`HeadKind::NAME`].
    ///
    /// # Errors
    /// [`HeadError::Duplicate`] if the name is taken; the first registration stays.
    pub fn register<H: HeadKind>(&mut self) -> Result<(), HeadError> {
        if self.entries.contains_key(H::NAME) {
            return Err(HeadError::Duplicate(H::NAME));
        }
        let entry = Entry {
            fit: fit::<H>,
            restore: restore::<H>,
            defaults: defaults::<H>,
            reads: H::READS,
            predicts_labels: H::PREDICTS_LABELS,
        };
        self.entries.insert(H::NAME, entry);
        Ok(())
    }

    /// The registered names, in alphabetical order.
    pub fn names(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.entries.keys().copied()
    }

    /// The names of a head's settings.
    ///
    /// # Errors
    /// [`HeadError::Unknown`], which lists the known names.
    pub fn keys(&self, name: &str) -> Result<Vec<String>, HeadError> {
        let defaults = (self.find(name)?.defaults)()?;
        Ok(defaults.as_object().into_iter().flatten().map(|(key, _)| key.clone()).collect())
    }

    /// Which tokens a head reads: [`HeadKind::READS`].
    ///
    /// # Errors
    /// [`HeadError::Unknown`], which lists the known names.
    pub fn reads(&self, name: &str) -> Result<Reads, HeadError> {
        Ok(self.find(name)?.reads)
    }

    /// Whether a head predicts one of several labels: [`HeadKind::PREDICTS_LABELS`].
    ///
    /// # Errors
    /// [`HeadError::Unknown`], which lists the known names.
    pub fn predicts_labels(&self, name: &str) -> Result<bool, HeadError> {
        Ok(self.find(name)?.predicts_labels)
    }

    /// The head of this name, its settings fitted to values.
    ///
    /// # Errors
    /// [`HeadError::Unknown`], which lists the known names, and [`HeadError::Head`] for settings or values that the
    /// head cannot have.
    pub fn fit(
        &self,
        name: &str,
        settings: Value,
        of: &Fit,
    ) -> Result<(SavedHead, Arc<dyn Head>), HeadError> {
        let (state, head) = (self.find(name)?.fit)(settings, of)?;
        Ok((SavedHead { name: name.into(), state }, head))
    }

    /// The head that [`fit`](Self::fit) saved.
    ///
    /// # Errors
    /// [`HeadError::Unknown`], which lists the known names, and [`HeadError::Head`] for a state that is not the head's.
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

fn fit<H: HeadKind>(settings: Value, of: &Fit) -> Result<Fitted, TokenizeError> {
    let head = H::fit(parse::<H, H::Settings>(settings)?, of)?;
    Ok((write::<H>(&head)?, Arc::new(head)))
}

fn restore<H: HeadKind>(state: Value) -> Result<Arc<dyn Head>, TokenizeError> {
    Ok(Arc::new(parse::<H, H>(state)?))
}

fn defaults<H: HeadKind>() -> Result<Value, TokenizeError> {
    write::<H>(&H::Settings::default())
}

fn parse<H: HeadKind, T: DeserializeOwned>(json: Value) -> Result<T, TokenizeError> {
    serde_json::from_value(json).map_err(|e| config::<H>(&e))
}

fn write<H: HeadKind>(what: &impl Serialize) -> Result<Value, TokenizeError> {
    serde_json::to_value(what).map_err(|e| config::<H>(&e))
}

fn config<H: HeadKind>(problem: &serde_json::Error) -> TokenizeError {
    TokenizeError::Config { tokenizer: H::NAME, problem: problem.to_string() }
}
