//! Settings, arguments, and files to tokenize.

use super::{Place, failed, image_place, image_train, text_place, text_train};
use crate::files::{log, npz, png, wav};
use crate::support;

#[test]
fn an_unknown_setting_of_an_output_names_those_that_there_are() {
    let place = image_place();
    let line = format!("{} --set outputs.class.wieght=2 --out run", image_train());
    place.fails(&line, &["wieght", "settings of head classify are:", "every output has", "weight", "pool"]);
}

#[test]
fn invalid_settings_are_named() {
    let place = text_place();
    let cases: [(&str, &[&str]); 29] = [
        ("train.stesp=1", &["unknown field `stesp`", "`max_steps`", "in `train`"]),
        ("data.suorce=a.txt", &["unknown field `suorce` in `data`: did you mean data.source?"]),
        ("trian.steps=1", &["unknown field `trian`", "`train`"]),
        ("outputs.text.modality=video", &["\"video\"", "audio, codes, image, numbers, text"]),
        ("train.max_steps=many", &["train.max_steps: expected a whole number", "found \"many\""]),
        ("train.max_steps=-1", &["train.max_steps: expected a whole number of 0 or more", "found -1"]),
        ("train.max_steps", &["train.max_steps", "expected key=value"]),
        ("train.max_steps.x=1", &["steps is a setting, not a table"]),
        ("train.batch_size=0", &["train.batch_size", "at least 1; found 0"]),
        (
            "train.batch_size=9223372036854775807",
            &["train.batch_size", "expected at most 1048576; found 9223372036854775807"],
        ),
        ("train.workers=1000000", &["train.workers", "expected at most 1024; found 1000000"]),
        ("train.learning_rate=nan", &["train.learning_rate", "found NaN"]),
        ("train.learning_rate=-1", &["train.learning_rate", "at least 0; found -1"]),
        (
            "train.resume_schedule=linear",
            &["train.resume_schedule", "cosine, constant, rewarm", "\"linear\""],
        ),
        ("train.ema_decay=1", &["train.ema_decay", "below 1; found 1"]),
        (
            "model.attention.n_heads=3",
            &["model.attention.n_heads", "expected a divisor of d_model 16; found 3"],
        ),
        (
            "model.attention.soft_cap=0.0",
            &["model.attention.soft_cap", "expected a positive number; found 0"],
        ),
        ("model.mlp.experts=5000", &["model.mlp.experts", "expected 0 to 4096; found 5000"]),
        ("model.mlp.experts=1", &["model.mlp.experts", "or 2 or more; found 1"]),
        (
            "model.mlp.experts_per_token=2",
            &["model.mlp.experts_per_token", "expected mlp.experts of 2 or more with it; found 0"],
        ),
        (
            "model.mlp.experts=4 --set model.mlp.experts_per_token=5",
            &["model.mlp.experts_per_token", "expected 1 to mlp.experts 4; found 5"],
        ),
        (
            "model.mlp.experts=4 --set model.mlp.capacity_factor=-1.0",
            &["model.mlp.capacity_factor", "expected a positive number; found -1"],
        ),
        ("model.head.soft_cap=-2.0", &["model.head.soft_cap", "expected a positive number; found -2"]),
        (
            "model.attention.rotary.width=3",
            &["model.attention.rotary.width", "expected an even number of at most", "found 3"],
        ),
        ("model.encoder.d_ff=8", &["model.encoder", "expected n_encoder_layers of 1 or more", "found 0"]),
        ("model.sublayers=across", &["across", "sequential", "one_norm"]),
        ("model.d_model=0", &["model.d_model", "expected 1 to 1048576; found 0"]),
        ("data.holdout=2", &["data.holdout", "between 0 and 1; found 2"]),
        ("outputs.text.context=0", &["context is 0; it must be at least 1"]),
    ];
    for (setting, message) in cases {
        place.fails_untouched(&format!("{} --set {setting}", text_train()), message);
    }
    place.fails_untouched(
        "train texts",
        &["\"texts\"", "neither a preset (text, image, audio, trajectory, mix)"],
    );
    place.write("mine.toml", b"[data]\nsource = \"a.txt\"\n[train]\nsteps == 5\n");
    place.fails_untouched("train mine.toml", &["mine.toml", "steps == 5"]);
    place.write("both.toml", b"[data]\nsource = \"a.txt\"\n[mix.b.data]\nsource = \"a.txt\"\n");
    place.fails_untouched(
        "train both.toml",
        &["both.toml", "either [data], for one task, or [mix.NAME.data]"],
    );
}

