//! The preparation of images, and positions of another size than in training.

use super::{batch, copied, sample};
use candle_core::Tensor;
use serde_json::{Value as Json, json};
use smalti::inference::{Embedding, embed, embedded_part};
use smalti::pretrained::{self, Pretrained};
use smalti::sample::Pool;
use smalti::train::Storage;
use smalti_contract::{Array, Numbers, Value};
use std::path::Path;

fn prepare(folder: &Path, preprocessor: Json) {
    std::fs::write(folder.join("preprocessor_config.json"), preprocessor.to_string()).unwrap();
}

/// The tokenizer's settings of images.
fn image(model: &Pretrained) -> Json {
    let part = model.task.parts().iter().find(|part| part.name == "image").unwrap();
    part.tokenizer.config_json().unwrap()
}

#[test]
fn each_image_processor_resizes_by_its_own_rule() {
    let crop = |name: &str| json!({ "image_processor_type": name, "size": 12, "crop_size": 8, "do_center_crop": true });
    let plain = |name: &str| json!({ "feature_extractor_type": name, "size": 8 });
    let (stretch_crop, shorter) =
        (json!({ "stretch_crop": { "size": [12, 12] } }), json!({ "crop": { "shortest_edge": 12 } }));
    for (checkpoint, preprocessor, resize, filter) in [
        ("deit", crop("DeiTImageProcessor"), &stretch_crop, "bicubic"),
        ("deit", crop("DeiTFeatureExtractor"), &stretch_crop, "bicubic"),
        ("vit-no-bias", crop("CLIPImageProcessorFast"), &shorter, "bicubic"),
        ("dinov2", crop("BitImageProcessor"), &shorter, "bicubic"),
        ("vit-no-bias", plain("ViTFeatureExtractor"), &json!("stretch"), "bilinear"),
        (
            "vit-no-bias",
            json!({ "image_processor_type": "SiglipImageProcessor", "size": { "height": 8, "width": 8 } }),
            &json!("stretch"),
            "bicubic",
        ),
        // Without a name, the usual processor of the kind.
        ("deit", json!({ "size": { "height": 12, "width": 12 }, "crop_size": 8 }), &stretch_crop, "bicubic"),
        (
            "dinov2",
            json!({ "size": { "shortest_edge": 12 }, "crop_size": { "height": 8, "width": 8 } }),
            &shorter,
            "bicubic",
        ),
    ] {
        let place = copied(checkpoint);
        prepare(place.path(), preprocessor.clone());
        let found = image(&pretrained::open(place.path()).unwrap_or_else(|e| panic!("{preprocessor}: {e}")));
        assert_eq!((&found["resize"], found["filter"].as_str()), (resize, Some(filter)), "{preprocessor}");
        assert_eq!(found["image_size"], json!([8, 8]), "{preprocessor}");
    }
}

#[test]
fn the_mean_and_the_size_that_are_left_out_are_those_of_the_processor() {
    let place = copied("dinov2");
    prepare(place.path(), json!({ "image_processor_type": "CLIPImageProcessor", "crop_size": 8, "size": 8 }));
    let found = image(&pretrained::open(place.path()).unwrap());
    assert!((found["mean"][0].as_f64().unwrap() - 0.48145466).abs() < 1e-6, "{found}");
    prepare(
        place.path(),
        json!({ "size": 8, "crop_size": 8, "do_normalize": false, "image_mean": [0.1, 0.2, 0.3] }),
    );
    let found = image(&pretrained::open(place.path()).unwrap());
    assert_eq!((&found["mean"], &found["std"]), (&json!([0.0, 0.0, 0.0]), &json!([1.0, 1.0, 1.0])));
}

