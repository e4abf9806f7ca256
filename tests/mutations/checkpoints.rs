//! Damaged settings and other files beside the weights of published checkpoints.

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
fn spectrograms_of_whisper() {
    let valid = [
        r#"{"feature_extractor_type": "WhisperFeatureExtractor", "feature_size": 8, "hop_length": 160, "chunk_length": 0.2}"#,
        r#"{"feature_extractor": {"n_fft": 400, "sampling_rate": 16000, "padding_side": "right", "dither": 0.0}}"#,
    ];
    beside("whisper", "preprocessor_config.json", &valid[..1], &[]);
    beside("whisper", "processor_config.json", &valid[1..], &[]);
}

#[test]
fn padding_of_texts() {
    let vocabulary = r#"{"version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
        "pre_tokenizer": {"type": "Whitespace"}, "post_processor": null, "decoder": null,
        "model": {"type": "WordLevel", "vocab": {"<pad>": 0, "a": 1, "<unk>": 2}, "unk_token": "<unk>"}}"#;
    let valid = [
        r#"{"pad_token": {"content": "<pad>"}, "model_max_length": 12, "model_input_names": ["input_ids"]}"#,
    ];
    beside("siglip-text", "tokenizer_config.json", &valid, &[("tokenizer.json", vocabulary)]);
}

#[test]
fn settings_of_generation() {
    let valid =
        [r#"{"eos_token_id": [3, 4], "repetition_penalty": 1.0, "suppress_tokens": [], "top_p": 0.9}"#];
    beside("gpt2-untied", "generation_config.json", &valid, &[]);
}

/// The weights of a checkpoint as `torch.save` writes them: a zip archive of a pickle, and of a file for each tensor.
fn pickled(checkpoint: &str) -> Vec<u8> {
    let bytes =
        std::fs::read(Path::new("tests/checkpoints").join(checkpoint).join("model.safetensors")).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let text = |text: &str| [&b"X"[..], &(text.len() as u32).to_le_bytes(), text.as_bytes()].concat();
    let number = |number: usize| [&b"J"[..], &(number as i32).to_le_bytes()].concat();
    let tuple = |numbers: &[usize]| {
        let numbers: Vec<u8> = numbers.iter().flat_map(|n| number(*n)).collect();
        [&b"("[..], &numbers, b"t"].concat()
    };
    let (mut pickle, mut files) = (b"\x80\x02}(".to_vec(), vec![]);
    for (key, (name, view)) in tensors.tensors().into_iter().enumerate() {
        assert_eq!(view.dtype(), safetensors::Dtype::F32, "{name}");
        let shape = view.shape();
        let strides: Vec<usize> = (0..shape.len()).map(|axis| shape[axis + 1..].iter().product()).collect();
        pickle.extend(
            [text(&name), b"ctorch._utils\n_rebuild_tensor_v2\n((".to_vec(), text("storage")].concat(),
        );
        pickle.extend([b"ctorch\nFloatStorage\n".to_vec(), text(&key.to_string()), text("cpu")].concat());
        pickle.extend([number(view.data().len() / 4), b"tQ".to_vec(), number(0), tuple(shape)].concat());
        pickle.extend([tuple(&strides), b"\x89ccollections\nOrderedDict\n)RtR".to_vec()].concat());
        files.push((format!("archive/data/{key}"), view.data().to_vec()));
    }
    pickle.extend(b"u.");
    files.push(("archive/data.pkl".into(), pickle));
    let mut archive = zip::ZipWriter::new(std::io::Cursor::new(vec![]));
    let options = zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    for (name, bytes) in files {
        archive.start_file(name, options).unwrap();
        std::io::Write::write_all(&mut archive, &bytes).unwrap();
    }
    archive.finish().unwrap().into_inner()
}

#[test]
fn pickled_weights() {
    let place = tempfile::tempdir().unwrap();
    let config = Path::new("tests/checkpoints/gpt2-untied/config.json");
    std::fs::copy(config, place.path().join("config.json")).unwrap();
    survives("a pickle", &[pickled("gpt2-untied")], bound(), |file| -> Result<usize, Box<PretrainedError>> {
        std::fs::write(place.path().join("pytorch_model.bin"), file).unwrap();
        Ok(pretrained::open(place.path()).map_err(Box::new)?.report.loaded)
    });
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
