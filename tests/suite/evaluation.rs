//! The rows that an evaluation measures, and answers for a list of files of which some cannot be read.
#![cfg(all(feature = "text", feature = "image", feature = "audio", feature = "trajectory"))]

use crate::files::png;
use crate::support::{Ran, TINY, ran, smalti};
use serde_json::Value;
use tempfile::TempDir;

fn write(place: &TempDir, name: &str, bytes: &[u8]) {
    let path = place.path().join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, bytes).unwrap();
}

fn run(place: &TempDir, code: i32, line: &str) -> Ran {
    let ran = ran(smalti(place.path()), line);
    assert_eq!(ran.code, Some(code), "smalti {line}\n{}", ran.err);
    ran
}

fn json(ran: &Ran) -> Value {
    serde_json::from_str(&ran.out).unwrap_or_else(|e| panic!("{e}: {}", ran.out))
}

/// Images of two classes in a run's data, and in other data with this number of images in each split.
fn images(splits: &[(&str, usize)]) -> TempDir {
    let place = tempfile::tempdir().unwrap();
    for (class, height) in [("high", 16), ("low", 8)] {
        (0..10).for_each(|i| write(&place, &format!("photos/{class}/{i}.png"), &png(8, height)));
        for (split, n) in splits {
            (0..*n).for_each(|i| write(&place, &format!("others/{split}/{class}/{i}.png"), &png(8, height)));
        }
    }
    place
}

/// Training for two steps on class folders without splits.
fn train(source: &str) -> String {
    format!(
        "train image {TINY} --set train.max_steps=2 --set data.source={source} --set inputs.image.patch_size=4 \
         --set inputs.image.image_size=[16,8] --set data.train= --set data.validation= --out run"
    )
}

#[test]
fn all_rows_of_other_data_are_measured() {
    let place = images(&[("train", 3), ("test", 2)]);
    let trained = run(&place, 0, &train("photos"));
    assert!(trained.out.contains("samples"), "{}", trained.out);
    let own = run(&place, 0, "eval run");
    assert!(own.out.contains("measured on 10% held out of 20 rows of photos at random"), "{}", own.out);
    assert_eq!(json(&run(&place, 0, "eval run --json"))["class"]["samples"], 2.0);

    // The run's own data are not needed.
    std::fs::remove_dir_all(place.path().join("photos")).unwrap();
    let others = run(&place, 0, "eval run --data others");
    assert!(others.out.contains("measured on all 10 rows of others (test 4, train 6)"), "{}", others.out);
    let samples = |line: &str| json(&run(&place, 0, line))["class"]["samples"].clone();
    assert_eq!(samples("eval run --data others --json"), 10.0);
    let narrow = "eval run --data others --set data.validation=split=test --json";
    assert_eq!(samples(narrow), 4.0);
    std::fs::remove_dir_all(place.path().join("others/train")).unwrap();
    assert_eq!(samples("eval run --data others --json"), 4.0, "a folder with only `test` is measured");
}

#[test]
fn all_windows_of_another_text_are_measured() {
    let place = tempfile::tempdir().unwrap();
    write(&place, "a.txt", crate::support::text().as_bytes());
    write(&place, "b.txt", &b"the quick brown fox jumps over it. ".repeat(10));
    let line = format!(
        "train text {TINY} --set train.max_steps=2 --set data.source=a.txt --set outputs.text.context=16 --out run"
    );
    run(&place, 0, &line);
    let own = run(&place, 0, "eval run");
    assert!(
        own.out.contains("measured on the last 10% of the tokens of the only row of a.txt"),
        "{}",
        own.out
    );
    let other = run(&place, 0, "eval run --data b.txt --json");
    assert!(other.err.contains("measured on the only row of b.txt"), "{}", other.err);
    assert_eq!(json(&other)["text"]["samples"], f64::from((350 - 1) / 16));
    // The tokenizer is the run's, so another context would change nothing.
    let refused = run(&place, 1, "eval run --data b.txt --set outputs.text.context=8");
    assert!(refused.err.contains("context of text: expected a setting of the data"), "{}", refused.err);
}

#[test]
fn long_texts_are_truncated_with_a_note_and_zero_is_all_classes() {
    let place = tempfile::tempdir().unwrap();
    let rows: String =
        (0..30).map(|i| format!("good {i},yes\nbad {i},no\nodd {i},so\neven {i},or\n")).collect();
    write(&place, "words.csv", format!("words,label\n{rows}").as_bytes());
    let task = "[data]\nsource = \"words.csv\"\n[inputs.words]\nmodality = \"text\"\ncontext = 16\n\
                [outputs.label]\nhead = \"classify\"\n[train]\nmax_steps = 2\n";
    write(&place, "task.toml", task.as_bytes());
    write(&place, "long.txt", "good bad ".repeat(10).as_bytes());
    run(&place, 0, &format!("train task.toml {TINY} --out run"));
    for command in ["classify", "predict"] {
        let all = run(&place, 0, &format!("{command} run long.txt --top 0"));
        assert!(
            ["yes", "no", "so", "or"].iter().all(|class| all.out.contains(&format!("{class} "))),
            "{}",
            all.out
        );
        assert!(all.err.contains("truncated to the length that the model reads"), "{command}: {}", all.err);
    }
}

