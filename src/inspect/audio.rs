//! Audio clips: sample rates, durations, loudness.

use super::counts::Holds;
use super::look::{Look, Readers, Slicing};
use crate::modalities::audio::{AudioConfig, AudioTokenizer};
use sha2::Digest;
use smalti_contract::{TokenizeError, Tokenizer, Value};

/// A tokenizer that gives clips of any duration their number of tokens.
pub(super) fn reader(slicing: &Slicing) -> Result<AudioTokenizer, TokenizeError> {
    let default = AudioConfig::default();
    let frames_per_slice = slicing.frames_per_slice.unwrap_or(default.frames_per_slice);
    let (slice_hop, max_slices) = (slicing.slice_hop, u32::MAX as usize);
    AudioTokenizer::new(AudioConfig { frames_per_slice, slice_hop, max_slices, ..default })
}

impl Readers {
    /// A clip. `peak` is the largest amplitude, `loudness_db` the root mean square in decibels of full scale.
    pub(super) fn audio(&self, look: &mut Look, value: Value) -> Result<(), String> {
        look.counts.holds = Holds::Audio;
        let clip = self.audio.read(value).map_err(|e| e.to_string())?;
        look.counts.count("sample_rate", clip.sample_rate.to_string());
        look.counts.measure("seconds", f64::from(clip.seconds()));
        let peak = clip.samples.iter().fold(0.0_f32, |peak, sample| peak.max(sample.abs()));
        let power = clip.samples.iter().map(|&sample| f64::from(sample).powi(2)).sum::<f64>();
        look.counts.measure("peak", f64::from(peak));
        look.counts
            .measure("loudness_db", 10.0 * (power / clip.samples.len().max(1) as f64).max(1e-12).log10());
        look.tokens(self.audio.encode(&clip).map(|tokens| tokens.len()).map_err(|e| e.to_string()));
        look.digest.update(clip.sample_rate.to_le_bytes());
        for chunk in clip.samples.chunks(4096) {
            look.digest.update(chunk.iter().flat_map(|sample| sample.to_le_bytes()).collect::<Vec<u8>>());
        }
        Ok(())
    }
}
