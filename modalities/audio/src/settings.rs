//! The audio settings that a user writes, and their fit to training clips.

use crate::decode::read_value;
use crate::preset::change;
use crate::{AudioConfig, AudioTokenizer, Augment};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, from_value, to_value};
use smalti_contract::{TokenizeError, Tokenizer, Values};

/// The settings of audio: the keys of an input or output in `run.toml`. Missing settings come from the preset; without
/// a preset, from the run that this run starts from; otherwise from the default of [`AudioConfig`].
///
/// ```
/// # use smalti_audio::{AudioSettings, AudioTokenizer, Waveform, write_wav};
/// # use smalti_contract::{File, Tokenizer, Value};
/// let settings: AudioSettings = serde_json::from_str(r#"{"sampling_rate": 8000, "mel": {"n_mels": 40}}"#)?;
/// let tone = (0..4000).map(|i| (i as f32 * 440.0 * std::f32::consts::TAU / 8000.0).sin() * 0.5);
/// let bytes = write_wav(&Waveform { sampling_rate: 8000, samples: tone.collect() }, 16)?;
/// let rows = vec![Value::File(File { name: "a.wav".into(), bytes })];
/// let config = AudioTokenizer::fit(settings, None, &rows)?;
/// assert_eq!((config.mel.n_mels, config.band_mean.len()), (40, 40));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AudioSettings {
    /// The name of a published front end, one of [`AudioConfig::PRESETS`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preset: Option<String>,
    /// Whether to fit the mean and deviation of each band to the training clips, unless `band_mean`, the preset or, for
    /// the same spectrogram, the run that this run starts from has them.
    pub normalize: bool,
    /// The rate, in Hz, to which every clip is resampled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sampling_rate: Option<u32>,
    /// Settings of the spectrogram: keys of [`MelConfig`](crate::MelConfig).
    #[serde(skip_serializing_if = "Map::is_empty")]
    #[schemars(with = "crate::MelConfig")]
    pub mel: Map<String, Value>,
    /// Pad with silence or cut every clip to this many seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clip_seconds: Option<f32>,
    /// Pad with zeros or cut every spectrogram to this many frames.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clip_frames: Option<usize>,
    /// The number of frames in a slice, which is a token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub frames_per_slice: Option<usize>,
    /// Frames from the start of a slice to the start of the next, below `frames_per_slice` if slices overlap.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slice_hop: Option<usize>,
    /// The number of bands in a token, of which a slice has several; frames and bands that fill no whole token are left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bands_per_slice: Option<usize>,
    /// Bands from the start of a token to the start of the next, below `bands_per_slice` if tokens overlap.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub band_hop: Option<usize>,
    /// The maximal length of a clip, in slices.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_slices: Option<usize>,
    /// The mean of each band, or one for all, which is subtracted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub band_mean: Option<Vec<f32>>,
    /// The standard deviation of each band, or one for all: the divisor after that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub band_std: Option<Vec<f32>>,
    /// The maximal silence between the concatenated clips of several rows (`data.concat`), in seconds. Default: 0.1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gap_seconds: Option<f32>,
    /// Random augmentation of training clips.
    pub augment: Augment,
}

/// The maximal number of clips that bands are fitted to.
const FIT_ON: usize = 256;

impl Default for AudioSettings {
    fn default() -> Self {
        Self {
            preset: None,
            normalize: true,
            sampling_rate: None,
            mel: Map::new(),
            clip_seconds: None,
            clip_frames: None,
            frames_per_slice: None,
            slice_hop: None,
            bands_per_slice: None,
            band_hop: None,
            max_slices: None,
            band_mean: None,
            band_std: None,
            gap_seconds: None,
            augment: Augment::default(),
        }
    }
}

impl AudioSettings {
    /// See [`AudioTokenizer::fit`](Tokenizer::fit).
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
            // Statistics of one spectrogram are wrong for another.
            fitted = config.sampling_rate == before.sampling_rate && config.mel == before.mel;
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

    /// Override a configuration with the settings that are set.
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
