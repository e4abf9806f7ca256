//! The audio side of a checkpoint: its spectrogram, its vocabulary, and what a text begins and ends with.

use super::{Checkpoint, ImportedTask, PretrainedError, decoding, text};
use crate::tasks::audio::{AudioTask, AudioTaskConfig, Reading};
use crate::tasks::modalities::audio::{AudioConfig, AudioTokenizer};
use crate::tasks::{Builtin, TaskConfig};
use smalti_contract::Tokenizer;
use std::sync::Arc;

/// Samples from one frame to the next.
const HOP: f32 = 160.0;
/// Samples in a second.
const RATE: f32 = 16_000.0;

/// A task of texts token by token, looking at slices of two frames.
pub(super) fn task(checkpoint: &Checkpoint) -> Result<ImportedTask, PretrainedError> {
    let settings = &checkpoint.settings;
    let (slices, n_mels) = (settings.size("max_source_positions")?, settings.size("num_mel_bins")?);
    let (context, vocabulary) = (settings.size("max_target_positions")?, settings.size("vocab_size")?);
    let front_end = AudioConfig {
        frames_per_slice: 2,
        max_slices: slices,
        clip_seconds: Some(slices as f32 * 2.0 * HOP / RATE),
        ..AudioConfig::whisper(n_mels)
    };
    let said = decoding::said(checkpoint)?;
    let config = AudioTaskConfig {
        reading: Reading::Cross,
        lowercase: false,
        normalize: false,
        max_text: context,
        prefix: vec![said.start],
        end: Some(said.end),
        decoding: said.decoding.map(Box::new),
        audio: front_end.clone(),
        ..AudioTaskConfig::default()
    };
    let front_end = AudioTokenizer::new(front_end).map_err(|e| checkpoint.refuse("num_mel_bins", e))?;
    let vocabulary = text::tokenizer(checkpoint, vocabulary, context, 0)?;
    let task = AudioTask::with("audio", 1.0, &config, front_end, vocabulary);
    Ok(ImportedTask { config: TaskConfig::Audio(config), task: Builtin::Audio(Arc::new(task)) })
}
