//! The files beside exported weights: kept as they are, unless training changed what they say.

use super::{copied, write};
use crate::start::{SHORT, settings_of, tune};
use serde_json::{Value as Json, json};
use smalti::pretrained;
use smalti::train::Storage;
use std::path::Path;

const FILE: &str = "preprocessor_config.json";

fn read(folder: &Path, name: &str) -> Json {
    serde_json::from_slice(&std::fs::read(folder.join(name)).unwrap()).unwrap()
}

/// The tokenizer's settings of the images of an import.
fn preparation(folder: &Path) -> Json {
    let model = pretrained::open(folder).unwrap();
    let part = model.task.parts().iter().find(|part| part.name == "image").unwrap();
    let mut found = part.tokenizer.config_json().unwrap();
    ["augment", "blend", "max_patches", "background"]
        .iter()
        .for_each(|key| _ = found.as_object_mut().unwrap().remove(*key));
    found
}

/// A checkpoint that is trained with these settings of images, and its export.
fn trained(checkpoint: &Path, set: &[&str]) -> tempfile::TempDir {
    let place = tempfile::tempdir().unwrap();
    let at = |name: &str| place.path().join(name);
    pretrained::import(checkpoint, &at("run"), Storage::F32, None).unwrap();
    let own = settings_of(&at("run"));
    let head: &[&str] = match own.contains("[outputs.embedding]") {
        true => &["outputs.embedding.head=classify", "outputs.embedding.field=label"],
        false => &[],
    };
    tune(&at("run"), &at("tuned"), &own, &[&SHORT[..], head, set].concat()).unwrap();
    pretrained::export(&at("tuned"), &at("out"), Storage::F32).unwrap();
    place
}

/// Each way to resize images, after training from each image processor.
#[test]
fn the_preprocessor_states_the_sizes_of_the_run() {
    let sides = |height: usize, width: usize| json!({ "height": height, "width": width });
    let stretch = ["inputs.image.resize=stretch", "inputs.image.image_size=[16, 16]"];
    let crop = ["inputs.image.resize={crop={shortest_edge=16}}", "inputs.image.image_size=[12, 12]"];
    let both = ["inputs.image.resize={stretch_crop={size=[16, 20]}}", "inputs.image.image_size=[12, 12]"];
    let named =
        |name: &str, size: Json| json!({ "image_processor_type": name, "size": size, "do_resize": true });
    let (square, shorter) = (sides(8, 8), json!({ "shortest_edge": 12 }));
    let cropped = |name: &str, size: &Json| {
        let mut found = named(name, size.clone());
        found["crop_size"] = sides(8, 8);
        found
    };
    // A processor that does not crop, or that has no shorter side, gives way to one that does.
    for (checkpoint, published, of_crop, of_both) in [
        (
            "vit-no-bias",
            named("ViTImageProcessor", square.clone()),
            "BitImageProcessor",
            "DeiTImageProcessor",
        ),
        ("vit-no-bias", named("SiglipImageProcessor", square), "BitImageProcessor", "DeiTImageProcessor"),
        ("deit", cropped("DeiTImageProcessor", &sides(12, 12)), "BitImageProcessor", "DeiTImageProcessor"),
        ("dinov2", cropped("BitImageProcessor", &shorter), "BitImageProcessor", "BitImageProcessor"),
        (
            "dinov2",
            cropped("CLIPImageProcessorFast", &shorter),
            "CLIPImageProcessorFast",
            "CLIPImageProcessorFast",
        ),
    ] {
        let from = copied(checkpoint);
        write(from.path(), FILE, &published);
        let own = published["image_processor_type"].as_str().unwrap();
        for (set, name, size, crops) in [
            (stretch, own, sides(16, 16), false),
            (crop, of_crop, json!({ "shortest_edge": 16 }), true),
            (both, of_both, sides(16, 20), true),
        ] {
            let place = trained(from.path(), &set);
            let out = place.path().join("out");
            let found = read(&out, FILE);
            let what = format!("{own}, {set:?}: {found}");
            assert_eq!((&found["image_processor_type"], &found["size"]), (&json!(name), &size), "{what}");
            assert_eq!(found.get("do_center_crop").is_some_and(|crop| *crop == true), crops, "{what}");
            let run = place.path().join("tuned");
            let saved = read(&run, "tokenizers.json")[""]["tokenizers"]["image"]["config"].clone();
            let again = preparation(&out);
            for key in ["image_size", "resize", "filter", "mean", "std"] {
                assert_eq!(again[key], saved[key], "{key} of {what}");
            }
            let size = read(&out, "config.json")["image_size"].clone();
            let [height, width] = [&saved["image_size"][0], &saved["image_size"][1]];
            let expected = if height == width { height.clone() } else { json!([height, width]) };
            assert_eq!(size, expected, "{what}");
        }
    }
}

#[test]
fn the_preprocessor_states_another_mean_and_filter() {
    let from = copied("vit-no-bias");
    write(
        from.path(),
        FILE,
        &json!({ "feature_extractor_type": "ViTFeatureExtractor", "size": 8, "do_normalize": false }),
    );
    let place = trained(
        from.path(),
        &[
            "inputs.image.mean=[0.4, 0.5, 0.6]",
            "inputs.image.std=[0.2, 0.3, 0.4]",
            "inputs.image.filter=lanczos",
        ],
    );
    let found = read(&place.path().join("out"), FILE);
    assert_eq!(found["image_mean"], json!([0.4, 0.5, 0.6]), "{found}");
    assert_eq!(found["image_std"], json!([0.2, 0.3, 0.4]), "{found}");
    assert_eq!((&found["resample"], &found["do_normalize"]), (&json!(1), &json!(true)), "{found}");
    assert_eq!(found["feature_extractor_type"], "ViTFeatureExtractor", "{found}");
}

