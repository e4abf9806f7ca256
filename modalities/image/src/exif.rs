//! The orientation of an image in EXIF data, which have the form of a TIFF file: entries of a first directory.

use image::metadata::Orientation;
use std::ops::Range;

/// The tag of the orientation.
const ORIENTATION: u16 = 0x0112;

/// The orientation that EXIF data or a TIFF file states.
pub(crate) fn orientation(exif: &[u8]) -> Option<Orientation> {
    let tiff = exif.strip_prefix(b"Exif\0\0").unwrap_or(exif);
    let (number, _) = number(tiff, ORIENTATION)?;
    Orientation::from_exif(u8::try_from(number).ok()?)
}

/// Find the entry `tag` of the first directory: its one number of 16 or 32 bits, and the bytes that hold it.
///
/// TIFF calls the two types SHORT and LONG. Some writers choose LONG where the standard has SHORT.
pub(crate) fn number(tiff: &[u8], tag: u16) -> Option<(u32, Range<usize>)> {
    const SHORT: u32 = 3;
    const LONG: u32 = 4;
    let little_endian = match tiff.first_chunk()? {
        b"II" => true,
        b"MM" => false,
        _ => return None,
    };
    let read = |place: Range<usize>| {
        let append = |number: u32, byte: &u8| number << 8 | u32::from(*byte);
        let bytes = tiff.get(place)?;
        Some(if little_endian { bytes.iter().rev().fold(0, append) } else { bytes.iter().fold(0, append) })
    };
    if read(2..4)? != 42 {
        return None;
    }
    let directory = read(4..8)? as usize;
    let entries = read(directory..directory.checked_add(2)?)? as usize;
    // Each entry: its tag, type, number of values, and the value, from the left, or its place if it is longer.
    let found = |at: &usize| read(*at..at + 2) == Some(tag.into());
    let at = (0..entries).map(|i| directory + 2 + 12 * i).find(found)?;
    let size = match (read(at + 2..at + 4)?, read(at + 4..at + 8)?) {
        (SHORT, 1) => 2,
        (LONG, 1) => 4,
        _ => return None,
    };
    let place = at + 8..at + 8 + size;
    Some((read(place.clone())?, place))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory with two entries, of which the second is the orientation.
    fn exif(little_endian: bool, kind: u16, count: u32, value: &[u8]) -> Vec<u8> {
        let short = |number: u16| if little_endian { number.to_le_bytes() } else { number.to_be_bytes() };
        let long = |number: u32| if little_endian { number.to_le_bytes() } else { number.to_be_bytes() };
        let header = [if little_endian { *b"II" } else { *b"MM" }, short(42)].concat();
        let width = [&short(0x0100)[..], &short(4), &long(1), &long(300)].concat();
        let orientation = [&short(ORIENTATION)[..], &short(kind), &long(count), value].concat();
        [&header[..], &long(8), &short(2), &width, &orientation, &long(0)].concat()
    }

    #[test]
    fn numbers_of_both_types_and_byte_orders_are_read() {
        for (kind, little, big) in [(3, [6, 0, 0, 0], [0, 6, 0, 0]), (4, [6, 0, 0, 0], [0, 0, 0, 6])] {
            for file in [exif(true, kind, 1, &little), exif(false, kind, 1, &big)] {
                assert_eq!(orientation(&file), Some(Orientation::Rotate90), "{file:?}");
                assert_eq!(orientation(&[b"Exif\0\0", &file[..]].concat()), Some(Orientation::Rotate90));
                assert_eq!(number(&file, 0x0100), Some((300, 18..22)));
            }
        }
    }

    #[test]
    fn other_data_state_no_orientation() {
        let good = exif(true, 3, 1, &[6, 0, 0, 0]);
        for length in 0..good.len() - 6 {
            assert_eq!(orientation(&good[..length]), None, "{length} bytes");
        }
        for (kind, count, value) in [(1, 1, 6), (5, 1, 6), (3, 2, 6), (3, 1, 0), (3, 1, 9)] {
            assert_eq!(
                orientation(&exif(true, kind, count, &[value, 0, 0, 0])),
                None,
                "{kind} {count} {value}"
            );
        }
        assert_eq!(orientation(&exif(true, 4, 1, &[6, 1, 0, 0])), None, "262");
        let mut far = good;
        far[4..8].fill(0xff);
        assert_eq!(orientation(&far), None);
    }
}
