//! Messages that name the setting to change and a value for it.
#![cfg(all(feature = "text", feature = "image", feature = "audio", feature = "trajectory"))]

use crate::files::{png, wav};
use crate::support::{Ran, TINY, ran, smalti};
use std::path::Path;
use tempfile::TempDir;

/// A folder to work in, with these files.
fn place(files: &[(&str, Vec<u8>)]) -> TempDir {
    let place = tempfile::tempdir().unwrap();
    files.iter().for_each(|(name, bytes)| write(place.path(), name, bytes));
    place
}

fn write(place: &Path, name: &str, bytes: &[u8]) {
    std::fs::create_dir_all(place.join(name).parent().unwrap()).unwrap();
    std::fs::write(place.join(name), bytes).unwrap();
}

/// A command that must succeed.
fn works(place: &TempDir, line: &str) -> Ran {
    let ran = ran(smalti(place.path()), line);
    assert_eq!(ran.code, Some(0), "smalti {line}\n{}", ran.err);
    ran
}

/// A command that must fail with this code and a message with all of `parts`.
fn fails(place: &TempDir, code: i32, line: &str, parts: &[&str]) {
    let ran = ran(smalti(place.path()), line);
    assert_eq!(ran.code, Some(code), "smalti {line}\n{}", ran.err);
    for part in parts {
        assert!(ran.err.contains(part), "smalti {line}\nexpected {part:?} in: {}", ran.err);
    }
}

/// Training of a tiny model on images, for two steps.
fn image_train(source: &str) -> String {
    format!(
        "train image {TINY} --set train.max_steps=2 --set data.source={source} --set inputs.image.patch_size=4 --out run"
    )
}

/// Ten images of 28×28 pixels in each of two class folders.
fn photos() -> Vec<(&'static str, Vec<u8>)> {
    let names = [
        "photos/cat/0.png",
        "photos/cat/1.png",
        "photos/cat/2.png",
        "photos/cat/3.png",
        "photos/cat/4.png",
        "photos/dog/0.png",
        "photos/dog/1.png",
        "photos/dog/2.png",
        "photos/dog/3.png",
        "photos/dog/4.png",
    ];
    names.into_iter().map(|name| (name, png(28, 28))).collect()
}

#[test]
fn a_setting_that_is_given_as_an_option_is_answered_with_its_key() {
    let place = place(&[]);
    for (option, set) in [
        ("--lr 3e-4", "--set train.learning_rate=3e-4; `smalti settings train`"),
        ("--learning-rate=1e-3", "--set train.learning_rate=1e-3; `smalti settings train`"),
        ("--epochs 3", "--set train.epochs=3;"),
        ("--batch-size 8", "--set train.batch_size=8;"),
        ("--data photos", "--set data.source=photos; `smalti settings data`"),
        ("--steps 100", "--set train.max_steps=100;"),
        ("--max-steps=100", "--set train.max_steps=100;"),
        ("--seed -1", "--set train.seed=-1;"),
        ("--seed", "--set train.seed=VALUE;"),
        ("--warmup 10", "--set train.warmup_steps=10;"),
        ("--lerning-rate 1", "--set train.learning_rate=1;"),
        ("--patch-size 4", "--set inputs.image.patch_size=4; `smalti settings inputs`"),
        ("--model vit", "--set KEY=VALUE; `smalti settings model`"),
    ] {
        let name = option.split([' ', '=']).next().unwrap();
        let name = format!("unexpected argument '{name}': settings go through --set");
        fails(&place, 2, &format!("train image {option}"), &[&name, set]);
    }
    fails(&place, 2, "train image --ouput-dir runs/a", &["unexpected argument '--ouput-dir' found"]);
    fails(&place, 2, "eval run --lr 3", &["unexpected argument '--lr' found"]);
}

