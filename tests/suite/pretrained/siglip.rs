//! SigLIP's two towers: from raw images and texts, and in one checkpoint.

use super::clip::{assert_close, pixels, vector};
use super::{copied, tensors, write};
use candle_core::{Device, Tensor};
use serde_json::{Value as Json, json};
use smalti::inference::{Embedding, embed, embedded_part};
use smalti::pretrained::{self, Options, Pretrained, Tower};
use smalti::sample::Pool;
use smalti::train::Storage;
use smalti_contract::Value;
use std::collections::HashMap;
use std::path::Path;

fn preprocessor(side: usize) -> Json {
    let size = json!({ "height": side, "width": side });
    json!({ "image_processor_type": "SiglipImageProcessor", "size": size, "resample": 3, "do_convert_rgb": null })
}

/// Unigrams of 23 tokens, without case and punctuation; `<pad>` has another id than the model's `pad_token_id`, as in SigLIP 2.
fn tokenizer() -> Json {
    let words = [
        "▁a", "▁b", "▁cat", "▁dog", "▁", "a", "b", "c", "d", "o", "g", "t", "▁of", "▁photo", "x0", "x1",
        "x2", "x3", "x4", "x5",
    ];
    let mut pieces = vec![json!(["<pad>", 0.0]), json!(["</s>", 0.0]), json!(["<unk>", -9.0])];
    pieces.extend(words.iter().enumerate().map(|(i, word)| json!([word, -2.0 - 0.1 * i as f64])));
    let added = |id: u32, content: &str| {
        json!({ "id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
                "normalized": false, "special": true })
    };
    let replaced = |pattern: &str, content: &str| json!({ "type": "Replace", "pattern": { "Regex": pattern }, "content": content });
    let spaces =
        json!({ "type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": true });
    let (text, end) = (
        json!({ "Sequence": { "id": "A", "type_id": 0 } }),
        json!({ "SpecialToken": { "id": "</s>", "type_id": 0 } }),
    );
    json!({
        "version": "1.0", "truncation": null, "padding": null,
        "added_tokens": [added(0, "<pad>"), added(1, "</s>"), added(2, "<unk>")],
        "normalizer": { "type": "Sequence", "normalizers": [
            { "type": "Lowercase" }, replaced(r"[!-/:-@\[-`{-~]", ""), replaced(r"\s+", " "),
            { "type": "Strip", "strip_left": true, "strip_right": true },
        ] },
        "pre_tokenizer": spaces,
        "post_processor": {
            "type": "TemplateProcessing", "single": [text, end],
            "pair": [text, { "Sequence": { "id": "B", "type_id": 0 } }, end],
            "special_tokens": { "</s>": { "id": "</s>", "ids": [1], "tokens": ["</s>"] } },
        },
        "decoder": spaces,
        "model": { "type": "Unigram", "unk_id": 2, "vocab": pieces, "byte_fallback": false },
    })
}

fn tokenizer_config() -> Json {
    json!({
        "tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>",
        "model_max_length": 12, "model_input_names": ["input_ids"], "do_lower_case": true, "sp_model_kwargs": {},
    })
}

const LOGIT_SCALE: f32 = 1.5;
const LOGIT_BIAS: f32 = -0.5;

/// The first 6 of 16 numbers of the vectors of `SiglipModel` of transformers 4.57.6, with the weights of `siglip-text` and
/// `siglip-image`, the tokenizer of these tests as a `PreTrainedTokenizerFast` with `padding="max_length", truncation=True`,
/// and `SiglipImageProcessor`. The last text is truncated.
const TEXTS: [(&str, [f32; 6]); 3] = [
    ("A photo of a Cat!", [1.15306, 0.83318, -2.00217, -0.82112, 1.49899, -0.79047]),
    ("dog", [1.08869, 0.83489, -1.82522, -0.72037, 1.40091, -1.28766]),
    ("cat, dog a b cat dog a b cat dog a b cat", [0.81446, 0.4602, -2.26726, -0.21957, 1.24762, -0.03877]),
];
const PIXELS: [f32; 6] = [-0.36293, 0.73099, -1.43304, -0.56274, 1.29178, -0.49085];
/// Of images of 12×12 pixels, with `interpolate_pos_encoding=True`.
const LARGER: [f32; 6] = [-0.66348, 0.84789, -1.50216, -0.02182, 1.43939, 0.48684];
/// Of images of 11×11 pixels, whose last 3 rows and columns fill no patch of 4.
const TRIMMED: [f32; 6] = [-0.58068, -0.90364, -1.34018, -1.24169, 1.2805, -0.55452];
/// `sigmoid(logits_per_image)` of the image and the three texts.
const PROBABILITIES: [f32; 3] = [0.47956, 0.52416, 0.5921];

