//! Audio clips: sampling rates, durations, loudness.

use super::counts::ValueType;
use super::value::{Readers, Slicing, ValueSummary};
use crate::modalities::audio::{AudioConfig, AudioTokenizer};
use sha2::Digest;
use smalti_contract::{TokenizeError, Tokenizer, Value};

/// A tokenizer that counts the tokens of clips of any duration.
pub(super) fn reader(slicing: &Slicing) -> Result<AudioTokenizer, TokenizeError> {
    let default = AudioConfig::default();
    let frames_per_slice = slicing.frames_per_slice.unwrap_or(default.frames_per_slice);
    let (slice_hop, max_slices) = (slicing.slice_hop, u32::MAX as usize);
    AudioTokenizer::new(AudioConfig { frames_per_slice, slice_hop, max_slices, ..default })
}

impl Readers {
    /// Summarizes a clip. `peak` is the largest amplitude, `loudness_db` the root mean square in decibels of full scale.
    pub(super) fn audio(&self, summary: &mut ValueSummary, value: Value) -> Result<(), String> {
        summary.counts.holds = ValueType::Audio;
        let clip = self.audio.read(value).map_err(|e| e.to_string())?;
        summary.counts.count("sample_rate", clip.sampling_rate.to_string());
        summary.counts.measure("seconds", f64::from(clip.seconds()));
        let peak = clip.samples.iter().fold(0.0_f32, |peak, sample| peak.max(sample.abs()));
        let power = clip.samples.iter().map(|&sample| f64::from(sample).powi(2)).sum::<f64>();
        summary.counts.measure("peak", f64::from(peak));
        summary
            .counts
            .measure("loudness_db", 10.0 * (power / clip.samples.len().max(1) as f64).max(1e-12).log10());
        summary.tokens(self.audio.encode(&clip).map(|tokens| tokens.len()).map_err(|e| e.to_string()));
        summary.digest.update(clip.sampling_rate.to_le_bytes());
        for chunk in clip.samples.chunks(4096) {
            summary.digest.update(chunk.iter().flat_map(|sample| sample.to_le_bytes()).collect::<Vec<u8>>());
        }
        Ok(())
    }
}
