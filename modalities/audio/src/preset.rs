//! Published front ends by name.

use crate::{AudioConfig, MelConfig};
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;
use smalti_contract::{TokenizeError, Tokenizer};

impl AudioConfig {
    /// The names of the presets.
    pub const PRESETS: [&str; 4] = ["whisper", "whisper128", "ast", "librosa"];

    /// A published front end, by name: `whisper` with 80 bands or `whisper128`, `ast`, `librosa`.
    ///
    /// # Errors
    /// [`TokenizeError::Config`], which lists the names, for an unknown name.
    pub fn preset(name: &str) -> Result<Self, TokenizeError> {
        match name {
            "whisper" => Ok(Self::whisper(80)),
            "whisper128" => Ok(Self::whisper(128)),
            "ast" => Ok(Self::ast()),
            "librosa" => Ok(Self::librosa()),
            _ => Err(TokenizeError::Config {
                tokenizer: crate::AudioTokenizer::NAME,
                problem: format!("unknown preset {name:?}; expected one of {}", Self::PRESETS.join(", ")),
            }),
        }
    }

    /// Whisper's front end (Radford et al. 2022): 16 kHz, clips of 30 seconds, 3,000 frames, each a slice; `n_mels` is
    /// 80, or 128 for large-v3 and later models.
    pub fn whisper(n_mels: usize) -> Self {
        Self {
            mel: MelConfig { n_mels, ..MelConfig::default() },
            clip_seconds: Some(30.0),
            frames_per_slice: 1,
            max_slices: 3000,
            ..Self::default()
        }
    }

    /// The front end of the Audio Spectrogram Transformer (Gong et al. 2021): 16 kHz, Kaldi's filter bank of 128 bands,
    /// 1,024 frames with the mean and twice the deviation of AudioSet; slices of 16 frames every 10, over all bands.
    pub fn ast() -> Self {
        Self {
            mel: MelConfig::kaldi(16_000, 128),
            clip_frames: Some(1024),
            frames_per_slice: 16,
            slice_hop: Some(10),
            max_slices: 103,
            band_mean: vec![-4.267_739_3],
            band_std: vec![2.0 * 4.568_997_4],
            ..Self::default()
        }
    }

    /// librosa's defaults: 22,050 Hz, 128 bands in dB, 43 frames a second; four in a slice.
    pub fn librosa() -> Self {
        Self { sampling_rate: 22_050, mel: MelConfig::librosa(), ..Self::default() }
    }
}

impl Serialize for AudioConfig {
    /// Serialize every setting, without a preset's name.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        AudioConfig::serialize(self, serializer)
    }
}

impl<'de> Deserialize<'de> for AudioConfig {
    /// Deserialize settings, the name of a preset, or both.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let written = match Value::deserialize(deserializer)? {
            Value::String(preset) => return AudioConfig::preset(&preset).map_err(D::Error::custom),
            Value::Object(mut settings) => match settings.remove("preset") {
                None => Value::Object(settings),
                Some(Value::String(preset)) => {
                    let preset = AudioConfig::preset(&preset).map_err(D::Error::custom)?;
                    let mut all = serde_json::to_value(preset).map_err(D::Error::custom)?;
                    change(&mut all, Value::Object(settings));
                    all
                }
                Some(other) => {
                    return Err(D::Error::custom(format!("preset is {other}; expected a name")));
                }
            },
            other => {
                return Err(D::Error::custom(format!(
                    "expected audio settings or a preset's name; found {other}"
                )));
            }
        };
        AudioConfig::deserialize(written).map_err(D::Error::custom)
    }
}

/// Override settings with others, recursively.
pub(crate) fn change(settings: &mut Value, by: Value) {
    match (settings, by) {
        (Value::Object(settings), Value::Object(by)) => {
            for (key, value) in by {
                change(settings.entry(key).or_insert(Value::Null), value);
            }
        }
        (setting, by) => *setting = by,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::AudioTokenizer;

    fn read(json: &str) -> Result<AudioConfig, String> {
        serde_json::from_str(json).map_err(|e| e.to_string())
    }

    #[test]
    fn every_preset_is_valid_and_serializes_its_settings() {
        for name in AudioConfig::PRESETS {
            let preset = AudioConfig::preset(name).unwrap();
            AudioTokenizer::new(preset.clone()).unwrap_or_else(|e| panic!("{name}: {e}"));
            assert_eq!(read(&format!("{name:?}")).unwrap(), preset);
            let written = serde_json::to_string(&preset).unwrap();
            assert!(written.contains("hop_length") && !written.contains("preset"), "{written}");
            assert_eq!(read(&written).unwrap(), preset);
        }
    }

    #[test]
    fn settings_override_a_preset() {
        let found = read(r#"{"preset": "ast", "frames_per_slice": 12, "mel": {"fmin": 50.0}}"#).unwrap();
        let mut expected = AudioConfig { frames_per_slice: 12, ..AudioConfig::ast() };
        expected.mel.fmin = 50.0;
        assert_eq!(found, expected);
    }

    #[test]
    fn unknown_presets_are_errors() {
        let problem = read(r#"{"preset": "wisper"}"#).unwrap_err();
        assert!(
            problem.contains(r#"unknown preset "wisper"; expected one of whisper, whisper128, ast, librosa"#),
            "{problem}"
        );
        assert!(read(r#"{"preset": 3}"#).unwrap_err().contains("preset is 3"));
        assert!(read("3").unwrap_err().contains("expected audio settings or a preset's name; found 3"));
        let problem = read(r#"{"preset": "ast", "mel": {"mels": 80}}"#).unwrap_err();
        assert!(problem.contains("unknown field `mels`"), "{problem}");
    }
}