#[test]
fn one_bad_file_of_a_list_is_named_and_the_others_are_answered() {
    let place = images(&[]);
    run(&place, 0, &train("photos"));
    write(&place, "bad.png", b"\x89PNG and no more");
    for command in ["classify", "predict", "embed"] {
        let files = "photos/high/0.png bad.png photos/low/0.png none.png";
        let listed = run(&place, 1, &format!("{command} run {files}"));
        for good in ["photos/high/0.png", "photos/low/0.png"] {
            assert!(listed.out.contains(good), "{command}: {}", listed.out);
        }
        assert!(!listed.out.contains("bad.png"), "{command}: {}", listed.out);
        for expected in ["error: bad.png", "error: none.png", "2 of 4 files have no answer"] {
            assert!(listed.err.contains(expected), "{command}: {}", listed.err);
        }
        let listed = run(&place, 1, &format!("{command} run {files} --json"));
        let found = json(&listed);
        let rows = found.as_object().unwrap().values().find_map(Value::as_array).unwrap();
        let errors = rows.iter().filter(|row| row["error"].is_string()).count();
        assert_eq!((rows.len(), errors), (4, 2), "{command}: {found}");
        let alone = run(&place, 1, &format!("{command} run bad.png"));
        assert!(alone.out.is_empty() && alone.err.contains("bad.png"), "{command}: {}", alone.err);
    }
}

#[test]
fn a_single_class_is_noticed() {
    let place = tempfile::tempdir().unwrap();
    (0..10).for_each(|i| write(&place, &format!("photos/cat/{i}.png"), &png(8, 8)));
    let line = train("photos").replace("--set inputs.image.image_size=[16,8] ", "");
    let noticed = run(&place, 0, &line).err;
    let expected = "note: outputs.class: all training rows have the class \"cat\"";
    assert_eq!(noticed.matches(expected).count(), 1, "{noticed}");
}

#[test]
fn a_log_without_rewards_trains_by_behaviour_cloning() {
    let place = tempfile::tempdir().unwrap();
    let rows = (0..40).map(|i| format!("{},{},{}\n", i / 5, i % 5, i % 2)).collect::<String>();
    write(&place, "log.csv", format!("episode,obs.x,action\n{rows}").as_bytes());
    let line = format!(
        "train trajectory {TINY} --set train.max_steps=2 --set data.source=log.csv --set data.context=4 \
         --set data.holdout=0.3"
    );
    let refused = run(&place, 1, &format!("{line} --out refused")).err;
    for expected in [
        "log.csv: no field \"rewards\" for data.derived.return_to_go",
        "--set data.derived.return_to_go.field=FIELD",
        "--set data.derived= --set inputs.return_to_go=",
    ] {
        assert!(refused.contains(expected), "{refused}");
    }
    run(&place, 0, &format!("{line} --set data.derived= --set inputs.return_to_go= --out run"));
}

#[test]
fn data_check_names_the_layout_and_the_reason() {
    let place = tempfile::tempdir().unwrap();
    write(&place, "people.csv", b"name,age\nAda,36\nBob,40\n");
    let shown = run(&place, 0, "data check people.csv").out;
    assert!(shown.starts_with("layout: rows"), "{shown}");
    let reason = "not episodes: it has no columns of observations and actions; found name, age";
    assert!(shown.lines().nth(1).is_some_and(|line| line.contains(reason)), "{shown}");
    let found = json(&run(&place, 0, "data check people.csv --json"));
    assert_eq!(found["layout"], "rows");
    let reason = "it has no columns of observations and actions; found name, age";
    assert_eq!(found["others"]["episodes"], reason);
    write(&place, "a.npy", b"\x93NUMPY\x01\0");
    let refused = run(&place, 1, "data check a.npy");
    assert!(refused.out.is_empty() && refused.err.contains("a.npy: it is in none"), "{}", refused.err);
    let refused = run(&place, 1, "tokenize people.jsonl").err;
    assert!(refused.contains("people.jsonl: not found"), "{refused}");
    write(&place, "people.jsonl", b"{\"name\": \"Ada\"}\n");
    let refused = run(&place, 1, "tokenize people.jsonl").err;
    assert!(
        refused.contains("it has the layout rows with the fields name, not that of episodes"),
        "{refused}"
    );
}
