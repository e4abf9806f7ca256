//! NumPy's `.npy` format, versions 1 to 3: arrays of at most two axes, or of images.
//!
//! Not read by a crate, because the header of a corrupt or hostile file must neither overflow nor allocate: existing
//! readers multiply an unchecked shape and parse the header as a nested Python literal.

#[cfg(test)]
mod tests;

use crate::Images;
use std::io::Read;

/// An array of numbers with one row for each time step.
pub(crate) struct Array {
    pub(crate) rows: usize,
    pub(crate) columns: usize,
    shape: Vec<usize>,
    element: Element,
    fortran_order: bool,
    /// `rows · columns` elements.
    data: Vec<u8>,
}

/// An element's type, as in `<f4` or `|b1`.
#[derive(Clone, Copy)]
struct Element {
    class: Class,
    size: usize,
    big_endian: bool,
}

#[derive(Clone, Copy, PartialEq)]
enum Class {
    Bool,
    Signed,
    Unsigned,
    Float,
}

const MAGIC: &[u8] = b"\x93NUMPY";

/// NumPy writes 118 bytes for such arrays and rejects headers beyond 10,000.
const MAX_HEADER: usize = 10_000;

impl Array {
    /// Read an array whose elements take at most `limit` bytes. Memory grows with the bytes that are read, never ahead
    /// of them.
    ///
    /// # Errors
    /// If the header is invalid, or the number of bytes differs from it.
    pub(crate) fn read(mut reader: impl Read, limit: u64) -> Result<Self, String> {
        let header = read_header(&mut reader)?;
        let element = Element::parse(field(&header, "descr")?)?;
        let fortran_order = match field(&header, "fortran_order")? {
            order if order.starts_with("True") => true,
            order if order.starts_with("False") => false,
            order => return Err(format!("fortran_order must be True or False; found {}", excerpt(order))),
        };
        let shape = parse_shape(field(&header, "shape")?, element)?;
        let shown = shape.iter().map(usize::to_string).collect::<Vec<_>>().join(", ");
        let expected = shape
            .iter()
            .try_fold(element.size as u64, |product, &side| product.checked_mul(side as u64))
            .filter(|&bytes| bytes <= limit)
            .ok_or_else(|| {
                format!("shape ({shown}) of {}-byte numbers exceeds {limit} bytes", element.size)
            })?;
        let mut data = vec![];
        // One more byte than expected, so that a zip reader reaches the end and checks the checksum.
        reader.take(expected + 1).read_to_end(&mut data).map_err(|e| e.to_string())?;
        if data.len() as u64 != expected {
            let found = if data.len() as u64 > expected { "more".into() } else { data.len().to_string() };
            return Err(format!("shape ({shown}): expected {expected} bytes; found {found}"));
        }
        let (rows, columns) = (shape[0], shape[1..].iter().fold(1, |n: usize, &side| n.saturating_mul(side)));
        Ok(Self { rows, columns, shape, element, fortran_order, data })
    }

    /// Whether it has more axes than vectors have.
    pub(crate) fn is_images(&self) -> bool {
        self.shape.len() > 2
    }

    /// Convert the elements to images.
    ///
    /// # Errors
    /// If the shape is not that of images, an element is no pixel, or the elements are in column-major order.
    pub(crate) fn images(self) -> Result<Images, String> {
        if self.fortran_order {
            return Err(
                "images must be in row-major order (numpy.ascontiguousarray); found column-major order"
                    .into(),
            );
        }
        match self.element.is_byte() {
            true => Images::of_array(&self.shape, self.data),
            false => Images::of_numbers(&self.shape, &self.values().collect::<Vec<_>>(), self.is_integer()),
        }
    }

    /// Whether the elements are integers or booleans.
    pub(crate) fn is_integer(&self) -> bool {
        self.element.class != Class::Float
    }

    /// The elements in row-major order. Integers beyond 2^53 are rounded.
    pub(crate) fn values(&self) -> impl Iterator<Item = f64> + '_ {
        (0..self.rows * self.columns).map(|i| {
            let at = if self.fortran_order { i % self.columns * self.rows + i / self.columns } else { i };
            self.element.value(&self.data[at * self.element.size..][..self.element.size])
        })
    }
}

/// Write an array for tests, with little-endian elements in row-major order.
///
/// As in NumPy, the header is padded so that the elements begin at a multiple of 64.
#[cfg(test)]
pub(crate) fn write(descr: &str, shape: &str, elements: impl IntoIterator<Item = u8>) -> Vec<u8> {
    let mut header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}");
    let preamble = MAGIC.len() + 4;
    let padded = (preamble + header.len() + 1).next_multiple_of(64) - preamble;
    header.extend(std::iter::repeat_n(' ', padded - 1 - header.len()));
    header.push('\n');
    let mut bytes = [MAGIC, &[1, 0], &(padded as u16).to_le_bytes(), header.as_bytes()].concat();
    bytes.extend(elements);
    bytes
}

