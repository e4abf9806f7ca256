//! Any table as WebDataset shards or Parquet files, which other programs read too.
//!
//! [`convert`] writes each split as shards of a fixed number of rows. Rows are encoded on all cores and written in the order of
//! the table, so that the bytes do not depend on the number of threads. A shard has its name once it is complete, and
//! `convert.json` in the same folder lists the complete ones: a conversion that was stopped or killed continues at the first
//! other shard, and ends with the same bytes.
//!
//! WebDataset: `train-000000.tar` with the members of row 7 named `00000007.*`. A row without a value has no member or key for
//! it.
//!
//! | field | member | field of the converted table |
//! | --- | --- | --- |
//! | the first class | `cls`: its number; the names are in `classes.txt` beside the shards | `cls` |
//! | the text `text` or `txt` | `txt` | `txt` |
//! | other texts, numbers, arrays of up to 256 numbers, other series | the key `NAME` in `json` | `json.NAME` |
//! | longer arrays, and those with NaN | `NAME.npy` | `NAME.npy` |
//! | series of numbers, or of arrays of one shape | `NAME.series.npy`, the first axis being that of the steps | `NAME`, a series |
//! | files, if they are one field | `png` (the ending of the file) | `png` |
//! | files of several fields | `NAME.png` | `NAME.png` |
//!
//! Parquet: `data/train-00000-of-00005.parquet`; fields keep their names. The key `huggingface` of the schema's metadata has the
//! features of `datasets`, and the key `smalti.series` the names of the fields that are series, as a JSON list: readers of smalti
//! return these as series, however similar their steps.
//!
//! | field | column | feature |
//! | --- | --- | --- |
//! | a class | `int64` | `ClassLabel` with its names |
//! | text; whole numbers; other numbers | `string`; `int64`; `double` | `Value` |
//! | images, audio clips | `{bytes: binary, path: string}` | `Image`, `Audio` |
//! | other files | `{bytes: binary, path: string}` | the same |
//! | an array, a series | a list for each axis, a list of the steps | `Sequence` |
//!
//! The shards of a table without splits are named `train`, too: `datasets` takes the format of a folder from the endings of all
//! its files unless their names have splits, and it calls such rows `train` in any case. Images and audio clips are decoded once,
//! even if their bytes are kept: the row of one that cannot be decoded is left out.
//!
//! A class is a field whose source declares its names, or a text field named `label`, `class` or `cls`. Arrays of bytes in the
//! shape of an image are images, and become PNG files.

mod endings;
mod error;
mod field;
mod files;
mod kind;
mod media;
mod members;
mod npy;
mod parquet;
#[cfg(test)]
mod real;
mod record;
mod shard;
mod shards;
mod target;
#[cfg(test)]
mod tests;

pub use error::ConvertError;
pub use media::{ImageFormat, ImageSize};

use crate::data::DataError;
use crate::inspect::Corrupt;
use crate::table::{Table, unknown_field};
use media::Media;
use record::{Done, Record};
use serde::Serialize;
use shard::{Job, write};
use shards::{Shard, Size};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use target::Target;

/// The format of shards.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// Tar archives in which files of one name are a row.
    #[default]
    Webdataset,
    /// Apache Parquet, with the metadata of Hugging Face's `datasets`.
    Parquet,
}

/// The size of a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ShardSize {
    /// The number of rows.
    Rows(usize),
    /// The number of bytes, from which the number of rows follows: by the mean of up to 64 rows, evenly spaced.
    Bytes(u64),
}

/// How to convert a table.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Options {
    /// The format of the shards.
    pub format: Format,
    /// The only split to convert.
    pub split: Option<String>,
    /// The fields to convert; `None` for all.
    pub fields: Option<Vec<String>>,
    /// The size that images are resized to.
    pub image_size: Option<ImageSize>,
    /// The format of images.
    pub image_format: ImageFormat,
    /// The quality of a JPEG that is written, 1 to 100.
    pub quality: u8,
    /// The sampling rate of audio clips in Hz. Clips become WAV files of one channel and 16 bits.
    pub sampling_rate: Option<u32>,
    /// The size of a shard.
    pub shard_size: ShardSize,
    /// The number of threads; `None` for those of the global pool. The bytes do not depend on it.
    #[serde(skip)]
    pub threads: Option<usize>,
    /// Whether to replace an earlier conversion with other settings, or an existing file.
    #[serde(skip)]
    pub overwrite: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            format: Format::default(),
            split: None,
            fields: None,
            image_size: None,
            image_format: ImageFormat::default(),
            quality: 90,
            sampling_rate: None,
            shard_size: ShardSize::Bytes(256_000_000),
            threads: None,
            overwrite: false,
        }
    }
}

/// The result of a conversion.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Outcome {
    /// The shards that are complete.
    pub shards: Vec<ShardReport>,
    /// The number of all shards.
    pub all_shards: usize,
    /// The number of shards that were complete before.
    pub kept: usize,
    /// Each field and its place in the shards.
    pub fields: Vec<(String, String)>,
    /// Fields that are left out, with the reason.
    pub skipped: Vec<(String, &'static str)>,
    /// Rows of the complete shards that cannot be converted, and so are not in them.
    pub corrupt: Vec<Corrupt>,
    /// Whether the conversion was stopped before its end.
    pub stopped: bool,
}

/// A complete shard.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ShardReport {
    /// Its path in the folder of the conversion.
    pub path: String,
    /// The number of rows in it; without a row there is no file.
    pub rows: usize,
    /// Its size.
    pub bytes: u64,
}

