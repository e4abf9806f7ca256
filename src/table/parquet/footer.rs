//! The footer of a file: the only bytes that are read when a table is opened.

use super::compact::{Compact, I32, LIST, STRUCT};
use crate::data::files::Extent;
use crate::table::columnar::MAX_DEPTH;
use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader};

/// The last bytes of a file: the length of its metadata and a mark.
const TAIL: u64 = 8;
/// The most columns and groups of a file: the crate visits all of them for each column that it reads.
const MAX_COLUMNS: usize = 10_000;

/// The metadata of a file, and the 8 bytes after it.
///
/// # Errors
/// The problem of a file that is truncated or no Parquet.
pub fn bytes(file: &Extent) -> Result<Vec<u8>, String> {
    let read = |from: u64, len: u64| -> Result<Vec<u8>, String> {
        let range = file.slice(from, len).ok_or("it ends before its footer")?;
        range.read().map_err(|e| e.to_string())
    };
    let tail = read(file.len().checked_sub(TAIL).ok_or("it ends before its footer")?, TAIL)?;
    let length = match tail[..] {
        [a, b, c, d, b'P', b'A', b'R', b'1'] => u64::from(u32::from_le_bytes([a, b, c, d])),
        [.., b'P', b'A', b'R', b'E'] => {
            return Err("it is encrypted; expected a file without encryption".into());
        }
        _ => return Err("it does not end in PAR1: it is truncated or of another format".into()),
    };
    let start = (file.len() - TAIL).checked_sub(length);
    let start = start.ok_or_else(|| format!("it declares {length} bytes of metadata, more than it has"))?;
    read(start, length + TAIL)
}

/// Parses the metadata.
///
/// # Errors
/// The problem of metadata that is corrupt, or has too many columns or levels.
pub fn metadata(footer: &[u8]) -> Result<ParquetMetaData, String> {
    let metadata = footer.get(..footer.len().saturating_sub(TAIL as usize)).unwrap_or_default();
    // The crate recurses over the schema.
    check_schema(&mut Compact(metadata)).ok_or("its metadata is corrupt")??;
    ParquetMetaDataReader::decode_metadata(metadata).map_err(|e| e.to_string())
}

/// Checks the size and depth of the schema: field 2 of `FileMetaData` in `parquet.thrift`.
fn check_schema(bytes: &mut Compact) -> Option<Result<(), String>> {
    let mut id = 0;
    while let Some(kind) = bytes.field(&mut id)? {
        if (id, kind) != (2, LIST) {
            bytes.skip(kind)?;
            continue;
        }
        let (elements, kind) = bytes.list()?;
        if elements > MAX_COLUMNS {
            return Some(Err(format!(
                "it has {elements} columns and groups; at most {MAX_COLUMNS} are read"
            )));
        }
        // The number of children that are still expected at each level.
        let mut open: Vec<usize> = vec![];
        for _ in 0..elements {
            while open.last() == Some(&0) {
                open.pop();
            }
            if let Some(left) = open.last_mut() {
                *left -= 1;
            }
            let children = if kind == STRUCT { children(bytes)? } else { return None };
            if children > 0 {
                open.push(children);
            }
            // A list takes two levels, and the root one.
            if open.len() > 2 * MAX_DEPTH + 1 {
                return Some(Err(format!("its schema has more than {MAX_DEPTH} levels of lists and groups")));
            }
        }
    }
    Some(Ok(()))
}

/// The number of children of a `SchemaElement`: its field 5.
fn children(bytes: &mut Compact) -> Option<usize> {
    let (mut id, mut children) = (0, 0);
    while let Some(kind) = bytes.field(&mut id)? {
        match (id, kind) {
            (5, I32) => children = bytes.size()?,
            _ => bytes.skip(kind)?,
        }
    }
    Some(children)
}