#[test]
fn a_value_of_the_wrong_type_is_named_with_its_setting_and_origin() {
    let place = place(&[]);
    for (set, message) in [
        (
            "train.batch_size=many",
            "train.batch_size: expected a whole number, such as 32; found \"many\" (from --set)",
        ),
        (
            "train.batch_size=-3",
            "train.batch_size: expected a whole number of 0 or more, such as 32; found -3",
        ),
        (
            "train.batch_size=1.5",
            "train.batch_size: expected a whole number, such as 32; found 1.5 (from --set)",
        ),
        ("train.learning_rate=fast", "train.learning_rate: expected a number, such as 0.001; found \"fast\""),
        (
            "train.precision=f16",
            "train.precision: expected one of f32, tf32, bf16; found \"f16\" (from --set)",
        ),
        ("model.bias=no", "model.bias: expected true or false; found \"no\" (from --set)"),
        ("model.attention=3", "model.attention: expected a table, such as model.attention.d_head=0; found 3"),
        (
            "data.concat=3",
            "data.concat: expected a list of 2 whole numbers, such as [8, 8]; found 3 (from --set)",
        ),
        (
            "data.concat=[1,2,3]",
            "data.concat: expected a list of 2 whole numbers, such as [8, 8]; found [1, 2, 3]",
        ),
        (
            "data.source=3",
            "data.source: expected a text or a table or a list of values, such as \"3\"; found 3",
        ),
        ("data.keep_best={field=3,share=1}", "data.keep_best.field: expected a text, such as \"3\"; found 3"),
        (
            "data.derived.x={kind=\"sum\",field=\"x\"}",
            "data.derived.x.kind: expected one of return_to_go, next",
        ),
        (
            "inputs.image.field=3",
            "inputs.image.field: expected a text or a list of texts, such as \"3\"; found 3",
        ),
        (
            "inputs.image.drop=x",
            "inputs.image.drop: expected a number, such as 0.5; found \"x\" (from --set)",
        ),
        (
            "inputs.image.patch_size=x",
            "inputs.image.patch_size: expected a whole number, such as 8; found \"x\" (from",
        ),
        (
            "inputs.image.image_size=28",
            "inputs.image.image_size: expected a list of 2 whole numbers, such as [8, 8]",
        ),
        ("inputs.image.augment.shift=x", "inputs.image.augment.shift: expected a number, such as 0"),
        (
            "inputs.image.resize=native",
            "inputs.image.resize: expected one of stretch, { crop = … }, { stretch_crop = … }, { stretch_trim = … }, { native = … }",
        ),
        (
            "inputs.image.resize.native.patches=x",
            "inputs.image.resize.native.patches: expected a whole number",
        ),
        ("outputs.class.weight=x", "outputs.class.weight: expected a number, such as 0.5; found \"x\""),
    ] {
        fails(&place, 1, &format!("train image --set {set} --out run"), &[message]);
    }
    write(
        place.path(),
        "my.toml",
        b"[data]\nsource = \"a.csv\"\n[outputs.y]\nhead = \"classify\"\n[train]\nmax_steps = \"x\"\n",
    );
    fails(
        &place,
        1,
        "train my.toml --set train.batch_size=4",
        &["train.max_steps: expected a whole number, such as 1000; found \"x\" (from my.toml)"],
    );
    let mel = "inputs.audio.mel.n_mels: expected a whole number, such as 80; found \"x\" (from --set)";
    fails(&place, 1, "train audio --set inputs.audio.mel.n_mels=x --out run", &[mel]);
    let vocabulary = "outputs.text.vocabulary: expected one of characters, bytes, words, { bpe = … }";
    fails(
        &place,
        1,
        "train text --set outputs.text.vocabulary=letters --out run",
        &[vocabulary, "\"letters\""],
    );
    let weight = "mix.image.weight: expected a number, such as 1; found \"x\" (from --set)";
    fails(&place, 1, "train mix --set mix.image.weight=x --out run", &[weight]);
}