#[test]
fn settings_of_images_that_are_not_applied_are_refused_by_name() {
    for (checkpoint, preprocessor, named) in [
        (
            "vit-no-bias",
            json!({ "image_processor_type": "ConvNextImageProcessor", "size": 8 }),
            "ConvNextImageProcessor",
        ),
        ("vit-no-bias", json!({ "size": 8, "crop_pct": 0.9 }), "crop_pct"),
        ("vit-no-bias", json!({ "size": 8, "do_center_crop": true }), "do_center_crop"),
        ("vit-no-bias", json!({ "size": { "shortest_edge": 8 } }), "size"),
        ("dinov2", json!({ "size": { "shortest_edge": 8 }, "do_center_crop": false }), "size"),
        ("dinov2", json!({ "size": { "shortest_edge": 8, "longest_edge": 9 } }), "size"),
        ("dinov2", json!({ "size": 8, "crop_size": 8, "do_rescale": false }), "do_rescale"),
        ("deit", json!({ "size": 4, "crop_size": 8 }), "image_size"),
    ] {
        let place = copied(checkpoint);
        prepare(place.path(), preprocessor);
        let found = pretrained::open(place.path()).err().expect(named).to_string();
        assert!(found.contains(named), "{named}: {found}");
    }
}

fn grid(model: &Pretrained) -> Vec<Vec<f32>> {
    let parameters = model.model.params().tensors();
    parameters["embed.image.patch.grid"].to_vec2().unwrap()
}

/// The published grid of 2×2 becomes one of 4×4. In the corner, torch's bicubic weights are -13.5, 112.5, 33.5 and -4.5 of 128
/// in each direction, beyond the border those of the border.
#[test]
fn positions_are_interpolated_to_the_size_of_the_images() {
    for name in ["dinov2", "deit", "vit-no-bias"] {
        let place = copied(name);
        let published = grid(&pretrained::open(place.path()).unwrap());
        assert_eq!(published.len(), 4, "{name}");
        let size = if name == "vit-no-bias" {
            json!({ "size": 16 })
        } else {
            json!({ "size": 16, "crop_size": 16 })
        };
        prepare(place.path(), size);
        let model = pretrained::open(place.path()).unwrap();
        let found = grid(&model);
        assert_eq!(found.len(), 16, "{name}");
        let (near, far) = (141.5 / 128.0, -13.5 / 128.0);
        for (i, value) in found[0].iter().enumerate() {
            let at = |place: usize| published[place][i];
            let expected = near * near * at(0) + near * far * (at(1) + at(2)) + far * far * at(3);
            assert!((value - expected).abs() < 1e-5, "{name}: {value}, expected {expected}");
        }
        // The export states the new size, and holds the interpolated positions.
        let at = |part: &str| place.path().join(part);
        pretrained::import(place.path(), &at("run"), Storage::F32, None).unwrap();
        pretrained::export(&at("run"), &at("out"), Storage::F32).unwrap();
        assert_eq!(grid(&pretrained::open(&at("out")).unwrap()), found, "{name}");
        let config: Json = serde_json::from_slice(&std::fs::read(at("out/config.json")).unwrap()).unwrap();
        assert_eq!(config["image_size"], 16, "{name}");
    }
}

/// The logits of an image at the size of training, a larger one, one that is not square, and a smaller one, where the filter of
/// the model with registers is wider. By `Dinov2ForImageClassification` and `Dinov2WithRegistersForImageClassification` of
/// transformers 4.57.6 (configurations and seeds: `tests/checkpoints/make.py`), with `ViTImageProcessor`.
#[test]
fn interpolated_positions_give_the_outputs_of_transformers() {
    let sizes = [[16, 16], [24, 24], [12, 20], [8, 8]];
    for (name, expected) in [
        (
            "dinov2-grid",
            [
                [-0.01691, -0.04385, 0.2501],
                [0.1122, 1.66833, -0.69941],
                [-0.15392, -0.08621, -0.07891],
                [-0.55242, 1.32195, -0.31016],
            ],
        ),
        (
            "dinov2-registers-grid",
            [
                [0.46127, -1.43351, -0.50472],
                [0.4931, -1.34924, -0.74218],
                [0.15189, -1.37989, -0.36862],
                [0.36647, -1.19843, -0.30797],
            ],
        ),
    ] {
        for ([height, width], expected) in sizes.into_iter().zip(expected) {
            let place = copied(name);
            let size = json!({ "height": height, "width": width });
            prepare(place.path(), json!({ "image_processor_type": "ViTImageProcessor", "size": size }));
            let model = pretrained::open(place.path()).unwrap();
            let pixels = (0..height * width * 3).map(|i| (i * 37 % 251) as u8).collect();
            let image = Value::Array(Array { shape: vec![height, width, 3], numbers: Numbers::U8(pixels) });
            let batch = batch(&model, vec![sample(&model, 0, &[("image", image)])]);
            let logits: Vec<Vec<f32>> = model.model.outputs(&batch).unwrap().remove(0).to_vec2().unwrap();
            let worst = logits[0].iter().zip(expected).map(|(a, b): (&f32, f32)| (a - b).abs());
            let worst = worst.fold(0.0, f32::max);
            assert!(worst < 1e-4, "{name} at {height}×{width}: {logits:?}, expected {expected:?}");
        }
    }
}

