//! Logs with images, from the file to a policy that acts on images.

#![cfg(all(unix, feature = "trajectory"))]

use crate::files;
use crate::support;

use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use support::{Ran, TINY, image_policy, ran, smalti};
use tempfile::TempDir;

/// A folder with a log of four steps an episode, whose images determine the action.
fn place() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("log.npz"), files::image_log()).unwrap();
    folder
}

fn works(folder: &Path, line: &str) -> Value {
    let ran = ran(smalti(folder), &format!("{line} --json"));
    assert_eq!(ran.code, Some(0), "smalti {line}\n{}", ran.err);
    serde_json::from_str(&ran.out).unwrap()
}

/// The error of a command, which must fail.
fn error_of(folder: &Path, line: &str) -> String {
    let ran = ran(smalti(folder), line);
    assert_eq!(ran.code, Some(1), "smalti {line}\n{}", ran.out);
    ran.err
}

/// The settings of a policy that acts on images.
const SETTINGS: &str = r#"
[data]
source = "log.npz"
context = 4

[data.derived.return_to_go]
kind = "return_to_go"
field = "rewards"

[inputs.return_to_go]
modality = "numbers"

[inputs.front]
modality = "image"
patch_size = 2

[outputs.actions]
head = "classify"

[model]
d_model = 32
n_layers = 2
attention.n_heads = 2

[train]
max_steps = 120
batch_size = 16
learning_rate = 3e-3
"#;

fn rollout(folder: &Path, manner: &str, more: &str) -> Ran {
    let script = std::path::absolute("tests/support/environment.py").unwrap();
    let mut command = smalti(folder);
    command.args(["rollout", "run", "--env", &format!("python3 '{}' {manner}", script.display())]);
    ran(command, more)
}

#[test]
fn a_policy_acts_on_images() {
    let folder = place();
    fs::write(folder.path().join("policy.toml"), SETTINGS).unwrap();
    works(folder.path(), "train policy.toml --out run");
    let measured = works(folder.path(), "eval run");
    assert_eq!(measured["actions"]["accuracy"], 1.0, "{measured}");
    for manner in ["eye", "eye-twice"] {
        let played = rollout(folder.path(), manner, "--target-return 4 --episodes 30 --random --json");
        assert_eq!(played.code, Some(0), "{}", played.err);
        let played: Value = serde_json::from_str(&played.out).unwrap();
        assert_eq!(played["rollouts"][0]["return_mean"], 4.0, "{played}");
        assert!(played["random"]["return_mean"].as_f64().unwrap() < 3.0, "{played}");
    }
    let narrow = rollout(folder.path(), "eye-narrow", "--episodes 1");
    let message = "episode 0: inputs.front: step 0: patch_size 2 does not divide the image's 4×3 pixels";
    assert!(narrow.code == Some(1) && narrow.err.contains(message), "{}", narrow.err);
    let other = rollout(folder.path(), "eye-other", "--episodes 1");
    let message = "has cameras [\"side\"]; the model reads images of [\"front\"]";
    assert!(other.code == Some(1) && other.err.contains(message), "{}", other.err);
    let blind = rollout(folder.path(), "cartpole", "--episodes 1");
    assert!(blind.code == Some(1) && blind.err.contains("has states of 4 numbers"), "{}", blind.err);
}

#[test]
fn images_of_a_log_are_tokenized_and_checked() {
    let folder = place();
    let tokens =
        works(folder.path(), "tokenize log.npz --patch-size 2 --context 4 --index 3 --image log.png");
    let groups = tokens["groups"].as_array().unwrap();
    let kinds: Vec<_> =
        groups.iter().map(|group| (group["kind"].as_str().unwrap(), &group["tokens"])).collect();
    assert_eq!(
        kinds,
        [("return_to_go.number", &json!(4)), ("front.patch", &json!(16)), ("actions.number", &json!(4))]
    );
    assert!(folder.path().join("log.png").exists());
    let stray = error_of(folder.path(), "tokenize builtin:cartpole-mixed.npz --patch-size 2");
    assert!(stray.contains("--patch-size, --image-size and --num-channels are for images"), "{stray}");
    let uneven = error_of(folder.path(), "tokenize log.npz --patch-size 16");
    assert!(uneven.contains("patch_size 16 does not divide the image's 4×4 pixels"), "{uneven}");

    let split =
        works(folder.path(), "data check log.npz --patch-size 8 --image-size 8x16")["splits"][0].clone();
    let front = &field(&split, "front")["found"];
    assert_eq!(
        (&front["height_x_width"], &front["channels"]),
        (&json!({ "4×4": 160 }), &json!({ "1": 160 }))
    );
    let fields = split["fields"].as_array().unwrap();
    assert!(fields.iter().all(|field| field["field"] != "observations"));
    assert_eq!(split["corrupt"], json!([]));
    let tokens =
        ["front", "rewards", "actions"].map(|name| field(&split, name)["tokens"]["total"].as_u64().unwrap());
    assert_eq!(tokens.iter().sum::<u64>(), 160 * 4, "two patches, a return and an action a step");
}

