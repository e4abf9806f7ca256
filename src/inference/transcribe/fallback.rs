//! Temperature fallback (Radford et al. 2022, section 4.5).

use super::options::Options;
use super::search::{Hypothesis, WindowDecoder};
use crate::inference::PredictError;
use flate2::{Compression, write::ZlibEncoder};
use rand_pcg::Pcg64Mcg;
use std::io::Write;

/// The result of decoding a window at one temperature.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct WindowResult {
    pub hypothesis: Hypothesis,
    pub temperature: f64,
    pub compression_ratio: f64,
    /// Whether the window has no speech and is left out.
    pub is_silent: bool,
}

/// The temperature from which a text is too random to condition the next window, as in Whisper.
const MAX_CONDITIONING_TEMPERATURE: f64 = 0.5;

impl WindowResult {
    /// Whether the next window may be conditioned on this text.
    pub fn conditions_next(&self) -> bool {
        self.temperature < MAX_CONDITIONING_TEMPERATURE
    }
}

/// Decode at each temperature until a text passes the thresholds; if none passes, the result is the last text.
pub(super) fn decode_with_fallback(
    decoder: &WindowDecoder,
    options: &Options,
    num_beams: usize,
    vocabulary: usize,
    no_speech_prob: f64,
    random: &mut Pcg64Mcg,
) -> Result<WindowResult, PredictError> {
    let mut result = None;
    for &temperature in &options.temperatures {
        let hypothesis = decoder.decode(temperature, num_beams, random)?;
        let compression_ratio = compression_ratio(&hypothesis.ids, vocabulary);
        let repeats = options.compression_ratio.is_some_and(|most| compression_ratio > most);
        let unlikely = options.logprob.is_some_and(|least| hypothesis.mean_logprob() < least);
        let is_silent = unlikely && options.no_speech.is_some_and(|most| no_speech_prob > most);
        result = Some(WindowResult { hypothesis, temperature, compression_ratio, is_silent });
        if is_silent || !(repeats || unlikely) {
            break;
        }
    }
    result.ok_or(PredictError::Option {
        option: "temperature",
        problem: "expected 1 or more temperatures; found 0".into(),
    })
}

/// The bytes of the ids divided by the bytes after zlib compression; high if a text repeats itself. An id has as many bytes as
/// the vocabulary needs, in little-endian order.
pub(super) fn compression_ratio(ids: &[u32], vocabulary: usize) -> f64 {
    let width = (vocabulary.max(1).ilog2() / 8 + 1) as usize;
    let bytes: Vec<u8> = ids.iter().flat_map(|id| id.to_le_bytes().into_iter().take(width)).collect();
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    // Writing to memory does not fail.
    let compressed = encoder.write_all(&bytes).and_then(|()| encoder.finish()).map_or(0, |bytes| bytes.len());
    bytes.len() as f64 / compressed.max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Against `len(b) / len(zlib.compress(b))` of Python 3.11 with zlib 1.2.13.
    #[test]
    fn repeated_ids_have_a_high_compression_ratio() {
        let same = compression_ratio(&[7; 100], 51865);
        let varied: Vec<u32> = (0..100).map(|i| i * 7919 % 50_000).collect();
        let varied = compression_ratio(&varied, 51865);
        assert!((same - 200.0 / 14.0).abs() < 1.5, "{same}");
        assert!((varied - 200.0 / 211.0).abs() < 0.02, "{varied}");
    }
}
