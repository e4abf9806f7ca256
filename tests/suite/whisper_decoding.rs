//! Whisper's decoding gives the same ids as transformers' `generate`.
//!
//! `tests/checkpoints/whisper_decoding.py` creates a tiny checkpoint with its own languages, tasks and timestamps, and the
//! reference files beside it: options and results.
#![cfg(feature = "audio")]

use crate::commands;

use commands::{json, printed, refusal};
use serde_json::Value;
use smalti::inference::transcribe::{Options, Segment, Transcriber, Transcript};
use smalti::model::Model;
use smalti::pretrained::{self, Pretrained};
use smalti::sample::Composition;
use smalti_audio::Waveform;
use std::path::Path;

const FOLDER: &str = "tests/checkpoints/whisper-decoding";

/// Notes of 50 ms with noise, as in the script.
fn sound(samples: u64, seed: u64) -> Waveform {
    let next = |state: u64| (state * 1_103_515_245 + 12_345) % (1 << 31);
    let (mut state, mut note) = (seed, (0, 0));
    let samples = (0..samples).map(|i| {
        if i % 800 == 0 {
            state = next(state);
            note = (8 + (state >> 16) as i64 % 120, 1 + (state >> 8) as i64 % 16);
        }
        state = next(state);
        let (period, loudness) = note;
        let wave = (i as i64 % period * 2 - period).abs() * 2 - period;
        (wave * loudness * 12 + ((state >> 16) as i64 % 256 - 128) * 2) as f32 / 32768.0
    });
    Waveform { sampling_rate: 16_000, samples: samples.collect() }
}

fn options(case: &Value) -> Options {
    let text = |key: &str| case.get(key).and_then(Value::as_str).map(String::from);
    let number = |key: &str| case.get(key).and_then(Value::as_f64);
    let on = |key: &str| case.get(key).and_then(Value::as_bool);
    let beams = case.get("num_beams").and_then(Value::as_u64).map(|beams| beams as usize);
    Options {
        language: text("language"),
        task: text("task"),
        timestamps: on("return_timestamps"),
        beams,
        // Almost greedy: the fallback shows in the temperature of the result alone.
        temperatures: if beams.is_some() { vec![0.0] } else { vec![0.0, ALMOST_0] },
        compression_ratio: number("compression_ratio_threshold"),
        logprob: number("logprob_threshold"),
        no_speech: number("no_speech_threshold"),
        condition: on("condition_on_prev_tokens").unwrap_or(false),
        seed: 1,
    }
}

const ALMOST_0: f64 = 1e-9;

fn load(folder: &Path) -> Pretrained {
    pretrained::open(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()))
}

fn transcribe(
    model: &Model,
    task: &Composition,
    clip: &Waveform,
    options: &Options,
) -> Result<Transcript, String> {
    let transcript = Transcriber::new(model, 0, task).and_then(|it| it.transcribe(clip, options));
    transcript.map_err(|e| e.to_string())
}

/// The transcript of a clip by a checkpoint.
fn transcript(checkpoint: &Pretrained, clip: &Waveform, options: &Options) -> Result<Transcript, String> {
    transcribe(&checkpoint.model, &checkpoint.task, clip, options)
}

fn near(what: &str, found: f64, expected: &Value, tolerance: f64) {
    let expected = expected.as_f64().unwrap();
    assert!((found - expected).abs() <= tolerance, "{what}: {found}, expected {expected}");
}

/// The last segment of each window.
fn windows(transcript: &Transcript) -> Vec<&Segment> {
    let mut windows: Vec<&Segment> = vec![];
    for segment in &transcript.segments {
        match windows.last_mut() {
            Some(last) if last.avg_logprob == segment.avg_logprob => *last = segment,
            _ => windows.push(segment),
        }
    }
    windows
}

