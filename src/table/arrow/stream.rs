//! A stream of record batches in Arrow's IPC format.

use crate::data::DataError;
use crate::data::files::Extent;
use crate::table::columnar::{Decoded, FEATURES, Part, Shard, ShardFile, features, guarded};
use arrow_array::ArrayRef;
use arrow_buffer::Buffer;
use arrow_ipc::convert::try_fb_to_schema;
use arrow_ipc::reader::{read_dictionary, read_record_batch};
use arrow_ipc::{Message, MessageHeader, MetadataVersion, RecordBatch, root_as_message};
use arrow_schema::{ArrowError, Schema};
use serde_json::Value as Json;
use std::collections::HashMap;
use std::sync::Arc;

/// The start of a file of record batches that can be found from its end; the rest is a stream.
const FILE: &[u8] = b"ARROW1\0\0";
/// The largest alignment of writers, in bytes.
const MAX_ALIGNMENT: u64 = 64;
/// The mark before the length of a message, which the oldest streams do not have.
const MARK: [u8; 4] = [0xff; 4];
/// The most bytes of a message without its arrays, and of the arrays of a record batch.
const MAX_MESSAGE: u64 = 256 << 20;
const MAX_BATCH: u64 = 2 << 30;

/// A file.
pub struct ArrowShard {
    file: ShardFile,
    index: Index,
    /// The description of the columns in the `dataset_info.json` beside the file.
    features: Json,
}

/// The positions of the record batches.
struct Index {
    schema: Arc<Schema>,
    version: MetadataVersion,
    batches: Vec<Batch>,
    /// The first row of each record batch, and the number of rows.
    starts: Vec<usize>,
    dictionaries: HashMap<i64, ArrayRef>,
}

/// A message of a stream: its own bytes and, after them, those of its arrays.
#[derive(Clone, Copy)]
struct Batch {
    at: u64,
    header: u64,
    body: u64,
}

impl ArrowShard {
    /// Opens a file; only the headers of its record batches and its dictionaries are read. `features` describes the columns,
    /// unless the file itself does.
    ///
    /// # Errors
    /// [`DataError::Format`] for a file that is corrupt or no stream.
    pub fn open(file: ShardFile, described: Json) -> Result<Self, DataError> {
        let extent = file.open()?;
        let index = guarded(|| index(&extent));
        let index = index.map_err(|problem| DataError::format(&file.location(), "Arrow", problem))?;
        let own = features(index.schema.metadata().get(FEATURES).map(String::as_str));
        Ok(Self { features: if own.is_null() { described } else { own }, file, index })
    }
}

fn text(error: ArrowError) -> String {
    error.to_string()
}

fn index(file: &Extent) -> Result<Index, String> {
    let mut at = first(file)?;
    let mut index: Option<Index> = None;
    while let Some(batch) = next(file, at)? {
        at = batch.at + batch.header + batch.body;
        let bytes = slice(file, batch.at, batch.header)?;
        let message = message(&bytes)?;
        match (message.header_type(), &mut index) {
            (MessageHeader::Schema, None) => {
                let schema = message.header_as_schema().ok_or("its schema is corrupt")?;
                index = Some(Index {
                    schema: Arc::new(try_fb_to_schema(schema).map_err(text)?),
                    version: message.version(),
                    batches: vec![],
                    starts: vec![0],
                    dictionaries: HashMap::new(),
                });
            }
            (MessageHeader::DictionaryBatch, Some(index)) if index.batches.is_empty() => {
                let header = message.header_as_dictionary_batch().ok_or("a dictionary is corrupt")?;
                check_compression(header.data())?;
                let body = body(file, batch)?;
                read_dictionary(&body, header, &index.schema, &mut index.dictionaries, &index.version)
                    .map_err(text)?;
            }
            (MessageHeader::RecordBatch, Some(index)) => {
                let header = message.header_as_record_batch().ok_or("a record batch is corrupt")?;
                check_compression(Some(header))?;
                let rows = usize::try_from(header.length()).ok();
                let end = rows.and_then(|rows| index.starts.last()?.checked_add(rows));
                index
                    .starts
                    .push(end.ok_or_else(|| format!("a record batch declares {} rows", header.length()))?);
                index.batches.push(batch);
            }
            (kind, _) => {
                return Err(format!("it has a message of the type {kind:?} where rows are expected"));
            }
        }
    }
    index.ok_or_else(|| "it has no schema".into())
}

