//! Audio as tokens: a waveform becomes a log-mel spectrogram, cut into slices of a few frames.
//!
//! ```
//! use smalti_audio::{AudioConfig, AudioTokenizer, Waveform, write_wav};
//! use smalti_contract::Tokenizer;
//!
//! // Half a second of a 440 Hz tone, as an 8 kHz WAV file.
//! let tone = (0..4000).map(|i| (i as f32 * 440.0 * std::f32::consts::TAU / 8000.0).sin() * 0.5);
//! let file = write_wav(&Waveform { sampling_rate: 8000, samples: tone.collect() }, 16)?;
//!
//! // 16 kHz, 80 mel bands, 100 frames a second, four frames in a slice.
//! let tokenizer = AudioTokenizer::new(AudioConfig::default())?;
//! for clip in tokenizer.raw_inputs(&file) {
//!     let tokens = tokenizer.encode(&clip?)?;
//!     assert_eq!(tokens.len(), 13, "50 frames: twelve slices and a half");
//!     assert_eq!(tokens.groups[0].content.features().map(<[f32]>::len), Some(13 * 4 * 80));
//! }
//! # Ok::<(), smalti_contract::TokenizeError>(())
//! ```
//!
//! The parts, in processing order: [`read`] decodes a file, [`Waveform::resample`] changes the rate, [`MelSpectrogram`]
//! computes the spectrogram, [`AudioTokenizer`] cuts slices. [`SliceStream`] does so for streams, and [`Windows`] for
//! clips longer than a model's input. [`Augment`] is random augmentation.
//!
//! [`AudioSettings`] are fitted to training clips and become an [`AudioConfig`]. The defaults are Whisper's;
//! [`AudioConfig::preset`] has published front ends by name, and the tests compare their features with the published
//! implementations.

mod analysis;
mod augment;
mod config;
mod container;
mod decode;
mod filterbank;
mod frame;
mod logarithm;
mod mel;
mod preset;
mod resample;
mod settings;
mod slices;
mod spec_augment;
mod spectrogram;
mod stream;
mod tokenizer;
mod wav;
mod waveform;
mod window;
mod windows;

pub use augment::Augment;
pub use config::AudioConfig;
pub use decode::{MAX_SAMPLES, read};
pub use filterbank::{MelNorm, MelScale};
pub use mel::{Log, MelConfig, Padding, Spectrum};
pub use settings::AudioSettings;
pub use spectrogram::{LogMel, MelSpectrogram};
pub use stream::SliceStream;
pub use tokenizer::AudioTokenizer;
pub use wav::write_wav;
pub use waveform::{SAMPLING_RATES, Waveform};
pub use window::Window;
pub use windows::Windows;
