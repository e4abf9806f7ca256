//! A file of rows: its row groups, and the parts of them that are decoded together.

use super::{footer, pages};
use crate::data::DataError;
use crate::data::files::Extent;
use crate::table::columnar::{Decoded, FEATURES, Part, SERIES, Shard, ShardFile, features, guarded, series};
use arrow_schema::{DataType, Field, Fields, Schema};
use bytes::Bytes;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder, RowSelectionPolicy,
};
use parquet::basic::Type;
use parquet::errors::ParquetError;
use parquet::file::metadata::{ParquetMetaData, RowGroupMetaData};
use parquet::file::reader::{ChunkReader, Length};
use std::collections::HashMap;
use std::io::BufReader;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

/// The uncompressed bytes of the pages that are decoded together, unless one page is larger.
const PART_BYTES: u64 = 4 << 20;
/// The same for lists whose pages do not tell their rows: a part is found by decoding all pages before it.
const LIST_PART_BYTES: u64 = 32 << 20;
/// The most rows that are decoded together.
const PART_ROWS: usize = 1 << 16;
/// The most rows of a file: a constant, and a number for each of its bytes. A run of a few bytes encodes any number of one value.
const ROWS: usize = 1 << 22;
const ROWS_PER_BYTE: usize = 64;

/// For a row group and a column, the first row of each part in the group, and the number of rows.
type Boundaries = HashMap<(usize, usize), Arc<Vec<usize>>>;

/// A file.
pub struct ParquetShard {
    file: ShardFile,
    metadata: ArrowReaderMetadata,
    /// The first row of each row group, and the number of rows.
    groups: Vec<usize>,
    /// The column of each primitive column, in ascending order.
    roots: Vec<usize>,
    /// The parts of the row groups and columns that were read.
    parts: Mutex<Boundaries>,
}

impl ParquetShard {
    /// Opens a file; only its footer is read.
    ///
    /// # Errors
    /// [`DataError::Format`] for a file that is corrupt or no Parquet.
    pub fn open(file: ShardFile) -> Result<Self, DataError> {
        let extent = file.open()?;
        let location = file.location();
        let refuse = |problem: String| DataError::format(&location, "Parquet", problem);
        let (metadata, groups) = guarded(|| {
            let metadata = Arc::new(smalti_parquet::metadata(&footer(&extent)?)?);
            let groups = groups(metadata.row_groups(), metadata.file_metadata().num_rows())?;
            check_rows(groups.last().copied().unwrap_or(0), extent.len())?;
            // Without the types of Arrow in the file, which a writer need not keep to.
            let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
            let plain = ArrowReaderMetadata::try_new(metadata.clone(), options.clone()).map_err(text)?;
            let schema = Schema::new(plain.schema().fields().iter().map(viewed).collect::<Fields>());
            let options = options.with_schema(Arc::new(schema));
            // Lists in old forms have no views.
            let viewed = ArrowReaderMetadata::try_new(metadata, options);
            Ok((viewed.unwrap_or(plain), groups))
        })
        .map_err(refuse)?;
        let schema = metadata.parquet_schema();
        let roots = (0..schema.num_columns()).map(|leaf| schema.get_column_root_idx(leaf)).collect();
        Ok(Self { file, metadata, groups, roots, parts: Mutex::default() })
    }

    /// The row group of a row, and its first row.
    fn group(&self, row: usize) -> (usize, usize) {
        let group = self.groups.partition_point(|&start| start <= row).saturating_sub(1);
        (group, self.groups.get(group).copied().unwrap_or(0))
    }

    /// The boundaries of the parts of a column in a row group.
    fn boundaries(&self, group: usize, column: usize) -> Result<Arc<Vec<usize>>, String> {
        let known = || self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(parts) = known().get(&(group, column)) {
            return Ok(parts.clone());
        }
        let file = self.file.open().map_err(|e| e.to_string())?;
        let metadata = self.metadata.metadata().row_group(group);
        let parts = Arc::new(boundaries(&file, metadata, self.leaves(column))?);
        known().insert((group, column), parts.clone());
        Ok(parts)
    }

