//! What tells the same content from other: a digest, so that the content itself need not be kept.

use sha2::{Digest as _, Sha256};
#[cfg(feature = "trajectory")]
use std::fmt;

/// The first half of a SHA-256.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Digest([u8; 16]);

impl Digest {
    /// Of bytes, and numbers that say how they are to be read.
    #[cfg(any(feature = "image", test))]
    pub fn of_bytes(shape: &[usize], bytes: &[u8]) -> Self {
        let mut digest = Sha256::new();
        shape.iter().for_each(|number| digest.update(number.to_le_bytes()));
        digest.update(bytes);
        Self::finish(digest)
    }

    /// Of samples at a rate.
    #[cfg(feature = "audio")]
    pub fn of_samples(rate: u32, samples: &[f32]) -> Self {
        let mut digest = Sha256::new();
        digest.update(rate.to_le_bytes());
        for chunk in samples.chunks(4096) {
            digest.update(chunk.iter().flat_map(|sample| sample.to_le_bytes()).collect::<Vec<u8>>());
        }
        Self::finish(digest)
    }

    /// Of a value as it is written for debugging: all there is in it, whatever its fields; and of bytes, of which that
    /// would be many times as much.
    #[cfg(feature = "trajectory")]
    pub fn of_value<'a>(value: &impl fmt::Debug, bytes: impl Iterator<Item = &'a [u8]>) -> Self {
        use fmt::Write;
        let mut digest = Written(Sha256::new());
        // Writing into a digest does not fail.
        let _ = write!(digest, "{value:?}");
        bytes.for_each(|bytes| digest.0.update(bytes));
        Self::finish(digest.0)
    }

    fn finish(digest: Sha256) -> Self {
        let mut half = [0; 16];
        half.copy_from_slice(&digest.finalize()[..16]);
        Self(half)
    }
}

#[cfg(feature = "trajectory")]
struct Written(Sha256);

#[cfg(feature = "trajectory")]
impl fmt::Write for Written {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.update(text);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shape_and_content_both_count() {
        let digest = Digest::of_bytes(&[2, 3], b"abcdef");
        assert_eq!(digest, Digest::of_bytes(&[2, 3], b"abcdef"));
        assert_ne!(digest, Digest::of_bytes(&[3, 2], b"abcdef"));
        assert_ne!(digest, Digest::of_bytes(&[2, 3], b"abcdeg"));
    }
}