/// Both towers in one checkpoint, as `SiglipModel` saves them.
fn both() -> tempfile::TempDir {
    let (place, images, texts) =
        (tempfile::tempdir().unwrap(), copied("siglip-image"), copied("siglip-text"));
    let config = |folder: &Path| -> Json {
        serde_json::from_slice(&std::fs::read(folder.join("config.json")).unwrap()).unwrap()
    };
    let config = json!({
        "architectures": ["SiglipModel"], "model_type": "siglip", "initializer_factor": 1.0,
        "vision_config": config(images.path()), "text_config": config(texts.path()),
    });
    write(place.path(), "config.json", &config);
    write(place.path(), "tokenizer.json", &tokenizer());
    write(place.path(), "tokenizer_config.json", &tokenizer_config());
    write(place.path(), "preprocessor_config.json", &preprocessor(8));
    let mut all: HashMap<String, Tensor> = tensors(images.path());
    all.extend(tensors(texts.path()));
    for (name, value) in [("logit_scale", LOGIT_SCALE), ("logit_bias", LOGIT_BIAS)] {
        all.insert(name.into(), Tensor::new(&[value], &Device::Cpu).unwrap());
    }
    candle_core::safetensors::save(&all, place.path().join("model.safetensors")).unwrap();
    place
}

fn tower(folder: &Path, tower: Tower) -> Pretrained {
    pretrained::open_with(folder, &Options { tower: Some(tower), ..Options::default() }).unwrap()
}

/// The probability that a text describes an image.
fn probability(image: &[f32], text: &[f32]) -> f32 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
    let cosine = dot(image, text) / (dot(image, image) * dot(text, text)).sqrt();
    1.0 / (1.0 + (-(cosine * LOGIT_SCALE.exp() + LOGIT_BIAS)).exp())
}

#[test]
fn raw_texts_and_images_have_the_vectors_and_probabilities_of_transformers() {
    let place = both();
    let (images, texts) = (tower(place.path(), Tower::Image), tower(place.path(), Tower::Text));
    let image = vector(&images, pixels());
    assert_close("image", &image[..6], &PIXELS);
    for ((text, expected), probable) in TEXTS.iter().zip(PROBABILITIES) {
        let found = vector(&texts, Value::Text((*text).into()));
        assert_eq!((image.len(), found.len()), (16, 16));
        assert_close(text, &found[..6], expected);
        assert_close(text, &[probability(&image, &found)], &[probable]);
    }
    // Without the file, SigLIP's usual preparation.
    let usual = pretrained::open(copied("siglip-image").path()).unwrap();
    assert_close("image", &vector(&usual, pixels())[..6], &PIXELS);
    write(place.path(), "preprocessor_config.json", &preprocessor(12));
    assert_close("larger image", &vector(&tower(place.path(), Tower::Image), pixels())[..6], &LARGER);
}

/// As 384 pixels in patches of 14.
#[test]
fn images_may_be_larger_than_their_patches_here_and_in_an_export() {
    let place = copied("siglip-image");
    write(place.path(), "preprocessor_config.json", &preprocessor(11));
    let read = |name: &str| std::fs::read(place.path().join(name)).unwrap();
    let mut config: Json = serde_json::from_slice(&read("config.json")).unwrap();
    config["image_size"] = 11.into();
    write(place.path(), "config.json", &config);
    assert_close("image", &vector(&pretrained::open(place.path()).unwrap(), pixels())[..6], &TRIMMED);
    let (run, out) = (place.path().join("run"), place.path().join("out"));
    pretrained::import(place.path(), &run, Storage::F32, None).unwrap();
    pretrained::export(&run, &out, Storage::F32).unwrap();
    for name in ["config.json", "preprocessor_config.json"] {
        assert_eq!(std::fs::read(out.join(name)).unwrap(), read(name), "{name}");
    }
    std::fs::remove_file(place.path().join("preprocessor_config.json")).unwrap();
    assert_close("usual", &vector(&pretrained::open(place.path()).unwrap(), pixels())[..6], &TRIMMED);
}