    /// The numbers of the primitive columns in a column.
    fn leaves(&self, column: usize) -> Range<usize> {
        let first = |column: usize| self.roots.partition_point(|&root| root < column);
        first(column)..first(column + 1)
    }
}

fn text(error: ParquetError) -> String {
    error.to_string()
}

/// The value of a key in the metadata of a file.
pub fn described<'a>(metadata: &'a ParquetMetaData, key: &str) -> Option<&'a str> {
    let pairs = metadata.file_metadata().key_value_metadata().into_iter().flatten();
    pairs.filter(|pair| pair.key == key).find_map(|pair| pair.value.as_deref())
}

/// The first row of each row group, and the number of rows.
fn groups(groups: &[RowGroupMetaData], declared: i64) -> Result<Vec<usize>, String> {
    let mut starts = vec![0_usize];
    for group in groups {
        let rows = usize::try_from(group.num_rows()).ok();
        let end = rows.and_then(|rows| starts.last()?.checked_add(rows));
        starts.push(end.ok_or_else(|| format!("a row group declares {} rows", group.num_rows()))?);
    }
    match starts.last() {
        Some(rows) if usize::try_from(declared) == Ok(*rows) => Ok(starts),
        rows => Err(format!("it declares {declared} rows; its row groups have {}", rows.unwrap_or(&0))),
    }
}

/// Fail for more rows than a file of so many bytes has.
fn check_rows(rows: usize, bytes: u64) -> Result<(), String> {
    match rows > ROWS.max((bytes as usize).saturating_mul(ROWS_PER_BYTE)) {
        true => Err(format!("it declares {rows} rows in {bytes} bytes: it is corrupt")),
        false => Ok(()),
    }
}

/// A field whose texts and bytes are views of the pages, which are not copied.
fn viewed(field: &Arc<Field>) -> Arc<Field> {
    let data_type = match field.data_type() {
        DataType::Utf8 => DataType::Utf8View,
        DataType::Binary => DataType::BinaryView,
        DataType::List(item) => DataType::List(viewed(item)),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(viewed).collect()),
        other => other.clone(),
    };
    Arc::new(field.as_ref().clone().with_data_type(data_type))
}

/// The first row of each part, and the number of rows: whole pages of the largest primitive column, where their numbers of
/// rows are known, so that no page is unpacked for two parts.
fn boundaries(
    file: &Extent,
    group: &RowGroupMetaData,
    leaves: impl Iterator<Item = usize>,
) -> Result<Vec<usize>, String> {
    let rows = usize::try_from(group.num_rows()).unwrap_or(0);
    let (mut largest, mut size, mut step) = (vec![], -1, PART_ROWS);
    for leaf in leaves {
        let chunk = group.columns().get(leaf).ok_or("a row group lacks a column")?;
        let pages = pages::scan(file, chunk)
            .map_err(|problem| format!("the column {}: {problem}", chunk.column_path()))?;
        // A dictionary may have one long value for all rows, and views of texts alone are not copied.
        let descriptor = chunk.column_descr();
        if descriptor.physical_type() == Type::FIXED_LEN_BYTE_ARRAY {
            let length = usize::try_from(descriptor.type_length()).unwrap_or(0).max(1);
            step = step.min((LIST_PART_BYTES as usize / length).max(1));
        }
        if chunk.uncompressed_size() > size {
            (largest, size) = (pages, chunk.uncompressed_size());
        }
    }
    let bytes: u64 = largest.iter().map(|page| page.unpacked).sum();
    let mut starts = vec![0];
    if let Some(of_pages) = largest.iter().map(|page| page.rows).collect::<Option<Vec<usize>>>() {
        let (mut end, mut unpacked) = (0_usize, 0);
        for (page, more) in largest.iter().zip(of_pages) {
            end = end.saturating_add(more);
            unpacked += page.unpacked;
            if unpacked >= PART_BYTES {
                starts.push(end);
                unpacked = 0;
            }
        }
        if end != rows {
            return Err(format!("a row group declares {rows} rows; its pages have {end}"));
        }
    } else {
        let rows_of_part = (u128::from(LIST_PART_BYTES) * rows as u128 / u128::from(bytes.max(1)))
            .clamp(1, PART_ROWS as u128);
        starts.extend((0..rows).step_by(rows_of_part as usize).skip(1));
    }
    starts.push(rows);
    starts.dedup();
    let mut limited = vec![0];
    for pair in starts.windows(2) {
        limited.extend((pair[0]..pair[1]).step_by(step).skip(1));
        limited.push(pair[1]);
    }
    Ok(limited)
}

