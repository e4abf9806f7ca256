//! Classes of raw clips.

use super::{batch, copied, error, sample, write};
use serde_json::{Value as Json, json};
use smalti::modalities::audio::{Waveform, write_wav};
use smalti::pretrained::{self, Pretrained};
use smalti::train::Storage;
use smalti_contract::{File, Value};

/// Samples that 16 bits hold exactly, at 16 kHz.
pub(super) fn clip(samples: usize) -> Value {
    let samples = (0..samples).map(|i| ((i * i % 97) as f32 - 48.0) / 64.0).collect();
    let bytes = write_wav(&Waveform { sampling_rate: 16_000, samples }, 16).unwrap();
    Value::File(File { name: "a.wav".into(), bytes })
}

fn extractor() -> Json {
    json!({
        "feature_extractor_type": "ASTFeatureExtractor", "feature_size": 1, "sampling_rate": 16000, "num_mel_bins": 12,
        "max_length": 11, "mean": -3.0, "std": 2.5, "do_normalize": true, "padding_value": 0.0,
        "padding_side": "right", "return_attention_mask": false,
    })
}

fn probabilities(model: &Pretrained, clip: Value) -> Vec<f32> {
    let batch = batch(model, vec![sample(model, 0, &[("path", clip)])]);
    let logits: Vec<Vec<f32>> = model.model.outputs(&batch).unwrap().remove(0).to_vec2().unwrap();
    let total: f32 = logits[0].iter().map(|x| x.exp()).sum();
    logits[0].iter().map(|x| x.exp() / total).collect()
}

/// Of `ASTForAudioClassification` with `ASTFeatureExtractor` of transformers 4.57.6. The clip is shorter than the spectrogram.
#[test]
fn a_raw_clip_has_the_classes_of_transformers() {
    let place = copied("ast");
    write(place.path(), "preprocessor_config.json", &extractor());
    let model = pretrained::open(place.path()).unwrap();
    let found = probabilities(&model, clip(1200));
    let expected = [0.253_292_8, 0.198_529_5, 0.548_177_7];
    let worst = found.iter().zip(expected).map(|(a, b): (&f32, f32)| (a - b).abs()).fold(0.0, f32::max);
    assert!(worst < 1e-4, "{found:?}, expected {expected:?}");
    // The export gives the same.
    let at = |name: &str| place.path().join(name);
    pretrained::import(place.path(), &at("run"), Storage::F32, None).unwrap();
    pretrained::export(&at("run"), &at("out"), Storage::F32).unwrap();
    assert_eq!(probabilities(&pretrained::open(&at("out")).unwrap(), clip(1200)), found);
}

#[test]
fn settings_of_clips_that_do_not_fit_are_named() {
    for (key, value, named) in [
        ("max_length", json!(12), "max_length: expected 11; found 12"),
        ("num_mel_bins", json!(128), "num_mel_bins: expected 12; found 128"),
        ("sampling_rate", json!(8000), "sampling_rate"),
        ("feature_extractor_type", json!("WhisperFeatureExtractor"), "feature_extractor_type"),
        ("alien", json!(1), "alien"),
    ] {
        let place = copied("ast");
        let mut settings = extractor();
        settings[key] = value;
        write(place.path(), "preprocessor_config.json", &settings);
        let found = error(place.path());
        assert!(found.contains("preprocessor_config.json") && found.contains(named), "{found}");
    }
    let place = copied("whisper-classes");
    let config = std::fs::read(place.path().join("config.json")).unwrap();
    let mut config: Json = serde_json::from_slice(&config).unwrap();
    config["use_weighted_layer_sum"] = true.into();
    write(place.path(), "config.json", &config);
    assert!(error(place.path()).contains("use_weighted_layer_sum"));
}

fn whisper() -> Json {
    json!({
        "feature_extractor_type": "WhisperFeatureExtractor", "feature_size": 8, "sampling_rate": 16000,
        "hop_length": 160, "n_fft": 400, "chunk_length": 0.2, "n_samples": 3200, "nb_max_frames": 20,
        "padding_side": "right", "padding_value": 0.0, "return_attention_mask": false, "dither": 0.0,
        "processor_class": "WhisperProcessor",
    })
}

/// transformers before version 5 has the settings in a file of their own, later versions in one of all processors.
#[test]
fn settings_of_whisper_that_do_not_fit_are_named_in_each_file() {
    let in_file = |file: &str, settings: Json| match file {
        "processor_config.json" => {
            json!({ "feature_extractor": settings, "processor_class": "WhisperProcessor" })
        }
        _ => settings,
    };
    for file in ["preprocessor_config.json", "processor_config.json"] {
        for checkpoint in ["whisper", "whisper-classes"] {
            let place = copied(checkpoint);
            write(place.path(), file, &in_file(file, whisper()));
            pretrained::open(place.path()).unwrap_or_else(|e| panic!("{checkpoint}, {file}: {e}"));
        }
        for (key, value, named) in [
            ("hop_length", json!(320), "hop_length: expected 160; found 320"),
            ("n_fft", json!(512), "n_fft: expected 400; found 512"),
            ("sampling_rate", json!(8000), "sampling_rate: expected 16000; found 8000"),
            ("feature_size", json!(80), "feature_size: expected 8; found 80"),
            ("chunk_length", json!(30), "chunk_length: expected 0.2; found 30"),
            ("dither", json!(0.1), "dither: expected 0; found 0.1"),
            ("do_normalize", json!(true), "do_normalize: expected false; found true"),
            ("padding_side", json!("left"), "padding_side: expected \"right\"; found \"left\""),
            ("feature_extractor_type", json!("Speech2TextFeatureExtractor"), "feature_extractor_type"),
            ("alien", json!(1), "alien: expected a setting that this build supports; found 1"),
            ("n_fft", json!("400"), "n_fft: expected a number; found \"400\""),
        ] {
            let place = copied("whisper");
            let mut settings = whisper();
            settings[key] = value;
            write(place.path(), file, &in_file(file, settings));
            let found = error(place.path());
            assert!(found.contains(file) && found.contains(named), "{key} of {file}: {found}");
        }
    }
    let place = copied("ast");
    let mut settings = extractor();
    settings["max_length"] = json!(12);
    write(place.path(), "processor_config.json", &json!({ "feature_extractor": settings }));
    assert!(error(place.path()).contains("processor_config.json: max_length: expected 11; found 12"));
}
