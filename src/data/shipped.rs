//! The data that ships inside the binary, so that a first run needs neither network nor files.
//!
//! The repository's `data/README.md` describes each set and its origin.

use flate2::read::GzDecoder;
use std::io::Read;
use std::sync::LazyLock;

/// Every shipped file: its path and its bytes.
pub fn files() -> &'static [(&'static str, Vec<u8>)] {
    &FILES
}

static FILES: LazyLock<Vec<(&str, Vec<u8>)>> =
    LazyLock::new(|| PACKED.iter().map(|(path, packed)| (*path, unpack(packed))).collect());

fn unpack(packed: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    GzDecoder::new(packed).read_to_end(&mut bytes).expect("`build.rs` has packed it");
    bytes
}

/// The path of a file, and its bytes as `build.rs` has packed them.
macro_rules! packed {
    ($path:literal) => {
        ($path, include_bytes!(concat!(env!("OUT_DIR"), "/shipped/", $path, ".gz")))
    };
}

static PACKED: [(&str, &[u8]); 7] = [
    packed!("text/smalti.txt"),
    packed!("digits/train-images-idx3-ubyte"),
    packed!("digits/train-labels-idx1-ubyte"),
    packed!("digits/t10k-images-idx3-ubyte"),
    packed!("digits/t10k-labels-idx1-ubyte"),
    packed!("touchtone.tar"),
    packed!("cartpole-mixed.npz"),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str) -> &'static [u8] {
        let file = files().iter().find(|(name, _)| *name == path);
        &file.unwrap_or_else(|| panic!("{path} does not ship")).1
    }

    #[test]
    fn the_text_is_this_projects_source_in_plain_ascii() {
        let text = std::str::from_utf8(file("text/smalti.txt")).unwrap();
        assert!(text.bytes().all(|byte| byte == b'\n' || (b' '..=b'~').contains(&byte)));
        assert!(text.contains("\n// src/data/shipped.rs\n//! The data that ships inside the binary"));
        assert!(text.len() > 50_000, "{}", text.len());
    }

    #[test]
    fn digits_are_8_by_8_images_with_a_label_each() {
        for (set, count) in [("train", 1437u32), ("t10k", 360)] {
            let images = file(&format!("digits/{set}-images-idx3-ubyte"));
            let sizes = [0x0803, count, 8, 8].map(u32::to_be_bytes);
            assert_eq!(images[..16], *sizes.as_flattened());
            assert_eq!(images.len(), 16 + 64 * count as usize);
            assert_eq!(images[16..].iter().max(), Some(&255));

            let labels = file(&format!("digits/{set}-labels-idx1-ubyte"));
            assert_eq!(labels[..8], *[0x0801, count].map(u32::to_be_bytes).as_flattened());
            assert_eq!(labels.len(), 8 + count as usize);
            for digit in 0..10 {
                assert!(labels[8..].iter().filter(|&&label| label == digit).count() > 30, "{set} {digit}");
            }
        }
    }

    #[test]
    fn shipped_files_are_small() {
        // The text is this project's own source, and grows with it.
        let total: usize = files().iter().map(|(_, bytes)| bytes.len()).sum();
        assert!(total < 10_000_000, "{total} bytes");
    }
}
