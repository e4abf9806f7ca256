//! Damaged settings and other files beside the weights of published checkpoints.

use serde_json::Value;
use smalti::pretrained::{self, PretrainedError};
use smalti_mutation::{Bound, survives};
use std::path::Path;

/// A tiny model with its weights, and positions interpolated to at most 2¹⁶ places.
fn bound() -> Bound {
    Bound::bytes(128 << 20).and_of_file(100)
}

/// Damage the file `name` beside the weights of a checkpoint of `tests/checkpoints`.
fn beside(checkpoint: &str, name: &str, valid: &[&str], others: &[(&str, &str)]) {
    let place = tempfile::tempdir().unwrap();
    let from = Path::new("tests/checkpoints").join(checkpoint);
    for name in ["config.json", "model.safetensors"] {
        std::fs::copy(from.join(name), place.path().join(name)).unwrap();
    }
    let write = |name: &str, bytes: &[u8]| {
        let path = place.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    };
    others.iter().for_each(|(name, text)| write(name, text.as_bytes()));
    let valid: Vec<Vec<u8>> = valid.iter().map(|file| file.as_bytes().to_vec()).collect();
    survives(name, &valid, bound(), |file| -> Result<usize, Box<PretrainedError>> {
        if name == "config.json" && !serde_json::from_slice(file).is_ok_and(|json| is_small(&json)) {
            return Ok(0);
        }
        write(name, file);
        Ok(pretrained::open(place.path()).map_err(Box::new)?.report.loaded)
    });
}

#[test]
fn preparations_of_images() {
    let valid = [
        r#"{"image_processor_type": "ViTImageProcessor", "size": {"height": 16, "width": 8}, "image_mean": [0.5, 0.4, 0.3]}"#,
        r#"{"feature_extractor_type": "DeiTFeatureExtractor", "size": 12, "crop_size": 8, "do_center_crop": true, "resample": 3}"#,
    ];
    beside("vit-no-bias", "preprocessor_config.json", &valid, &[]);
}

#[test]
fn modules_of_sentence_encoders() {
    let modules = r#"[{"path": "", "type": "a.Transformer"}, {"path": "1_Pooling", "type": "a.Pooling"},
        {"path": "2_Normalize", "type": "a.Normalize"}]"#;
    let pooling = r#"{"embedding_dimension": 16, "pooling_mode": ["mean"]}"#;
    beside("bert-trunk", "modules.json", &[modules], &[("1_Pooling/config.json", pooling)]);
    let flags = r#"{"pooling_mode_cls_token": true, "pooling_mode_mean_tokens": false}"#;
    beside("bert-trunk", "1_Pooling/config.json", &[pooling, flags], &[("modules.json", modules)]);
}

#[test]
fn spectrograms_of_clips() {
    let valid = [
        r#"{"feature_extractor_type": "ASTFeatureExtractor", "max_length": 11, "num_mel_bins": 12, "mean": -3.0, "std": 2.5}"#,
        r#"{"max_length": 11, "num_mel_bins": 12, "do_normalize": false, "padding_value": 0.0, "sampling_rate": 16000}"#,
    ];
    beside("ast", "preprocessor_config.json", &valid, &[]);
}

#[test]
fn settings_of_generation() {
    let valid =
        [r#"{"eos_token_id": [3, 4], "repetition_penalty": 1.0, "suppress_tokens": [], "top_p": 0.9}"#];
    beside("gpt2-untied", "generation_config.json", &valid, &[]);
}

/// Whether no number is above 500: the model of larger settings is built before its weights are found not to fit, which takes more
/// memory than a reader may.
fn is_small(json: &Value) -> bool {
    match json {
        Value::Number(number) => number.as_f64().is_some_and(|number| number.abs() <= 500.0),
        Value::Array(values) => values.iter().all(is_small),
        Value::Object(values) => values.values().all(is_small),
        _ => true,
    }
}

#[test]
fn settings_of_models() {
    for checkpoint in ["bert-trunk", "vit-no-bias", "t5-plain", "whisper"] {
        let file = format!("tests/checkpoints/{checkpoint}/config.json");
        let valid = std::fs::read_to_string(file).unwrap();
        beside(checkpoint, "config.json", &[&valid], &[]);
    }
}

#[test]
fn files_of_tokenizers() {
    let letters = |before: &str| -> String { ('a'..='i').map(|c| format!("{before}{c}\n")).collect() };
    let words = format!("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n{}{}", letters(""), letters("##"));
    let settings = r#"{"tokenizer_class": "BertTokenizer", "do_lower_case": false, "strip_accents": true, "cls_token": "[CLS]",
        "added_tokens_decoder": {"0": {"content": "[PAD]", "special": true, "lstrip": false}}}"#;
    let specials = r#"{"cls_token": "[CLS]", "mask_token": {"content": "[MASK]", "lstrip": true},
        "additional_special_tokens": ["[SEP]"]}"#;
    let added = r#"{"b": 6}"#;
    let all = [
        ("vocab.txt", &words[..]),
        ("tokenizer_config.json", settings),
        ("special_tokens_map.json", specials),
        ("added_tokens.json", added),
    ];
    for (name, valid) in all {
        beside("bert-trunk", name, &[valid], &all);
    }
}
