//! The TFRecord files of a data set, and the places of their records.

use crate::data::{DataError, Files};
use crate::table::episodes::recent::Recent;
use crate::table::place::file_name;
use smalti_trajectory::TrajectoryError;
use smalti_trajectory::rlds::{CHECKSUM, HEADER, INFO, record_data, record_length};
use std::collections::BTreeMap;
use std::sync::Arc;

pub(super) struct Shards {
    files: Arc<Files>,
    shards: Vec<Shard>,
    records: Vec<Place>,
    recent: Recent<usize, Arc<Vec<u8>>>,
}

struct Shard {
    path: String,
    split: String,
    /// The number of its first record.
    start: usize,
}

/// The place of a record in its file.
struct Place {
    offset: u64,
    /// The length of the record and its checksum, in bytes; it is within the file.
    len: u64,
}

impl Shards {
    /// Finds the records of all files, of which only the headers are read.
    ///
    /// # Errors
    /// [`DataError`] for a file that is empty, truncated or corrupt.
    pub(super) fn open(files: Arc<Files>, paths: &[String]) -> Result<Self, DataError> {
        let mut shards = Self { files, shards: vec![], records: vec![], recent: Recent::new() };
        for path in paths {
            shards.add(path)?;
        }
        Ok(shards)
    }

    fn add(&mut self, path: &str) -> Result<(), DataError> {
        let (split, start) = (split_and_number(path).0.to_string(), self.records.len());
        self.shards.push(Shard { path: path.into(), split, start });
        let location = self.files.location(path);
        let file = self.files.extent(path)?;
        if file.len() == 0 {
            return Err(DataError::Empty { location, expected: "records" });
        }
        let (header, checksum) = (HEADER as u64, CHECKSUM as u64);
        let mut at = 0;
        while at < file.len() {
            let record = self.records.len() - start;
            let refuse = |e: TrajectoryError| {
                DataError::tokenize(&location, format!("record {record} at byte {at}: {e}"))
            };
            let rest = (file.len() - at).saturating_sub(header);
            let begins = file.slice(at, header.min(file.len() - at)).map(|begins| begins.read()).transpose();
            let begins = begins.map_err(|e| DataError::io(&location, "a file", e))?.unwrap_or_default();
            let length = record_length(&begins).map_err(refuse)?;
            let len = length.checked_add(checksum).filter(|len| *len <= rest).ok_or_else(|| {
                let problem = format!(
                    "expected {length} bytes and their checksum; found {rest} bytes; the file is truncated"
                );
                refuse(TrajectoryError::Record(problem))
            })?;
            self.records.push(Place { offset: at + header, len });
            at += header + len;
        }
        Ok(())
    }

    /// Checks the number of records of each file against `dataset_info.json`. Returns the splits that are not complete.
    ///
    /// # Errors
    /// [`DataError`] for a file with another number of records.
    pub(super) fn check(
        &self,
        lengths: &BTreeMap<String, Vec<u64>>,
    ) -> Result<Vec<(String, &'static str)>, DataError> {
        let mut found: BTreeMap<&str, usize> = BTreeMap::new();
        let ends = self.shards.iter().skip(1).map(|shard| shard.start).chain([self.records.len()]);
        for (shard, end) in self.shards.iter().zip(ends) {
            let Some(lengths) = lengths.get(&shard.split) else { continue };
            let (_, number) = split_and_number(&shard.path);
            *found.entry(&shard.split).or_default() += 1;
            let (records, expected) = ((end - shard.start) as u64, lengths.get(number).copied());
            if expected.is_some_and(|expected| expected != records) {
                let problem =
                    format!("expected {} records, as {INFO} has; found {records}", expected.unwrap_or(0));
                return Err(DataError::tokenize(&self.files.location(&shard.path), problem));
            }
        }
        let missing = |(split, lengths): (&String, &Vec<u64>)| match found.get(split.as_str()) {
            None => Some((format!("split {split}"), "none of its files is there")),
            Some(files) if *files < lengths.len() => {
                Some((format!("split {split}"), "some of its files are not there"))
            }
            Some(_) => None,
        };
        Ok(lengths.iter().filter_map(missing).collect())
    }

    /// The number of records.
    pub(super) fn len(&self) -> usize {
        self.records.len()
    }

    /// The split of each file.
    pub(super) fn splits(&self) -> impl Iterator<Item = &str> {
        self.shards.iter().map(|shard| shard.split.as_str())
    }

    /// The split of a record.
    pub(super) fn split(&self, record: usize) -> &str {
        &self.shard(record).split
    }

    pub(super) fn location(&self, record: usize) -> String {
        let shard = self.shard(record);
        format!("{} (episode {})", self.files.location(&shard.path), record - shard.start)
    }

    pub(super) fn origin(&self, record: usize) -> Option<String> {
        let shard = self.shard(record);
        Some(format!("{} record {}", self.files.origin(&shard.path)?, record - shard.start))
    }

    /// Reads a record and checks its checksum.
    ///
    /// # Errors
    /// [`DataError`] if the file cannot be read, has changed, or the record is corrupt.
    pub(super) fn read(&self, record: usize) -> Result<Arc<Vec<u8>>, DataError> {
        if let Some((_, found)) = self.recent.find(|known| *known == record) {
            return Ok(found);
        }
        let Place { offset, len } = self.records[record];
        let file = self.files.extent(&self.shard(record).path)?.slice(offset, len);
        let refuse = |problem: String| DataError::tokenize(&self.location(record), problem);
        let file =
            file.ok_or_else(|| refuse("the file has become shorter; it changed while in use".into()))?;
        let mut bytes = file.read().map_err(|e| DataError::io(self.location(record), "a record", e))?;
        let length = record_data(&bytes).map_err(|e| refuse(e.to_string()))?.len();
        bytes.truncate(length);
        let bytes = Arc::new(bytes);
        self.recent.keep(record, bytes.clone(), length);
        Ok(bytes)
    }

    fn shard(&self, record: usize) -> &Shard {
        &self.shards[self.shards.partition_point(|shard| shard.start <= record).saturating_sub(1)]
    }
}

/// The split and the number of a file: `val` and 3 of `bridge-val.tfrecord-00003-of-00010`.
fn split_and_number(path: &str) -> (&str, usize) {
    let (name, end) = file_name(path).split_once(".tfrecord").unwrap_or((file_name(path), ""));
    let number = end.trim_start_matches('-').split_once("-of-").and_then(|(number, _)| number.parse().ok());
    (name.rsplit_once('-').map_or("", |(_, split)| split), number.unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_name_their_split_and_number() {
        assert_eq!(split_and_number("a/bridge_dataset-val.tfrecord-00003-of-00010"), ("val", 3));
        assert_eq!(split_and_number("bridge-train.tfrecord"), ("train", 0));
        assert_eq!(split_and_number("data.tfrecord-x"), ("", 0));
    }
}
