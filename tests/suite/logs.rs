//! Reading logs of episodes in every format and layout from the command line.
#![cfg(feature = "trajectory")]

use crate::rlds;
use serde_json::{Value, json};
use std::fs;
use std::process::{Command, Output};

fn smalti(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_smalti")).args(args).output().unwrap()
}

/// The JSON output of a command, which must succeed.
fn json(args: &[&str]) -> Value {
    let output = smalti(&[args, &["--json"]].concat());
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The report of `data check` on data with one split.
fn checked(path: &str) -> Value {
    let mut found = json(&["data", "check", path]);
    let mut split = found["splits"][0].take();
    split["skipped"] = found["skipped"].take();
    split
}

/// A field of a split.
fn field<'a>(split: &'a Value, name: &str) -> &'a Value {
    split["fields"].as_array().unwrap().iter().find(|field| field["field"] == name).unwrap()
}

/// A file that another program wrote.
fn data(name: &str) -> String {
    format!("modalities/trajectory/tests/data/{name}")
}

const TABLE: &str = "episode,obs.x,obs.v,action.arm,action.grip,reward,terminated,truncated\n\
                     0,0,1,0.5,0,1,0,0\n0,1,1,0.25,2,1,1,0\n1,0,1,1,1,1,0,1\n";

#[test]
fn a_lerobot_data_set_is_read() {
    let part = checked(&data("lerobot"));
    assert_eq!((&part["rows"], &part["steps"]["total"]), (&json!(2), &json!(7.0)));
    assert_eq!(field(&part, "observations")["found"]["shape"], json!({ "[2]": 7 }));
    assert_eq!(field(&part, "actions")["found"]["shape"], json!({ "[3]": 7 }));
    let skipped: Vec<&str> =
        part["skipped"].as_array().unwrap().iter().map(|s| s[0].as_str().unwrap()).collect();
    assert_eq!(skipped, ["observation.images.top"]);

    let image = &field(&part, "image")["found"];
    assert_eq!((&image["height_x_width"], &image["channels"]), (&json!({ "8×8": 7 }), &json!({ "3": 7 })));

    let tokens = json(&["tokenize", &data("lerobot"), "--patch-size", "4", "--context", "3", "--index", "1"]);
    assert_eq!(
        (&tokens["modality"], &tokens["rows"], &tokens["tokens"]),
        (&json!("trajectory"), &json!(3), &json!(9 + 12))
    );
}

/// A copy of the LeRobot data set with empty files in the place of its videos.
fn with_videos() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let put = |path: &str, bytes: &[u8]| {
        let to = folder.path().join(path);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::write(to, bytes).unwrap();
    };
    for path in ["meta/info.json", "meta/episodes.jsonl", "meta/tasks.jsonl"] {
        put(path, &fs::read(data(&format!("lerobot/{path}"))).unwrap());
    }
    for episode in ["episode_000000", "episode_000001"] {
        let path = format!("data/chunk-000/{episode}.parquet");
        put(&path, &fs::read(data(&format!("lerobot/{path}"))).unwrap());
        put(&format!("videos/chunk-000/observation.images.top/{episode}.mp4"), b"");
    }
    folder
}

#[cfg(unix)]
#[test]
fn videos_are_decoded_by_ffmpeg() {
    use std::os::unix::fs::PermissionsExt;
    let (set, programs) = (with_videos(), tempfile::tempdir().unwrap());
    let check = |path: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_smalti"));
        let output =
            command.args(["data", "check", "--json"]).arg(set.path()).env("PATH", path).output().unwrap();
        let found: Value = serde_json::from_slice(&output.stdout).unwrap();
        (output.status.code(), found["splits"][0].clone())
    };
    let folder = programs.path().to_str().unwrap();
    let (code, part) = check(folder);
    assert_eq!(code, Some(1));
    let problem = part["corrupt"][0]["problem"].as_str().unwrap();
    assert!(problem.contains("install ffmpeg, or leave out the camera images.top"), "{problem}");

    // The tenth argument is the number of images, of 48×64 pixels.
    let script =
        "#!/bin/sh\necho \"$@\" >> \"$(dirname \"$0\")/calls\"\nhead -c $((9216 * ${10})) /dev/zero\n";
    let program = programs.path().join("ffmpeg");
    fs::write(&program, script).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let (code, part) = check(&format!("{folder}:{}", std::env::var("PATH").unwrap()));
    assert_eq!((code, &part["corrupt"]), (Some(0), &json!([])));
    let images = &field(&part, "images.top")["found"];
    assert_eq!(
        (&images["height_x_width"], &images["channels"]),
        (&json!({ "48×64": 7 }), &json!({ "3": 7 }))
    );
    let calls = fs::read_to_string(programs.path().join("calls")).unwrap();
    for (episode, steps) in [("episode_000000", 3), ("episode_000001", 4)] {
        let call =
            format!("observation.images.top/{episode}.mp4 -frames:v {steps} -f rawvideo -pix_fmt rgb24 -");
        assert!(
            calls.lines().any(|line| line.contains("-ss 0.000000 -i file:") && line.ends_with(&call)),
            "{calls}"
        );
    }
}

