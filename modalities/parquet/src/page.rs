//! The headers of pages.

use crate::compact::{Compact, I32, STRUCT};
use parquet::file::metadata::ColumnChunkMetaData;
use std::ops::Range;

/// The sizes that the header of a page declares.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PageHeader {
    /// The number of bytes in the file, after the header.
    pub packed: u64,
    /// The number of bytes after decompression.
    pub unpacked: u64,
    /// The number of values.
    pub values: usize,
    /// The number of rows, if the header declares it.
    pub rows: Option<usize>,
    /// Whether the page holds values of rows; otherwise it is a dictionary or an index.
    pub is_data: bool,
}

impl PageHeader {
    /// Read the header at the start of `bytes`, and its length: a `PageHeader` of `parquet.thrift`. `None` if it is corrupt
    /// or continues after `bytes`.
    pub fn read(bytes: &[u8]) -> Option<(Self, usize)> {
        let mut left = Compact(bytes);
        let header = parse(&mut left)?;
        Some((header, bytes.len() - left.0.len()))
    }
}

/// The bytes of a column's pages in a file, those that the decoder reads: from the dictionary on, if the metadata declares
/// one. `None` if the metadata is corrupt.
pub fn pages(chunk: &ColumnChunkMetaData) -> Option<Range<u64>> {
    let start = chunk.dictionary_page_offset().unwrap_or(chunk.data_page_offset());
    let (start, length) = (u64::try_from(start).ok()?, u64::try_from(chunk.compressed_size()).ok()?);
    Some(start..start.checked_add(length)?)
}

/// `2: uncompressed_page_size`, `3: compressed_page_size`, and in the headers of the types of page, `5`, `7` (a dictionary)
/// and `8`, each `1: num_values`; in `8` also `3: num_rows`.
fn parse(bytes: &mut Compact) -> Option<PageHeader> {
    let (mut header, mut sizes) = (PageHeader::default(), (None, None));
    let mut id = 0;
    while let Some(kind) = bytes.field(&mut id)? {
        match (id, kind) {
            (2, I32) => sizes.0 = Some(bytes.size()? as u64),
            (3, I32) => sizes.1 = Some(bytes.size()? as u64),
            (5 | 7 | 8, STRUCT) => {
                header.is_data |= id != 7;
                let (outer, mut inner) = (id, 0);
                while let Some(kind) = bytes.field(&mut inner)? {
                    match (outer, inner, kind) {
                        (_, 1, I32) => header.values = bytes.size()?.max(header.values),
                        (8, 3, I32) => header.rows = Some(bytes.size()?),
                        _ => bytes.skip(kind)?,
                    }
                }
            }
            _ => bytes.skip(kind)?,
        }
    }
    (header.unpacked, header.packed) = (sizes.0?, sizes.1?);
    Some(header)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The header of a page of 4 compressed bytes: `1: type, 2: unpacked, 3: packed, 5: { 1: values, 2: encoding }`.
    const HEADER: [u8; 13] = [0x15, 0, 0x15, 24, 0x15, 8, 0x2c, 0x15, 6, 0x15, 0, 0, 0];

    #[test]
    fn a_header_tells_sizes_and_its_length() {
        let expected = PageHeader { packed: 4, unpacked: 12, values: 3, rows: None, is_data: true };
        let followed = [&HEADER[..], &[1, 2, 3, 4]].concat();
        assert_eq!(PageHeader::read(&followed), Some((expected, HEADER.len())));
    }

    #[test]
    fn corrupt_headers_are_refused() {
        for cut in 0..HEADER.len() {
            assert_eq!(PageHeader::read(&HEADER[..cut]), None, "{cut} bytes");
        }
        let negative = {
            let mut bytes = HEADER;
            bytes[3] = 1;
            bytes
        };
        assert_eq!(PageHeader::read(&negative), None);
        assert_eq!(PageHeader::read(&[0x1c; 100_000]), None, "endless structures");
        assert_eq!(PageHeader::read(&[0x19; 100_000]), None, "endless lists");
    }
}
