//! Manifests: tables that name files and say what is in them.
//!
//! A manifest is a table in one of four formats:
//!
//! - `.tsv`: a header, then a row a line, fields parted by tabs, without quoting;
//! - `.csv`: the same with commas, fields quoted where they hold one;
//! - `.jsonl` or `.ndjson`: a JSON object a line, all with the same keys;
//! - `.parquet`: columns of texts and numbers, plain or packed by snappy or zstd.
//!
//! The column `path`, relative to the manifest, must be there; what else must be is for who opens it to say. Other
//! columns can be used to filter rows.

mod table;
#[cfg(test)]
mod tests;

use crate::data::error::{DataError, contained};
use crate::data::files::{self, Files, join};
use crate::table::Filter;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use table::Parsed;

/// The name, without its ending, of the manifest of a folder or archive.
const MANIFEST: &str = "manifest";
/// What can be opened as one.
const EXPECTED: &str =
    "a manifest (.tsv, .csv, .jsonl, .ndjson, .parquet), or a folder or a tar archive with one in it";
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
    archives: BTreeMap<String, Arc<Files>>,
}

/// What paths are relative to.
#[derive(Debug)]
enum Base {
    Folder(String),
    Tree(Arc<Files>),
}

/// The fields of these columns in each row of a table that names no files, in one of the same formats.
///
/// # Errors
/// [`DataError::Missing`]; [`DataError::Format`] for what is no table or lacks a column; [`DataError::Empty`] for one
/// without a row.
pub fn columns(location: &str, wanted: &[&str]) -> Result<Vec<Vec<String>>, DataError> {
    if table::extension(location).is_none() {
        let problem = format!("its name must end in .{}", table::EXTENSIONS.join(", ."));
        return Err(DataError::format(location, "a table of texts", problem));
    }
    let Parsed { columns, rows } = table::parse(location, files::read(location)?)?;
    let place = |name: &&str| {
        let place = columns.iter().position(|column| column == name);
        let problem = || format!("it has no column {name}; it has {}", columns.join(", "));
        place.ok_or_else(|| DataError::format(location, "a table of texts", problem()))
    };
    let places = wanted.iter().map(place).collect::<Result<Vec<_>, _>>()?;
    if rows.is_empty() {
        return Err(DataError::format(location, "a table of texts", "it has no row"));
    }
    Ok(rows.into_iter().map(|row| places.iter().map(|&place| row[place].clone()).collect()).collect())
}

impl Manifest {
    /// Opens a table of files and what they say: a file, or the `manifest.tsv` (or `.csv`, `.jsonl`, `.ndjson`,
    /// `.parquet`) of a folder or tar archive. The columns `path` and `text` must be there.
    ///
    /// # Errors
    /// Those of [`with`](Self::with).
    pub fn open(location: &str) -> Result<Self, DataError> {
        Self::with(location, &[TEXT])
    }

    /// Opens a table in which `path` and these columns must be.
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
    pub fn with(location: &str, required: &[&str]) -> Result<Self, DataError> {
        let start = location.rfind(['/', ':']).map_or(0, |end| end + 1);
        let (folder, name) = match table::extension(location) {
            Some(_) => location.split_at_checked(start).unwrap_or(("", location)),
            None => (location, ""),
        };
        let base = Base::open(folder).map_err(|error| match error {
            DataError::IsFile { location, .. } => DataError::IsFile { location, expected: EXPECTED },
            other => other,
        })?;
        let name = if name.is_empty() { base.manifest(folder)? } else { name.to_string() };
        let location = join(folder, &name);
        let Parsed { columns, rows } = table::parse(&location, base.read(&name)?)?;
        let paths = paths(&location, &columns, required, &rows)?;
        let folders: BTreeSet<&str> = paths.iter().filter_map(|path| Some(path.split_once('/')?.0)).collect();
        let mut archives = BTreeMap::new();
        for folder in folders {
            if let Some(files) = base.archive(folder)? {
                archives.insert(folder.to_string(), Arc::new(files));
            }
        }
        let table = Arc::new(Table { location, columns, base, archives });
        let rows = paths.into_iter().zip(rows);
        let rows = rows.map(|(path, fields)| Row { table: table.clone(), path, fields }).collect();
        Ok(Self { table, rows })
    }