/// Progress as the number of rows that are done and the number of all rows.
pub type Progress<'a> = dyn FnMut(usize, usize) + Send + 'a;

/// The field of the split.
const SPLIT: &str = "split";

/// Converts a table. `dest` is a folder or, for Parquet, also a single file whose name ends in `.parquet`. `source` names the
/// table in `convert.json`. Once `stop` is true, the shard that is being written is dropped, and the next call continues.
///
/// # Errors
/// [`ConvertError`] for a table without rows, an unknown field or split, a setting that fits no field, a folder with other
/// files or with a conversion of other settings, and a file that cannot be written. A row that cannot be read or encoded is no
/// error, but is left out and is in [`Outcome::corrupt`].
pub fn convert(
    table: &dyn Table,
    source: &str,
    dest: &Path,
    options: &Options,
    stop: &AtomicBool,
    progress: &mut Progress<'_>,
) -> Result<Outcome, ConvertError> {
    let mut convert = move || run(table, source, dest, options, stop, progress);
    match options.threads {
        None => convert(),
        Some(0) => Err(ConvertError::setting("threads", "expected 1 or more; found 0")),
        Some(threads) => {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
            pool.map_err(|e| ConvertError::setting("threads", e))?.install(convert)
        }
    }
}

fn run(
    table: &dyn Table,
    source: &str,
    dest: &Path,
    options: &Options,
    stop: &AtomicBool,
    progress: &mut Progress<'_>,
) -> Result<Outcome, ConvertError> {
    let media = Media::new(options)?;
    let is_file = files::is_single(dest, options)?;
    if !is_file {
        files::check_folder(dest)?;
    }
    let groups = shards::groups(table, options.split.as_deref(), is_file)?;
    let rows: Vec<u32> = groups.values().flatten().copied().collect();
    let (fields, skipped) = field::fields(table, &names(table, options, is_file)?, &rows)?;
    media.check(&fields)?;
    let target = Target::new(options.format, &fields)?;
    let classes = target.classes(&fields);
    let mut job = Job { table, fields, media, target, rows_together: 1 };
    let size = Size::of(options, is_file, job.mean_size(&rows));
    job.rows_together = size.rows_together;
    let shards = match is_file {
        true => vec![Shard { path: files::name(dest), rows }],
        false => shards::plan(groups, size.rows, options.format),
    };
    let (folder, mut record) = match is_file {
        true => (files::folder(dest), Record::of_file(dest, options.overwrite)?),
        false => {
            let settings = record::settings(source, table.len(), size.rows, options)?;
            (dest, Record::open(dest, settings, options.overwrite)?)
        }
    };
    if let (false, Some(names)) = (is_file, &classes) {
        files::write_classes(folder, names)?;
    }
    let written = write_shards(&job, folder, &shards, &mut record, stop, progress)?;
    let fields = job.fields.iter().enumerate();
    let fields = fields.map(|(at, field)| (field.name.clone(), job.target.place(at, field))).collect();
    Ok(outcome(&record, written, &shards, fields, skipped))
}

/// The names of the fields to convert.
fn names(table: &dyn Table, options: &Options, with_split: bool) -> Result<Vec<String>, ConvertError> {
    let known = table.fields();
    let wanted = options.fields.as_deref().unwrap_or(known);
    if let Some(name) = wanted.iter().find(|name| !known.contains(name)) {
        return Err(unknown_field(table, name).into());
    }
    let mut names: Vec<String> = vec![];
    for name in wanted.iter().filter(|name| *name != SPLIT || with_split) {
        if !names.contains(name) {
            names.push(name.clone());
        }
    }
    match names.is_empty() {
        true => Err(DataError::layout(table.name(), "it has no field to convert but the split").into()),
        false => Ok(names),
    }
}

/// The number of shards that were complete before, and whether the conversion was stopped.
struct Written {
    kept: usize,
    stopped: bool,
}

fn write_shards(
    job: &Job,
    folder: &Path,
    shards: &[Shard],
    record: &mut Record,
    stop: &AtomicBool,
    progress: &mut Progress<'_>,
) -> Result<Written, ConvertError> {
    let all = shards.iter().map(|shard| shard.rows.len()).sum();
    let (mut done, mut kept) = (0, 0);
    for shard in shards {
        if record.is_complete(folder, shard) {
            kept += 1;
            done += shard.rows.len();
            progress(done, all);
            continue;
        }
        let mut advance = |rows: usize| {
            done += rows;
            progress(done, all);
        };
        match write(job, folder, shard, stop, &mut advance)? {
            Some(complete) => record.add(folder, &shard.path, complete)?,
            None => return Ok(Written { kept, stopped: true }),
        }
    }
    Ok(Written { kept, stopped: false })
}

fn outcome(
    record: &Record,
    written: Written,
    shards: &[Shard],
    fields: Vec<(String, String)>,
    skipped: Vec<(String, &'static str)>,
) -> Outcome {
    let done: &BTreeMap<String, Done> = &record.done;
    let complete = || shards.iter().filter_map(|shard| Some((&shard.path, done.get(&shard.path)?)));
    let report = |(path, done): (&String, &Done)| ShardReport {
        path: path.clone(),
        rows: done.rows,
        bytes: done.bytes,
    };
    Outcome {
        shards: complete().map(report).collect(),
        all_shards: shards.len(),
        kept: written.kept,
        fields,
        skipped,
        corrupt: complete().flat_map(|(_, done)| done.corrupt.iter().cloned()).collect(),
        stopped: written.stopped,
    }
}