impl Shard for ParquetShard {
    fn rows(&self) -> usize {
        self.groups.last().copied().unwrap_or(0)
    }

    fn schema(&self) -> &Schema {
        self.metadata.schema()
    }

    fn features(&self) -> serde_json::Value {
        features(described(self.metadata.metadata(), FEATURES))
    }

    fn series(&self) -> Vec<String> {
        series(described(self.metadata.metadata(), SERIES))
    }

    fn part(&self, column: usize, row: usize) -> Result<Part, String> {
        let (group, first) = self.group(row);
        let parts = self.boundaries(group, column)?;
        let number = parts.partition_point(|&start| start <= row - first).saturating_sub(1);
        match parts.get(number..number + 2) {
            Some(&[start, end]) => Ok(Part { start: first + start, end: first + end, column: Some(column) }),
            _ => Err(format!("row {} is in no row group", row + 1)),
        }
    }

    fn decode(&self, part: Part) -> Result<Decoded, String> {
        let (group, first) = self.group(part.start);
        let file = Ranges(self.file.open().map_err(|e| e.to_string())?);
        let rows = part.end - part.start;
        let columns = ProjectionMask::roots(self.metadata.parquet_schema(), part.column);
        let batches = ParquetRecordBatchReaderBuilder::new_with_metadata(file, self.metadata.clone())
            .with_row_groups(vec![group])
            .with_projection(columns)
            // The pages before the part are passed over, not decoded.
            .with_row_selection_policy(RowSelectionPolicy::Selectors)
            .with_offset(part.start - first)
            .with_limit(rows)
            .with_batch_size(rows)
            .build()
            .map_err(text)?;
        let batch = batches.into_iter().next().transpose().map_err(|e| e.to_string())?;
        match batch {
            Some(batch) if batch.num_rows() == rows => {
                Ok(Decoded { bytes: batch.get_array_memory_size(), arrays: batch.columns().to_vec() })
            }
            other => {
                let found = other.map_or(0, |batch| batch.num_rows());
                Err(format!("it declares rows {} to {}; found {found} of them", part.start + 1, part.end))
            }
        }
    }
}

/// A file that the crate `parquet` reads in ranges.
struct Ranges(Extent);

impl Length for Ranges {
    fn len(&self) -> u64 {
        self.0.len()
    }
}

impl ChunkReader for Ranges {
    type T = BufReader<Box<dyn std::io::Read + Send>>;

    fn get_read(&self, start: u64) -> Result<Self::T, ParquetError> {
        let rest = self.0.len().checked_sub(start).and_then(|length| self.0.slice(start, length));
        let rest = rest.ok_or_else(|| ParquetError::EOF("a page begins after the end of the file".into()))?;
        Ok(BufReader::with_capacity(1 << 10, Box::new(rest.reader())))
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        let range = self.0.slice(start, length as u64);
        let range = range.ok_or_else(|| ParquetError::EOF("a page ends after the end of the file".into()))?;
        Ok(range.read()?.into())
    }
}