    /// Whether a location names a manifest, by its ending.
    pub fn is_one(location: &str) -> bool {
        table::extension(location).is_some()
    }

    /// Whether there is a manifest in a tree.
    pub(crate) fn is_in(tree: &Files) -> bool {
        names().any(|name| tree.contains(&name))
    }

    /// The trees that hold the files of these rows, and for each row its tree and its path there.
    pub(crate) fn places(&self, rows: &[&Row]) -> (Vec<Arc<Files>>, Vec<(usize, String)>) {
        self.table.places(rows)
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

impl Table {
    /// The trees that hold the files of these rows, and for each row its tree and its path there.
    fn places(&self, rows: &[&Row]) -> (Vec<Arc<Files>>, Vec<(usize, String)>) {
        let Self { base, archives, .. } = self;
        let here = match base {
            Base::Folder(folder) => Arc::new(Files::named(folder, rows.iter().map(|row| row.path.clone()))),
            Base::Tree(tree) => tree.clone(),
        };
        let in_archive = |row: &Row| {
            let (folder, rest) = row.path.split_once('/')?;
            let number = archives.keys().position(|known| known == folder)?;
            let path = [rest, &row.path].into_iter().find(|path| archives[folder].contains(path))?;
            let beside = match base {
                Base::Folder(folder) => Path::new(&join(folder, &row.path)).exists(),
                Base::Tree(tree) => tree.contains(&row.path),
            };
            (!beside).then(|| (1 + number, path.to_string()))
        };
        let places = rows.iter().map(|row| in_archive(row).unwrap_or_else(|| (0, row.path.clone())));
        let places = places.collect();
        (std::iter::once(here).chain(archives.values().cloned()).collect(), places)
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

    /// Where the file lies and what changes when it does; `None` where that is not known.
    pub fn origin(&self) -> Option<String> {
        let (trees, places) = self.table.places(&[self]);
        let (tree, path) = places.first()?;
        trees.get(*tree)?.origin(path)
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
        if Path::new(on_disk).is_dir() || files::is_remote(location) {
            return Ok(Self::Folder(location.to_string()));
        }
        Files::open(location).map(|tree| Self::Tree(Arc::new(tree)))
    }

    fn read(&self, path: &str) -> Result<Vec<u8>, DataError> {
        match self {
            Self::Folder(folder) => files::read(&join(folder, path)),
            Self::Tree(tree) => tree.read(path),
        }
    }

    /// The file name of the manifest that is here; `folder` names the place in errors.
    fn manifest(&self, folder: &str) -> Result<String, DataError> {
        let mut found = Vec::new();
        for name in names() {
            let here = match self {
                Self::Folder(folder) => files::is_file(&join(folder, &name))?,
                Self::Tree(tree) => tree.contains(&name),
            };
            found.extend(here.then_some(name));
        }
        match found.len() {
            0 => Err(DataError::Missing {
                location: join(folder, "manifest.tsv"),
                expected: "it or a manifest.csv, .jsonl, .ndjson or .parquet".into(),
            }),
            1 => Ok(found.remove(0)),
            _ => Err(DataError::layout(
                folder,
                format!("holds several manifests; name one: {}", found.join(", ")),
            )),
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

/// The file names of manifests in folders and archives.
fn names() -> impl Iterator<Item = String> {
    table::EXTENSIONS.iter().map(|extension| format!("{MANIFEST}.{extension}"))
}

/// The rows' paths, where the columns that must be there are.
fn paths(
    location: &str,
    columns: &[String],
    required: &[&str],
    rows: &[Vec<String>],
) -> Result<Vec<String>, DataError> {
    let place = |name: &str| {
        let missing = || format!("no column {name:?}; there is {}", columns.join(", "));
        let at = columns.iter().position(|column| column == name);
        at.ok_or_else(|| DataError::format(location, "a manifest", missing()))
    };
    let path = place(PATH)?;
    required.iter().try_for_each(|name| place(name).map(drop))?;
    if rows.is_empty() {
        return Err(DataError::Empty { location: location.to_string(), expected: "rows below the header" });
    }
    let named = |(i, row): (usize, &Vec<String>)| {
        let path = row.get(path).map_or("", String::as_str);
        contained(&format!("{location}, row {}", i + 1), path)
    };
    rows.iter().enumerate().map(named).collect()
}
