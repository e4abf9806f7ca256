//! NumPy's `.npy` format, versions 1 to 3, and `.npz`, a zip archive of such arrays. Arrays hold bool, integers or floats.
//!
//! Not read by a crate, because the header of a corrupt or hostile file must neither overflow nor allocate: existing
//! readers multiply an unchecked shape and parse the header as a nested Python literal.
//!
//! ```
//! let file = smalti_npy::write("<f4", "(1, 2)", [0, 0, 128, 63, 0, 0, 0, 64]);
//! let array = smalti_npy::Array::read(&file[..], 1 << 20)?;
//! assert_eq!(array.shape(), [1, 2]);
//! assert_eq!(array.values().collect::<Vec<_>>(), [1.0, 2.0]);
//! # Ok::<(), String>(())
//! ```

mod npz;

pub use npz::Npz;

use std::io::Read;

/// An array of numbers.
#[derive(Clone, Debug)]
pub struct Array {
    shape: Vec<usize>,
    element: Element,
    fortran_order: bool,
    /// The elements: the product of the shape.
    data: Vec<u8>,
}

/// An element's type, as in `<f4` or `|b1`.
#[derive(Clone, Copy, Debug)]
struct Element {
    class: Class,
    size: usize,
    big_endian: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Class {
    Bool,
    Signed,
    Unsigned,
    Float,
}

const MAGIC: &[u8] = b"\x93NUMPY";

/// NumPy writes 118 bytes for such arrays and rejects headers beyond 10,000.
const MAX_HEADER: usize = 10_000;

/// The maximal number of axes in NumPy 2.
const MAX_AXES: usize = 64;

impl Array {
    /// Read an array whose elements take at most `limit` bytes. Memory grows with the bytes that are read, never ahead
    /// of them.
    ///
    /// # Errors
    /// If the header is invalid, or the number of bytes differs from it.
    pub fn read(mut reader: impl Read, limit: u64) -> Result<Self, String> {
        let header = read_header(&mut reader)?;
        let element = Element::parse(quoted(field(&header, "descr")?)?)?;
        let fortran_order = match field(&header, "fortran_order")? {
            order if order.starts_with("True") => true,
            order if order.starts_with("False") => false,
            order => return Err(format!("fortran_order must be True or False; found {}", excerpt(order))),
        };
        let shape = parse_shape(field(&header, "shape")?)?;
        let expected = n_bytes(&shape, element, limit)?;
        let mut data = vec![];
        // One more byte than expected, so that a zip reader reaches the end and checks the checksum.
        reader.take(expected + 1).read_to_end(&mut data).map_err(|e| e.to_string())?;
        Self { shape, element, fortran_order, data }.checked(expected)
    }

    /// An array of elements in row-major order; `descr` is NumPy's name of their type, such as `<f4`.
    ///
    /// # Errors
    /// If the type is unknown, or the number of bytes differs from the shape.
    pub fn of_parts(descr: &str, shape: Vec<usize>, data: Vec<u8>) -> Result<Self, String> {
        let element = Element::parse(descr)?;
        let expected = n_bytes(&shape, element, data.len() as u64)?;
        Self { shape, element, fortran_order: false, data }.checked(expected)
    }

    fn checked(self, expected: u64) -> Result<Self, String> {
        match self.data.len() as u64 {
            n if n == expected => Ok(self),
            n => {
                let found = if n > expected { "more".into() } else { n.to_string() };
                Err(format!("shape {}: expected {expected} bytes; found {found}", shown(&self.shape)))
            }
        }
    }

    /// The length of each axis; none for a single number.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Whether the elements are integers or booleans.
    pub fn is_integer(&self) -> bool {
        self.element.class != Class::Float
    }

    /// Whether the elements are bytes (`uint8`), such as pixels.
    pub fn is_bytes(&self) -> bool {
        (self.element.class, self.element.size) == (Class::Unsigned, 1)
    }

    /// Whether the elements are in column-major order in the file.
    pub fn is_fortran_order(&self) -> bool {
        self.fortran_order
    }

    /// The bytes of the elements, in the order of the file.
    pub fn into_data(self) -> Vec<u8> {
        self.data
    }

