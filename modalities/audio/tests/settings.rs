//! Settings are fitted to training clips, or give an error.

use serde_json::{Value as Json, json};
use smalti_audio::{AudioConfig, AudioSettings, AudioTokenizer, Augment, Waveform, write_wav};
use smalti_contract::{AnyTokenizer, File, Registry, TokenizeError, Tokenizer, Value, Values};
use std::cell::Cell;

fn clip(seed: usize) -> Waveform {
    let samples = (0..4000).map(|i| 0.4 * (i as f32 * (seed + 1) as f32 * 0.05).sin()).collect();
    Waveform { sampling_rate: 8000, samples }
}

fn value(clip: &Waveform) -> Value {
    Value::File(File { name: "clip.wav".into(), bytes: write_wav(clip, 16).unwrap() })
}

/// The clip as read from its file.
fn read(clip: &Waveform) -> Waveform {
    smalti_audio::read(&write_wav(clip, 16).unwrap()).unwrap()
}

fn settings(json: Json) -> AudioSettings {
    serde_json::from_value(json).unwrap()
}

fn fit(json: Json, values: &dyn Values) -> Result<AudioConfig, String> {
    AudioTokenizer::fit(settings(json), None, values).map_err(|e| e.to_string())
}

/// Many clips, with a count of those that are read.
struct Counted {
    len: usize,
    read: Cell<usize>,
}

impl Values for Counted {
    fn len(&self) -> usize {
        self.len
    }

    fn get(&self, index: usize) -> Result<Value, TokenizeError> {
        self.read.set(self.read.get() + 1);
        Ok(value(&clip(index % 3)))
    }
}

#[test]
fn bands_are_those_of_the_training_clips() {
    let clips = [clip(0), clip(5), clip(9)];
    let mut values: Vec<Value> = clips.iter().map(value).collect();
    values.insert(1, Value::Missing);
    let config = AudioConfig { frames_per_slice: 3, ..AudioConfig::default() };
    let expected =
        config.clone().fit_bands(clips.iter().map(|clip| Ok::<_, TokenizeError>(read(clip)))).unwrap();
    assert_eq!(expected.band_mean.len(), 80);
    assert_eq!(fit(json!({"frames_per_slice": 3}), &values).unwrap(), expected);
    assert_eq!(fit(json!({"frames_per_slice": 3, "normalize": false}), &values).unwrap(), config);
}

#[test]
fn silent_clips_can_be_normalised() {
    let values = vec![value(&Waveform::silence(8000, 0.5))];
    let config = fit(json!({}), &values).unwrap();
    let tokens = AudioTokenizer::new(config).unwrap().encode(&Waveform::silence(8000, 0.5)).unwrap();
    assert!(tokens.groups[0].content.features().unwrap().iter().all(|feature| feature.abs() < 1e-3));
}

#[test]
fn no_more_clips_are_read_than_needed() {
    let clips = Counted { len: 1000, read: Cell::new(0) };
    fit(json!({}), &clips).unwrap();
    assert_eq!(clips.read.replace(0), 250);
    for known in [
        json!({"normalize": false}),
        json!({"band_mean": [0.0], "band_std": [1.0]}),
        json!({"preset": "ast"}),
    ] {
        fit(known, &clips).unwrap();
    }
    assert_eq!(clips.read.get(), 0);
}

#[test]
fn a_preset_gives_the_missing_settings() {
    let none: Vec<Value> = vec![];
    for name in AudioConfig::PRESETS {
        let preset = AudioConfig::preset(name).unwrap();
        assert_eq!(fit(json!({"preset": name, "normalize": false}), &none).unwrap(), preset);
    }
    let mut expected = AudioConfig {
        frames_per_slice: 12,
        augment: Augment { noise: 0.1, ..Augment::default() },
        ..AudioConfig::ast()
    };
    expected.mel.fmin = 50.0;
    let changed = json!({
        "preset": "ast", "frames_per_slice": 12, "mel": {"fmin": 50.0}, "augment": {"noise": 0.1},
    });
    assert_eq!(fit(changed, &none).unwrap(), expected);
}

#[test]
fn a_run_that_starts_from_another_keeps_its_settings() {
    let before = AudioConfig {
        band_mean: vec![1.0; 80],
        band_std: vec![2.0; 80],
        augment: Augment { noise: 0.5, ..Augment::default() },
        ..AudioConfig::whisper(80)
    };
    let from = |json, before: &AudioConfig, values: &dyn Values| {
        AudioTokenizer::fit(settings(json), Some(before.clone()), values).unwrap()
    };
    let none: Vec<Value> = vec![];
    let kept = AudioConfig { augment: Augment::default(), ..before.clone() };
    assert_eq!(from(json!({}), &before, &none), kept);
    let longer = AudioConfig { max_slices: 4000, ..kept.clone() };
    assert_eq!(from(json!({"max_slices": 4000}), &before, &none), longer);
    assert_eq!(
        from(json!({}), &AudioConfig::whisper(80), &none),
        AudioConfig::whisper(80),
        "no bands either"
    );
    let other = from(json!({"mel": {"n_mels": 40}}), &before, &vec![value(&clip(1))]);
    assert_eq!((other.band_mean.len(), other.clip_seconds), (40, Some(30.0)), "another spectrogram");
}

