//! Checkpoints whose settings state other sizes than their weights have, and weights that are no numbers.

use crate::limits::withstands;
use crate::support::{TINY, ran, smalti, text};
use std::fs;
use std::path::Path;

/// A published GPT-2 with the settings of `change`, in the folder `of/name`.
fn gpt2(
    of: &Path,
    name: &str,
    change: impl Fn(&mut serde_json::Value),
    weights: impl Fn(Vec<u8>) -> Vec<u8>,
) {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/checkpoints/gpt2-untied");
    let to = of.join(name);
    fs::create_dir(&to).unwrap();
    let mut config = serde_json::from_slice(&fs::read(from.join("config.json")).unwrap()).unwrap();
    change(&mut config);
    fs::write(to.join("config.json"), config.to_string()).unwrap();
    fs::write(to.join("model.safetensors"), weights(fs::read(from.join("model.safetensors")).unwrap()))
        .unwrap();
}

#[test]
fn sizes_of_config_json_are_held_against_the_weights() {
    let folder = tempfile::tempdir().unwrap();
    for key in ["n_layer", "vocab_size", "n_embd", "n_positions", "n_head", "n_inner"] {
        for size in [1_000_000_u64, 1_000_000_000, 1 << 31, i64::MAX as u64, u64::MAX] {
            let name = format!("{key}-{size}");
            gpt2(folder.path(), &name, |config| config[key] = size.into(), |weights| weights);
            let line = format!("import {name} --out run");
            withstands(&format!("import, {key} = {size}"), folder.path(), &line, &["error: "]);
            assert!(!folder.path().join("run").exists());
        }
    }
}

/// The bytes of a file of safetensors: its header, and what follows.
fn parts(weights: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let n = 8 + u64::from_le_bytes(weights[..8].try_into().unwrap()) as usize;
    (weights[..n].to_vec(), weights[n..].to_vec())
}

#[test]
fn weights_that_are_no_numbers_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let nan = |weights: Vec<u8>| {
        let (header, data) = parts(&weights);
        [header, f32::NAN.to_le_bytes().repeat(data.len() / 4)].concat()
    };
    gpt2(folder.path(), "nan", |_| (), nan);
    withstands("import, weights of NaN", folder.path(), "import nan --out run", &["model.safetensors"]);
    let integers = |weights: Vec<u8>| {
        let (header, data) = parts(&weights);
        [String::from_utf8(header).unwrap().replacen("F32", "I32", 1).into_bytes(), data].concat()
    };
    gpt2(folder.path(), "integers", |_| (), integers);
    withstands(
        "import, weights declared as integers",
        folder.path(),
        "import integers --out run",
        &["expected floating-point numbers"],
    );
    let long = |_| [&(u64::MAX / 2).to_le_bytes()[..], b"{}"].concat();
    gpt2(folder.path(), "long", |_| (), long);
    withstands(
        "import, a header of 2^63 bytes",
        folder.path(),
        "import long --out run",
        &["model.safetensors"],
    );
}

#[test]
fn damage_in_the_weights_of_a_run_is_found() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a.txt"), text()).unwrap();
    let train = format!(
        "train text {TINY} --set data.source=a.txt --set train.max_steps=2 --set outputs.text.context=16 --out run"
    );
    let trained = ran(smalti(folder.path()), &train);
    assert_eq!(trained.code, Some(0), "{}", trained.err);
    for (file, line) in [
        ("model.safetensors", "eval run"),
        ("state.safetensors", "train --resume --out run --set train.max_steps=4"),
    ] {
        let path = folder.path().join("run").join(file);
        let whole = fs::read(&path).unwrap();
        for place in (1..=5).map(|i| whole.len() - i * whole.len() / 12) {
            let mut damaged = whole.clone();
            damaged[place] ^= 64;
            fs::write(&path, damaged).unwrap();
            withstands(&format!("{file}, a bit flipped"), folder.path(), line, &[file]);
        }
        fs::write(&path, whole).unwrap();
    }
    // The settings of the run, made larger than its weights.
    let path = folder.path().join("run/run.toml");
    let settings = fs::read_to_string(&path).unwrap();
    for (from, to) in [("n_layers = 1", "n_layers = 1000000000"), ("d_model = 16", "d_model = 1000000000")] {
        assert!(settings.contains(from), "{settings}");
        fs::write(&path, settings.replace(from, to)).unwrap();
        for line in ["info run", "generate run --prompt a", "show attention run"] {
            withstands(&format!("run.toml, {to}: {line}"), folder.path(), line, &["error: "]);
        }
    }
}