/// A field of a split.
fn field<'a>(split: &'a Value, name: &str) -> &'a Value {
    split["fields"].as_array().unwrap().iter().find(|field| field["field"] == name).unwrap()
}

/// One episode of two steps, with images in separate files.
const LINES: &str = r#"{"images": {"front": {"files": ["0/a.png", "0/b.png"]}}, "actions": [0, 1], "rewards": [1, 1]}
{"images": {"front": {"files": ["1/a.png", "1/b.png"]}}, "actions": [1, 0], "rewards": [0, 1]}
"#;

#[test]
fn images_in_separate_files_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| fs::write(folder.path().join(name), bytes).unwrap();
    fs::create_dir(folder.path().join("0")).unwrap();
    fs::create_dir(folder.path().join("1")).unwrap();
    write("log.jsonl", LINES.as_bytes());
    for name in ["0/a.png", "0/b.png", "1/a.png", "1/b.png"] {
        write(name, &files::png(8, 8));
    }
    let tokens = works(folder.path(), "tokenize log.jsonl --patch-size 4");
    assert_eq!(tokens["groups"][1]["tokens"], 8);
    let split = works(folder.path(), "data check log.jsonl --patch-size 4")["splits"][0].clone();
    assert_eq!(field(&split, "front")["found"]["height_x_width"], json!({ "8×8": 4 }));
    write("policy.toml", image_policy("log.jsonl", 4).as_bytes());
    let train = format!(
        "train policy.toml {TINY} --set data.holdout=0.5 --set train.max_steps=4 --set train.eval_samples=2 --out run"
    );
    works(folder.path(), &train);

    // An image of another size, a file that is not an image, a missing file: the error names file, episode, camera and step.
    let bad = |bytes: Option<&[u8]>, message: &str| {
        match bytes {
            Some(bytes) => write("1/b.png", bytes),
            None => fs::remove_file(folder.path().join("1/b.png")).unwrap(),
        }
        let checked = ran(smalti(folder.path()), "data check log.jsonl --patch-size 4");
        let named = ["log.jsonl (episode 1), field front: ", "step 1: ", message];
        let has_all = named.iter().all(|message| checked.out.contains(message));
        assert!(checked.code == Some(1) && has_all, "{named:?} in: {}", checked.out);
        if !message.contains("expected 8×8") {
            let trained = error_of(folder.path(), &train.replace("--out run", "--out other"));
            assert!(
                ["log.jsonl (episode 1)", "front", message].iter().all(|message| trained.contains(message)),
                "{trained}"
            );
        }
    };
    bad(Some(&files::png(8, 4)), "expected 8×8 pixels, as in the other frames; found 4×8");
    bad(Some(b"no image"), "not readable as image: ");
    bad(None, "1/b.png: not found");
    write("log.jsonl", LINES.replace("1/b.png", "../b.png").as_bytes());
    let out = ran(smalti(folder.path()), "data check log.jsonl --patch-size 4").out;
    assert!(out.contains("the path \"../b.png\" is not allowed: it leads out of its folder"), "{out}");
}

#[test]
fn images_of_a_lerobot_data_set_are_read() {
    let data = std::path::absolute("modalities/trajectory/tests/data/lerobot").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let settings = image_policy(&data.display().to_string(), 4).replace("[inputs.front]", "[inputs.image]");
    fs::write(folder.path().join("policy.toml"), settings).unwrap();
    let train = |more: &str| {
        format!(
            "train policy.toml {TINY} --set data.context=3 --set data.holdout=0.5 --set outputs.actions.head=regress \
             --set train.max_steps=4 --set train.eval_samples=2 {more}"
        )
    };
    works(folder.path(), &train("--out run"));
    let video = error_of(folder.path(), &train("--set inputs.image.field=images.top --out other"));
    assert!(video.contains("no row has the field \"images.top\"") && video.contains(" image,"), "{video}");
    assert!(video.contains("observation.images.top: its video files are not there"), "{video}");
}
