//! Manifests: tables that name files and say what is in them.
//!
//! A manifest is a `.tsv`: a header, then one row a line, fields parted by tabs, without quoting. `path`
//! (relative to the manifest) and `text` must be there; other columns can be used to [`Filter`] rows.

mod filter;
#[cfg(test)]
mod tests;

pub use filter::Filter;

use crate::data::error::{DataError, contained};
use crate::data::files::{self, Files, join};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

/// The manifest of a folder or archive.
const MANIFEST: &str = "manifest.tsv";
/// What can be opened as one.
const EXPECTED: &str = "a folder or a tar archive with manifest.tsv in it, or a manifest (.tsv)";
/// The column that names files, and the one that says what is in them.
const PATH: &str = "path";
const TEXT: &str = "text";

/// A table of files.
#[derive(Debug)]
pub struct Manifest {
    table: Arc<Table>,
    rows: Vec<Row>,
}

/// One line of a manifest; it can be kept without the manifest.
#[derive(Debug, Clone)]
pub struct Row {
    table: Arc<Table>,
    path: String,
    fields: Vec<String>,
}

/// What all rows share.
#[derive(Debug)]
struct Table {
    location: String,
    columns: Vec<String>,
    base: Base,
    /// The archives beside the manifest, by the folder that each stands for.
    archives: BTreeMap<String, Files>,
}

/// What paths are relative to.
#[derive(Debug)]
enum Base {
    Folder(String),
    Tree(Files),
}

impl Manifest {
    /// Opens a `.tsv` file, or the `manifest.tsv` of a folder or tar archive.
    ///
    /// Where paths begin with a folder `recordings/` and `recordings.tar` stands beside the manifest,
    /// files that are not in the folder are looked for in the archive, under their whole path or without
    /// the folder.
    ///
    /// # Errors
    /// [`DataError::Missing`], [`DataError::Empty`]; [`DataError::Format`] for a table that is not UTF-8,
    /// lacks a column, has one twice or has a row of another length (with its line number);
    /// [`DataError::Path`] for a path that leads out of the manifest's folder; [`DataError::IsFile`] for a file
    /// of another kind.
    pub fn open(location: &str) -> Result<Self, DataError> {
        let (folder, name) = match location.rfind(['/', ':']).map_or(0, |end| end + 1) {
            start if location.ends_with(".tsv") => location.split_at_checked(start).unwrap_or(("", location)),
            _ => (location, MANIFEST),
        };
        let base = Base::open(folder).map_err(|error| match error {
            DataError::IsFile { location, .. } => DataError::IsFile { location, expected: EXPECTED },
            other => other,
        })?;
        let location = join(folder, name);
        let text = base.read(name).and_then(|bytes| files::text(&location, bytes))?;
        let (columns, rows) = parse(&location, &text)?;
        let folders: BTreeSet<&str> =
            rows.iter().filter_map(|row| Some(row.path.split_once('/')?.0)).collect();
        let mut archives = BTreeMap::new();
        for folder in folders {
            if let Some(files) = base.archive(folder)? {
                archives.insert(folder.to_string(), files);
            }
        }
        let table = Arc::new(Table { location, columns, base, archives });
        let rows = rows
            .into_iter()
            .map(|Parsed { path, fields }| Row { table: table.clone(), path, fields })
            .collect();
        Ok(Self { table, rows })
    }

    /// The location of the table.
    pub fn name(&self) -> &str {
        &self.table.location
    }

    /// The column names, in the table's order.
    pub fn columns(&self) -> &[String] {
        &self.table.columns
    }

    /// Every row, in the table's order.
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// The rows that a filter lets through; there may be none.
    ///
    /// # Errors
    /// [`DataError::Unknown`] for a filter on a column that is not there.
    pub fn select(&self, filter: &Filter) -> Result<Vec<&Row>, DataError> {
        let unknown = filter.columns().find(|column| !self.table.columns.iter().any(|known| known == column));
        if let Some(column) = unknown {
            return Err(DataError::Unknown {
                location: self.table.location.clone(),
                what: "column",
                name: column.to_string(),
                known: self.table.columns.join(", "),
            });
        }
        Ok(self.rows.iter().filter(|row| filter.passes(|column| row.get(column))).collect())
    }
}