#[test]
fn invalid_settings_are_errors() {
    let clips = Counted { len: 9, read: Cell::new(0) };
    let error_of = |json| fit(json, &clips).unwrap_err();
    assert_eq!(
        error_of(json!({"frames_per_slice": 0})),
        "audio: frames_per_slice is 0; it must be 1 to 4096"
    );
    assert_eq!(
        error_of(json!({"preset": "wisper"})),
        "audio: unknown preset \"wisper\"; expected one of whisper, whisper128, ast, librosa"
    );
    assert!(error_of(json!({"band_mean": [0.0]})).contains("hold 1 and 0 numbers"));
    assert!(
        error_of(json!({"mel": {"mels": 3}}))
            .starts_with("audio: unknown field `mels`, expected one of `n_fft`")
    );
    assert_eq!(clips.read.get(), 0, "settings are checked before the clips are read");
    assert_eq!(
        fit(json!({}), &vec![Value::Missing]).unwrap_err(),
        "audio: expected at least 1 clip to fit the bands to; found 0"
    );
    assert_eq!(
        error_of(json!({"max_slices": 9})),
        "50 frames make 13 slices of 4; max_slices is 9: try max_slices=13 in training"
    );
}

#[test]
fn values_that_are_no_clips_are_errors() {
    let problem = |value: Value| {
        let problem = fit(json!({}), &vec![Value::Missing, value.clone()]).unwrap_err();
        let tokenizer = AudioTokenizer::new(AudioConfig::default()).unwrap();
        assert_eq!(tokenizer.read(value).unwrap_err().to_string(), problem);
        problem
    };
    assert_eq!(problem(Value::Number(3.0)), "expected an audio clip: a file; found a number");
    assert!(
        problem(Value::Text("a.wav".into())).contains("found text; a column of paths of files is named path")
    );
    assert_eq!(problem(Value::vector([0.5; 4])), "expected an audio clip: a file; found an array [4]");
    let noise = File { name: "a.wav".into(), bytes: vec![7; 99] };
    assert!(problem(Value::File(noise)).starts_with("not readable as"));
}

#[test]
fn settings_survive_json() {
    let mut registry = Registry::new();
    registry.register::<AudioTokenizer>().unwrap();
    let message =
        |json| registry.fit("audio", &json, None, &vec![value(&clip(0))]).err().unwrap().to_string();
    assert_eq!(
        message(json!({"sampling_rat": 8000})),
        "audio: unknown field `sampling_rat`, expected one of `preset`, `normalize`, `sampling_rate`, `mel`, \
         `clip_seconds`, `clip_frames`, `frames_per_slice`, `slice_hop`, `bands_per_slice`, `band_hop`, \
         `max_slices`, `band_mean`, `band_std`, `gap_seconds`, `augment`"
    );
    let written = json!({"preset": "librosa", "mel": {"n_mels": 40}, "clip_seconds": 0.1});
    let settings = settings(written);
    let json = serde_json::to_value(&settings).unwrap();
    assert_eq!(serde_json::from_value::<AudioSettings>(json).unwrap(), settings);
}

/// Every key of a configuration is also a setting.
#[test]
fn every_key_of_a_configuration_is_a_setting() {
    let all = AudioConfig {
        clip_seconds: Some(1.0),
        clip_frames: Some(9),
        slice_hop: Some(2),
        bands_per_slice: Some(8),
        band_hop: Some(4),
        band_mean: vec![0.0],
        band_std: vec![1.0],
        ..AudioConfig::default()
    };
    let mut config = serde_json::to_value(all).unwrap();
    let read = settings(config.clone());
    assert_eq!(read.clip_frames, Some(9));
    let mut written_settings = serde_json::to_value(read).unwrap();
    for json in [&mut config, &mut written_settings] {
        json.as_object_mut().unwrap().remove("normalize");
    }
    assert_eq!(written_settings, config);
}

#[test]
fn a_value_is_varied_before_and_after_it_is_encoded() {
    let augment = Augment { time_mask: 20, ..Augment::default() };
    let tokenizer = AudioTokenizer::new(AudioConfig { augment, ..AudioConfig::default() }).unwrap();
    let encode = |seed| tokenizer.encode_value(value(&clip(3)), seed).unwrap();
    assert_eq!(encode(Some(5)), encode(Some(5)));
    assert_ne!(encode(Some(5)), encode(None), "frames are hidden");
}