#[test]
fn class_folders_need_no_splits() {
    let place = place(&photos());
    works(&place, &image_train("photos"));
    assert!(works(&place, "classify run photos/cat/0.png --json").out.contains("\"dog\""));
    let unset = image_train("photos").replace("--set inputs.image.patch_size=4 --out run", "--out guessed");
    let note = works(&place, &unset).err;
    assert!(
        note.contains("note: inputs.image: 28×28 pixels, ") && note.contains("patches of 4×4, from "),
        "{note}"
    );
    assert!(note.contains("note: data: 9 rows for training, 1 held out for validation"), "{note}");
    for name in ["train/cat/1", "train/dog/1", "validation/cat/1", "validation/dog/1"] {
        write(place.path(), &format!("halves/{name}.png"), &png(28, 28));
    }
    let line = image_train("halves").replace("--out run", "--out other");
    let found = "data.validation: selects none of the 4 rows of halves";
    let advice =
        "split is train, validation; set another filter, or none (--set data.train= --set data.validation=)";
    fails(&place, 1, &format!("{line} --set data.validation=split=test"), &[found, advice]);
    let chosen = "note: data: 2 rows for training, the 2 of the split validation for validation";
    assert!(works(&place, &line).err.contains(chosen));
    for name in ["test/cat/1", "test/dog/1", "test/dog/2"] {
        write(place.path(), &format!("halves/{name}.png"), &png(28, 28));
    }
    assert!(works(&place, &line.replace("--out other", "--out thirds")).err.contains(chosen));
    let all = format!("{} --set data.validation=", line.replace("--out other", "--out all"));
    assert!(works(&place, &all).err.contains("note: data: 6 rows for training, 1 held out for validation"));
    for folder in ["flat", "loose/train"] {
        (0..4).for_each(|i| write(place.path(), &format!("{folder}/{i}.png"), &png(28, 28)));
    }
    let none = "--set data.train= --set data.validation= --out none";
    for source in ["flat", "loose"] {
        let line = image_train(source).replace("--out run", none);
        let class = format!("outputs.class.field: no row has the field \"class\"; {source} has file");
        let set = "--set outputs.class.field=FIELD";
        let folders = format!("{source}/CLASS/FILE");
        fails(&place, 1, &line, &[&class, set, &folders]);
    }
    let filter =
        format!("{} --set data.train=split=train", image_train("flat").replace("--out run", "--out none"));
    fails(&place, 1, &filter, &["data.train: flat: no field \"split\"; there is file, image"]);
}

#[test]
fn sizes_of_images_are_answered_with_a_setting() {
    let place = place(&photos());
    works(&place, &image_train("photos"));
    for (name, width, height) in [("large", 64, 64), ("odd", 29, 28), ("small", 14, 14)] {
        write(place.path(), &format!("{name}.png"), &png(width, height));
    }
    let size = "every image in training: try --set inputs.image.image_size=[28,28]";
    let large =
        "inputs.image: image is 64×64 pixels, 16×16 patches; the model is for at most 28×28, 7×7 patches";
    let odd = "inputs.image: patch_size 4 does not divide the image's 28×29 pixels; resize";
    let small = "divisors of both are 1, 2, 7, 14: try --set inputs.image.patch_size=2; or resize";
    for command in ["classify", "predict", "embed"] {
        fails(&place, 1, &format!("{command} run large.png"), &["large.png", large, size]);
        fails(&place, 1, &format!("{command} run odd.png"), &["odd.png", odd, size]);
        fails(&place, 1, &format!("{command} run small.png"), &["small.png", small, size]);
    }
    let line = image_train("photos").replace("patch_size=4 --out run", "patch_size=5 --out five");
    let five = "patch_size 5 does not divide the image's 28×28 pixels; divisors of both are 1, 2, 4, 7, 14, 28: try \
                --set inputs.image.patch_size=4";
    fails(&place, 1, &line, &[five]);
    let mix = "train mix --set mix.image.data.source=photos --set mix.image.data.train= --set mix.image.data.validation= \
               --set mix.image.inputs.image.image_size=[27,27] --out mix";
    fails(&place, 1, mix, &["mix.image.inputs.image: ", "try --set mix.image.inputs.image.patch_size=3"]);
}

