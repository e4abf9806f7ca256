//! CLIP's two towers: from raw images and texts, and in one checkpoint.

use super::{copied, tensors, write};
use candle_core::{Device, Tensor};
use serde_json::{Value as Json, json};
use smalti::inference::{Embedding, embed, embedded_part};
use smalti::pretrained::{self, Options, Pretrained, Tower};
use smalti::train::Storage;
use smalti_contract::{Array, Numbers, Value};
use std::collections::HashMap;
use std::path::Path;

pub fn vector(model: &Pretrained, value: Value) -> Vec<f32> {
    let of = embedded_part(&model.task, None).unwrap();
    let found = embed((&model.model, 0, &model.task), of, vec![value], &Embedding::default(), 8).unwrap();
    found.vectors.into_iter().next().unwrap()
}

pub fn assert_close(what: &str, found: &[f32], expected: &[f32]) {
    let worst = found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(found.len() == expected.len() && worst < 1e-4, "{what}: {found:?}, expected {expected:?}");
}

/// Of 12×10 pixels.
pub fn pixels() -> Value {
    let pixels = (0..12 * 10 * 3).map(|i| (i * 37 % 251) as u8).collect();
    Value::Array(Array { shape: vec![12, 10, 3], numbers: Numbers::U8(pixels) })
}

fn preprocessor() -> Json {
    json!({
        "image_processor_type": "CLIPImageProcessor", "size": { "shortest_edge": 8 },
        "crop_size": { "height": 8, "width": 8 }, "do_center_crop": true, "do_convert_rgb": true, "resample": 3,
    })
}

/// As `CLIPTokenizerFast` writes it, of a vocabulary of 22 tokens.
fn tokenizer() -> Json {
    let mut vocabulary = json!({
        "a": 0, "b": 1, "c": 2, "d": 3, "a</w>": 4, "b</w>": 5, "c</w>": 6, "d</w>": 7, "ab": 8, "ab</w>": 9, "cd": 10,
        "cd</w>": 11, "!": 12, "!</w>": 13, "abcd": 14, "abcd</w>": 15, "<|endoftext|>": 20, "<|startoftext|>": 21,
    });
    for id in 16..20 {
        vocabulary[format!("x{id}</w>")] = id.into();
    }
    let added = |id: u32, content: &str| {
        json!({ "id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
                "normalized": true, "special": true })
    };
    let words = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+";
    let bytes = |space: bool| json!({ "type": "ByteLevel", "add_prefix_space": space, "trim_offsets": true, "use_regex": true });
    json!({
        "version": "1.0", "truncation": null, "padding": null,
        "added_tokens": [added(20, "<|endoftext|>"), added(21, "<|startoftext|>")],
        "normalizer": { "type": "Sequence", "normalizers": [
            { "type": "NFC" }, { "type": "Replace", "pattern": { "Regex": r"\s+" }, "content": " " },
            { "type": "Lowercase" },
        ] },
        "pre_tokenizer": { "type": "Sequence", "pretokenizers": [
            { "type": "Split", "pattern": { "Regex": words }, "behavior": "Removed", "invert": true }, bytes(false),
        ] },
        "post_processor": { "type": "RobertaProcessing", "sep": ["<|endoftext|>", 20], "cls": ["<|startoftext|>", 21],
                            "trim_offsets": false, "add_prefix_space": false },
        "decoder": bytes(true),
        "model": {
            "type": "BPE", "dropout": null, "unk_token": "<|endoftext|>", "continuing_subword_prefix": "",
            "end_of_word_suffix": "</w>", "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
            "vocab": vocabulary,
            "merges": [["a", "b"], ["a", "b</w>"], ["c", "d"], ["c", "d</w>"], ["ab", "cd</w>"]],
        },
    })
}

/// Of `CLIPTextModelWithProjection` and `CLIPVisionModelWithProjection` of transformers 4.57.6, from the texts and the image
/// with `CLIPTokenizerFast` and `CLIPImageProcessor` of the files of these tests.
const TEXTS: [(&str, [f32; 6]); 3] = [
    ("Ab  cd", [-0.8852, 0.3209, -1.43525, -0.17848, -1.6191, -1.13599]),
    ("abcd a b!", [0.06632, 0.46688, -1.08998, 0.75474, -0.83105, -1.25307]),
    ("a <|endoftext|> b", [0.795, 0.11239, -1.81379, -1.7471, -1.17661, 0.55093]),
];
const PIXELS: [f32; 6] = [0.70882, 0.42759, 2.09806, 2.07671, -1.36565, -1.462];

#[test]
fn raw_texts_and_images_have_the_vectors_of_transformers() {
    let place = copied("clip-text");
    write(place.path(), "tokenizer.json", &tokenizer());
    let model = pretrained::open(place.path()).unwrap();
    for (text, expected) in TEXTS {
        assert_close(text, &vector(&model, Value::Text(text.into())), &expected);
    }
    let place = copied("clip-image");
    write(place.path(), "preprocessor_config.json", &preprocessor());
    assert_close("image", &vector(&pretrained::open(place.path()).unwrap(), pixels()), &PIXELS);
    // Without the file, CLIP's usual preparation.
    let usual = |name: &str| pretrained::open(copied(name).path()).unwrap();
    assert_close("image", &vector(&usual("clip-image"), pixels()), &PIXELS);
}