#[test]
fn texts_are_padded_with_the_named_token_or_that_of_the_model() {
    let place = both();
    let ids = |model: &Pretrained, text: &str| {
        let part = &model.task.parts()[0];
        let tokens = part.tokenizer.encode_value(Value::Text(text.into()), None).unwrap();
        tokens.groups[0].content.ids().unwrap().to_vec()
    };
    let padded = |pad: u32| [&[6, 1][..], &[pad; 10]].concat();
    assert_eq!(ids(&tower(place.path(), Tower::Text), "dog"), padded(0));
    write(place.path(), "tokenizer_config.json", &json!({ "pad_token": null }));
    assert_eq!(ids(&tower(place.path(), Tower::Text), "dog"), padded(1), "of config.json");
    write(place.path(), "special_tokens_map.json", &json!({ "pad_token": { "content": "<unk>" } }));
    assert_eq!(ids(&tower(place.path(), Tower::Text), "dog"), padded(2));
    // Without a vocabulary, texts are ids.
    let model = pretrained::open(copied("siglip-text").path()).unwrap();
    assert_eq!(ids(&model, "6 1"), padded(1));
}

/// transformers' `SiglipTokenizer` does so before its vocabulary, which a converted `tokenizer.json` may lack.
#[test]
fn the_class_of_the_tokenizer_takes_away_case_and_punctuation() {
    let place = both();
    let mut bare = tokenizer();
    bare["normalizer"] = Json::Null;
    write(place.path(), "tokenizer.json", &bare);
    let mut config = tokenizer_config();
    config["tokenizer_class"] = "SiglipTokenizer".into();
    write(place.path(), "tokenizer_config.json", &config);
    let model = tower(place.path(), Tower::Text);
    for (text, expected) in TEXTS {
        assert_close(text, &vector(&model, Value::Text(text.into()))[..6], &expected);
    }
}

#[test]
fn one_of_two_towers_is_chosen_and_the_other_is_kept_for_export() {
    let place = both();
    let before = tensors(place.path());
    for chosen in [Tower::Image, Tower::Text] {
        let at = |name: &str| place.path().join(format!("{chosen:?}-{name}"));
        let options = Options { tower: Some(chosen), ..Options::default() };
        pretrained::import_with(place.path(), &at("run"), Storage::F32, &options).unwrap();
        pretrained::export(&at("run"), &at("out"), Storage::F32).unwrap();
        let model = tower(&at("out"), chosen);
        match chosen {
            Tower::Image => assert_close("image", &vector(&model, pixels())[..6], &PIXELS),
            Tower::Text => {
                let (text, expected) = TEXTS[0];
                assert_close(text, &vector(&model, Value::Text(text.into()))[..6], &expected);
            }
        }
        let after = tensors(&at("out"));
        assert_eq!(after.len(), before.len());
        let numbers = |x: &Tensor| x.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        for (name, x) in &before {
            assert_eq!((x.dims(), numbers(x)), (after[name].dims(), numbers(&after[name])), "{name}");
        }
    }
}

#[test]
fn a_run_keeps_its_pooling_and_embeds_by_others_too() {
    let place = both();
    let model = tower(place.path(), Tower::Image);
    assert_eq!(model.settings.outputs["embedding"].pool, Some(Pool::Attention));
    let of = embedded_part(&model.task, None).unwrap();
    let pooled = |pool| {
        let embedding = Embedding { pool: Some(pool), ..Embedding::default() };
        embed((&model.model, 0, &model.task), of, vec![pixels()], &embedding, 8).map(|found| found.vectors)
    };
    assert_close("attention", &pooled(Pool::Attention).unwrap()[0][..6], &PIXELS);
    assert_ne!(pooled(Pool::Mean).unwrap(), pooled(Pool::Attention).unwrap());
    assert!(pooled(Pool::ClassToken).unwrap_err().to_string().contains("no class token"));
    let texts = tower(place.path(), Tower::Text);
    let embedding = Embedding { pool: Some(Pool::Attention), ..Embedding::default() };
    let refused = embed((&texts.model, 0, &texts.task), 0, vec![Value::Text("a".into())], &embedding, 8);
    assert!(refused.unwrap_err().to_string().contains("no output of the model embeds by attention"));
}

#[test]
fn a_choice_of_a_tower_is_needed_and_a_classifier_is_refused() {
    let refused = |folder: &Path, tower: Option<Tower>| {
        let options = Options { tower, ..Options::default() };
        pretrained::open_with(folder, &options).err().unwrap().to_string()
    };
    assert!(refused(both().path(), None).contains("--tower image or with --tower text"));
    let alone = copied("siglip-text");
    assert!(refused(alone.path(), Some(Tower::Text)).contains("expected a checkpoint of two models"));
    let place = copied("siglip-image");
    let mut all = tensors(place.path());
    all.insert(
        "classifier.weight".into(),
        Tensor::zeros((3, 16), candle_core::DType::F32, &Device::Cpu).unwrap(),
    );
    candle_core::safetensors::save(&all, place.path().join("model.safetensors")).unwrap();
    assert!(refused(place.path(), None).contains("found one with a classifier"));
}