impl Row {
    /// The file's path, relative to the manifest.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Where the file lies, for errors.
    pub fn location(&self) -> String {
        match &self.table.base {
            Base::Folder(folder) => join(folder, &self.path),
            Base::Tree(files) => files.location(&self.path),
        }
    }

    /// What is in the file; may be empty.
    pub fn text(&self) -> &str {
        self.get(TEXT).unwrap_or_default()
    }

    /// The field of a column; `None` where there is no such column.
    pub fn get(&self, column: &str) -> Option<&str> {
        let at = self.table.columns.iter().position(|known| known == column)?;
        self.fields.get(at).map(String::as_str)
    }

    /// The file's bytes.
    ///
    /// # Errors
    /// [`DataError::Missing`] where it is neither beside the manifest nor in an archive there;
    /// [`DataError::Empty`], [`DataError::Io`].
    pub fn read(&self) -> Result<Vec<u8>, DataError> {
        let Table { base, archives, .. } = self.table.as_ref();
        let found = base.read(&self.path);
        let Err(DataError::Missing { location, .. }) = found else { return found };
        let archive =
            self.path.split_once('/').and_then(|(folder, rest)| Some((archives.get(folder)?, rest)));
        match archive {
            Some((archive, rest)) if archive.contains(rest) => archive.read(rest),
            Some((archive, _)) if archive.contains(&self.path) => archive.read(&self.path),
            Some((archive, _)) => Err(DataError::Missing {
                location,
                expected: format!("a file there or in {}", archive.name()),
            }),
            None => Err(DataError::Missing {
                location,
                expected: format!("a file that {} names", self.table.location),
            }),
        }
    }
}

impl Base {
    fn open(location: &str) -> Result<Self, DataError> {
        let on_disk = if location.is_empty() { "." } else { location };
        if Path::new(on_disk).is_dir() {
            return Ok(Self::Folder(location.to_string()));
        }
        Files::open(location).map(Self::Tree)
    }

    fn read(&self, path: &str) -> Result<Vec<u8>, DataError> {
        match self {
            Self::Folder(folder) => files::read(&join(folder, path)),
            Self::Tree(tree) => tree.read(path),
        }
    }

    /// The archive `folder.tar`, if it is there.
    fn archive(&self, folder: &str) -> Result<Option<Files>, DataError> {
        let name = format!("{folder}.tar");
        match self {
            Self::Folder(base) if files::is_file(&join(base, &name))? => {
                Files::open(&join(base, &name)).map(Some)
            }
            Self::Tree(tree) if tree.contains(&name) => tree.open_member(&name).map(Some),
            _ => Ok(None),
        }
    }
}

/// A row before it has a table.
struct Parsed {
    path: String,
    fields: Vec<String>,
}

fn parse(location: &str, text: &str) -> Result<(Vec<String>, Vec<Parsed>), DataError> {
    let damaged = |problem: String| DataError::format(location, "a manifest", problem);
    let mut lines = text.lines();
    let columns: Vec<String> = lines.next().unwrap_or_default().split('\t').map(str::to_string).collect();
    let place = |name: &str| columns.iter().position(|column| column == name);
    if let Some((_, twice)) = columns.iter().enumerate().find(|(i, column)| place(column) != Some(*i)) {
        return Err(damaged(format!("the column {twice:?} is there twice")));
    }
    let lacks = |name: &str| damaged(format!("no column {name:?}; there is {}", columns.join(", ")));
    let path_column = place(PATH).ok_or_else(|| lacks(PATH))?;
    place(TEXT).ok_or_else(|| lacks(TEXT))?;
    let mut rows = Vec::new();
    for (line, text) in (2..).zip(lines) {
        let fields: Vec<String> = text.split('\t').map(str::to_string).collect();
        if fields.len() != columns.len() {
            let (found, expected) = (fields.len(), columns.len());
            return Err(damaged(format!("line {line} has {found} fields; the header has {expected}")));
        }
        let path = fields.get(path_column).map(String::as_str).unwrap_or_default();
        rows.push(Parsed { path: contained(&format!("{location}, line {line}"), path)?, fields });
    }
    if rows.is_empty() {
        return Err(DataError::Empty { location: location.to_string(), expected: "rows below the header" });
    }
    Ok((columns, rows))
}