/// As of transformers' `last_hidden_state`, with class token and registers.
#[test]
fn the_mean_of_an_image_is_of_all_its_tokens() {
    for name in ["vit-trunk", "dinov2-registers"] {
        let place = copied(name);
        let model = pretrained::open(place.path()).unwrap();
        let size: Vec<usize> = serde_json::from_value(image(&model)["image_size"].clone()).unwrap();
        let pixels: Vec<u8> = (0..size[0] * size[1] * 3).map(|i| (i * 37 % 251) as u8).collect();
        let value =
            || Value::Array(Array { shape: vec![size[0], size[1], 3], numbers: Numbers::U8(pixels.clone()) });
        let states: Tensor = model
            .model
            .forward(&batch(&model, vec![sample(&model, 0, &[("image", value())])]), None)
            .unwrap()
            .into_tensor();
        let mean: Vec<f32> = states.mean(0).unwrap().to_vec1().unwrap();
        let of = embedded_part(&model.task, None).unwrap();
        let embedding = Embedding { pool: Some(Pool::Mean), ..Embedding::default() };
        let found = embed((&model.model, 0, &model.task), of, vec![value()], &embedding, 1).unwrap();
        let worst = found.vectors[0].iter().zip(&mean).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(worst < 1e-5, "{name}: off by {worst}");
    }
}

/// The probabilities of the classes of an image of 12×10 pixels, of `Dinov2ForImageClassification` with `BitImageProcessor` and
/// of `DeiTForImageClassificationWithTeacher` with `DeiTImageProcessor` of transformers 4.57.6.
#[test]
fn raw_images_have_the_classes_of_transformers() {
    let mean = json!([0.485, 0.456, 0.406]);
    let std = json!([0.229, 0.224, 0.225]);
    for (name, preprocessor, expected) in [
        (
            "dinov2-classes",
            json!({ "image_processor_type": "BitImageProcessor", "size": { "shortest_edge": 9 }, "crop_size": 8,
                    "image_mean": mean, "image_std": std }),
            [0.067_226, 0.115_949, 0.816_825],
        ),
        (
            "deit-teacher",
            json!({ "image_processor_type": "DeiTImageProcessor", "size": { "height": 9, "width": 9 }, "crop_size": 8 }),
            [0.562_812, 0.186_288, 0.250_9],
        ),
    ] {
        let place = copied(name);
        prepare(place.path(), preprocessor);
        let model = pretrained::open(place.path()).unwrap();
        let pixels = (0..12 * 10 * 3).map(|i| (i * 37 % 251) as u8).collect();
        let image = Value::Array(Array { shape: vec![12, 10, 3], numbers: Numbers::U8(pixels) });
        let batch = batch(&model, vec![sample(&model, 0, &[("image", image)])]);
        let logits: Vec<Vec<f32>> = model.model.outputs(&batch).unwrap().remove(0).to_vec2().unwrap();
        let total: f32 = logits[0].iter().map(|x| x.exp()).sum();
        for (logit, expected) in logits[0].iter().zip(expected) {
            assert!((logit.exp() / total - expected).abs() < 1e-4, "{name}: {logits:?}");
        }
    }
}
