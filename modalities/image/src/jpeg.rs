//! Whether a JPEG file is all there.

/// The most pixels in a file of so many bytes: every block of 8×8 has at least one bit of its own, the code of its mean.
pub(crate) fn most_pixels(bytes: usize) -> u64 {
    8 * 64 * bytes as u64
}

/// Walks a JPEG file's markers to its end-of-image marker (ITU-T T.81, annex B); false where the bytes end first.
///
/// Decoders fill what is missing with grey and say nothing: a file cut short would train as half a picture.
pub(crate) fn is_complete(bytes: &[u8]) -> bool {
    const END_OF_IMAGE: u8 = 0xd9;
    let mut rest = bytes;
    while let Some(marker) = next_marker(&mut rest) {
        match marker {
            END_OF_IMAGE => return true,
            // Start of image, restarts and TEM stand alone; what follows a restart is more of the scan.
            0xd8 | 0xd0..=0xd7 | 0x01 => {}
            // All others have a length, which counts itself. Inside may be another picture, a thumbnail.
            _ => {
                let Some(&[high, low]) = rest.first_chunk() else { return false };
                let Some(after) = rest.get(u16::from_be_bytes([high, low]) as usize..) else { return false };
                rest = after;
            }
        }
    }
    false
}

/// The code of the next marker, with `rest` moved behind it. Coded data in between, where 0xff is followed by
/// 0x00, is passed over, and so are fill bytes, 0xff before the 0xff of a marker.
fn next_marker(rest: &mut &[u8]) -> Option<u8> {
    loop {
        let start = memchr::memchr(0xff, rest)?;
        let marker = *rest.get(start + 1)?;
        match marker {
            0xff => *rest = &rest[start + 1..],
            _ => *rest = &rest[start + 2..],
        }
        if !matches!(marker, 0x00 | 0xff) {
            return Some(marker);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Start; an application segment that holds an end marker; a scan with a stuffed 0xff and a restart; end.
    const WHOLE: [u8; 20] =
        [0xff, 0xd8, 0xff, 0xe1, 0, 4, 0xff, 0xd9, 0xff, 0xda, 0, 2, 7, 0xff, 0, 0xff, 0xd3, 9, 0xff, 0xd9];

    #[test]
    fn only_the_whole_file_is_complete() {
        assert!(is_complete(&WHOLE));
        assert!(is_complete(&[&WHOLE[..18], &[0xff, 0xff, 0xd9, 1, 2]].concat()), "fill bytes, and a tail");
        for length in 0..WHOLE.len() {
            assert!(!is_complete(&WHOLE[..length]), "{length} bytes");
        }
    }
}
