//! The content of one file, unpacked and decoded.

use super::extent::Extent;
use crate::data::error::DataError;
use smalti_contract::memory::{self, Limited};
use std::io::Read;

/// The first bytes of files that are named as texts by mistake, and what such files are.
const FORMS: [(&[u8], &str); 11] = [
    (b"PAR1", "Parquet; name it .parquet"),
    (b"ARROW1", "a file of Arrow; write it as .parquet"),
    (b"PK\x03\x04", "a zip archive or a spreadsheet; name it .zip, or save the spreadsheet as .csv"),
    (b"\x1f\x8b", "gzip; add .gz to its name"),
    (b"\x28\xb5\x2f\xfd", "packed by Zstandard; unpack it"),
    (b"\x89PNG", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"GIF8", "a GIF image"),
    (b"RIFF", "a clip or image of RIFF, such as WAV"),
    (b"\x89HDF", "HDF5; name it .h5"),
    (b"%PDF", "a PDF document"),
];

/// The bytes of a file, which must not be empty; unpacked if its name ends in `.gz`.
pub(super) fn contents(location: &str, file: &Extent) -> Result<Vec<u8>, DataError> {
    let bytes = if location.ends_with(".gz") {
        unpack(location, file)?
    } else {
        file.read().map_err(|e| DataError::io(location, "a file", e))?
    };
    if bytes.is_empty() {
        return Err(DataError::Empty { location: location.to_string(), expected: "data" });
    }
    Ok(bytes)
}

fn unpack(location: &str, file: &Extent) -> Result<Vec<u8>, DataError> {
    let damaged = |problem: String| DataError::format(location, "gzip", problem);
    let mut bytes = Vec::with_capacity(stated_size(file));
    let mut unpacked = Limited::new(flate2::read::MultiGzDecoder::new(file.reader()));
    unpacked.read_to_end(&mut bytes).map_err(|e| damaged(format!("{e}, after {} bytes", bytes.len())))?;
    Ok(bytes)
}

/// The unpacked size that the end of a file in gzip states, within what it may unpack to; a vector that grows to it would take
/// twice as much memory. Wrong for a file of several members, whose bytes are more.
fn stated_size(file: &Extent) -> usize {
    let end = file.len().checked_sub(4).and_then(|start| file.slice(start, 4));
    let end = end.and_then(|end| <[u8; 4]>::try_from(end.read().ok()?).ok());
    let stated = u64::from(end.map_or(0, u32::from_le_bytes));
    stated.min(memory::unpack_limit()).min(file.len().saturating_mul(MOST_PER_BYTE)) as usize
}

/// The most unpacked bytes for a packed one of gzip, by its format.
const MOST_PER_BYTE: u64 = 1032;

/// Bytes as text: UTF-8, or UTF-16 that begins with a byte-order mark. The mark is dropped.
///
/// # Errors
/// [`DataError::Format`] with the place of the first byte that is not UTF-8, and the likely encoding.
pub(crate) fn text(location: &str, bytes: Vec<u8>) -> Result<String, DataError> {
    if let [0xff, 0xfe, rest @ ..] = &bytes[..] {
        return utf16(location, rest, u16::from_le_bytes);
    }
    if let [0xfe, 0xff, rest @ ..] = &bytes[..] {
        return utf16(location, rest, u16::from_be_bytes);
    }
    let mut text = String::from_utf8(bytes).map_err(|e| {
        let offset = e.utf8_error().valid_up_to();
        DataError::format(location, "UTF-8 text", not_utf8(e.as_bytes(), offset))
    })?;
    if text.starts_with('\u{feff}') {
        text.drain(..'\u{feff}'.len_utf8());
    }
    Ok(text)
}

/// The problem of bytes that are not UTF-8 at an offset, with the likely encoding and what to do.
fn not_utf8(bytes: &[u8], offset: usize) -> String {
    let (before, from) = bytes.split_at(offset.min(bytes.len()));
    let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
    let byte = from.first().copied().unwrap_or_default();
    let problem = format!("byte {byte:#04x} at offset {offset}, in line {line}, is not UTF-8");
    if let Some((_, what)) = FORMS.iter().find(|(begin, _)| bytes.starts_with(begin)) {
        return format!("{problem}; it is no text, but {what}");
    }
    // A text in an encoding of one byte has no zeros.
    match bytes.contains(&0) {
        true => format!("{problem}; it is no text, or UTF-16 without a byte-order mark"),
        false => format!(
            "{problem}; the encoding is probably Windows-1252 (or Latin-1); convert the file: \
             iconv -f WINDOWS-1252 -t UTF-8"
        ),
    }
}

fn utf16(location: &str, bytes: &[u8], unit: fn([u8; 2]) -> u16) -> Result<String, DataError> {
    let fail = |problem: String| DataError::format(location, "UTF-16 text", problem);
    let (pairs, rest) = bytes.as_chunks::<2>();
    if !rest.is_empty() {
        return Err(fail(format!("truncated: {} bytes are not a whole number of pairs", bytes.len())));
    }
    let mut text = String::with_capacity(pairs.len());
    for character in char::decode_utf16(pairs.iter().map(|pair| unit(*pair))) {
        let character =
            character.map_err(|e| fail(format!("{e} after {} characters", text.chars().count())))?;
        text.push(character);
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_utf8_or_utf16_with_a_mark() {
        let units: Vec<u16> = "\u{feff}grün 😀".encode_utf16().collect();
        let little = units.iter().flat_map(|unit| unit.to_le_bytes()).collect::<Vec<_>>();
        let big = units.iter().flat_map(|unit| unit.to_be_bytes()).collect::<Vec<_>>();
        for bytes in [little.clone(), big, "\u{feff}grün 😀".into()] {
            assert_eq!(text("x", bytes).unwrap(), "grün 😀");
        }
        let message = |bytes: &[u8]| text("x", bytes.to_vec()).unwrap_err().to_string();
        assert!(message(&little[..5]).contains("not readable as UTF-16 text: truncated"));
        assert!(
            message(b"\xff\xfe\x00\xd8").contains("unpaired surrogate"),
            "{}",
            message(b"\xff\xfe\x00\xd8")
        );
        assert_eq!(
            message(b"one\ngr\xfcn\n"),
            "x: not readable as UTF-8 text: byte 0xfc at offset 6, in line 2, is not UTF-8; the encoding is probably \
             Windows-1252 (or Latin-1); convert the file: iconv -f WINDOWS-1252 -t UTF-8"
        );
        assert!(message(b"\x88PNG\0").ends_with("it is no text, or UTF-16 without a byte-order mark"));
    }

    #[test]
    fn bytes_of_another_form_are_named() {
        for (bytes, what) in [
            (&b"PAR1\x15\x04\xf0"[..], "Parquet; name it .parquet"),
            (b"PK\x03\x04\xff\xff\0", "a zip archive"),
            (b"\x1f\x8b\x08", "gzip; add .gz"),
            (b"\x89PNG\r\n", "a PNG image"),
            (b"\xff\xd8\xff\xe0", "a JPEG image"),
            (b"caf\xe9", "Windows-1252"),
        ] {
            let message = text("a.csv", bytes.to_vec()).unwrap_err().to_string();
            assert!(message.starts_with("a.csv: not readable as UTF-8 text"), "{message}");
            assert!(message.contains(what), "{message}");
        }
    }
}
