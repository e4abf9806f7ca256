//! The index of the members of shards, and their fields.

use super::decode::{Decoder, series_name};
use super::{ABSENT, CLASS, Ending, Shard, Site, WebDataset, split_name};
use crate::data::files::is_hidden;
use crate::data::{DataError, Files};
use crate::table::place::{CLASSES, class_names, split_of};
use smalti_contract::memory;
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

/// The reason why a pickle is not a field.
const PICKLED: &str = "a Python pickle, which may run code; write npy, npz, json or mp instead";
/// The most endings of files, and the most keys in files of one ending: each is a field, for which a row is read.
const MOST_FIELDS: usize = 4096;
/// The most rows that are read to find the keys of JSON, MessagePack and npz.
const PROBED: usize = 1_000;

impl WebDataset {
    /// Indexes the files of the shards.
    ///
    /// # Errors
    /// [`DataError`] if there is no row, and for corrupt members with keys.
    pub(super) fn new(
        location: &str,
        files: Vec<Arc<Files>>,
        mut skipped: Vec<(String, &'static str)>,
    ) -> Result<Self, DataError> {
        let mut endings: Vec<Ending> = vec![];
        let mut pickles: Vec<String> = vec![];
        let mut rows: Vec<Vec<(usize, u32)>> = vec![];
        let mut shards = vec![];
        for files in files {
            let start = rows.len();
            let mut by_key: BTreeMap<&str, Vec<(usize, u32)>> = BTreeMap::new();
            for (number, path) in (0..).zip(files.list()).filter(|(_, path)| *path != CLASSES) {
                let (key, ending) = split_name(path);
                if ending.is_empty() || is_hidden(path) {
                    skipped.push((files.location(path), "no name with an ending"));
                    continue;
                }
                let name = ending.to_lowercase();
                let Some(decoder) = Decoder::of(&name) else {
                    pickles.extend(Some(name).filter(|name| !pickles.contains(name)));
                    continue;
                };
                let at = endings.iter().position(|known| known.name == name).unwrap_or(endings.len());
                if at == endings.len() {
                    check_number(location, endings.len() + 1, "endings of files")?;
                    endings.push(Ending { name, decoder });
                }
                by_key.entry(key).or_default().push((at, number));
            }
            rows.extend(by_key.into_values());
            skipped.extend(files.skipped().iter().map(|(path, why)| (files.location(path), *why)));
            let split = split_of(files.name()).to_string();
            shards.push(Shard { files, split, start });
        }
        skipped.extend(pickles.into_iter().map(|field| (field, PICKLED)));
        if rows.is_empty() {
            return Err(DataError::Empty { location: location.into(), expected: "files such as 000123.png" });
        }
        let n_members = rows.len() * endings.len();
        memory::check(4 * n_members as u64).map_err(|e| {
            let problem = format!("{} rows of {} endings: {e}", rows.len(), endings.len());
            DataError::layout(location, problem)
        })?;
        let mut members = vec![ABSENT; n_members];
        for (row, row_members) in rows.iter().enumerate() {
            for (ending, number) in row_members {
                members[row * endings.len() + ending] = *number;
            }
        }
        let classes = shards.iter().find_map(|shard| class_names(&shard.files).transpose()).transpose()?;
        let table = Self {
            name: location.into(),
            fields: vec![],
            sites: vec![],
            shards,
            endings,
            members,
            classes,
            skipped,
        };
        table.with_fields()
    }

    /// Adds the fields: one for each ending or key, `cls` of class folders, and `split`.
    fn with_fields(mut self) -> Result<Self, DataError> {
        for at in 0..self.endings.len() {
            if self.endings[at].decoder.has_keys() {
                for key in self.keys(at)? {
                    check_number(&self.name, self.fields.len() + 1, "keys")?;
                    self.add(key, Site::Key(at));
                }
            } else {
                let name = &self.endings[at].name;
                let is_free = |field: &&str| self.endings.iter().all(|ending| ending.name != *field);
                let field = series_name(name).filter(is_free).unwrap_or(name).to_string();
                self.add(field, Site::Member(at));
            }
        }
        let has_class = self.fields.iter().any(|field| field == CLASS);
        if !has_class && self.shards.iter().any(|shard| self.class(shard.start).is_some()) {
            self.add(CLASS.into(), Site::Class);
        }
        if self.shards.iter().any(|shard| !self.split(shard, shard.start).is_empty()) {
            self.add("split".into(), Site::Split);
        }
        Ok(self)
    }

    fn add(&mut self, field: String, site: Site) {
        if !self.fields.contains(&field) {
            self.fields.push(field);
            self.sites.push(site);
        }
    }

    /// The keys in members of this ending of rows that are spread over the table.
    fn keys(&self, at: usize) -> Result<Vec<String>, DataError> {
        let Ending { name, decoder } = &self.endings[at];
        let with_member: Vec<usize> = (0..self.rows()).filter(|&row| self.path(row, at).is_some()).collect();
        let (mut keys, mut seen): (Vec<String>, HashSet<String>) = (vec![], HashSet::new());
        for &row in with_member.iter().step_by(with_member.len().div_ceil(PROBED).max(1)) {
            let Some((location, bytes)) = self.bytes(row, at)? else { continue };
            for key in decoder.keys(&location, &bytes, name)? {
                if seen.insert(key.clone()) {
                    check_number(&location, keys.len() + 1, "keys")?;
                    keys.push(key);
                }
            }
        }
        Ok(keys)
    }
}

/// Fail for more than [`MOST_FIELDS`].
fn check_number(location: &str, n: usize, what: &str) -> Result<(), DataError> {
    match n {
        ..=MOST_FIELDS => Ok(()),
        _ => Err(DataError::layout(
            location,
            format!("more than {MOST_FIELDS} {what}; expected fewer, each is a field"),
        )),
    }
}