/// Both towers in one checkpoint, as `CLIPModel` saves them.
fn both() -> tempfile::TempDir {
    let (place, images, texts) = (tempfile::tempdir().unwrap(), copied("clip-image"), copied("clip-text"));
    let config = |folder: &Path| -> Json {
        serde_json::from_slice(&std::fs::read(folder.join("config.json")).unwrap()).unwrap()
    };
    let config = json!({
        "architectures": ["CLIPModel"], "model_type": "clip", "projection_dim": 6, "logit_scale_init_value": 2.6592,
        "initializer_factor": 1.0, "vision_config": config(images.path()), "text_config": config(texts.path()),
        "text_config_dict": null, "vision_config_dict": null,
    });
    write(place.path(), "config.json", &config);
    write(place.path(), "tokenizer.json", &tokenizer());
    write(place.path(), "preprocessor_config.json", &preprocessor());
    let mut all: HashMap<String, Tensor> = tensors(images.path());
    all.extend(tensors(texts.path()));
    all.insert("logit_scale".into(), Tensor::new(4.6_f32, &Device::Cpu).unwrap());
    candle_core::safetensors::save(&all, place.path().join("model.safetensors")).unwrap();
    place
}

#[test]
fn one_of_two_towers_is_chosen_and_the_other_is_kept_for_export() {
    let place = both();
    let before = tensors(place.path());
    let config = |folder: &Path| -> Json {
        serde_json::from_slice(&std::fs::read(folder.join("config.json")).unwrap()).unwrap()
    };
    for tower in [Tower::Image, Tower::Text] {
        let at = |name: &str| place.path().join(format!("{tower:?}-{name}"));
        let options = Options { tower: Some(tower), ..Options::default() };
        let check = |folder: &Path| {
            let model = pretrained::open_with(folder, &options).unwrap();
            match tower {
                Tower::Image => assert_close("image", &vector(&model, pixels()), &PIXELS),
                Tower::Text => {
                    let (text, expected) = TEXTS[0];
                    assert_close(text, &vector(&model, Value::Text(text.into())), &expected);
                }
            }
        };
        check(place.path());
        pretrained::import_with(place.path(), &at("run"), Storage::F32, &options).unwrap();
        pretrained::export(&at("run"), &at("out"), Storage::F32).unwrap();
        check(&at("out"));
        let after = tensors(&at("out"));
        assert_eq!(after.len(), before.len());
        let numbers = |x: &Tensor| x.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert!(before.iter().all(|(name, x)| numbers(x) == numbers(&after[name])), "{tower:?}");
        assert_eq!(config(&at("out"))["vision_config"], config(place.path())["vision_config"]);
        assert_eq!(config(&at("out")).get("image_size"), None);
    }
}

#[test]
fn a_choice_of_a_tower_is_needed_and_must_fit() {
    let refused = |folder: &Path, tower: Option<Tower>| {
        let options = Options { tower, ..Options::default() };
        pretrained::open_with(folder, &options).err().unwrap().to_string()
    };
    let place = both();
    assert!(refused(place.path(), None).contains("--tower image or with --tower text"));
    assert!(
        refused(copied("clip-text").path(), Some(Tower::Text))
            .contains("expected a checkpoint of two models")
    );
    for (setting, value, named) in [
        ("alien", json!(1), "text_config: alien"),
        ("is_decoder", json!(true), "text_config: is_decoder"),
        ("eos_token_id", json!(49_407), "expected an id below 23; found 49407"),
        ("hidden_act", json!("mish"), "mish"),
    ] {
        let mut config: Json =
            serde_json::from_slice(&std::fs::read(place.path().join("config.json")).unwrap()).unwrap();
        config["text_config"][setting] = value;
        let other = both();
        write(other.path(), "config.json", &config);
        let found = refused(other.path(), Some(Tower::Text));
        assert!(found.contains(named), "{found}");
        // The settings of the other tower are not read.
        pretrained::open_with(other.path(), &Options { tower: Some(Tower::Image), ..Options::default() })
            .unwrap();
    }
    // The files of older checkpoints hold the settings twice, of which the second are read.
    let mut config: Json =
        serde_json::from_slice(&std::fs::read(place.path().join("config.json")).unwrap()).unwrap();
    config["text_config_dict"] = config["text_config"].clone();
    config["text_config"] = json!({ "hidden_size": 7 });
    write(place.path(), "config.json", &config);
    let options = Options { tower: Some(Tower::Text), ..Options::default() };
    let (text, expected) = TEXTS[1];
    let model = pretrained::open_with(place.path(), &options).unwrap();
    assert_close(text, &vector(&model, Value::Text(text.into())), &expected);
    // GPT-2's reading of these files would give other ids.
    let place = copied("clip-text");
    write(place.path(), "vocab.json", &tokenizer()["model"]["vocab"]);
    assert!(refused(place.path(), None).contains("tokenizer.json"));
}
