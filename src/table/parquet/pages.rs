//! The headers of pages, which are checked before the pages are decoded: the crate `parquet` allocates what they declare.

use crate::data::files::Extent;
use parquet::file::metadata::ColumnChunkMetaData;
use smalti_contract::memory;
use smalti_parquet::PageHeader;
use std::ops::Range;

/// The most uncompressed bytes of a page, which must also be at most what a file may unpack to, and a constant and a number for
/// each compressed byte.
const MAX_BYTES: u64 = 1 << 30;
const BYTES: u64 = 16 << 20;
const BYTES_PER_BYTE: u64 = 1024;
/// The most values of a page: also those of lists, of which a few bytes may encode billions.
const MAX_VALUES: usize = 1 << 26;
/// The most values of lists of a column in a row group, for each compressed byte, unless they are fewer than [`MAX_VALUES`].
const VALUES_PER_BYTE: usize = 64;
/// The bytes that are read for a header, and the most bytes of one, which may quote the smallest and largest value.
const HEADER: u64 = 1 << 10;
const MAX_HEADER: u64 = 16 << 20;

/// A page of values.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Page {
    /// The number of rows, if the header tells it.
    pub rows: Option<usize>,
    /// The number of uncompressed bytes.
    pub unpacked: u64,
}

/// The pages of values of a column in a row group.
///
/// # Errors
/// The problem of a chunk that is not within the file, of a corrupt header, and of a page that is too large.
pub fn scan(file: &Extent, chunk: &ColumnChunkMetaData) -> Result<Vec<Page>, String> {
    let range = smalti_parquet::pages(chunk)
        .filter(|range| range.end <= file.len())
        .ok_or("its pages are outside of the file")?;
    let is_flat = chunk.column_descr().max_rep_level() == 0;
    let most = MAX_BYTES.min(memory::unpack_limit());
    let (mut pages, mut at, mut all) = (vec![], range.start, 0_usize);
    while at < range.end {
        let (header, length) = header(file, at..range.end)?;
        let PageHeader { packed, unpacked, values, .. } = header;
        if unpacked > (BYTES + BYTES_PER_BYTE.saturating_mul(packed)).min(most) {
            return Err(format!(
                "a page of {packed} compressed bytes declares {unpacked} uncompressed bytes; at most {most}, and \
                 {BYTES_PER_BYTE} for each compressed byte, are read"
            ));
        }
        if values > MAX_VALUES {
            return Err(format!("a page declares {values} values; at most {MAX_VALUES} are read"));
        }
        all = all.saturating_add(values);
        let packed_bytes = (range.end - range.start) as usize;
        if !is_flat && all > packed_bytes.saturating_mul(VALUES_PER_BYTE).max(MAX_VALUES) {
            return Err(format!("its pages declare {all} values in {packed_bytes} bytes: it is corrupt"));
        }
        if header.is_data {
            pages.push(Page { rows: header.rows.or(is_flat.then_some(values)), unpacked });
        }
        at = at.saturating_add(length + packed);
    }
    match at == range.end {
        true => Ok(pages),
        false => Err("a page continues after the column's end".into()),
    }
}

/// The header at the start of a range, and its length.
fn header(file: &Extent, range: Range<u64>) -> Result<(PageHeader, u64), String> {
    let (mut size, rest) = (HEADER, range.end - range.start);
    loop {
        let size_read = size.min(rest);
        let bytes = file.slice(range.start, size_read).ok_or("its pages are outside of the file")?;
        let bytes = bytes.read().map_err(|e| e.to_string())?;
        if let Some((header, length)) = PageHeader::read(&bytes) {
            return Ok((header, length as u64));
        }
        if size_read == rest || size >= MAX_HEADER {
            return Err("the header of a page is corrupt".into());
        }
        size *= 16;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use parquet::schema::types::{ColumnDescriptor, ColumnPath, Type};
    use std::sync::Arc;

    /// A page of 4 compressed bytes, and the given sizes in its header.
    fn page(unpacked: i64, values: i64) -> Vec<u8> {
        let varint = |number: i64| {
            let mut zigzag = (number << 1) as u64;
            let mut bytes = vec![];
            while zigzag >= 0x80 {
                bytes.push(zigzag as u8 | 0x80);
                zigzag >>= 7;
            }
            bytes.push(zigzag as u8);
            bytes
        };
        // 1: type, 2: unpacked size, 3: packed size, 5: { 1: values, 2: encoding }.
        [
            &[0x15, 0, 0x15][..],
            &varint(unpacked),
            &[0x15, 8, 0x2c, 0x15],
            &varint(values),
            &[0x15, 0, 0, 0, 1, 2, 3, 4],
        ]
        .concat()
    }

    fn scanned(bytes: Vec<u8>) -> Result<Vec<Page>, String> {
        let number = Type::primitive_type_builder("n", parquet::basic::Type::FLOAT).build().unwrap();
        let column = ColumnDescriptor::new(Arc::new(number), 0, 0, ColumnPath::from("n"));
        let chunk = ColumnChunkMetaData::builder(Arc::new(column))
            .set_data_page_offset(0)
            .set_total_compressed_size(bytes.len() as i64)
            .build()
            .unwrap();
        scan(&Extent::memory(bytes.into()), &chunk)
    }

    #[test]
    fn pages_that_are_too_large_are_errors() {
        let pages = [Page { rows: Some(3), unpacked: 4 }, Page { rows: Some(2), unpacked: 12 }];
        assert_eq!(scanned([page(4, 3), page(12, 2)].concat()), Ok(pages.to_vec()));
        let bomb = scanned(page(1 << 30, 1)).unwrap_err();
        assert!(
            bomb.starts_with("a page of 4 compressed bytes declares 1073741824 uncompressed bytes"),
            "{bomb}"
        );
        let many = scanned(page(4, 1 << 29)).unwrap_err();
        assert!(many.starts_with("a page declares 536870912 values; at most 67108864"), "{many}");
    }

    #[test]
    fn corrupt_headers_are_errors() {
        let whole = page(4, 1);
        let cut = whole[..whole.len() - 1].to_vec();
        assert_eq!(scanned(cut), Err("a page continues after the column's end".into()));
        for corrupt in [whole[..6].to_vec(), page(-1, 1), vec![0x1c; 100]] {
            assert_eq!(scanned(corrupt), Err("the header of a page is corrupt".into()));
        }
    }
}