fn check(model: &Pretrained, first_language: u64, case: &Value) {
    let name = case["name"].as_str().unwrap();
    let clip = sound(case["samples"].as_u64().unwrap(), case["seed"].as_u64().unwrap());
    let options = options(&case["options"]);
    let found = transcript(model, &clip, &options).unwrap_or_else(|e| panic!("{name}: {e}"));
    if options.language.is_none() {
        let codes = [("en", 0), ("de", 1), ("fr", 2)];
        let detected = case["heard"].as_u64().unwrap();
        let expected = codes.iter().find(|(_, place)| first_language + place == detected);
        assert_eq!(found.language.as_deref(), expected.map(|(code, _)| *code), "{name}");
    }
    let ids: Vec<Value> = found.segments.iter().map(|segment| Value::from(segment.ids.clone())).collect();
    let expected = case["segments"].as_array().unwrap();
    assert_eq!(ids, expected.iter().map(|segment| segment["ids"].clone()).collect::<Vec<_>>(), "{name}");
    for (segment, expected) in found.segments.iter().zip(expected) {
        near(name, segment.end, &expected["end"], 1e-9);
        near(name, segment.start, &expected["start"], 1e-9);
    }
    let expected = case["windows"].as_array().unwrap();
    let kept: Vec<&Value> = expected.iter().filter(|window| window["skip"] == false).collect();
    let windows = windows(&found);
    assert_eq!(windows.len(), kept.len(), "{name}: windows");
    for (window, expected) in windows.iter().zip(kept) {
        // zlib and flate2 differ by a byte or two, of twenty in the shortest texts.
        let ratio = expected["compression_ratio"].as_f64().unwrap();
        near(name, window.compression_ratio, &expected["compression_ratio"], 0.12 * ratio);
        if let Some(logprob) = expected.get("avg_logprob") {
            near(name, window.avg_logprob, logprob, 1e-3);
        }
        if let Some(no_speech_prob) = expected.get("no_speech_prob") {
            near(name, window.no_speech_prob.unwrap(), no_speech_prob, 1e-4);
        }
        if options.beams.is_none() {
            assert_eq!(Value::from(window.temperature > 0.0), expected["fallback"], "{name}");
        }
    }
    println!(
        "{name}: {} ids in {} segments",
        ids.iter().flat_map(Value::as_array).flatten().count(),
        ids.len()
    );
}

fn references(name: &str) -> Value {
    serde_json::from_slice(&std::fs::read(Path::new(FOLDER).join(name)).unwrap()).unwrap()
}

fn check_all(model: &Pretrained, references: &Value) -> usize {
    let cases = references["cases"].as_array().unwrap();
    let first_language = references["generation_config"]["lang_to_id"]["<|en|>"].as_u64().unwrap();
    cases.iter().for_each(|case| check(model, first_language, case));
    cases.len()
}

#[test]
fn ids_are_those_of_the_published_implementation() {
    let model = load(Path::new(FOLDER));
    assert!(check_all(&model, &references("decoding.json")[0]) >= 20);
}

/// The checkpoint has no decoding settings; those of the script are put beside it.
#[test]
#[ignore = "needs the reference outputs in SMALTI_GOLDEN"]
fn ids_are_those_of_the_published_implementation_with_golden_weights() {
    let golden = std::env::var("SMALTI_GOLDEN").expect("SMALTI_GOLDEN names the folder of reference outputs");
    let mut cases = 0;
    for references in references("golden.json").as_array().unwrap() {
        let folder = tempfile::tempdir().unwrap();
        for file in ["config.json", "model.safetensors"] {
            let from = Path::new(&golden).join("models/whisper").join(file);
            std::fs::copy(from, folder.path().join(file)).unwrap();
        }
        let settings = serde_json::to_vec(&references["generation_config"]).unwrap();
        std::fs::write(folder.path().join("generation_config.json"), settings).unwrap();
        let model = load(folder.path());
        cases += check_all(&model, references);
    }
    assert!(cases >= 20, "{cases} cases");
}