#[test]
fn a_precision_that_a_cpu_does_not_have_is_named() {
    let line = format!("{} --device cpu --set train.precision=tf32 --out run", text_train());
    text_place()
        .fails(&line, &["train.precision", "expected f32 or bf16 on a CPU; found tf32, which needs a GPU"]);
}

/// An invalid setting of a modality is named with its part, before data is read.
#[test]
fn invalid_settings_of_modalities_are_named() {
    let place = image_place();
    place.write("clips/manifest.tsv", b"path\ttext\tsplit\n");
    let cases: [(String, &str, &[&str]); 6] = [
        (
            image_train(),
            "inputs.image.pacth_size=4",
            &["inputs.image", "unknown field `pacth_size`", "`patch_size`"],
        ),
        (image_train(), "inputs.image.augment.crop.aera=1", &["inputs.image", "unknown field `aera`"]),
        (
            image_train(),
            "inputs.image.filter=cubic",
            &["inputs.image.filter: expected one of nearest, box", "\"cubic\""],
        ),
        (
            image_train(),
            "inputs.image.preset=resnet",
            &["inputs.image.preset: expected one of", "imagenet", "\"resnet\""],
        ),
        (
            image_train(),
            "inputs.image.blend.mixup=0.2",
            &["inputs.image", "blend is set; it needs an image_size"],
        ),
        (
            text_train(),
            "outputs.text.vocabulry=bytes",
            &["outputs.text", "unknown field `vocabulry`", "`vocabulary`"],
        ),
    ];
    place.write("a.txt", support::text().as_bytes());
    for (line, setting, message) in cases {
        place.fails_untouched(&format!("{line} --set {setting}"), message);
    }
}

#[test]
fn usage_errors_exit_with_2() {
    let place = text_place();
    let cases: [(&str, &[&str]); 7] = [
        ("train text --frobnicate", &["--frobnicate"]),
        ("trian text", &["trian"]),
        ("classify", &["<RUN>"]),
        ("train text --device tpu", &["--device", "expected auto, cpu, cuda or cuda:N; found \"tpu\""]),
        ("rollout run --episodes many", &["--episodes", "many"]),
        ("tokenize a.txt --as video", &["video", "text, image, audio, trajectory"]),
        ("tokenize a.png --image-size 8", &["--image-size", "expected HEIGHTxWIDTH"]),
    ];
    for (line, message) in cases {
        failed(2, line, &place.run(line), message);
    }
}

#[cfg(not(feature = "cuda"))]
#[test]
fn a_gpu_without_the_cuda_feature_is_an_error() {
    let line = format!("{} --device cuda", text_train());
    text_place().fails_untouched(&line, &["built without CUDA", "--features cuda", "--device cpu"]);
}

#[test]
fn unusable_files_to_tokenize_are_named() {
    let place = Place::new(&[
        ("a.txt", b"abc"),
        ("empty.txt", b""),
        ("latin.txt", b"caf\xe9"),
        ("blob", b"\xff\0\x01"),
    ]);
    place.write("cut.png", &png(8, 8)[..60]);
    place.write("odd.png", &png(9, 8));
    place.write("hz.wav", &wav(1, 100, 1, 16));
    place.write("cut.npz", &npz(&log())[..300]);
    let cases: [(&str, &[&str]); 12] = [
        ("none.txt", &["none.txt", "not found"]),
        ("empty.txt", &["empty.txt", "empty"]),
        ("latin.txt", &["latin.txt", "UTF-8"]),
        ("blob", &["blob", "--as text, image, audio or trajectory"]),
        ("cut.png", &["cut.png", "not readable as image"]),
        ("odd.png", &["odd.png", "patch_size 4 does not divide the image's 8×9 pixels"]),
        ("hz.wav", &["hz.wav", "1 Hz; 1000 to 384000 Hz"]),
        ("cut.npz", &["cut.npz", "npz"]),
        ("a.txt --as image", &["a.txt", "unknown format"]),
        ("a.txt --as audio", &["a.txt", "expected WAV, FLAC, MP3"]),
        ("a.txt --patch-size 4", &["--patch-size is for image", "read as text"]),
        ("a.txt --index 1", &["--index: expected less than 1, the number of rows; found 1"]),
    ];
    for (line, message) in cases {
        place.fails(&format!("tokenize {line} --out tokens.safetensors"), message);
        assert!(!place.path("tokens.safetensors").exists(), "{line}");
    }
}
