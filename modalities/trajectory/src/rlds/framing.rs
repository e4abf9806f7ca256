//! TFRecord: records one after another, each between its length and a checksum.
//!
//! ```text
//! u64  the length of the record in bytes, little-endian like all numbers
//! u32  the masked CRC-32C of these 8 bytes
//!      the record
//! u32  the masked CRC-32C of the record
//! ```

use crate::TrajectoryError;
use crc_fast::{CrcAlgorithm, checksum};

/// The number of bytes before a record: its length and the checksum of its length.
pub const HEADER: usize = 12;
/// The number of bytes of the checksum after a record.
pub const CHECKSUM: usize = 4;

/// The length of a record in bytes, from the [`HEADER`] bytes before it.
///
/// # Errors
/// [`TrajectoryError::Record`] if the header is shorter, or its checksum is wrong.
pub fn record_length(header: &[u8]) -> Result<u64, TrajectoryError> {
    let (length, sum) = header.split_first_chunk::<8>().ok_or_else(|| truncated(HEADER, header.len()))?;
    let sum = sum.first_chunk().ok_or_else(|| truncated(HEADER, header.len()))?;
    check("length", length, *sum)?;
    Ok(u64::from_le_bytes(*length))
}

/// A record, from its bytes and the checksum after them.
///
/// # Errors
/// [`TrajectoryError::Record`] if the checksum is missing or wrong.
pub fn record_data(framed: &[u8]) -> Result<&[u8], TrajectoryError> {
    let (record, sum) = framed.split_last_chunk().ok_or_else(|| truncated(CHECKSUM, framed.len()))?;
    check("data", record, *sum)?;
    Ok(record)
}

/// A record in its frame, as it is written to a file.
pub fn frame(record: &[u8]) -> Vec<u8> {
    let length = (record.len() as u64).to_le_bytes();
    [&length[..], &masked(&length).to_le_bytes(), record, &masked(record).to_le_bytes()].concat()
}

fn truncated(expected: usize, found: usize) -> TrajectoryError {
    TrajectoryError::Record(format!("expected {expected} bytes; found {found}; the file is truncated"))
}

fn check(what: &str, bytes: &[u8], sum: [u8; CHECKSUM]) -> Result<(), TrajectoryError> {
    let (expected, found) = (u32::from_le_bytes(sum), masked(bytes));
    match expected == found {
        true => Ok(()),
        false => Err(TrajectoryError::Record(format!(
            "the checksum of the {what} is {found:#010x}; expected {expected:#010x}; the file is corrupt"
        ))),
    }
}

/// CRC-32C (Castagnoli), rotated and shifted as TensorFlow stores it, so that a checksum of checksums differs.
fn masked(bytes: &[u8]) -> u32 {
    let crc = checksum(CrcAlgorithm::Crc32Iscsi, bytes) as u32;
    crc.rotate_right(15).wrapping_add(0xa282_ead8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_lies_between_its_length_and_its_checksum() {
        // CRC-32C of 32 zeros (RFC 3720, B.4) is 0x8a9136aa.
        assert_eq!(masked(&[0; 32]), 0x8a91_36aa_u32.rotate_right(15).wrapping_add(0xa282_ead8));
        let file = frame(b"record");
        assert_eq!(record_length(&file[..HEADER]), Ok(6));
        assert_eq!(record_data(&file[HEADER..]), Ok(&b"record"[..]));
        let empty = frame(&[]);
        assert_eq!((record_length(&empty[..HEADER]), record_data(&empty[HEADER..])), (Ok(0), Ok(&[][..])));
    }

    #[test]
    fn corrupt_and_truncated_frames_are_errors() {
        let file = frame(b"record");
        let message = |found: Result<(), TrajectoryError>| found.unwrap_err().to_string();
        let mut changed = file.clone();
        changed[0] ^= 1;
        let length = message(record_length(&changed[..HEADER]).map(drop));
        assert!(length.starts_with("TFRecord: the checksum of the length is 0x"), "{length}");
        changed[HEADER] ^= 1;
        let data = message(record_data(&changed[HEADER..]).map(drop));
        assert!(data.starts_with("TFRecord: the checksum of the data is 0x"), "{data}");
        assert_eq!(
            message(record_length(&file[..7]).map(drop)),
            "TFRecord: expected 12 bytes; found 7; the file is truncated"
        );
        assert!(message(record_length(&file[..10]).map(drop)).contains("found 10"));
        assert!(message(record_data(&[1, 2]).map(drop)).contains("expected 4 bytes; found 2"));
    }
}
