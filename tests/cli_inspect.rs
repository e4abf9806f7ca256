//! The commands that look: `smalti tokenize`, `data`, `info` and `show`, run as a user runs them.
#![cfg(all(feature = "text", feature = "image", feature = "audio", feature = "trajectory"))]

use safetensors::{Dtype, SafeTensors};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::LazyLock;
use tempfile::TempDir;

const WAV: &str = "builtin:touchtone.tar/clips/000.wav";
const IDX: &str = "builtin:digits/t10k-images-idx3-ubyte";
const LOG: &str = "builtin:cartpole-mixed.npz";
const TEXT: &str = "builtin:text/smalti.txt";

fn smalti(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_smalti")).args(args).output().unwrap()
}

/// What a command prints, which must succeed.
fn printed(args: &[&str]) -> String {
    let output = smalti(args);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{args:?}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

fn json(args: &[&str]) -> Value {
    serde_json::from_str(&printed(&[args, &["--json"]].concat())).unwrap()
}

/// What a command says as it fails with this exit code.
fn refusal(code: i32, args: &[&str]) -> String {
    let output = smalti(args);
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{args:?}: {errors}");
    errors
}

/// A folder with these files.
fn folder(files: &[(&str, &[u8])]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (path, bytes) in files {
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    folder
}

fn at(folder: &TempDir, path: &str) -> String {
    folder.path().join(path).to_str().unwrap().into()
}

/// A 1×2 picture.
fn bmp() -> Vec<u8> {
    let mut file = b"BM".to_vec();
    // Size of the file, nothing, where the pixels are; size of the header, width, height.
    [62_u32, 0, 54, 40, 2, 1].iter().for_each(|number| file.extend(number.to_le_bytes()));
    [1_u16, 24].iter().for_each(|number| file.extend(number.to_le_bytes()));
    file.extend([0; 24]);
    file.extend([0, 0, 255, 255, 0, 0, 0, 0]); // red, blue, two bytes to fill the row
    file
}

/// A run of two steps, made once.
static RUN: LazyLock<(TempDir, String)> = LazyLock::new(|| {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run").to_str().unwrap().to_string();
    let settings = [
        "train.steps=2",
        "train.log_every=1",
        "train.eval_every=1",
        "train.eval_samples=2",
        "model.d_model=16",
        "model.n_layers=2",
        "data.context=8",
    ];
    let set = settings.iter().flat_map(|setting| ["--set", setting]);
    printed(&["train", "text", "--out", &run].into_iter().chain(set).collect::<Vec<_>>());
    (folder, run)
});

#[test]
fn each_modality_is_tokenized() {
    for (file, modality, kinds) in [
        (TEXT, "text", &["character"][..]),
        (IDX, "image", &["patch"]),
        (WAV, "audio", &["slice"]),
        (LOG, "trajectory", &["return", "state", "action"]),
    ] {
        let table = printed(&["tokenize", file]);
        let value = json(&["tokenize", file]);
        assert_eq!((value["file"].as_str(), value["modality"].as_str()), (Some(file), Some(modality)));
        let groups = value["groups"].as_array().unwrap();
        assert_eq!(groups.iter().map(|group| group["kind"].as_str().unwrap()).collect::<Vec<_>>(), kinds);
        let tokens = groups.iter().map(|group| group["tokens"].as_u64().unwrap()).sum::<u64>();
        assert_eq!(value["tokens"].as_u64(), Some(tokens));
        for group in groups {
            let keys: Vec<_> = group.as_object().unwrap().keys().map(String::as_str).collect();
            assert_eq!(keys, ["axes", "content", "kind", "order", "time", "tokens"]);
        }
        assert!(
            table.contains(&format!("{modality}, record 0 of"))
                && kinds.iter().all(|kind| table.contains(kind))
        );
    }
}

#[test]
fn tokens_are_what_the_options_ask_for() {
    let picture =
        json(&["tokenize", IDX, "--patch", "2", "--size", "8x16", "--channels", "3", "--record", "359"]);
    assert_eq!((picture["records"].as_u64(), picture["tokens"].as_u64()), (Some(360), Some(32)));
    assert_eq!(picture["groups"][0]["content"]["features"]["dim"], 12);
    let columns = serde_json::json!({ "name": "column", "span": { "least": 0, "most": 7 } });
    assert_eq!(picture["groups"][0]["axes"][1], columns);

    let clip = json(&["tokenize", WAV, "--sample-rate", "8000", "--n-mels", "20", "--frames-per-slice", "2"]);
    assert_eq!(clip["groups"][0]["content"]["features"]["dim"], 40);

    let steps = json(&["tokenize", LOG, "--context", "5", "--first", "3"]);
    assert_eq!(steps["tokens"], 15);
    let first = steps["first"].as_array().unwrap();
    assert_eq!(
        first.iter().map(|token| token["kind"].as_str().unwrap()).collect::<Vec<_>>(),
        ["return", "state", "action"]
    );
    assert!(first[2]["id"].is_u64() && first[1]["features"].as_array().unwrap().len() == 4);

    let folder = folder(&[("greeting", "h\u{e9}".as_bytes())]);
    let file = at(&folder, "greeting");
    assert_eq!(json(&["tokenize", &file])["tokens"], 2);
    let bytes = json(&["tokenize", &file, "--bytes"]);
    assert_eq!((&bytes["tokens"], &bytes["groups"][0]["kind"]), (&3.into(), &"byte".into()));
    assert!(printed(&["tokenize", &file]).contains("1 \"é\""), "an id is shown with its character");
}

#[test]
fn tensors_are_written() {
    let folder = tempfile::tempdir().unwrap();
    let out = at(&folder, "tokens.safetensors");
    let value = json(&["tokenize", LOG, "--out", &out, "--first", "2"]);
    let bytes = fs::read(&out).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    assert_eq!(file.len(), 12);
    let states = file.tensor("state.content").unwrap();
    assert_eq!((states.dtype(), states.shape()), (Dtype::F32, &[20, 4][..]));
    let (first, _) = states.data().split_first_chunk::<4>().unwrap();
    let expected = value["first"][1]["features"][0].as_f64().unwrap();
    assert!((f64::from(f32::from_le_bytes(*first)) - expected).abs() < 1e-6);
    for (name, shape) in
        [("action.content", &[20][..]), ("action.order", &[20]), ("return.positions", &[20, 0])]
    {
        let tensor = file.tensor(name).unwrap();
        assert_eq!((tensor.dtype(), tensor.shape()), (Dtype::U32, shape), "{name}");
    }
    let order: Vec<u8> = (0..20_u32).flat_map(|step| (3 * step + 2).to_le_bytes()).collect();
    assert_eq!(file.tensor("action.order").unwrap().data(), order);

    let nowhere = at(&folder, "no/such/folder.safetensors");
    assert!(refusal(1, &["tokenize", LOG, "--out", &nowhere]).contains("no/such/folder.safetensors"));
}

#[test]
fn what_cannot_be_tokenized_is_named() {
    let wav = smalti::data::read(WAV).unwrap();
    let files = folder(&[
        ("empty.wav", b""),
        ("cut.wav", &wav[..wav.len() / 2]),
        ("text.wav", b"not a sound"),
        ("text.npz", b"not a log"),
        ("cut.bmp", &bmp()[..40]),
        ("latin.txt", b"caf\xe9"),
        ("log.jsonl", b"{\"observations\": [[1]], \"actions\": [0]}"),
        ("blob", &[0xff, 0, 0xfe]),
    ]);
    let names = fs::read_dir(files.path()).unwrap().map(|entry| entry.unwrap().file_name());
    for name in names.map(|name| name.into_string().unwrap()).chain(["missing.wav".into()]) {
        let message = refusal(1, &["tokenize", &at(&files, &name)]);
        assert!(message.starts_with("error: ") && message.contains(&name), "{message}");
    }
    assert!(refusal(1, &["tokenize", &at(&files, "blob")]).contains("--as text, image, audio or trajectory"));
    assert!(refusal(1, &["tokenize", WAV, "--as", "image"]).contains("000.wav"));
    let stray = refusal(1, &["tokenize", WAV, "--patch", "4"]);
    assert!(stray.contains("--patch is for image") && stray.contains("read as audio"), "{stray}");
    let far = refusal(1, &["tokenize", IDX, "--record", "360"]);
    assert!(far.contains("--record 360 is not among the 360 records"), "{far}");
    assert!(refusal(1, &["tokenize", LOG, "--context", "0"]).contains("context"));
    let uneven = refusal(1, &["tokenize", IDX, "--patch", "3"]);
    assert!(uneven.contains("must be a multiple of the patch size 3"), "{uneven}");
}

#[test]
fn wrong_usage_exits_with_2() {
    for args in [
        &["tokenize", WAV, "--colour"][..],
        &["tokenize", IDX, "--size", "8"],
        &["tokenize", WAV, "--as", "video"],
        &["tokenize"],
        &["data", "have"],
        &["data", "get"],
        &["info"],
        &["show", "run", "--rule"],
    ] {
        assert!(refusal(2, args).contains("Usage") || refusal(2, args).contains("--help"), "{args:?}");
    }
}

#[test]
fn data_are_listed_and_made() {
    let sets = json(&["data", "list"]);
    let names: Vec<_> =
        sets["sets"].as_array().unwrap().iter().map(|set| set["name"].as_str().unwrap()).collect();
    for name in ["text", "digits", "touchtone", "cartpole", "mnist", "fsdd", "tinyshakespeare"] {
        assert!(names.contains(&name), "{name}");
    }
    let table = printed(&["data", "list"]);
    assert!(table.contains("builtin:touchtone.tar") && table.contains("smalti data get mnist"));

    let folder = tempfile::tempdir().unwrap();
    let out = at(&folder, "made/here");
    let made = json(&["data", "make", "touchtone", "--out", &out]);
    let bytes = fs::read(made["file"].as_str().unwrap()).unwrap();
    assert!(bytes == smalti::data::read("builtin:touchtone.tar").unwrap(), "{} bytes", bytes.len());
    assert!(refusal(1, &["data", "make", "mnist"]).contains("there are cartpole and touchtone"));
}

#[test]
fn another_file_than_the_recipes_is_refused() {
    let mirror = folder(&[("input.txt", b"To be, or not to be")]);
    let out = tempfile::tempdir().unwrap();
    let (from, to) = (mirror.path().to_str().unwrap(), out.path().to_str().unwrap());
    let message = refusal(1, &["data", "get", "tinyshakespeare", "--mirror", from, "--out", to]);
    assert!(message.contains("input.txt: size is 19; expected 1115394; nothing was kept"), "{message}");
    assert_eq!(fs::read_dir(out.path().join("tinyshakespeare")).unwrap().count(), 0);
    let message = refusal(1, &["data", "get", "fsdd", "--mirror", from, "--out", to]);
    assert!(message.contains("v1.0.9.tar.gz: not found"), "{message}");
    assert!(refusal(1, &["data", "get", "imagenet"]).contains("no recipe \"imagenet\"; there is mnist"));
}

#[test]
#[ignore = "needs SMALTI_DATA"]
fn the_recipes_own_file_is_fetched_from_a_mirror() {
    let real = std::env::var("SMALTI_DATA").expect("SMALTI_DATA names the folder of real data");
    let text = fs::read(Path::new(&real).join("text/tinyshakespeare.txt")).unwrap();
    let mirror = folder(&[("input.txt", &text)]);
    let out = tempfile::tempdir().unwrap();
    let (from, to) = (mirror.path().to_str().unwrap(), out.path().to_str().unwrap());
    let got = json(&["data", "get", "tinyshakespeare", "--mirror", from, "--out", to]);
    let file = PathBuf::from(got["folder"].as_str().unwrap()).join("tinyshakespeare.txt");
    assert!(fs::read(&file).unwrap() == text);
    let checked = json(&["data", "check", file.to_str().unwrap()]);
    assert_eq!(checked["parts"][0]["found"]["distinct_characters"], 65);
}

#[test]
fn what_ships_is_sound() {
    let found = |path: &str| json(&["data", "check", path])["parts"].clone();
    let digits = found("builtin:digits");
    assert_eq!((&digits[0]["split"], &digits[0]["samples"]), (&"train".into(), &1437.into()));
    assert_eq!((&digits[1]["split"], &digits[1]["samples"]), (&"test".into(), &360.into()));
    assert_eq!(digits[1]["found"]["height_x_width"], serde_json::json!({ "8×8": 360 }));
    let test = found(IDX);
    assert_eq!(test[0]["found"], digits[1]["found"], "an images file brings its labels");
    let keys = found("builtin:touchtone.tar");
    assert_eq!(keys[0]["what"], "recordings with their texts");
    assert_eq!(keys[0]["found"]["without_text"], 0);
    assert_eq!(found(LOG)[0]["found"]["actions"], "2 discrete");
    assert!(found(TEXT)[0]["found"]["lines"].as_u64().unwrap() > 1000);
    assert_eq!(found(WAV)[0]["found"]["sample_rates"], serde_json::json!({ "4000": 1 }));
    assert!(printed(&["data", "check", "builtin:digits"]).contains("train: labelled pictures in IDX files"));
}

#[test]
fn bad_samples_are_named() {
    let wav = smalti::data::read(WAV).unwrap();
    let log = "{\"observations\": [[1]], \"actions\": [0], \"rewards\": [1]}\n{\"observations\":\n";
    let data = folder(&[
        ("pictures/cat/good.bmp", &bmp()),
        ("pictures/dog/cut.bmp", &bmp()[..50]),
        ("pictures/dog/notes.txt", b"a dog"),
        ("clips/manifest.tsv", b"path\ttext\ngood.wav\tone\ncut.wav\ttwo\nmissing.wav\tthree\n"),
        ("clips/good.wav", &wav),
        ("clips/cut.wav", &wav[..wav.len() / 2]),
        ("log.jsonl", log.as_bytes()),
        ("cut.wav", &wav[..30]),
        ("latin.txt", b"caf\xe9"),
        ("cut.tar", &smalti::data::read("builtin:touchtone.tar").unwrap()[..5000]),
    ]);
    let check = |path: &str, bad: &[&str]| {
        let path = at(&data, path);
        let output = smalti(&["data", "check", &path, "--json"]);
        let errors = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{path}: {errors}");
        assert!(errors.contains(&format!("{path}: {} of ", bad.len())), "{errors}");
        let value: Value = serde_json::from_slice(&output.stdout).unwrap();
        let named =
            value["parts"][0]["bad"].as_array().unwrap().iter().map(|bad| bad["name"].as_str().unwrap());
        for (name, expected) in named.zip(bad) {
            assert!(name.ends_with(expected), "{name}");
        }
        value["parts"][0].clone()
    };
    let pictures = check("pictures", &["pictures/dog/cut.bmp"]);
    assert_eq!(pictures["skipped"][0][1], "not a picture");
    assert_eq!(pictures["found"]["classes"], serde_json::json!({ "cat": 1, "dog": 1 }));
    check("clips", &["cut.wav", "missing.wav"]);
    check("clips/manifest.tsv", &["cut.wav", "missing.wav"]);
    check("log.jsonl", &["episode 1"]);
    check("cut.wav", &["cut.wav"]);
    for path in ["latin.txt", "cut.tar", "nowhere"] {
        let message = refusal(1, &["data", "check", &at(&data, path)]);
        assert!(message.contains(path), "{message}");
    }
    assert!(
        refusal(1, &["data", "check", WAV, "--split", "test"]).contains("--split is for labelled pictures")
    );
    assert!(refusal(1, &["data", "check", "builtin:digits", "--split", "dev"]).contains("no split \"dev\""));
    assert!(printed(&["data", "check", &at(&data, "clips/good.wav")]).contains("a recording, 1 sample\n"));
}

#[test]
fn a_run_says_what_it_is() {
    let (_, run) = &*RUN;
    let info = json(&["info", run]);
    let keys: Vec<_> = info.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(
        keys,
        ["best", "kinds", "not_used", "parameters", "run", "settings", "step", "tasks", "weights"]
    );
    assert_eq!((&info["step"], &info["settings"]["model"]["d_model"]), (&2.into(), &16.into()));
    assert_eq!(
        (&info["tasks"][0]["name"], &info["kinds"][0]["name"]),
        (&"text".into(), &"text.character".into())
    );
    let parts = info["parameters"].as_object().unwrap();
    let total = parts["total"].as_u64().unwrap();
    assert_eq!(parts.values().filter_map(Value::as_u64).sum::<u64>(), 2 * total);
    assert!(info["best"]["metrics"]["text"]["loss"].as_f64().unwrap() > 0.0);
    let files: Vec<_> =
        info["weights"].as_array().unwrap().iter().map(|saved| saved["file"].as_str()).collect();
    assert_eq!(files, [Some("model.safetensors"), Some("state.safetensors")]);
    let table = printed(&["info", run]);
    assert!(
        table.contains("d_model = 16") && table.contains(&total.to_string()) && table.contains("at step 2")
    );
}

#[test]
fn a_run_is_drawn() {
    let (_, run) = &*RUN;
    let folder = tempfile::tempdir().unwrap();
    let out = at(&folder, "drawn");
    let drawn = printed(&["show", run, "--out", &out]);
    let picture = "text: self-attention, every layer\n\n      cccccccc\n    c x.......\n    c xx......\n";
    assert!(drawn.contains(picture) && drawn.contains("character sees character: causal"), "{drawn}");
    assert!(drawn.contains("text loss: train ") && drawn.contains("text accuracy: valid "), "{drawn}");
    for name in ["rules.svg", "curves.svg"] {
        assert!(fs::read_to_string(Path::new(&out).join(name)).unwrap().starts_with("<svg"), "{name}");
    }
    let rules = printed(&["show", run, "--rules"]);
    assert!(rules.contains("self-attention") && !rules.contains("loss"));
    let curves = json(&["show", run, "--curves"]);
    assert!(curves["rules"].is_null());
    assert_eq!(curves["curves"][0]["curves"][0]["points"].as_array().unwrap().len(), 2);
}

#[test]
fn what_is_no_run_or_a_damaged_one_is_named() {
    let (_, run) = &*RUN;
    let folder = tempfile::tempdir().unwrap();
    for command in ["info", "show"] {
        let message = refusal(1, &[command, &at(&folder, "nothing")]);
        assert!(message.contains("nothing is no run folder"), "{message}");
    }
    for file in ["run.toml", "tokenizers.json", "metrics.jsonl", "model.safetensors"] {
        let damaged = tempfile::tempdir().unwrap();
        for name in ["run.toml", "tokenizers.json", "metrics.jsonl", "model.safetensors"] {
            fs::copy(Path::new(run).join(name), damaged.path().join(name)).unwrap();
        }
        let path = damaged.path().join(file);
        let bytes = fs::read(&path).unwrap();
        fs::write(&path, [&bytes[..bytes.len() / 2], b"\n{\n"].concat()).unwrap();
        let message = refusal(1, &["info", damaged.path().to_str().unwrap()]);
        assert!(message.contains(file), "{file}: {message}");
    }
}