    /// The elements in row-major order. Integers beyond 2^53 are rounded.
    pub fn values(&self) -> impl Iterator<Item = f64> + '_ {
        let size = self.element.size;
        (0..self.data.len() / size)
            .map(move |i| self.element.value(&self.data[self.place(i) * size..][..size]))
    }

    /// The place in the data of element `i` in row-major order.
    fn place(&self, i: usize) -> usize {
        if !self.fortran_order {
            return i;
        }
        let (mut rest, mut place, mut stride) = (i, 0, self.data.len() / self.element.size);
        for &side in self.shape.iter().rev() {
            stride /= side;
            place += rest % side * stride;
            rest /= side;
        }
        place
    }
}

/// The number of bytes of an array.
fn n_bytes(shape: &[usize], element: Element, limit: u64) -> Result<u64, String> {
    let n = shape
        .iter()
        .try_fold(element.size as u64, |product, &side| product.checked_mul(side as u64))
        .filter(|&bytes| bytes <= limit);
    n.ok_or_else(|| format!("shape {} of {}-byte numbers exceeds {limit} bytes", shown(shape), element.size))
}

/// A shape as NumPy prints it.
fn shown(shape: &[usize]) -> String {
    match shape {
        [one] => format!("({one},)"),
        sides => format!("({})", sides.iter().map(usize::to_string).collect::<Vec<_>>().join(", ")),
    }
}