#[test]
fn a_long_clip_is_answered_with_max_slices() {
    let table = b"path\ttext\na.wav\tab\nb.wav\tba\nc.wav\tab\n".to_vec();
    let clips = ["a.wav", "b.wav", "c.wav", "more/b.wav", "more/a.wav"];
    let mut files = vec![("table.tsv", table), ("more/notes.txt", b"n".to_vec())];
    files.extend(clips.map(|name| (name, wav(8000, 2400, 1, 16))));
    let place = place(&files);
    let line = format!(
        "train audio {TINY} --set train.max_steps=2 --set data.source=table.tsv --set inputs.audio.mel.n_mels=8 \
         --set inputs.audio.max_slices=16 --out run"
    );
    works(&place, &line);
    write(place.path(), "long.wav", &wav(8000, 8000 * 60, 1, 16));
    let message = "inputs.audio: 6000 frames make 1500 slices of 4; max_slices is 16: try --set inputs.audio.max_slices=1500";
    fails(&place, 1, "transcribe run long.wav", &["long.wav", message]);
    fails(&place, 1, "predict run long.wav", &["long.wav", message]);
    write(place.path(), "c.wav", &wav(8000, 8000 * 60, 1, 16));
    let problem = message.strip_prefix("inputs.audio: ").unwrap();
    fails(
        &place,
        1,
        &line.replace("--out run", "--out other"),
        &["inputs.audio: table.tsv row 3, c.wav: ", problem],
    );
    // A folder is its clips.
    let transcribed = works(&place, "transcribe run more --json");
    let found: serde_json::Value = serde_json::from_str(&transcribed.out).unwrap();
    let files: Vec<&str> =
        found["recordings"].as_array().unwrap().iter().map(|clip| clip["file"].as_str().unwrap()).collect();
    assert_eq!(files, ["more/a.wav", "more/b.wav"]);
    assert!(transcribed.err.contains("more: 1 of 3 files are not of modality audio"), "{}", transcribed.err);
}

#[test]
fn negative_numbers_reach_their_options() {
    let place = place(&[("a.txt", crate::support::text().into_bytes())]);
    // The run does not exist: the arguments are read.
    for line in ["rollout run --target-return -200,-1200", "rollout run --target-return -5 --episodes 2"] {
        fails(&place, 1, line, &["run is no run folder"]);
    }
    fails(&place, 2, "rollout run --episodes -1", &["invalid value '-1' for '--episodes"]);
    works(
        &place,
        &format!(
            "train text {TINY} --set train.max_steps=2 --set data.source=a.txt --set outputs.text.context=16 --out run"
        ),
    );
    fails(
        &place,
        1,
        "generate run --temperature -1",
        &["--temperature: expected a number of at least 0; found -1"],
    );
    fails(
        &place,
        1,
        "generate run --top-p -0.5",
        &["--top-p: expected a number above 0 and at most 1; found -0.5"],
    );
}

#[test]
fn the_images_of_folders_and_tars_are_classified() {
    let mut tar = tar::Builder::new(vec![]);
    let mut add = |name: &str, bytes: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, name, bytes).unwrap();
    };
    add("in/b.png", &png(28, 28));
    add("in/a.txt", b"a");
    let archive = tar.into_inner().unwrap();
    let mut files = photos();
    files.extend([
        ("new.tar", archive),
        ("photos/cat/notes.txt", b"n".to_vec()),
        ("texts/a.txt", b"a".to_vec()),
    ]);
    let place = place(&files);
    works(&place, &image_train("photos"));
    let classified = works(&place, "classify run photos new.tar new.tar/in/b.png --json");
    let found: serde_json::Value = serde_json::from_str(&classified.out).unwrap();
    let rows = found["rows"].as_array().unwrap();
    let names: Vec<&str> = rows.iter().map(|row| row["file"].as_str().unwrap()).collect();
    assert_eq!((names.len(), names[0], names[5]), (12, "photos/cat/0.png", "photos/dog/0.png"));
    assert_eq!(names[10..], ["new.tar/in/b.png", "new.tar/in/b.png"]);
    for location in ["photos", "new.tar"] {
        let note = if location == "photos" {
            "photos: 1 of 11 files are not"
        } else {
            "new.tar: 1 of 2 files are not"
        };
        assert!(classified.err.contains(note), "{}", classified.err);
    }
    assert!(works(&place, "embed run photos --json").out.contains("photos/dog/4.png"));
    assert!(works(&place, "predict run photos").out.contains("photos/dog/4.png"));
    assert!(works(&place, "data check photos/dog").out.contains("5 rows of photos/dog"), "without classes");
    fails(
        &place,
        1,
        "classify run texts",
        &["texts: expected files of modality image, by their endings; found none among 1"],
    );
}

