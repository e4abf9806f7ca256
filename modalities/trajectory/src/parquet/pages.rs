//! Checks of page headers before decoding: the decoder allocates the size that a page's header declares, and a run of a
//! few bytes can encode billions of numbers.

use ::parquet::file::metadata::ColumnChunkMetaData;
use smalti_parquet::PageHeader;

/// The sizes that a file may still use.
pub(super) struct Budget {
    /// The number of values.
    values: u64,
    /// Bytes of images and paths, which are counted for each row, because all rows may refer to one entry of a
    /// dictionary.
    copied: u64,
}

/// The maximal number of values of a file: a constant, plus this number for each of its bytes.
const VALUES: u64 = 1 << 20;
const VALUES_PER_BYTE: u64 = 64;
/// The maximal bytes of images and paths of a file: a constant, plus this number for each of its bytes.
const COPIED: u64 = 32 << 20;
const COPIED_PER_BYTE: u64 = 64;
/// The maximal uncompressed bytes of a page: a constant, plus this number for each of its compressed bytes.
const PAGE: u64 = 16 << 20;
const PAGE_PER_BYTE: u64 = 1024;

impl Budget {
    pub(super) fn of(file: &[u8]) -> Self {
        let size = file.len() as u64;
        Self { values: VALUES + VALUES_PER_BYTE * size, copied: COPIED + COPIED_PER_BYTE * size }
    }

    /// Subtract bytes that are copied out of pages.
    ///
    /// # Errors
    /// If the budget is exceeded.
    pub(super) fn copy(&mut self, bytes: u64) -> Result<(), String> {
        let left = self.copied.checked_sub(bytes);
        self.copied =
            left.ok_or_else(|| format!("{bytes} bytes of images are too many for a file of this size"))?;
        Ok(())
    }

    /// Subtract the values of the pages of a column's chunk.
    ///
    /// # Errors
    /// If the chunk is not within the file, its pages do not fill it, or the budget is exceeded.
    pub(super) fn spend(&mut self, file: &[u8], chunk: &ColumnChunkMetaData) -> Result<(), String> {
        let range = smalti_parquet::pages(chunk).filter(|range| range.end <= file.len() as u64);
        let range = range.ok_or("its pages are outside of the file")?;
        let mut pages = &file[range.start as usize..range.end as usize];
        while !pages.is_empty() {
            let (page, length) = PageHeader::read(pages).ok_or("the header of a page is corrupt")?;
            let PageHeader { packed, unpacked, values, .. } = page;
            if unpacked > PAGE + PAGE_PER_BYTE * packed {
                return Err(format!(
                    "a page of {packed} compressed bytes cannot have {unpacked} uncompressed bytes"
                ));
            }
            self.values = self.values.checked_sub(values as u64).ok_or_else(|| {
                format!("a page of {values} values is too large for a file of {} bytes", file.len())
            })?;
            let after = pages[length..].get(packed as usize..);
            pages = after.ok_or("a page continues after the column's end")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ::parquet::schema::types::{ColumnDescriptor, ColumnPath, Type};
    use std::sync::Arc;

    /// A page of one number with 4 compressed bytes, and the given sizes in its header.
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
        // 1: type, 2: unpacked size, 3: packed size, 5: { 1: numbers, 2: encoding }.
        [
            &[0x15, 0, 0x15][..],
            &varint(unpacked),
            &[0x15, 8, 0x2c, 0x15],
            &varint(values),
            &[0x15, 0, 0, 0, 1, 2, 3, 4],
        ]
        .concat()
    }

    /// The chunk of a column that fills a file.
    fn chunk(bytes: &[u8]) -> ColumnChunkMetaData {
        let number = Type::primitive_type_builder("reward", ::parquet::basic::Type::FLOAT).build().unwrap();
        let column = ColumnDescriptor::new(Arc::new(number), 0, 0, ColumnPath::from("reward"));
        ColumnChunkMetaData::builder(Arc::new(column))
            .set_data_page_offset(0)
            .set_total_compressed_size(bytes.len() as i64)
            .build()
            .unwrap()
    }

    fn spend(pages: &[u8]) -> Result<(), String> {
        Budget::of(pages).spend(pages, &chunk(pages))
    }

    #[test]
    fn pages_too_large_for_the_file_are_errors() {
        assert_eq!(spend(&[page(4, 1), page(4, 1)].concat()), Ok(()));
        assert_eq!(
            spend(&page(1 << 30, 1)),
            Err("a page of 4 compressed bytes cannot have 1073741824 uncompressed bytes".into())
        );
        let many = spend(&page(4, 1 << 29)).unwrap_err();
        assert!(many.starts_with("a page of 536870912 values is too large for a file of"), "{many}");
        let both = [page(4, 1 << 20), page(4, 1 << 20)].concat();
        assert!(spend(&both).is_err(), "each one alone is within the budget");
    }

    #[test]
    fn corrupt_headers_are_errors() {
        let whole = page(4, 1);
        assert_eq!(spend(&whole[..whole.len() - 1]), Err("a page continues after the column's end".into()));
        assert_eq!(spend(&whole[..6]), Err("the header of a page is corrupt".into()));
        assert_eq!(spend(&page(-1, 1)), Err("the header of a page is corrupt".into()));
        assert_eq!(spend(&[0x1c; 100]), Err("the header of a page is corrupt".into()), "endless structures");
        assert_eq!(
            Budget::of(&whole).spend(&whole[1..], &chunk(&whole)),
            Err("its pages are outside of the file".into())
        );
    }
}