/// An array as a file: a header of this type and shape, and the elements in row-major order, unchecked. For tests.
///
/// As in NumPy, the header is padded so that the elements begin at a multiple of 64.
pub fn write(descr: &str, shape: &str, elements: impl IntoIterator<Item = u8>) -> Vec<u8> {
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
pub fn holds_images(mut reader: impl Read) -> bool {
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

/// Parse `()`, `(n,)` or `(n, m)`.
fn parse_shape(text: &str) -> Result<Vec<usize>, String> {
    let unreadable = || format!("shape must be such as (rows, columns); found {}", excerpt(text));
    let inside = text.strip_prefix('(').and_then(|rest| rest.split_once(')')).ok_or_else(unreadable)?.0;
    let sizes = inside.split(',').map(str::trim).filter(|size| !size.is_empty());
    let sizes: Vec<usize> = sizes.map(str::parse).collect::<Result<_, _>>().map_err(|_| unreadable())?;
    if sizes.len() > MAX_AXES { Err(unreadable()) } else { Ok(sizes) }
}

/// The text in quotes at the start of a text.
fn quoted(text: &str) -> Result<&str, String> {
    let inside = text.strip_prefix('\'').and_then(|rest| rest.split_once('\''));
    inside.map(|(inside, _)| inside).ok_or_else(|| {
        let end = text.find(',').unwrap_or(text.len());
        format!("elements must be bool, integers or floats; found {}", excerpt(&text[..end]))
    })
}

/// The beginning of a text from a file, for messages.
fn excerpt(text: &str) -> String {
    format!("{:?}", text.chars().take(60).collect::<String>())
}

impl Element {
    fn parse(name: &str) -> Result<Self, String> {
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
            kind => {
                let why = if kind.starts_with('O') {
                    ", which are Python objects and never unpickled; save arrays of numbers"
                } else {
                    ""
                };
                return Err(format!(
                    "elements must be bool, integers or floats; found {}{why}",
                    excerpt(name)
                ));
            }
        };
        Ok(Self { class, size, big_endian })
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(bytes: &[u8]) -> Result<Array, String> {
        Array::read(bytes, 1 << 20)
    }

    fn values(descr: &str, shape: &str, elements: &[u8]) -> Vec<f64> {
        read(&write(descr, shape, elements.to_vec())).unwrap().values().collect()
    }

    fn error(descr: &str, shape: &str) -> String {
        read(&write(descr, shape, vec![0; 8])).err().unwrap()
    }

    #[test]
    fn every_element_type() {
        assert_eq!(values("|b1", "(2,)", &[0, 1]), [0.0, 1.0]);
        assert_eq!(values("|i1", "(1,)", &[0xFE]), [-2.0]);
        assert_eq!(values("|u1", "(1,)", &[0xFE]), [254.0]);
        assert_eq!(values("<i2", "(1,)", &(-3_i16).to_le_bytes()), [-3.0]);
        assert_eq!(values(">i4", "(1,)", &(-70_000_i32).to_be_bytes()), [-70_000.0]);
        assert_eq!(values("<i8", "(1,)", &(-1_i64).to_le_bytes()), [-1.0]);
        assert_eq!(values("<u8", "(1,)", &u64::MAX.to_le_bytes()), [u64::MAX as f64]);
        assert_eq!(values("<f2", "(1,)", &[0x00, 0xBC]), [-1.0]);
        assert_eq!(values(">f4", "(1,)", &1.5_f32.to_be_bytes()), [1.5]);
        assert_eq!(values("<f8", "(1,)", &0.1_f64.to_le_bytes()), [0.1]);
    }

    #[test]
    fn column_major_order_is_converted() {
        let mut bytes = write("|u1", "(2, 3)", vec![1, 4, 2, 5, 3, 6]);
        let at = bytes.windows(5).position(|text| text == b"False").unwrap();
        bytes.splice(at..at + 5, *b"True ");
        assert_eq!(read(&bytes).unwrap().values().collect::<Vec<_>>(), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    }

    #[test]
    fn an_array_may_have_any_number_of_axes() {
        let bytes: Vec<u8> = (0..24).collect();
        let in_c_order = read(&write("|u1", "(2, 3, 4)", bytes.clone())).unwrap();
        assert!(in_c_order.is_bytes() && in_c_order.shape() == [2, 3, 4]);
        // The same array in column-major order: element (i, j, k) is at i + 2·j + 6·k.
        let place = |at: usize| (at % 2 * 12 + at / 2 % 3 * 4 + at / 6) as u8;
        let mut file = write("|u1", "(2, 3, 4)", (0..24).map(place));
        let at = file.windows(5).position(|text| text == b"False").unwrap();
        file.splice(at..at + 5, *b"True ");
        let in_fortran_order = read(&file).unwrap();
        assert_eq!(in_fortran_order.values().collect::<Vec<_>>(), in_c_order.values().collect::<Vec<_>>());
        assert_eq!(values("<f4", "()", &1.5_f32.to_le_bytes()), [1.5]);
        assert_eq!(values("<f4", "(3, 0)", &[]), [0.0; 0]);
        assert_eq!(Array::of_parts("<i2", vec![2], vec![1, 0, 2, 0]).unwrap().values().sum::<f64>(), 3.0);
        assert!(Array::of_parts("<i2", vec![3], vec![1, 0, 2, 0]).is_err());
    }

    #[test]
    fn wrong_headers_are_errors() {
        assert_eq!(error("<f4", "(2, 2)"), "shape (2, 2): expected 16 bytes; found 8");
        assert_eq!(error("<f4", "(1,)"), "shape (1,): expected 4 bytes; found more");
        assert_eq!(
            error("<f4", "(1000000000, 1000)"),
            "shape (1000000000, 1000) of 4-byte numbers exceeds 1048576 bytes"
        );
        assert!(error("<f4", "(4611686018427387904, 8)").contains("exceeds"));
        assert!(error("<f4", "(99999999999999999999, 8)").starts_with("shape must be"));
        assert!(error("<f4", &format!("({})", "1,".repeat(65))).starts_with("shape must be"));
        assert!(error("|O", "(1,)").contains("found \"|O\", which are Python objects"));
        assert!(error("<c8", "(1,)").starts_with("elements must be"));
        assert!(error("<f4", &"(".repeat(20_000)).starts_with("the header has 20"));
        assert!(read(b"\x93NUMPY\x02\x00\xFF\xFF\xFF\xFF").err().unwrap().contains("4294967295 bytes"));
        assert!(read(b"").err().unwrap().starts_with("the header is truncated"));
        assert!(read(b"PK\x03\x04 and more").err().unwrap().contains("is not a .npy array"));
    }

    proptest! {
        #[test]
        fn mutated_arrays_do_not_panic(at in 0_usize..160, byte: u8, cut in 0_usize..200) {
            let mut bytes = write("<f4", "(2, 4)", vec![7; 32]);
            bytes[at] = byte;
            bytes.truncate(cut);
            if let Ok(array) = read(&bytes) {
                prop_assert_eq!(array.values().count(), array.shape().iter().product::<usize>());
            }
        }
    }
}