/// The run folder holds the decoding settings, and an imported run decodes as its checkpoint does.
#[test]
fn a_run_keeps_the_decoding_settings_of_its_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    pretrained::import(Path::new(FOLDER), &run, smalti::train::Storage::F32, None).unwrap();
    let toml = std::fs::read_to_string(run.join("run.toml")).unwrap();
    for line in
        ["no_timestamps = 41", "de = 33", "transcribe = 37", "max_initial_timestamp = 20", "previous = 38"]
    {
        assert!(toml.contains(line), "{line}: {toml}");
    }
    let opened = smalti::run::Run::open(&run).unwrap();
    let (model, tasks) = opened.load(smalti::run::Weights::Best, &candle_core::Device::Cpu).unwrap();
    let imported = &tasks[0].task;
    let published = load(Path::new(FOLDER));
    let (clip, options) = (sound(20_000, 5), Options { timestamps: Some(true), ..Options::default() });
    let found = transcribe(&model, imported, &clip, &options).unwrap();
    assert_eq!(found, transcript(&published, &clip, &options).unwrap());
    assert!(found.timestamps && found.language.is_some() && !found.text.is_empty(), "{found:?}");
}

#[test]
fn predict_follows_the_decoding_rules() {
    use smalti::inference::{Generation, predict};
    use smalti_contract::{File, TokenizeError, Value};

    let checkpoint = load(Path::new(FOLDER));
    let Pretrained { model, task, .. } = &checkpoint;
    let clip = sound(16_000, 3);
    let bytes = smalti_audio::write_wav(&clip, 16).unwrap();
    let expected =
        transcript(&checkpoint, &smalti_audio::read(&bytes).unwrap(), &Options::default()).unwrap();
    let get = |_: &str| {
        let (name, bytes) = ("clip.wav".to_string(), bytes.clone());
        Ok::<_, TokenizeError>(Value::File(File { name, bytes }))
    };
    let predicted = predict(model, 0, task, &[(&get, 0..0)], &Generation::default()).unwrap();
    assert_eq!(predicted[0]["text"].value, Value::Text(expected.text));
    let missing = |_: &str| Ok::<_, TokenizeError>(Value::Missing);
    let predicted = predict(model, 0, task, &[(&missing, 0..0)], &Generation::default()).unwrap();
    assert!(!predicted[0].contains_key("text"));
}

