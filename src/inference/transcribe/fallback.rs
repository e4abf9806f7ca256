//! Whether a text is good enough, or another temperature is tried (Radford et al. 2022, section 4.5).

use super::options::Options;
use super::search::{Reader, Written};
use crate::inference::PredictError;
use flate2::{Compression, write::ZlibEncoder};
use rand_pcg::Pcg64Mcg;
use std::io::Write;

/// The text of a window, and how good it is.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Tried {
    pub written: Written,
    pub temperature: f64,
    pub compression_ratio: f64,
    /// Whether there is no speech in the window, and it is left out.
    pub silent: bool,
}

/// The temperature from which on a text is too random for the next window to be decoded after it.
const WILD: f64 = 0.5;

impl Tried {
    /// Whether the next window may be decoded after this text.
    pub fn is_calm(&self) -> bool {
        self.temperature < WILD
    }
}

/// The first text that is good enough, or else the last. `no_speech` is the probability of no speech.
pub(super) fn try_temperatures(
    reader: &Reader,
    options: &Options,
    beams: usize,
    vocabulary: usize,
    no_speech: f64,
    random: &mut Pcg64Mcg,
) -> Result<Tried, PredictError> {
    let mut tried = None;
    for &temperature in &options.temperatures {
        let written = reader.write(temperature, beams, random)?;
        let compression_ratio = compression_ratio(&written.ids, vocabulary);
        let repeats = options.compression_ratio.is_some_and(|most| compression_ratio > most);
        let unlikely = options.logprob.is_some_and(|least| written.mean_logprob() < least);
        let silent = unlikely && options.no_speech.is_some_and(|most| no_speech > most);
        tried = Some(Tried { written, temperature, compression_ratio, silent });
        if silent || !(repeats || unlikely) {
            break;
        }
    }
    tried.ok_or(PredictError::Option {
        option: "temperature",
        problem: "expected one or more; found none".into(),
    })
}

/// Bytes of the ids over those that zlib compresses them to; high if a text repeats itself. An id is as many bytes as the
/// vocabulary needs, the lowest first.
pub(super) fn compression_ratio(ids: &[u32], vocabulary: usize) -> f64 {
    let width = (vocabulary.max(1).ilog2() / 8 + 1) as usize;
    let bytes: Vec<u8> = ids.iter().flat_map(|id| id.to_le_bytes().into_iter().take(width)).collect();
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    // Writing into memory does not fail.
    let packed = encoder.write_all(&bytes).and_then(|()| encoder.finish()).map_or(0, |packed| packed.len());
    bytes.len() as f64 / packed.max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Against `len(b) / len(zlib.compress(b))` of Python 3.11 with zlib 1.2.13.
    #[test]
    fn what_repeats_is_compressed() {
        let same = compression_ratio(&[7; 100], 51865);
        let varied: Vec<u32> = (0..100).map(|i| i * 7919 % 50_000).collect();
        let varied = compression_ratio(&varied, 51865);
        assert!((same - 200.0 / 14.0).abs() < 1.5, "{same}");
        assert!((varied - 200.0 / 211.0).abs() < 0.02, "{varied}");
    }
}
