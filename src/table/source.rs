//! Sources, and the registry of their layouts.

use super::{Place, Table, nearest};
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
    /// Whether a table on disk may name files outside its folder, by absolute paths or `../`.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub allow_outside: bool,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // as serde requires
fn is_one(weight: &f64) -> bool {
    *weight == 1.0
}

impl Source {
    /// The source at a path.
    pub fn new(path: impl Into<String>) -> Self {
        Self { path: path.into(), layout: None, columns: None, weight: 1.0, allow_outside: false }
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
    #[serde(default)]
    allow_outside: bool,
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
        let Keys { path, layout, columns, weight, allow_outside } =
            Keys::deserialize(value).map_err(serde::de::Error::custom)?;
        Ok(Self { path, layout, columns, weight, allow_outside })
    }
}

/// Opens a source of one layout; `None` if the source has another layout and its settings do not name this one.
pub type Opener = fn(&Place) -> Result<Option<Arc<dyn Table>>, DataError>;

/// The table of a source, and its layout.
pub struct Detected {
    /// The table.
    pub table: Arc<dyn Table>,
    /// The name of the layout: `memory` for a table of the program, `file` for a single file that is one row.
    pub layout: &'static str,
    /// The reason for this layout; `None` if the layout states none.
    pub because: Option<String>,
    /// The other layouts that state why they do not fit, in the order in which they are tried.
    pub others: Vec<Declined>,
}

/// A layout that a source does not have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Declined {
    /// The name of the layout.
    pub layout: &'static str,
    /// The reason: "it has no file named meta/info.json".
    pub reason: String,
    /// Whether files with these endings may have the layout.
    pub is_near: bool,
}

impl Detected {
    /// A table that no layout but this one was tried for.
    pub(crate) fn only(table: Arc<dyn Table>, layout: &'static str, because: impl Into<String>) -> Self {
        Self { table, layout, because: Some(because.into()), others: vec![] }
    }
}

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

    /// The built-in layouts: `episodes`, `idx`, `cifar`, `kaldi`, `librispeech`, `ljspeech`, `common_voice`, `nemo`, `parquet`,
    /// `arrow`, `rows`, `lines`, `webdataset`, `folders`, `text`.
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
            (super::parquet::NAME, super::parquet::open as Opener),
            (super::arrow::NAME, super::arrow::open),
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
        self.detect(source).map(|detected| detected.table)
    }

    /// Opens a source as a table in the first layout that fits, with the reasons for this layout and against the others.
    ///
    /// # Errors
    /// As for [`open`](Self::open). If no layout fits, the error has the reason of the layout that the names of the files suit
    /// best.
    pub fn detect(&self, source: &Source) -> Result<Detected, DataError> {
        if source.path.trim().is_empty() {
            let problem = "the path is empty; name a file or folder, or builtin:NAME";
            return Err(DataError::layout("data.source", problem));
        }
        if let Some(name) = source.path.strip_prefix(MEMORY) {
            let table = self.registered_table(source, name)?;
            return Ok(Detected::only(table, "memory", "it is a table of the program"));
        }
        let place = Place::new(source);
        if let Some(name) = &source.layout {
            return self.open_as(&place, name);
        }
        let mut declined = vec![];
        for (tried, &(layout, open)) in (1..).zip(&self.layouts) {
            let opened = open(&place).map_err(|error| of_any_location(error, source))?;
            let because = place.take_reason();
            if let Some(table) = opened {
                let reason = format!("it is tried after {layout}, which fits");
                let later = self.layouts[tried..].iter().map(|&(later, _)| (later, reason.clone()));
                let mut others = nearest::marked(&place, declined);
                others.extend(later.map(|(layout, reason)| Declined { layout, reason, is_near: false }));
                return Ok(Detected { table, layout, because, others });
            }
            declined.extend(because.map(|reason| (layout, reason)));
        }
        Err(nearest::error(&place, declined))
    }

    /// Opens a source in the layout that its settings name.
    fn open_as(&self, place: &Place, name: &str) -> Result<Detected, DataError> {
        let none = |problem: String| DataError::layout(&place.path, problem);
        let Some(&(layout, open)) = self.layouts.iter().find(|(known, _)| *known == name) else {
            let known = self.names().collect::<Vec<_>>().join(", ");
            return Err(none(format!("no layout is named {name:?}; known: {known}")));
        };
        let table = open(place)?.ok_or_else(|| {
            let reason = place.take_reason().map_or(String::new(), |reason| format!(": {reason}"));
            none(format!("it is not in the layout {name}{reason}"))
        })?;
        Ok(Detected::only(table, layout, "the settings name it"))
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

/// The error of a layout that expects a folder, where a file is also possible.
fn of_any_location(error: DataError, source: &Source) -> DataError {
    match error {
        DataError::Missing { location, expected }
            if expected.contains("folder") && location == source.path =>
        {
            // Over HTTP, the error has a hint about what to name instead.
            let hint = expected.find(" (").map_or("", |at| &expected[at..]);
            let expected = format!("a file, a folder, an archive or a pattern{hint}");
            DataError::Missing { location, expected }
        }
        other => other,
    }
}