#[test]
fn the_fields_of_one_input_are_given_by_hand() {
    let mut houses = String::from("rooms,area,price\n");
    (1..=20).for_each(|i| houses += &format!("{},{},{}\n", i % 5 + 1, 10 * i, 100 * i));
    let task = "[data]\nsource = \"houses.csv\"\n[inputs.house]\nmodality = \"numbers\"\nfield = [\"rooms\", \"area\"]\n\
                [outputs.price]\nhead = \"regress\"\n";
    let place = place(&[("houses.csv", houses.into_bytes()), ("houses.toml", task.into())]);
    works(&place, &format!("train houses.toml {TINY} --set train.max_steps=2 --out run"));
    for row in ["rooms=3 area=40", "rooms=[3] area=4.5e1"] {
        assert!(works(&place, &format!("predict run --row {row}")).out.contains("price"), "{row}");
    }
    fails(
        &place,
        1,
        "predict run --row rooms=three area=40",
        &["--row rooms=three", "no file has this name"],
    );
}

#[test]
fn a_setting_is_answered_with_the_nearest_one() {
    let place = place(&[]);
    for (unknown, known) in [
        ("lr", "learning_rate"),
        ("max_stesp", "max_steps"),
        ("warmup", "warmup_steps"),
        ("steps", "max_steps"),
    ] {
        let answer = format!(
            "unknown field `{unknown}` in `train`: did you mean train.{known}? `smalti settings train`"
        );
        let line = format!("train text --set train.{unknown}=1 --out run");
        fails(&place, 1, &line, &[&answer]);
        assert!(!ran(smalti(place.path()), &line).err.contains("expected one of"), "{unknown}");
    }
    fails(&place, 1, "settings lr", &["did you mean train.learning_rate?"]);
}

#[test]
fn a_run_without_weights_has_curves() {
    let place = place(&[("a.txt", crate::support::text().into_bytes())]);
    let line = format!(
        "train text {TINY} --set train.max_steps=40 --set train.warmup_steps=0 --set train.learning_rate=1e9 \
         --set data.source=a.txt --set outputs.text.context=16 --out run"
    );
    fails(
        &place,
        1,
        &line,
        &["lower train.learning_rate or train.max_grad_norm; a checkpoint, if the run has one"],
    );
    fails(
        &place,
        1,
        "eval run",
        &["run has no weights yet: model.safetensors", "`smalti show run --curves`"],
    );
    fails(&place, 1, "show run --rules", &["run has no weights yet"]);
    let shown = works(&place, "show run");
    assert!(
        shown.out.contains("text loss: train ") && shown.err.contains("no attention rules: "),
        "{}",
        shown.err
    );
}

#[test]
fn a_finished_run_keeps_its_settings() {
    let place = place(&[("a.txt", crate::support::text().into_bytes())]);
    let line = "--set train.max_steps=2 --set data.source=a.txt --set outputs.text.context=16 --out run";
    let trained = works(&place, &format!("train text {TINY} {line}")).out;
    let settings = std::fs::read(place.path().join("run/run.toml")).unwrap();
    let resumed = works(&place, "train --out run --resume");
    assert!(resumed.err.contains("the run has finished its 2 steps"), "{}", resumed.err);
    assert_eq!(resumed.out, trained, "the metrics");
    let set = "train --out run --resume --set train.learning_rate=0.1";
    let message =
        "train.learning_rate=0.1 has no effect: the run has finished its 2 steps; to train on, add --set";
    fails(&place, 1, set, &[message]);
    assert!(trained.contains("output") && trained.contains("accuracy"), "{trained}");
    assert_eq!(std::fs::read(place.path().join("run/run.toml")).unwrap(), settings);
    assert!(works(&place, "show run --rules").out.starts_with("An example of a few tokens of each kind"));
}

#[test]
fn presets_and_runs_are_tasks() {
    let place = place(&photos());
    works(&place, &image_train("photos"));
    for task in ["run", "image", "run/run.toml"] {
        let tokens = works(&place, &format!("tokenize {task}")).out;
        assert!(
            tokens.contains("tokens of the main stream") && tokens.contains("image.patch"),
            "{task}: {tokens}"
        );
        assert!(works(&place, &format!("data check {task} --samples 2")).out.contains("image"), "{task}");
    }
    fails(
        &place,
        1,
        "tokenize builtin:digits",
        &["builtin:digits: a folder is read as episodes; for other data"],
    );
}
