//! Sources, and the registry of their layouts.

use super::{Place, Table};
use crate::data::DataError;
use serde::{Deserialize, Deserializer, Serialize};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The beginning of the path of a registered table: `memory:NAME`.
const MEMORY: &str = "memory:";

/// One source of rows. In settings: a path, or a table with these keys.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Source {
    /// A file, a folder, an archive, a pattern, `builtin:NAME`, `memory:NAME`, `hf:OWNER/NAME`, or a location on another
    /// machine.
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

/// The keys of a source that is a table.
#[derive(Deserialize, schemars::JsonSchema)]
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

impl schemars::JsonSchema for Source {
    fn schema_name() -> Cow<'static, str> {
        "Source".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "anyOf": [{ "type": "string" }, generator.subschema_for::<Keys>()] })
    }
}

impl<'de> Deserialize<'de> for Source {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
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

/// The layouts by name, in the order in which they are tried, and the tables of the program.
#[derive(Clone, Default)]
pub struct SourceRegistry {
    layouts: Vec<(&'static str, Opener)>,
    tables: BTreeMap<String, Arc<dyn Table>>,
}

/// An error of registering a layout or a table.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError {
    /// The name is taken.
    #[error("a layout named {0:?} is registered already")]
    Duplicate(&'static str),
    /// The name of a table is taken.
    #[error("a table named {0:?} is registered already")]
    Table(String),
}

impl SourceRegistry {
    /// A registry without layouts.
    pub fn new() -> Self {
        Self::default()
    }

    /// The built-in layouts: `episodes`, `idx`, `cifar`, `kaldi`, `librispeech`, `ljspeech`, `common_voice`, `nemo`,
    /// `json_lines`, `rows`, `lines`, `webdataset`, `folders`, `text`.
    pub fn builtin() -> Self {
        let mut layouts: Vec<(&'static str, Opener)> = vec![];
        #[cfg(feature = "trajectory")]
        layouts.push((super::episodes::NAME, super::episodes::open));
        #[cfg(feature = "image")]
        layouts.extend([
            (super::idx::NAME, super::idx::open as Opener),
            (super::cifar::NAME, super::cifar::open),
        ]);
        layouts.extend(super::speech::LAYOUTS);
        layouts.extend([
            (super::json_lines::NAME, super::json_lines::open as Opener),
            (super::rows::NAME, super::rows::open),
            (super::lines::NAME, super::lines::open),
            (super::webdataset::NAME, super::webdataset::open),
            (super::folders::NAME, super::folders::open),
            (super::text::NAME, super::text::open),
        ]);
        Self { layouts, tables: BTreeMap::new() }
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

    /// Adds a table of the program; the path of its source is `memory:` and its [`name`](Table::name).
    ///
    /// # Errors
    /// [`SourceError::Table`] if the name is taken.
    pub fn add_table(&mut self, table: Arc<dyn Table>) -> Result<(), SourceError> {
        let name = table.name().to_string();
        if self.tables.contains_key(&name) {
            return Err(SourceError::Table(name));
        }
        self.tables.insert(name, table);
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
        if let Some(name) = source.path.strip_prefix(MEMORY) {
            return self.registered_table(source, name);
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
        Err(none(format!(
            "it is in none of the known layouts: {}; expected class folders, tars, a table (.csv, .tsv, .jsonl, .parquet), \
             .txt, IDX, CIFAR-10 or .npz; a source {{ path = {:?}, layout = \"NAME\" }} has the layout of this name",
            known(),
            source.path
        )))
    }

    /// The registered table of a source `memory:NAME`.
    fn registered_table(&self, source: &Source, name: &str) -> Result<Arc<dyn Table>, DataError> {
        if source.layout.is_some() || source.columns.is_some() {
            let problem = "a table in memory has no `layout` and no `columns`; remove them";
            return Err(DataError::layout(&source.path, problem));
        }
        let known = || self.tables.keys().cloned().collect::<Vec<_>>().join(", ");
        self.tables.get(name).cloned().ok_or_else(|| {
            let problem = format!("no table of this name is registered; registered: {}", known());
            DataError::layout(&source.path, problem)
        })
    }
}
