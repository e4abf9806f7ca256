//! Writing one shard.

use super::ConvertError;
use super::field::{Field, sampled};
use super::files::create;
use super::media::Media;
use super::record::Done;
use super::shards::Shard;
use super::target::{Encoded, Target, Writer};
use crate::inspect::Corrupt;
use crate::table::Table;
use crate::train::checkpoint::{finish, unfinished};
use rayon::prelude::*;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

/// What all shards of a conversion share.
pub(super) struct Job<'a> {
    pub table: &'a dyn Table,
    pub fields: Vec<Field>,
    pub media: Media,
    pub target: Target,
    /// Rows that are encoded at a time.
    pub rows_together: usize,
}

/// A row with its number in the table.
type Row = (u32, Result<Encoded, Corrupt>);

impl Job<'_> {
    /// Reads and encodes a row.
    fn encode(&self, row: u32) -> Row {
        let corrupt = |field: &Field, problem: String| Corrupt {
            row: self.table.location(row as usize),
            field: field.name.clone(),
            problem,
        };
        let value = |field: &Field| {
            let value = self.table.value(row as usize, &field.name).map_err(|e| e.to_string());
            value
                .and_then(|value| self.media.fit(value, &field.kind))
                .map_err(|problem| corrupt(field, problem))
        };
        let values = self.fields.iter().map(value).collect::<Result<Vec<_>, _>>();
        let encoded = values.and_then(|values| {
            let encoded = self.target.encode(&self.fields, values);
            encoded.map_err(|(at, problem)| corrupt(&self.fields[at], problem))
        });
        (row, encoded)
    }

    fn encode_all(&self, rows: &[u32]) -> Vec<Row> {
        rows.par_iter().map(|row| self.encode(*row)).collect()
    }

    /// The mean size of sampled rows in a shard, in bytes.
    pub fn mean_size(&self, rows: &[u32]) -> u64 {
        let rows: Vec<u32> = sampled(rows).collect();
        let sizes = rows.par_iter().filter_map(|row| Some(self.encode(*row).1.ok()?.size()));
        let sizes: Vec<u64> = sizes.collect();
        sizes.iter().sum::<u64>() / (sizes.len() as u64).max(1)
    }
}

/// Writes a shard, whole or not at all; `None` if `stop` is set before its end. While rows are written, the next ones are
/// encoded. Calls `advance` with the number of rows since the last call.
///
/// # Errors
/// [`ConvertError`] if the file cannot be written.
pub(super) fn write(
    job: &Job,
    folder: &Path,
    shard: &Shard,
    stop: &AtomicBool,
    advance: &mut dyn FnMut(usize),
) -> Result<Option<Done>, ConvertError> {
    let path = folder.join(&shard.path);
    let failed = |e: io::Error| ConvertError::write(&path, e);
    create(super::files::folder(&path))?;
    let file = unfinished(&path).map_err(failed)?;
    let mut writer = job.target.begin(file.as_file()).map_err(failed)?;
    let mut done = Done { rows: 0, bytes: 0, corrupt: vec![] };
    let mut chunks = shard.rows.chunks(job.rows_together);
    let mut ready = chunks.next().map(|rows| job.encode_all(rows)).unwrap_or_default();
    while !ready.is_empty() {
        if stop.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let (n, next) = (ready.len(), chunks.next().unwrap_or_default());
        let (pushed, encoded) = rayon::join(|| push(&mut writer, ready, &mut done), || job.encode_all(next));
        pushed.map_err(failed)?;
        advance(n);
        ready = encoded;
    }
    writer.finish().map_err(failed)?;
    if done.rows > 0 {
        done.bytes = file.as_file().metadata().map_err(failed)?.len();
        finish(file, &path).map_err(failed)?;
    }
    Ok(Some(done))
}

/// Writes rows, and lists the corrupt ones.
fn push(writer: &mut Writer<'_>, rows: Vec<Row>, done: &mut Done) -> io::Result<()> {
    for (row, encoded) in rows {
        match encoded {
            Ok(encoded) => {
                writer.push(row, encoded)?;
                done.rows += 1;
            }
            Err(corrupt) => done.corrupt.push(corrupt),
        }
    }
    Ok(())
}
