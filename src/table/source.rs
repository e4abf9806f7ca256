//! Sources, and the registry of their layouts.

use super::{Place, Table};
use crate::data::DataError;
use serde::{Deserialize, Deserializer, Serialize};
use std::sync::Arc;

/// One source of rows. In settings: a path, or a table with these keys.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Source {
    /// A file, a folder, an archive, a pattern, `builtin:NAME`, `hf:OWNER/NAME`, or a location on another machine.
    pub path: String,
    /// The name of a registered layout; detected if left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub layout: Option<String>,
    /// The names of the columns of a file without a header.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub columns: Option<Vec<String>>,
    /// Share of the draws, relative to the other sources'.
    #[serde(skip_serializing_if = "is_one")]
    pub weight: f64,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // as serde requires
fn is_one(weight: &f64) -> bool {
    *weight == 1.0
}

impl Source {
    /// The source at a path.
    pub fn new(path: impl Into<String>) -> Self {
        Self { path: path.into(), layout: None, columns: None, weight: 1.0 }
    }
}

impl<'de> Deserialize<'de> for Source {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Keys {
            path: String,
            layout: Option<String>,
            columns: Option<Vec<String>>,
            #[serde(default = "one")]
            weight: f64,
        }
        fn one() -> f64 {
            1.0
        }
        let value = serde_json::Value::deserialize(deserializer)?;
        if let serde_json::Value::String(path) = value {
            return Ok(Self::new(path));
        }
        let Keys { path, layout, columns, weight } =
            Keys::deserialize(value).map_err(serde::de::Error::custom)?;
        Ok(Self { path, layout, columns, weight })
    }
}

/// Opens a source of one layout; `None` if the source has another layout and its settings do not name this one.
pub type Opener = fn(&Place) -> Result<Option<Arc<dyn Table>>, DataError>;

/// The layouts by name, in the order in which they are tried.
#[derive(Clone, Default)]
pub struct SourceRegistry {
    layouts: Vec<(&'static str, Opener)>,
}

/// An error of registering a layout.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError {
    /// The name is taken.
    #[error("a layout named {0:?} is registered already")]
    Duplicate(&'static str),
}

impl SourceRegistry {
    /// A registry without layouts.
    pub fn new() -> Self {
        Self::default()
    }

    /// The built-in layouts: `episodes`, `idx`, `cifar`, `rows`, `lines`, `webdataset`, `folders`, `text`.
    pub fn builtin() -> Self {
        let mut layouts: Vec<(&'static str, Opener)> = vec![];
        #[cfg(feature = "trajectory")]
        layouts.push((super::episodes::NAME, super::episodes::open));
        #[cfg(feature = "image")]
        layouts.extend([
            (super::idx::NAME, super::idx::open as Opener),
            (super::cifar::NAME, super::cifar::open),
        ]);
        layouts.extend([
            (super::rows::NAME, super::rows::open as Opener),
            (super::lines::NAME, super::lines::open),
            (super::webdataset::NAME, super::webdataset::open),
            (super::folders::NAME, super::folders::open),
            (super::text::NAME, super::text::open),
        ]);
        Self { layouts }
    }

    /// Adds a layout, which is tried after the registered ones.
    ///
    /// # Errors
    /// [`SourceError::Duplicate`] if the name is taken.
    pub fn register(&mut self, name: &'static str, open: Opener) -> Result<(), SourceError> {
        if self.names().any(|known| known == name) {
            return Err(SourceError::Duplicate(name));
        }
        self.layouts.push((name, open));
        Ok(())
    }

    /// The names of the layouts.
    pub fn names(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.layouts.iter().map(|(name, _)| *name)
    }

    /// Opens a source as a table.
    ///
    /// # Errors
    /// [`DataError`] for an unknown layout, for a source in none of the layouts, and for one that cannot be read.
    pub fn open(&self, source: &Source) -> Result<Arc<dyn Table>, DataError> {
        let known = || self.names().collect::<Vec<_>>().join(", ");
        if source.path.trim().is_empty() {
            let problem = "the path is empty; name a file or folder, or builtin:NAME";
            return Err(DataError::layout("data.source", problem));
        }
        let place = Place::new(source);
        let none = |problem: String| DataError::layout(&source.path, problem);
        if let Some(name) = &source.layout {
            let Some((_, open)) = self.layouts.iter().find(|(known, _)| known == name) else {
                return Err(none(format!("no layout is named {name:?}; known: {}", known())));
            };
            return open(&place)?.ok_or_else(|| none(format!("it is not in the layout {name}")));
        }
        for (_, open) in &self.layouts {
            let opened = open(&place).map_err(|error| match error {
                // The last layouts expect a folder, but a file is also possible.
                DataError::Missing { location, expected }
                    if expected.contains("folder") && location == source.path =>
                {
                    // Over HTTP, the error has a hint about what to name instead.
                    let hint = expected.find(" (").map_or("", |at| &expected[at..]);
                    let expected = format!("a file, a folder, an archive or a pattern{hint}");
                    DataError::Missing { location, expected }
                }
                other => other,
            });
            if let Some(table) = opened? {
                return Ok(table);
            }
        }
        Err(none(format!("it is in none of the known layouts: {}; `layout` names one", known())))
    }
}