/// Whether an unknown array has images: bytes with three or more axes.
pub(crate) fn holds_images(mut reader: impl Read) -> bool {
    let Ok(header) = read_header(&mut reader) else { return false };
    let part = |name, end| field(&header, name).unwrap_or_default().split(end).next().unwrap_or_default();
    let axes =
        part("shape", ')').split(',').filter(|size| size.contains(|c: char| c.is_ascii_digit())).count();
    part("descr", ',').contains("u1") && axes >= 3
}

fn read_header(reader: &mut impl Read) -> Result<String, String> {
    let mut preamble = [0; 8];
    let short = |e: std::io::Error| format!("the header is truncated: {e}");
    reader.read_exact(&mut preamble).map_err(short)?;
    let [magic @ .., major, _minor] = preamble;
    if magic != MAGIC {
        return Err("it is not a .npy array".into());
    }
    let mut length = [0; 4];
    let width = match major {
        1 => 2,
        2 | 3 => 4,
        _ => return Err(format!(".npy version must be 1 to 3; found {major}")),
    };
    reader.read_exact(&mut length[..width]).map_err(short)?;
    let length = u32::from_le_bytes(length) as usize;
    if length > MAX_HEADER {
        return Err(format!("the header has {length} bytes; expected at most {MAX_HEADER}"));
    }
    let mut header = vec![0; length];
    reader.read_exact(&mut header).map_err(short)?;
    String::from_utf8(header).map_err(|_| "the header is not text".into())
}

/// The text after `'name':` in the header's dictionary.
fn field<'a>(header: &'a str, name: &str) -> Result<&'a str, String> {
    header
        .split_once(&format!("'{name}'"))
        .and_then(|(_, rest)| rest.trim_start().strip_prefix(':'))
        .map(str::trim_start)
        .ok_or_else(|| format!("the header has no {name:?}: {}", excerpt(header)))
}

/// Parse `(n,)`, `(n, m)` or the axes of images, which are at least 3 for bytes, and 4 for other numbers; a single axis is one
/// column.
fn parse_shape(text: &str, element: Element) -> Result<Vec<usize>, String> {
    let unreadable = || {
        format!(
            "shape must be (rows,) or (rows, columns), or of images: 3 or more axes of uint8, or (rows, height, width, \
             channels); found {}",
            excerpt(text)
        )
    };
    let inside = text.strip_prefix('(').and_then(|rest| rest.split_once(')')).ok_or_else(unreadable)?.0;
    let sizes = inside.split(',').map(str::trim).filter(|size| !size.is_empty());
    let sizes: Vec<usize> = sizes.map(str::parse).collect::<Result<_, _>>().map_err(|_| unreadable())?;
    let least = if element.is_byte() { 3 } else { 4 };
    match sizes[..] {
        [rows] => Ok(vec![rows, 1]),
        [_, columns] if columns > 0 => Ok(sizes),
        [_, ..] if sizes.len() >= least && !sizes[1..].contains(&0) => Ok(sizes),
        _ => Err(unreadable()),
    }
}

/// The beginning of a text from a file, for messages.
fn excerpt(text: &str) -> String {
    format!("{:?}", text.chars().take(60).collect::<String>())
}

impl Element {
    fn parse(text: &str) -> Result<Self, String> {
        let unknown = || {
            let end = text.find(',').unwrap_or(text.len());
            format!("elements must be bool, integers or floats; found {}", excerpt(&text[..end]))
        };
        let name = text.strip_prefix('\'').and_then(|rest| rest.split_once('\'')).ok_or_else(unknown)?.0;
        let big_endian = name.starts_with('>');
        let (class, size) = match name.trim_start_matches(['<', '>', '|', '=']) {
            "b1" => (Class::Bool, 1),
            "i1" => (Class::Signed, 1),
            "i2" => (Class::Signed, 2),
            "i4" => (Class::Signed, 4),
            "i8" => (Class::Signed, 8),
            "u1" => (Class::Unsigned, 1),
            "u2" => (Class::Unsigned, 2),
            "u4" => (Class::Unsigned, 4),
            "u8" => (Class::Unsigned, 8),
            "f2" => (Class::Float, 2),
            "f4" => (Class::Float, 4),
            "f8" => (Class::Float, 8),
            "O" => {
                return Err(format!(
                    "elements must be bool, integers or floats; found Python objects ({name}), such as a list of \
                     arrays; concatenate the arrays of all episodes, and save episode_starts"
                ));
            }
            _ => return Err(unknown()),
        };
        Ok(Self { class, size, big_endian })
    }

    fn is_byte(self) -> bool {
        self.class == Class::Unsigned && self.size == 1
    }

    fn value(&self, bytes: &[u8]) -> f64 {
        let shift = |bits: u64, &byte: &u8| bits << 8 | u64::from(byte);
        let bits =
            if self.big_endian { bytes.iter().fold(0, shift) } else { bytes.iter().rev().fold(0, shift) };
        match (self.class, self.size) {
            (Class::Float, 2) => half::f16::from_bits(bits as u16).to_f64(),
            (Class::Float, 4) => f64::from(f32::from_bits(bits as u32)),
            (Class::Float, _) => f64::from_bits(bits),
            (Class::Signed, size) => {
                let unused = 64 - 8 * size as u32;
                ((bits << unused) as i64 >> unused) as f64
            }
            (Class::Bool | Class::Unsigned, _) => bits as f64,
        }
    }
}
