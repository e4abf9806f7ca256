//! The footer: the metadata of a file, its length and a mark.

use crate::compact::{Compact, I32, LIST, STRUCT};
use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader};

/// The bytes after the metadata: its length, and the mark `PAR1`.
pub const TAIL: usize = 8;
/// The maximal depth of nested lists and groups.
const MAX_DEPTH: usize = 32;
/// The maximal number of columns and groups: the decoder visits all of them for each column that it reads.
const MAX_COLUMNS: usize = 10_000;

/// The length of the footer, the metadata and the [`TAIL`], of a file of `length` bytes that ends in `tail`.
///
/// # Errors
/// The problem of a file that is truncated, encrypted or no Parquet.
pub fn footer_length(length: u64, tail: &[u8]) -> Result<u64, String> {
    let metadata = match tail {
        &[a, b, c, d, b'P', b'A', b'R', b'1'] => u64::from(u32::from_le_bytes([a, b, c, d])),
        [.., b'P', b'A', b'R', b'E'] => {
            return Err("it is encrypted; expected a file without encryption".into());
        }
        _ => return Err("it does not end in PAR1: it is truncated or of another format".into()),
    };
    let footer = metadata + TAIL as u64;
    match footer > length {
        true => Err(format!("it declares {metadata} bytes of metadata, more than it has")),
        false => Ok(footer),
    }
}

/// The footer of a file in memory.
///
/// # Errors
/// As for [`footer_length`].
pub fn footer(file: &[u8]) -> Result<&[u8], String> {
    let tail = file.len().checked_sub(TAIL).ok_or("it ends before its footer")?;
    let length = footer_length(file.len() as u64, &file[tail..])?;
    Ok(&file[file.len() - length as usize..])
}

/// The metadata in a footer.
///
/// # Errors
/// The problem of metadata that is corrupt, or has too many columns or levels.
pub fn metadata(footer: &[u8]) -> Result<ParquetMetaData, String> {
    let metadata = &footer[..footer.len().saturating_sub(TAIL)];
    // The decoder recurses over the schema.
    check_schema(&mut Compact(metadata)).ok_or("its metadata is corrupt")??;
    ParquetMetaDataReader::decode_metadata(metadata).map_err(|e| e.to_string())
}

/// Check the size and depth of the schema: field 2 of `FileMetaData` in `parquet.thrift`.
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A file with a schema of `groups` nested groups and one column.
    fn nested(groups: usize) -> Vec<u8> {
        // `1: version`, `2: schema`, a list of structures whose length follows as a varint of four bytes.
        let mut metadata = vec![0x15, 2, 0x19, 0xfc];
        let length = groups + 1;
        metadata.extend([7, 14, 21].map(|shift| (length >> (shift - 7)) as u8 & 0x7f | 0x80));
        metadata.push((length >> 21) as u8);
        for _ in 0..groups {
            // `3: repetition_type`, `4: name`, `5: num_children`.
            metadata.extend([0x35, 0, 0x18, 1, b'a', 0x15, 2, 0]);
        }
        // `1: type`, `3: repetition_type`, `4: name`; then `3: num_rows`, `4: row_groups`.
        metadata.extend([0x15, 8, 0x25, 0, 0x18, 1, b'a', 0, 0x16, 0, 0x19, 0x0c, 0]);
        let length = (metadata.len() as u32).to_le_bytes();
        [b"PAR1", &metadata[..], &length, b"PAR1"].concat()
    }

    fn read(file: &[u8]) -> Result<ParquetMetaData, String> {
        metadata(footer(file)?)
    }

    #[test]
    fn a_schema_is_checked_before_it_is_decoded() {
        assert_eq!(read(&nested(2)).unwrap().file_metadata().schema_descr().num_columns(), 1);
        let levels = "its schema has more than 32 levels of lists and groups";
        assert_eq!(read(&nested(100)).unwrap_err(), levels);
        assert_eq!(read(&nested(9_999)).unwrap_err(), levels);
        let columns = "it has 1000001 columns and groups; at most 10000 are read";
        assert_eq!(read(&nested(1_000_000)).unwrap_err(), columns);
    }

    #[test]
    fn damaged_footers_are_refused() {
        let whole = nested(2);
        let refused = |bytes: &[u8], problem: &str| assert_eq!(read(bytes).unwrap_err(), problem);
        refused(b"PAR1", "it ends before its footer");
        refused(&whole[..whole.len() - 1], "it does not end in PAR1: it is truncated or of another format");
        refused(b"\x04\0\0\0PARE", "it is encrypted; expected a file without encryption");
        refused(b"PAR1\xff\0\0\0PAR1", "it declares 255 bytes of metadata, more than it has");
        refused(b"PAR1\xff\xff\x02\0\0\0PAR1", "its metadata is corrupt");
    }
}
