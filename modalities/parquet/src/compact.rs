//! Thrift's compact protocol, in which Parquet writes its footer and the headers of its pages.

/// The types of integers, lists and structures.
pub const I32: u8 = 5;
pub const LIST: u8 = 9;
pub const STRUCT: u8 = 12;
/// The maximal nesting of structures, which the format itself keeps far below.
const MAX_DEPTH: usize = 32;

/// Bytes in the compact protocol. Each function returns `None` for bytes that are not in it.
pub struct Compact<'a>(pub &'a [u8]);

impl Compact<'_> {
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

    /// An integer of any width.
    pub fn integer(&mut self) -> Option<i64> {
        let zigzag = self.varint()?;
        Some((zigzag >> 1) as i64 ^ -((zigzag & 1) as i64))
    }

    /// A 32-bit integer that is a size.
    pub fn size(&mut self) -> Option<usize> {
        usize::try_from(i32::try_from(self.integer()?).ok()?).ok()
    }

    /// The type of a structure's next field, whose number is written to `id`; the inner `None` is the end of the structure.
    pub fn field(&mut self, id: &mut i64) -> Option<Option<u8>> {
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

    /// The number and type of a list's elements, each of which takes at least one byte.
    pub fn list(&mut self) -> Option<(usize, u8)> {
        let head = self.byte()?;
        let length = if head >> 4 == 15 { self.varint()? } else { u64::from(head >> 4) };
        let length = usize::try_from(length).ok().filter(|&length| length <= self.0.len())?;
        // Booleans take a byte in a list, and none in a structure.
        Some((length, if matches!(head & 0xf, 1 | 2) { 3 } else { head & 0xf }))
    }

    /// Skip a value.
    pub fn skip(&mut self, kind: u8) -> Option<()> {
        self.skip_nested(kind, 0)
    }

    fn pass(&mut self, bytes: u64) -> Option<()> {
        self.0 = self.0.get(usize::try_from(bytes).ok()?..)?;
        Some(())
    }

    fn skip_nested(&mut self, kind: u8, depth: usize) -> Option<()> {
        if depth > MAX_DEPTH {
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
            LIST | 10 => {
                let (length, element) = self.list()?;
                (0..length).try_for_each(|_| self.skip_nested(element, depth + 1))
            }
            STRUCT => {
                let mut id = 0;
                while let Some(kind) = self.field(&mut id)? {
                    self.skip_nested(kind, depth + 1)?;
                }
                Some(())
            }
            _ => None,
        }
    }
}