/// The checkpoint with these settings in place of its own.
fn with_settings(decoding: Option<&str>, changes: &[(&str, Value)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let place = |name: &str| folder.path().join(name);
    std::fs::copy(Path::new(FOLDER).join("model.safetensors"), place("model.safetensors")).unwrap();
    let mut config = references("config.json");
    changes.iter().for_each(|(key, value)| config[key] = value.clone());
    std::fs::write(place("config.json"), config.to_string()).unwrap();
    decoding.iter().for_each(|json| std::fs::write(place("generation_config.json"), json).unwrap());
    folder
}

/// Older checkpoints have the ids after the start in `config.json`.
#[test]
fn older_decoding_settings_are_read() {
    let suppress = ("suppress_tokens", serde_json::json!([7, 9]));
    let forced = |ids: Value| ("forced_decoder_ids", ids);
    let older = with_settings(None, &[suppress, forced(serde_json::json!([[1, null], [2, 37], [3, 41]]))]);
    let run = older.path().join("run");
    pretrained::import(older.path(), &run, smalti::train::Storage::F32, None).unwrap();
    let toml = std::fs::read_to_string(run.join("run.toml")).unwrap();
    let decoding = &toml[toml.find("decoding]").unwrap()..];
    let table = decoding.split("\n\n").next().unwrap().replace(['\n', ' '], "");
    assert_eq!(table, "decoding]then=[37,41,]suppress=[7,9,]", "{toml}");

    let error = |folder: tempfile::TempDir| pretrained::open(folder.path()).err().unwrap().to_string();
    let gap = error(with_settings(None, &[forced(serde_json::json!([[2, 37]]))]));
    assert!(gap.contains("config.json: forced_decoder_ids: expected [[1, id or null]"), "{gap}");
    let unknown = error(with_settings(Some(r#"{"no_repeat_ngram_size": 3}"#), &[]));
    assert!(
        unknown.contains("generation_config.json: no_repeat_ngram_size: expected a setting"),
        "{unknown}"
    );
    let penalty = error(with_settings(Some(r#"{"length_penalty": 0.5}"#), &[]));
    assert!(penalty.contains("length_penalty: expected 1.0; found 0.5"), "{penalty}");
}

#[test]
fn options_that_a_model_cannot_follow_are_errors() {
    let model = load(Path::new(FOLDER));
    let clip = sound(20_000, 1);
    let error = |options: Options| transcript(&model, &clip, &options).unwrap_err();
    let plain = Options::default;
    assert_eq!(
        error(Options { language: Some("it".into()), ..plain() }),
        "--language: expected one of de, en, fr; found \"it\""
    );
    assert_eq!(
        error(Options { task: Some("sing".into()), ..plain() }),
        "--task: expected one of transcribe, translate; found \"sing\""
    );
    assert!(error(Options { beams: Some(0), ..plain() }).starts_with("--beams: expected 1 to 64; found 0"));
    assert!(
        error(Options { temperatures: vec![-1.0], ..plain() }).starts_with("--temperature: expected numbers")
    );
    assert!(
        error(Options { no_speech: Some(0.6), ..plain() }).starts_with("--no-speech: requires --logprob")
    );
    assert!(error(Options { timestamps: Some(false), ..plain() }).starts_with("--timestamps: a clip of"));

    // A model without languages and timestamps decodes windows end to end.
    let model = load(Path::new("tests/checkpoints/whisper"));
    let error = |options: Options| transcript(&model, &clip, &options).unwrap_err();
    assert!(
        error(Options { timestamps: Some(true), ..plain() }).starts_with("--timestamps: the model has no")
    );
    assert!(error(Options { condition: true, ..plain() }).starts_with("--condition: the model has no id"));
    assert!(error(Options { language: Some("en".into()), ..plain() }).contains("the model has no languages"));
    let found = transcript(&model, &clip, &plain()).unwrap();
    assert_eq!(found.segments.len(), 125_usize.div_ceil(20));
}

#[test]
fn the_seed_determines_the_sampled_text() {
    let model = load(Path::new(FOLDER));
    let clip = sound(16_000, 1);
    let drawn = |seed| {
        let options = Options { temperatures: vec![1.0], seed, ..Options::default() };
        transcript(&model, &clip, &options).unwrap()
    };
    assert_eq!(drawn(1), drawn(1));
    assert_ne!(drawn(1), drawn(2));
}

#[test]
fn the_command_line_prints_segments() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (run, clip) = (path("run"), path("long.wav"));
    printed(&["import", FOLDER, "--out", &run]);
    let references = references("decoding.json");
    let cases = references[0]["cases"].as_array().unwrap();
    let case = cases.iter().find(|case| case["name"] == "long, two beams").unwrap();
    let sound = sound(case["samples"].as_u64().unwrap(), case["seed"].as_u64().unwrap());
    std::fs::write(&clip, smalti_audio::write_wav(&sound, 16).unwrap()).unwrap();
    let found = json(&["transcribe", &run, &clip, "--language", "en", "--timestamps", "--beams", "2"]);
    let found = &found["recordings"][0];
    assert_eq!((&found["language"], found["seconds"].as_f64()), (&"en".into(), Some(f64::from(3.3_f32))));
    let ids = |segments: &Value| -> Vec<Value> {
        segments.as_array().unwrap().iter().map(|segment| segment["ids"].clone()).collect()
    };
    assert_eq!(ids(&found["segments"]), ids(&case["segments"]));
    let table = printed(&["transcribe", &run, &clip, "--language", "en", "--beams", "2"]);
    let first = &case["segments"][0];
    let time = format!("{:.2}–{:.2} s", first["start"].as_f64().unwrap(), first["end"].as_f64().unwrap());
    assert!(table.contains(&time), "{time}: {table}");
    let error = refusal(1, &["transcribe", &run, &clip, "--language", "xx"]);
    assert!(error.contains("long.wav") && error.contains("expected one of de, en, fr"), "{error}");
}