#[test]
fn invalid_splits_of_a_data_set_are_named() {
    let set = with_videos();
    let info = set.path().join("meta/info.json");
    let text = fs::read_to_string(&info).unwrap();
    fs::write(&info, text.replace("0:2", "all")).unwrap();
    let output = smalti(&["data", "check", set.path().to_str().unwrap()]);
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(errors.contains("splits.train is \"all\"; expected FIRST:END"), "{errors}");
    fs::write(&info, text.replace("\"train\": \"0:2\"", "\"train\": \"0:1\", \"val\": \"1:2\"")).unwrap();
    fs::remove_dir_all(set.path().join("videos")).unwrap();
    let found = json(&["data", "check", set.path().to_str().unwrap()]);
    let splits: Vec<&str> =
        found["splits"].as_array().unwrap().iter().map(|split| split["split"].as_str().unwrap()).collect();
    assert_eq!(splits, ["train", "validation"]);
}

#[test]
fn a_missing_file_of_a_data_set_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    for path in ["meta/info.json", "data/chunk-000/episode_000001.parquet"] {
        let to = folder.path().join(path);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(data(&format!("lerobot/{path}")), to).unwrap();
    }
    let output = smalti(&["data", "check", folder.path().to_str().unwrap()]);
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    let promise = "meta/info.json: expected 2 episodes with 7 steps in total; the files have 1 with 4";
    assert!(errors.contains(promise), "{errors}");
}

#[test]
fn minari_in_arrow_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir_all(folder.path().join("0")).unwrap();
    fs::write(folder.path().join("0/part-0.arrow"), b"ARROW1").unwrap();
    let info = r#"{"data_format": "arrow", "total_episodes": 1, "total_steps": 2}"#;
    fs::write(folder.path().join("metadata.json"), info).unwrap();
    let output = smalti(&["data", "check", folder.path().to_str().unwrap()]);
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(errors.contains("write the data set anew with data_format=\"parquet\""), "{errors}");
}

#[test]
fn tables_and_folders_of_files_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_string();
    fs::write(at("log.csv"), TABLE).unwrap();
    let part = checked(&at("log.csv"));
    assert_eq!((&part["rows"], &part["steps"]["total"]), (&json!(2), &json!(3.0)));
    assert_eq!(field(&part, "end")["classes"], json!({ "terminated": 1, "time_limit": 1 }));
    assert_eq!(field(&part, "actions.arm")["range"], json!([0.25, 1.0]));
    assert_eq!(field(&part, "actions.grip")["found"]["ids"], 3);
    let tokens = json(&["tokenize", &at("log.csv")]);
    let kinds: Vec<&str> =
        tokens["groups"].as_array().unwrap().iter().map(|g| g["kind"].as_str().unwrap()).collect();
    assert_eq!(
        kinds,
        ["return_to_go.number", "observations.number", "actions.arm.number", "actions.grip.number"]
    );

    fs::write(at("more.csv"), TABLE).unwrap();
    fs::write(at("about.md"), "Two tables.").unwrap();
    let part = checked(folder.path().to_str().unwrap());
    assert_eq!((&part["rows"], &part["skipped"][0][0]), (&json!(4), &json!("about.md")));

    fs::write(at("more.csv"), TABLE.replace("0.25", "left")).unwrap();
    let output = smalti(&["data", "check", folder.path().to_str().unwrap(), "--json"]);
    assert_eq!(output.status.code(), Some(1));
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    let corrupt = &found["splits"][0]["corrupt"][0];
    assert!(corrupt["row"].as_str().unwrap().contains("more.csv"), "{corrupt}");
    assert!(
        corrupt["problem"].as_str().unwrap().contains("line 3: column \"action.arm\" is \"left\""),
        "{corrupt}"
    );
}

#[test]
fn an_rlds_data_set_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("push-train.tfrecord-00000-of-00001");
    fs::write(folder.path().join("features.json"), rlds::FEATURES).unwrap();
    let whole = [rlds::episode(3), rlds::episode(2)].concat();
    fs::write(&file, &whole).unwrap();
    let path = folder.path().to_str().unwrap();
    let part = checked(path);
    assert_eq!((&part["rows"], &part["steps"]["total"]), (&json!(2), &json!(5.0)));
    assert_eq!(part["skipped"], json!([["steps/observation/points", "its shape is not fixed"]]));
    assert_eq!(field(&part, "observations")["found"]["shape"], json!({ "[3]": 5 }));
    assert_eq!(field(&part, "end")["classes"], json!({ "terminated": 2 }));

    fs::write(&file, &whole[..whole.len() - 1]).unwrap();
    let output = smalti(&["data", "check", path]);
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(errors.contains("push-train.tfrecord-00000-of-00001: record 1 at byte "), "{errors}");
    assert!(errors.contains("the file is truncated"), "{errors}");
}

#[cfg(feature = "hdf5")]
#[test]
fn hdf5_in_a_process_of_its_own() {
    let part = checked(&data("d4rl.hdf5"));
    assert_eq!((&part["rows"], &field(&part, "end")["classes"]["terminated"]), (&json!(3), &json!(1)));
    let part = checked(&data("main_data.hdf5"));
    assert_eq!(field(&part, "observations.achieved_goal")["holds"], "series of number");
    assert_eq!(field(&part, "observations.observation")["found"]["shape"].as_object().unwrap().len(), 1);
    assert_eq!(json(&["tokenize", &data("main_data.hdf5"), "--context", "4"])["rows"], 2);

    let folder = tempfile::tempdir().unwrap();
    let cut = folder.path().join("cut.hdf5");
    fs::write(&cut, &fs::read(data("main_data.hdf5")).unwrap()[..5000]).unwrap();
    let output = smalti(&["data", "check", cut.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("HDF5: "));
}

#[cfg(not(feature = "hdf5"))]
#[test]
fn hdf5_wants_its_feature() {
    let output = smalti(&["data", "check", &data("d4rl.hdf5")]);
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("HDF5: reading needs a build with the feature `hdf5`"), "{said}");
}