/// The position of the first message: the mark of a file is padded with zeros to its writer's alignment.
fn first(file: &Extent) -> Result<u64, String> {
    let start = slice(file, 0, file.len().min(MAX_ALIGNMENT))?;
    let Some(rest) = start.strip_prefix(FILE) else { return Ok(0) };
    let zeros = rest.iter().take_while(|byte| **byte == 0).count();
    Ok((FILE.len() + zeros) as u64)
}

/// Compressed arrays declare sizes that nothing bounds; `datasets` does not write them.
fn check_compression(batch: Option<RecordBatch>) -> Result<(), String> {
    match batch.and_then(|batch| batch.compression()) {
        Some(_) => Err("its arrays are compressed; write it without compression, or as Parquet".into()),
        None => Ok(()),
    }
}

/// The message that begins at a position; `None` at the end of the stream.
fn next(file: &Extent, at: u64) -> Result<Option<Batch>, String> {
    if at == file.len() {
        return Ok(None);
    }
    let first = slice(file, at, 4)?;
    let (start, length) = match first == MARK {
        true => (at + 8, slice(file, at + 4, 4)?),
        false => (at + 4, first),
    };
    let header = length.try_into().map(u32::from_le_bytes).map(u64::from).unwrap_or(0);
    if header == 0 {
        return Ok(None);
    }
    if header > MAX_MESSAGE {
        return Err(format!(
            "a message declares {header} bytes at byte {at}; at most {MAX_MESSAGE} are read"
        ));
    }
    let bytes = slice(file, start, header)?;
    let body = message(&bytes)?.bodyLength();
    let body = u64::try_from(body).map_err(|_| format!("a message declares {body} bytes of arrays"))?;
    if body > MAX_BATCH {
        return Err(format!("a record batch declares {body} bytes; at most {MAX_BATCH} are read"));
    }
    let end =
        start.checked_add(header).and_then(|end| end.checked_add(body)).filter(|&end| end <= file.len());
    match end {
        Some(_) => Ok(Some(Batch { at: start, header, body })),
        None => Err(format!("the record batch at byte {at} ends after the end of the file: it is truncated")),
    }
}

fn slice(file: &Extent, at: u64, length: u64) -> Result<Vec<u8>, String> {
    let range = file.slice(at, length).ok_or("it ends in the middle of a message: it is truncated")?;
    range.read().map_err(|e| e.to_string())
}

fn message(bytes: &[u8]) -> Result<Message<'_>, String> {
    root_as_message(bytes)
        .map_err(|_| "the header of a message is corrupt, or it is of another format".into())
}

fn body(file: &Extent, batch: Batch) -> Result<Buffer, String> {
    slice(file, batch.at + batch.header, batch.body).map(Buffer::from_vec)
}

impl Shard for ArrowShard {
    fn rows(&self) -> usize {
        self.index.starts.last().copied().unwrap_or(0)
    }

    fn schema(&self) -> &Schema {
        &self.index.schema
    }

    fn features(&self) -> Json {
        self.features.clone()
    }

    fn part(&self, _: usize, row: usize) -> Result<Part, String> {
        let number = self.index.starts.partition_point(|&start| start <= row).saturating_sub(1);
        match self.index.starts.get(number..number + 2) {
            Some(&[start, end]) => Ok(Part { start, end, column: None }),
            _ => Err(format!("row {} is in no record batch", row + 1)),
        }
    }

    fn decode(&self, part: Part) -> Result<Decoded, String> {
        let Index { schema, version, batches, starts, dictionaries } = &self.index;
        let number = starts.partition_point(|&start| start <= part.start).saturating_sub(1);
        let batch = *batches.get(number).ok_or("a record batch is missing")?;
        let file = self.file.open().map_err(|e| e.to_string())?;
        let bytes = slice(&file, batch.at, batch.header)?;
        let header = message(&bytes)?.header_as_record_batch().ok_or("a record batch is corrupt")?;
        let body = body(&file, batch)?;
        let decoded =
            read_record_batch(&body, header, schema.clone(), dictionaries, None, version).map_err(text)?;
        match decoded.num_rows() == part.end - part.start {
            true => Ok(Decoded { arrays: decoded.columns().to_vec(), bytes: body.len() }),
            false => Err(format!(
                "a record batch declares {} rows; found {}",
                part.end - part.start,
                decoded.num_rows()
            )),
        }
    }
}
