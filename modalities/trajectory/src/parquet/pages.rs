//! Checks of page headers before decoding: the decoder allocates the size that a page's header declares, and a run of a
//! few bytes can encode billions of numbers.

use ::parquet::file::metadata::ColumnChunkMetaData;

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
        let offsets = [chunk.dictionary_page_offset(), Some(chunk.data_page_offset())];
        // The decoder begins at the dictionary, if there is one.
        let start = offsets.into_iter().flatten().next().and_then(|at| usize::try_from(at).ok());
        let length = usize::try_from(chunk.compressed_size()).ok();
        let end = start.zip(length).and_then(|(start, length)| start.checked_add(length));
        let pages = start.zip(end).and_then(|(start, end)| file.get(start..end));
        let mut pages = Compact(pages.ok_or("its pages are outside of the file")?);
        while !pages.0.is_empty() {
            let page = Page::read(&mut pages).ok_or("the header of a page is corrupt")?;
            if page.unpacked > PAGE + PAGE_PER_BYTE * page.packed {
                let Page { packed, unpacked, .. } = page;
                return Err(format!(
                    "a page of {packed} compressed bytes cannot have {unpacked} uncompressed bytes"
                ));
            }
            self.values = self.values.checked_sub(page.values).ok_or_else(|| {
                format!("a page of {} values is too large for a file of {} bytes", page.values, file.len())
            })?;
            let packed = usize::try_from(page.packed).ok().filter(|&packed| packed <= pages.0.len());
            pages.0 = &pages.0[packed.ok_or("a page continues after the column's end")?..];
        }
        Ok(())
    }
}

/// The sizes in a page's header.
struct Page {
    packed: u64,
    unpacked: u64,
    values: u64,
}

impl Page {
    /// Read a `PageHeader` (parquet-format, `parquet.thrift`): `2: uncompressed_page_size`, `3: compressed_page_size`,
    /// and in the headers of the types of page, `5`, `7` and `8`, each `1: num_values`.
    fn read(bytes: &mut Compact) -> Option<Self> {
        let (mut packed, mut unpacked, mut values) = (None, None, 0);
        let mut id = 0;
        while let Some(kind) = bytes.field(&mut id)? {
            match (id, kind) {
                (2, Compact::I32) => unpacked = Some(bytes.size()?),
                (3, Compact::I32) => packed = Some(bytes.size()?),
                (5 | 7 | 8, Compact::STRUCT) => {
                    let mut inner = 0;
                    while let Some(kind) = bytes.field(&mut inner)? {
                        match (inner, kind) {
                            (1, Compact::I32) => values = bytes.size()?.max(values),
                            _ => bytes.skip(kind, 0)?,
                        }
                    }
                }
                _ => bytes.skip(kind, 0)?,
            }
        }
        Some(Self { packed: packed?, unpacked: unpacked?, values })
    }
}

/// Bytes in Thrift's compact protocol.
struct Compact<'a>(&'a [u8]);

impl Compact<'_> {
    const I32: u8 = 5;
    const STRUCT: u8 = 12;
    /// The maximal nesting of structures; those of pages have two levels.
    const MAX_DEPTH: usize = 16;

    fn byte(&mut self) -> Option<u8> {
        let (&first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(first)
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }

    fn integer(&mut self) -> Option<i64> {
        let zigzag = self.varint()?;
        Some((zigzag >> 1) as i64 ^ -((zigzag & 1) as i64))
    }

    /// A 32-bit integer that is a size.
    fn size(&mut self) -> Option<u64> {
        u64::try_from(i32::try_from(self.integer()?).ok()?).ok()
    }

    fn pass(&mut self, bytes: u64) -> Option<()> {
        self.0 = self.0.get(usize::try_from(bytes).ok()?..)?;
        Some(())
    }

    /// The type of a structure's next field, whose number is written to `id`; the inner `None` is the end of the
    /// structure.
    fn field(&mut self, id: &mut i64) -> Option<Option<u8>> {
        let head = self.byte()?;
        if head == 0 {
            return Some(None);
        }
        *id = match head >> 4 {
            0 => self.integer()?,
            delta => id.checked_add(i64::from(delta))?,
        };
        Some(Some(head & 0xf))
    }

    fn skip(&mut self, kind: u8, depth: usize) -> Option<()> {
        if depth > Self::MAX_DEPTH {
            return None;
        }
        match kind {
            1 | 2 => Some(()),
            3 => self.pass(1),
            4..=6 => self.varint().map(drop),
            7 => self.pass(8),
            8 => {
                let length = self.varint()?;
                self.pass(length)
            }
            9 | 10 => {
                let head = self.byte()?;
                let length = if head >> 4 == 15 { self.varint()? } else { u64::from(head >> 4) };
                // Each element takes at least one byte, also booleans.
                (length <= self.0.len() as u64).then_some(())?;
                let element = if matches!(head & 0xf, 1 | 2) { 3 } else { head & 0xf };
                (0..length).try_for_each(|_| self.skip(element, depth + 1))
            }
            Self::STRUCT => {
                let mut id = 0;
                while let Some(kind) = self.field(&mut id)? {
                    self.skip(kind, depth + 1)?;
                }
                Some(())
            }
            _ => None,
        }
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
