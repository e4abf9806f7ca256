//! The content of one file, unpacked and decoded.

use super::extent::Extent;
use crate::data::error::DataError;
use std::io::Read;

/// The most bytes of an unpacked `.gz`.
const UNPACKED_LIMIT: u64 = 2 << 30;

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
    let mut bytes = Vec::new();
    let mut unpacked = flate2::read::MultiGzDecoder::new(file.reader()).take(UNPACKED_LIMIT + 1);
    unpacked.read_to_end(&mut bytes).map_err(|e| damaged(format!("{e}, after {} bytes", bytes.len())))?;
    if bytes.len() as u64 > UNPACKED_LIMIT {
        return Err(damaged(format!("it unpacks to more than {UNPACKED_LIMIT} bytes")));
    }
    Ok(bytes)
}

/// Bytes as text. A byte-order mark is dropped.
pub(crate) fn text(location: &str, bytes: Vec<u8>) -> Result<String, DataError> {
    let mut text = String::from_utf8(bytes).map_err(|e| {
        let offset = e.utf8_error().valid_up_to();
        let byte = e.as_bytes().get(offset).copied().unwrap_or_default();
        DataError::format(location, "UTF-8 text", format!("byte {byte:#04x} at offset {offset} is not UTF-8"))
    })?;
    if text.starts_with('\u{feff}') {
        text.drain(..'\u{feff}'.len_utf8());
    }
    Ok(text)
}
