//! Audio tokens for smalti: a waveform becomes a log-mel spectrogram, cut into slices of a few frames.
//!
//! ```
//! use smalti_audio::{AudioConfig, AudioTokenizer, Waveform, write_wav};
//! use smalti_contract::Tokenizer;
//!
//! // Half a second of a 440 Hz tone, as an 8 kHz WAV file.
//! let tone = (0..4000).map(|i| (i as f32 * 440.0 * std::f32::consts::TAU / 8000.0).sin() * 0.5);
//! let file = write_wav(&Waveform { sample_rate: 8000, samples: tone.collect() }, 16)?;
//!
//! // 16 kHz, 80 mel bands, 100 frames a second, four frames in a slice.
//! let tokenizer = AudioTokenizer::new(AudioConfig::default())?;
//! for clip in tokenizer.records(&file) {
//!     let tokens = tokenizer.encode(&clip?)?;
//!     assert_eq!(tokens.len(), 13, "50 frames: twelve slices and a half");
//!     assert_eq!(tokens.groups[0].content.features().map(<[f32]>::len), Some(13 * 4 * 80));
//! }
//! # Ok::<(), smalti_contract::TokenizeError>(())
//! ```
//!
//! The parts, in the order in which sound passes them: [`read_wav`] decodes, [`Waveform::resample`] changes
//! the rate, [`MelSpectrogram`] analyses, [`AudioTokenizer`] slices. [`Augment`] says what may vary in
//! training. The defaults are Whisper's front end; with [`clip_seconds`](AudioConfig::clip_seconds) of 30
//! the features equal those of the published implementation.

mod augment;
mod filterbank;
mod mel;
mod resample;
mod spectrogram;
mod tokenizer;
mod wav;
mod waveform;

pub use augment::Augment;
pub use filterbank::{MelNorm, MelScale};
pub use mel::{MelConfig, Padding, Spectrum};
pub use spectrogram::{LogMel, MelSpectrogram};
pub use tokenizer::{AudioConfig, AudioTokenizer};
pub use wav::{read_wav, write_wav};
pub use waveform::{SAMPLE_RATES, Waveform};
