//! The settings of audio that a user writes, and how they are fitted to training clips.

use crate::decode::read_value;
use crate::preset::change;
use crate::{AudioConfig, AudioTokenizer, Augment};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, from_value, to_value};
use smalti_contract::{TokenizeError, Tokenizer, Values};

/// The settings of audio: the keys of a part in `run.toml`. Each that is left out is that of the preset; without a
/// preset, that of the run that a run starts from; without either, the default of [`AudioConfig`].
///
/// ```
/// # use smalti_audio::{AudioSettings, AudioTokenizer, Waveform, write_wav};
/// # use smalti_contract::{File, Tokenizer, Value};
/// let settings: AudioSettings = serde_json::from_str(r#"{"sample_rate": 8000, "mel": {"n_mels": 40}}"#)?;
/// let tone = (0..4000).map(|i| (i as f32 * 440.0 * std::f32::consts::TAU / 8000.0).sin() * 0.5);
/// let bytes = write_wav(&Waveform { sample_rate: 8000, samples: tone.collect() }, 16)?;
/// let rows = vec![Value::File(File { name: "a.wav".into(), bytes })];
/// let config = AudioTokenizer::fit(settings, None, &rows)?;
/// assert_eq!((config.mel.n_mels, config.band_mean.len()), (40, 40));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AudioSettings {
    /// The name of a published front end, one of [`AudioConfig::PRESETS`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preset: Option<String>,
    /// Whether the mean and the deviation of each band are fitted to the training clips, unless `band_mean`, the preset
    /// or, for the same spectrogram, the run that this one starts from holds them.
    pub normalize: bool,
    /// The rate, in Hz, to which every clip is resampled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sample_rate: Option<u32>,
    /// Settings of the spectrogram: keys of [`MelConfig`](crate::MelConfig).
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub mel: Map<String, Value>,
    /// Every clip is padded with silence or cut to so many seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clip_seconds: Option<f32>,
    /// Every spectrogram is padded with zeros or cut to so many frames.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clip_frames: Option<usize>,
    /// Frames in a slice, which is a token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub frames_per_slice: Option<usize>,
    /// Frames from the start of a slice to that of the next, below `frames_per_slice` if slices overlap.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slice_hop: Option<usize>,
    /// The longest clip, in slices.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_slices: Option<usize>,
    /// The mean of each band, or one for all, subtracted from it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub band_mean: Option<Vec<f32>>,
    /// The standard deviation of each band, or one for all, by which it is then divided.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub band_std: Option<Vec<f32>>,
    /// The longest silence between the clips of several rows that are concatenated (`data.concat`), in seconds. Left out,
    /// 0.1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gap_seconds: Option<f32>,
    /// What varies in training.
    pub augment: Augment,
}

/// The most clips that bands are fitted to.
const FIT_ON: usize = 256;

impl Default for AudioSettings {
    fn default() -> Self {
        Self {
            preset: None,
            normalize: true,
            sample_rate: None,
            mel: Map::new(),
            clip_seconds: None,
            clip_frames: None,
            frames_per_slice: None,
            slice_hop: None,
            max_slices: None,
            band_mean: None,
            band_std: None,
            gap_seconds: None,
            augment: Augment::default(),
        }
    }
}

impl AudioSettings {
    /// What [`AudioTokenizer::fit`](Tokenizer::fit) documents.
    pub(crate) fn fit(
        self,
        before: Option<AudioConfig>,
        values: &dyn Values,
    ) -> Result<AudioConfig, TokenizeError> {
        let before = before.filter(|_| self.preset.is_none());
        let mut config = self.over(match (&self.preset, &before) {
            (Some(preset), _) => AudioConfig::preset(preset)?,
            (None, Some(before)) => before.clone(),
            (None, None) => AudioConfig::default(),
        })?;
        let given = self.band_mean.is_some() || self.band_std.is_some();
        let mut fitted = given || !config.band_mean.is_empty();
        if let Some(before) = before.filter(|_| !given) {
            // What was measured of one spectrogram is wrong for another.
            fitted = config.sample_rate == before.sample_rate && config.mel == before.mel;
            if !fitted {
                (config.band_mean, config.band_std) = (vec![], vec![]);
            }
        }
        let config = AudioTokenizer::new(config)?.into_config();
        if fitted || !self.normalize {
            return Ok(config);
        }
        let clips = values.spread(FIT_ON).filter_map(|value| match value {
            Ok(value) if value.is_missing() => None,
            value => Some(value.and_then(read_value)),
        });
        config.fit_bands(clips)
    }

    /// A configuration with the settings that are not left out in place of its own.
    fn over(&self, config: AudioConfig) -> Result<AudioConfig, TokenizeError> {
        let changed = || {
            let (mut all, mut changes) = (to_value(config)?, to_value(self)?);
            for key in ["preset", "normalize"] {
                changes.as_object_mut().and_then(|changes| changes.remove(key));
            }
            change(&mut all, changes);
            from_value(all)
        };
        changed().map_err(|e: serde_json::Error| TokenizeError::Config {
            tokenizer: AudioTokenizer::NAME,
            problem: e.to_string(),
        })
    }
}
