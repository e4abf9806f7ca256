//! The task of an audio checkpoint: its spectrogram, vocabulary and decoding settings.

use super::classifier::Classifier;
use super::task::{ImportedTask, TaskBuilder};
use super::text::Text;
use super::{Checkpoint, PretrainedError, decoding, preprocessor};
use crate::head::Generate;
use crate::modalities::audio::{AudioConfig, AudioTokenizer};
use serde_json::{Value, json};
use smalti_contract::Tokenizer;

/// Samples from one frame to the next.
const HOP_LENGTH: f32 = 160.0;
/// Samples per second.
const SAMPLING_RATE: f32 = 16_000.0;

/// The source of clips, unless a user sets another.
pub(super) const SOURCE: &str = "builtin:touchtone.tar";

/// A task with clips as input, in slices of two frames.
fn of_clips(checkpoint: &Checkpoint) -> Result<TaskBuilder, PretrainedError> {
    let settings = &checkpoint.settings;
    let (slices, n_mels) = (settings.size("max_source_positions")?, settings.size("num_mel_bins")?);
    let clip_seconds = slices as f32 * 2.0 * HOP_LENGTH / SAMPLING_RATE;
    check_preprocessor(checkpoint, n_mels, slices)?;
    let front_end = AudioConfig {
        frames_per_slice: 2,
        max_slices: slices,
        clip_seconds: Some(clip_seconds),
        ..AudioConfig::whisper(n_mels)
    };
    let front_end = AudioTokenizer::new(front_end).map_err(|e| checkpoint.refuse("num_mel_bins", e))?;
    let audio = json!({
        "modality": "audio",
        "field": "path",
        "normalize": false,
        "mel": { "n_mels": n_mels },
        "frames_per_slice": 2,
        "max_slices": slices,
        "clip_seconds": clip_seconds,
    });
    TaskBuilder::new(SOURCE).input("audio", audio, &front_end)
}

/// The class of a clip, from the mean of its tokens.
pub(super) fn classified(checkpoint: &Checkpoint) -> Result<ImportedTask, PretrainedError> {
    Classifier::read(checkpoint)?.add(of_clips(checkpoint)?, json!({}))
}

/// Generated text from audio.
pub(super) fn task(checkpoint: &Checkpoint) -> Result<ImportedTask, PretrainedError> {
    let settings = &checkpoint.settings;
    let (context, vocabulary) = (settings.size("max_target_positions")?, settings.size("vocab_size")?);
    let text = Text::read(checkpoint, vocabulary, context, 0)?;
    let generation = decoding::read(checkpoint)?;
    let output = json!({
        "modality": "text",
        "cross_attention": true,
        "vocabulary": text.unit,
        "context": context,
        "begin": generation.start,
        "end": generation.end,
        "decoding": generation.decoding,
    });
    of_clips(checkpoint)?.output("text", output, &Generate::new(vocabulary), Some(&text.tokenizer))?.finish()
}

/// The feature extractor of clips of this many slices.
pub(super) fn feature_extractor(n_mels: usize, slices: usize) -> Value {
    json!({
        "feature_extractor_type": "WhisperFeatureExtractor",
        "feature_size": n_mels,
        "hop_length": HOP_LENGTH as u64,
        "n_fft": 400,
        "sampling_rate": SAMPLING_RATE as u64,
        "chunk_length": whole(seconds(slices)),
        "padding_value": 0.0,
        "padding_side": "right",
        "return_attention_mask": false,
    })
}

/// The length of a clip of this many slices.
fn seconds(slices: usize) -> f64 {
    slices as f64 * 2.0 * f64::from(HOP_LENGTH) / f64::from(SAMPLING_RATE)
}

/// A number without a fraction as an integer, which transformers wants for a length.
fn whole(number: f64) -> Value {
    if number.fract() == 0.0 { json!(number as u64) } else { json!(number) }
}

/// Check that the published preparation of clips is that of Whisper, the only one here.
fn check_preprocessor(checkpoint: &Checkpoint, n_mels: usize, slices: usize) -> Result<(), PretrainedError> {
    let Some(settings) = preprocessor::of_clips(checkpoint)? else { return Ok(()) };
    let expected = [
        ("feature_size", n_mels as f64),
        ("hop_length", f64::from(HOP_LENGTH)),
        ("n_fft", 400.0),
        ("sampling_rate", f64::from(SAMPLING_RATE)),
        ("chunk_length", seconds(slices)),
        ("padding_value", 0.0),
        ("dither", 0.0),
    ];
    for (key, expected) in expected {
        let found = settings.number(key, expected)?;
        if found != expected {
            return Err(settings.refuse(key, format!("expected {expected}; found {found}")));
        }
    }
    settings.only(&[
        ("do_normalize", json!(false)),
        ("feature_extractor_type", json!("WhisperFeatureExtractor")),
        ("padding_side", json!("right")),
    ])?;
    // transformers computes these from the settings above.
    settings.ignore(&["mel_filters", "n_samples", "nb_max_frames"]);
    settings.ignore(&["processor_class", "return_attention_mask"]);
    settings.finish()
}