/// Newer checkpoints have the settings of all processors in one file.
#[test]
fn settings_among_those_of_other_processors_are_stated_there() {
    let from = copied("vit-no-bias");
    let own = json!({ "image_processor_type": "ViTImageProcessor", "size": { "height": 8, "width": 8 } });
    write(
        from.path(),
        "processor_config.json",
        &json!({ "image_processor": own, "processor_class": "ViTProcessor" }),
    );
    let place = trained(from.path(), &["inputs.image.image_size=[12, 12]"]);
    let out = place.path().join("out");
    let found = read(&out, "processor_config.json");
    assert_eq!(found["image_processor"]["size"], json!({ "height": 12, "width": 12 }), "{found}");
    assert_eq!(found["processor_class"], "ViTProcessor");
    assert!(!out.join(FILE).exists());
}

#[test]
fn a_checkpoint_without_a_preprocessor_is_exported_with_one() {
    for (checkpoint, name) in [
        ("vit-no-bias", "ViTImageProcessor"),
        ("deit", "DeiTImageProcessor"),
        ("dinov2", "BitImageProcessor"),
    ] {
        let (from, place) = (copied(checkpoint), tempfile::tempdir().unwrap());
        let at = |name: &str| place.path().join(name);
        pretrained::import(from.path(), &at("run"), Storage::F32, None).unwrap();
        pretrained::export(&at("run"), &at("out"), Storage::F32).unwrap();
        let found = read(&at("out"), FILE);
        assert_eq!(
            (&found["image_processor_type"], &found["size"]["height"]),
            (&json!(name), &json!(8)),
            "{found}"
        );
        assert_eq!(preparation(&at("out")), preparation(from.path()), "{checkpoint}");
    }
}

/// The size that the checkpoint states is left out of the settings, and is not that of the run.
#[test]
fn images_without_a_size_cannot_be_exported() {
    let (from, place) = (copied("vit-no-bias"), tempfile::tempdir().unwrap());
    let at = |name: &str| place.path().join(name);
    pretrained::import(from.path(), &at("run"), Storage::F32, None).unwrap();
    let own = settings_of(&at("run"));
    let native = ["inputs.image.resize={native={patches=4}}"];
    tune(&at("run"), &at("tuned"), &without_size(&own), &[&SHORT[..], &native].concat()).unwrap();
    let found = pretrained::export(&at("tuned"), &at("out"), Storage::F32).unwrap_err().to_string();
    assert!(found.contains("image_size: expected a height and a width"), "{found}");
}

/// Settings without the list `image_size`, on one line or on several.
fn without_size(settings: &str) -> String {
    let Some((before, after)) = settings.split_once("image_size = [") else { return settings.into() };
    let (_, after) = after.split_once(']').unwrap();
    format!("{before}{after}")
}

/// transformers' ViT has positions of any grid, its DINOv2 those of a square.
#[test]
fn images_that_are_not_square_are_exported_where_transformers_reads_them() {
    let wide = ["inputs.image.resize=stretch", "inputs.image.image_size=[8, 12]"];
    let place = trained(copied("vit-no-bias").path(), &wide);
    let found = read(&place.path().join("out"), "config.json");
    assert_eq!(found["image_size"], json!([8, 12]));
    let (from, place) = (copied("dinov2"), tempfile::tempdir().unwrap());
    let at = |name: &str| place.path().join(name);
    pretrained::import(from.path(), &at("run"), Storage::F32, None).unwrap();
    let head = ["outputs.embedding.head=classify", "outputs.embedding.field=label"];
    tune(&at("run"), &at("tuned"), &settings_of(&at("run")), &[&SHORT[..], &head, &wide].concat()).unwrap();
    let found = pretrained::export(&at("tuned"), &at("out"), Storage::F32).unwrap_err().to_string();
    assert!(found.contains("image_size: expected a square") && found.contains("8×12"), "{found}");
}

/// Byte for byte, with what no one here reads. Weights in other formats are not kept, nor are hidden files.
#[test]
fn files_beside_the_weights_are_kept() {
    let (from, place) = (copied("llama-tied"), tempfile::tempdir().unwrap());
    let at = |name: &str| place.path().join(name);
    let kept = [
        ("chat_template.jinja", "{% for message in messages %}\r\n{{ message.content }}{% endfor %}"),
        ("additional_chat_templates/tools.jinja", "{{ tools }}"),
        ("LICENSE", "MIT"),
        ("README.md", "# A model\n"),
        ("generation_config.json", "{ \"temperature\":0.7,\n\n \"top_p\": 0.9 }"),
        ("special.txt", "one\n"),
    ];
    for (name, content) in kept {
        std::fs::create_dir_all(from.path().join(name).parent().unwrap()).unwrap();
        std::fs::write(from.path().join(name), content).unwrap();
    }
    for name in ["tf_model.h5", "model.onnx", ".hidden.json", "tensors.json", "pytorch_model.bin.index.json"]
    {
        std::fs::write(from.path().join(name), "[]").unwrap();
    }
    pretrained::import(from.path(), &at("run"), Storage::F32, None).unwrap();
    pretrained::export(&at("run"), &at("out"), Storage::F32).unwrap();
    for (name, content) in kept {
        assert_eq!(std::fs::read_to_string(at("out").join(name)).unwrap(), content, "{name}");
    }
    let bytes = |folder: &Path| std::fs::read(folder.join("config.json")).unwrap();
    assert_eq!(bytes(&at("out")), bytes(from.path()), "nothing changed what it says");
    for name in ["tf_model.h5", "model.onnx", ".hidden.json", "tensors.json", "pytorch_model.bin.index.json"]
    {
        assert!(!at("out").join(name).exists(), "{name}");
    }
}
