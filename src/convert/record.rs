//! `convert.json`: the settings of a conversion, and its complete shards.

use super::files::{CLASSES, DATA, create};
use super::shards::Shard;
use super::{ConvertError, Options};
use crate::inspect::Corrupt;
use crate::table::RECORD as NAME;
use crate::train::check_target;
use crate::train::checkpoint::{remove_unfinished, write_atomically};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// The settings and the complete shards by their paths.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Record {
    settings: Map<String, Value>,
    pub done: BTreeMap<String, Done>,
    /// Whether the conversion is a single file, without `convert.json`.
    #[serde(skip)]
    is_file: bool,
}

/// A complete shard.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Done {
    pub rows: usize,
    /// The size of the file; 0 if there is no row, and so no file.
    pub bytes: u64,
    /// Rows that are left out.
    pub corrupt: Vec<Corrupt>,
}

/// The settings that decide what the shards hold.
pub(super) fn settings(
    source: &str,
    rows: usize,
    rows_per_shard: usize,
    options: &Options,
) -> Result<Map<String, Value>, ConvertError> {
    let mut settings = Map::new();
    settings.insert("source".into(), json!(source));
    settings.insert("rows".into(), json!(rows));
    match serde_json::to_value(options) {
        Ok(Value::Object(options)) => settings.extend(options),
        Ok(_) => {}
        Err(e) => return Err(ConvertError::setting("options", e)),
    }
    // Last: it may follow from the others.
    settings.insert("rows_per_shard".into(), json!(rows_per_shard));
    Ok(settings)
}

impl Record {
    /// The record of a conversion to one file, which must not exist unless it is overwritten.
    ///
    /// # Errors
    /// [`ConvertError::Destination`] if the file exists.
    pub fn of_file(file: &Path, overwrite: bool) -> Result<Self, ConvertError> {
        check_target(file)?;
        if file.exists() && !overwrite {
            let problem = "the file exists; name another one, or replace it with --overwrite";
            return Err(ConvertError::destination(file, problem));
        }
        create(super::files::folder(file))?;
        Ok(Self { is_file: true, ..Self::default() })
    }

    /// The record in a folder, which is created; the shards of a conversion with other settings are removed if it is
    /// overwritten.
    ///
    /// # Errors
    /// [`ConvertError::Destination`] for a folder with other files, and for one with a conversion of other settings, of which
    /// it names the first that differs.
    pub fn open(folder: &Path, settings: Map<String, Value>, overwrite: bool) -> Result<Self, ConvertError> {
        create(folder)?;
        for folder in [folder, &folder.join(DATA)] {
            if folder.is_dir() {
                remove_unfinished(folder)?;
            }
        }
        let path = folder.join(NAME);
        let Some(earlier) = read(&path)? else {
            if fs::read_dir(folder).map_err(|e| ConvertError::destination(folder, e))?.next().is_some() {
                let problem = format!(
                    "the folder has files, but no {NAME} of an earlier conversion; name another folder"
                );
                return Err(ConvertError::destination(folder, problem));
            }
            return Self::begin(folder, settings);
        };
        if earlier.settings == settings {
            return Ok(earlier);
        }
        if !overwrite {
            return Err(ConvertError::destination(&path, difference(&earlier.settings, &settings)));
        }
        for shard in earlier.done.keys().map(String::as_str).chain([CLASSES]) {
            let file = folder.join(crate::data::error::contained(NAME, shard)?);
            if file.exists() {
                fs::remove_file(&file).map_err(|e| ConvertError::destination(&file, e))?;
            }
        }
        Self::begin(folder, settings)
    }

    fn begin(folder: &Path, settings: Map<String, Value>) -> Result<Self, ConvertError> {
        let record = Self { settings, ..Self::default() };
        record.save(folder)?;
        Ok(record)
    }

    fn save(&self, folder: &Path) -> Result<(), ConvertError> {
        let path = folder.join(NAME);
        let mut bytes = serde_json::to_vec_pretty(self).map_err(|e| ConvertError::destination(&path, e))?;
        bytes.push(b'\n');
        Ok(write_atomically(&path, &bytes)?)
    }

    /// Whether a shard is listed with all of its rows, and its file is as large as it was.
    pub fn is_complete(&self, folder: &Path, shard: &Shard) -> bool {
        let is_file = |bytes| {
            fs::metadata(folder.join(&shard.path)).is_ok_and(|file| file.is_file() && file.len() == bytes)
        };
        self.done.get(&shard.path).is_some_and(|done| {
            let rows = done.rows.checked_add(done.corrupt.len());
            rows == Some(shard.rows.len()) && (done.rows == 0 || is_file(done.bytes))
        })
    }

    /// Lists a shard as complete.
    ///
    /// # Errors
    /// [`ConvertError::Save`] if the file cannot be written.
    pub fn add(&mut self, folder: &Path, path: &str, done: Done) -> Result<(), ConvertError> {
        self.done.insert(path.into(), done);
        if self.is_file { Ok(()) } else { self.save(folder) }
    }
}

/// The record of an earlier conversion; `None` if there is none.
fn read(path: &Path) -> Result<Option<Record>, ConvertError> {
    if !path.exists() {
        return Ok(None);
    }
    let bytes = fs::read(path).map_err(|e| ConvertError::destination(path, e))?;
    match serde_json::from_slice(&bytes) {
        Ok(record) => Ok(Some(record)),
        Err(e) => {
            let problem = format!("expected the record of a conversion; {e}; name another folder");
            Err(ConvertError::destination(path, problem))
        }
    }
}

/// The first setting that differs, in words.
fn difference(earlier: &Map<String, Value>, now: &Map<String, Value>) -> String {
    let order = now.keys().filter(|name| *name != "rows_per_shard");
    let differs = |name: &&String| earlier.get(*name) != now.get(*name);
    let name = order.chain(earlier.keys()).find(differs).map_or("rows_per_shard", String::as_str);
    let [before, after] = [earlier, now].map(|settings| settings.get(name).unwrap_or(&Value::Null));
    format!(
        "the folder has a conversion with other settings: {name} was {before} and is {after}; name another folder, or replace \
         it with --overwrite"
    )
}
