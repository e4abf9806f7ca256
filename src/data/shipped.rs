//! The data that ships inside the binary, so that a first run needs neither network nor files.
//!
//! The repository's `data/README.md` describes each set and its origin.

/// Every shipped file: its path and its bytes.
pub fn files() -> &'static [(&'static str, &'static [u8])] {
    FILES
}

static FILES: &[(&str, &[u8])] = &[
    // This project's own source, gathered by `build.rs`.
    ("text/smalti.txt", include_bytes!(concat!(env!("OUT_DIR"), "/smalti.txt"))),
    ("digits/train-images-idx3-ubyte", include_bytes!("../../data/digits/train-images-idx3-ubyte")),
    ("digits/train-labels-idx1-ubyte", include_bytes!("../../data/digits/train-labels-idx1-ubyte")),
    ("digits/t10k-images-idx3-ubyte", include_bytes!("../../data/digits/t10k-images-idx3-ubyte")),
    ("digits/t10k-labels-idx1-ubyte", include_bytes!("../../data/digits/t10k-labels-idx1-ubyte")),
    ("touchtone.tar", include_bytes!("../../data/touchtone.tar")),
    ("cartpole-mixed.npz", include_bytes!("../../data/cartpole-mixed.npz")),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str) -> &'static [u8] {
        files().iter().find(|(name, _)| *name == path).unwrap_or_else(|| panic!("{path} does not ship")).1
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
        assert!(total < 8_000_000, "{total} bytes");
    }
}
