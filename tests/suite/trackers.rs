//! What a training leaves for others to read: event files of TensorBoard, and the model card.

#![cfg(all(feature = "text", feature = "image", feature = "audio", feature = "trajectory"))]

use crate::support::{Ran, TINY, ran, smalti};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

const SHORT: &str =
    "--set train.max_steps=4 --set train.eval_every=2 --set train.eval_samples=4 --set train.log_every=1";

fn run(place: &TempDir, line: &str) -> Ran {
    ran(smalti(place.path()), line)
}

fn works(place: &TempDir, line: &str) -> Ran {
    let ran = run(place, line);
    assert_eq!(ran.code, Some(0), "smalti {line}\n{}", ran.err);
    ran
}

fn fails(place: &TempDir, line: &str, message: &[&str]) {
    let ran = run(place, line);
    assert_eq!(ran.code, Some(1), "smalti {line}\n{}", ran.err);
    message.iter().for_each(|part| assert!(ran.err.contains(part), "expected {part:?} in: {}", ran.err));
}

/// The records of each event file of a folder, in the order of names.
fn event_files(folder: &Path) -> Vec<Vec<Vec<u8>>> {
    let mut paths: Vec<PathBuf> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let records = |path: &PathBuf| {
        let (bytes, mut at, mut records) = (std::fs::read(path).unwrap(), 0, vec![]);
        while at < bytes.len() {
            let length = u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap()) as usize;
            records.push(bytes[at + 12..at + 12 + length].to_vec());
            at += 16 + length;
        }
        records
    };
    paths.iter().map(records).collect()
}

fn has(records: &[Vec<u8>], text: &str) -> bool {
    records.iter().any(|record| record.windows(text.len()).any(|part| part == text.as_bytes()))
}

fn front_matter(card: &str, key: &str) -> Option<serde_json::Value> {
    let (front, _) = card.strip_prefix("---\n").unwrap().split_once("\n---\n").unwrap();
    let line = front.lines().find_map(|line| line.strip_prefix(&format!("{key}: ")))?;
    Some(serde_json::from_str(line).unwrap())
}

#[test]
fn a_training_writes_event_files_and_a_resumed_one_its_own() {
    let place = tempfile::tempdir().unwrap();
    works(&place, &format!("train image {TINY} {SHORT} --out run --tensorboard"));
    let files = event_files(&place.path().join("run/tensorboard"));
    assert_eq!(files.len(), 1);
    assert!(has(&files[0][..1], "brain.Event:2"), "the first record has the version");
    for tag in [
        "train/loss",
        "train/class/loss",
        "train/learning_rate",
        "train/grad_norm",
        "train/tokens_per_s",
        "validation/class/accuracy",
        "attention_rules",
        "weights/head.",
        "gradients/head.",
    ] {
        assert!(has(&files[0], tag), "{tag}");
    }
    works(&place, "train --resume --out run --set train.max_steps=6 --tensorboard");
    let files = event_files(&place.path().join("run/tensorboard"));
    assert_eq!(files.len(), 2);
    // Field 2 is the step, field 7 the session log: a new start.
    assert_eq!(files[1][1][9..], [16, 5, 58, 2, 8, 1], "readers drop later steps than the checkpoint's");
    works(&place, &format!("train image {TINY} {SHORT} --out other --tensorboard=events"));
    assert_eq!(event_files(&place.path().join("events")).len(), 1);
    assert!(!place.path().join("other/tensorboard").exists());
}

#[test]
fn event_files_need_a_folder() {
    let place = tempfile::tempdir().unwrap();
    std::fs::write(place.path().join("events"), "mine").unwrap();
    let line = format!("train image {TINY} {SHORT} --out run --tensorboard=events");
    fails(&place, &line, &["events: expected a folder to replace", "found a file"]);
    assert!(!place.path().join("run").exists());
    assert_eq!(std::fs::read_to_string(place.path().join("events")).unwrap(), "mine");
}

#[test]
fn a_run_has_a_model_card() {
    let place = tempfile::tempdir().unwrap();
    let data = place.path().join("private/rows.csv");
    std::fs::create_dir_all(data.parent().unwrap()).unwrap();
    let rows: String =
        (0..40).map(|n| format!("{n},{}\n", if n % 2 == 0 { "even" } else { "odd" })).collect();
    std::fs::write(&data, format!("x,class\n{rows}")).unwrap();
    let task = format!(
        "[data]\nsource = {:?}\n[inputs.x]\nmodality = \"numbers\"\n[outputs.class]\nhead = \"classify\"\n\
         [card]\nlicense = \"mit\"\ndescription = \"Says: \\\"odd\\\" # or even\"\n",
        data.display().to_string()
    );
    std::fs::write(place.path().join("task.toml"), task).unwrap();
    works(&place, &format!("train task.toml {TINY} {SHORT} --out run"));
    let path = place.path().join("run/README.md");
    let read = || std::fs::read_to_string(&path).unwrap();
    let card = read();
    for (key, value) in
        [("license", "mit"), ("library_name", "smalti"), ("pipeline_tag", "tabular-classification")]
    {
        assert_eq!(front_matter(&card, key), Some(value.into()), "{key}");
    }
    let index = front_matter(&card, "model-index").unwrap();
    assert_eq!(index[0]["name"], "run");
    assert_eq!(index[0]["results"][0]["dataset"]["name"], "rows.csv");
    assert!(index[0]["results"][0]["metrics"][0]["value"].is_number(), "{index}");
    for part in [
        "Says: \"odd\" # or even",
        "smalti predict run --row x=0.5",
        "Classes of `class`: `even`, `odd`.",
        "| inputs | outputs |",
        "Measured on the validation data at step ",
        "## Settings",
    ] {
        assert!(card.contains(part), "expected {part:?} in: {card}");
    }
    let row = card.lines().find(|line| line.contains("| rows.csv |")).unwrap();
    let samples: usize =
        row.split(" | ").filter_map(|cell| cell.trim_end_matches(" |").parse::<usize>().ok()).sum();
    assert_eq!(samples, 40, "{row}");
    assert!(!card.contains("private") && !card.contains(place.path().to_str().unwrap()), "{card}");
    commands_exist(&card);
    // What only the user knows may change at any time, also of a finished run.
    works(&place, "train --resume --out run --set card.license=apache-2.0");
    assert_eq!(front_matter(&read(), "license"), Some("apache-2.0".into()));
    works(&place, "info run --verify");
    std::fs::write(&path, format!("{}\nMine.\n", read())).unwrap();
    let ran = works(&place, "train --resume --out run --set card.license=mit");
    assert!(ran.err.contains("README.md was edited and is kept, so its metrics"), "{}", ran.err);
    assert!(read().ends_with("\nMine.\n") && read().contains("apache-2.0"));
}

/// Every command of a card is one of the program's, with its options.
fn commands_exist(card: &str) {
    let block = card.split("```sh\n").nth(1).unwrap().split("```").next().unwrap();
    assert!(block.lines().count() > 1, "{card}");
    for line in block.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let place = tempfile::tempdir().unwrap();
        let help = works(&place, &format!("{} --help", words[1])).out;
        words
            .iter()
            .filter(|word| word.starts_with("--"))
            .for_each(|option| assert!(help.contains(option), "{line}"));
    }
}

#[test]
fn a_card_of_a_mix_has_the_commands_of_its_tasks() {
    let place = tempfile::tempdir().unwrap();
    works(&place, &format!("train mix {TINY} --set train.batch_size=8 {SHORT} --out run"));
    let card = std::fs::read_to_string(place.path().join("run/README.md")).unwrap();
    for part in [
        "smalti generate run --prompt",
        "smalti classify run image.png",
        "smalti transcribe run clip.wav",
        "smalti rollout run --task trajectory",
        "Measured on the validation data (`",
        "`image`: 4 of 360 samples",
        "builtin:touchtone.tar",
    ] {
        assert!(card.contains(part), "expected {part:?} in: {card}");
    }
    assert_eq!(front_matter(&card, "pipeline_tag"), None, "several tasks have no common one");
    commands_exist(&card);
}

#[test]
fn texts_of_a_card_are_one_line() {
    let place = tempfile::tempdir().unwrap();
    let line = format!("train image {TINY} {SHORT} --out run --set");
    fails(
        &place,
        &format!("{line} card.license=\"\""),
        &["card.license: expected one line of 1 to 2000 characters"],
    );
    fails(&place, &format!("{line} card.license=\"a\\nb\""), &["card.license", "found the character '\\n'"]);
    fails(&place, &format!("{line} card.license=2"), &["card.license: expected a text"]);
    fails(&place, &format!("{line} card.licence=mit"), &["unknown field `licence`", "card.license"]);
    assert!(!place.path().join("run").exists());
}

#[test]
fn imports_and_exports_have_cards() {
    let place = tempfile::tempdir().unwrap();
    let from = place.path().join("gpt");
    std::fs::create_dir(&from).unwrap();
    for name in ["config.json", "model.safetensors"] {
        std::fs::copy(format!("tests/checkpoints/gpt2-untied/{name}"), from.join(name)).unwrap();
    }
    let published = "---\nlicense: cc-by-4.0\n---\n# Theirs\n";
    std::fs::write(from.join("README.md"), published).unwrap();
    works(&place, "import gpt --out run");
    let settings = |run: &str| -> toml::Table {
        std::fs::read_to_string(place.path().join(run).join("run.toml")).unwrap().parse().unwrap()
    };
    let read = |name: &str| std::fs::read_to_string(place.path().join(name).join("README.md")).unwrap();
    let card = read("run");
    assert_eq!(front_matter(&card, "license"), Some("cc-by-4.0".into()), "that of the published card");
    assert_eq!(front_matter(&card, "pipeline_tag"), Some("text-generation".into()));
    assert!(card.contains("published weights") && !card.contains("## Metrics"), "{card}");
    works(&place, "export run --out untrained");
    assert_eq!(read("untrained"), published, "the published card describes these weights");
    std::fs::write(place.path().join("a.txt"), "5 7 9 11 2 ".repeat(60)).unwrap(); // ids: it has no vocabulary
    let short = "--set train.max_steps=1 --set train.batch_size=2 --set train.eval_samples=2";
    let tuned = format!("train --from run --set data.source=a.txt {short}");
    let printed = works(&place, &format!("{tuned} --print")).out;
    works(&place, &format!("{tuned} --out tuned"));
    let printed: toml::Table = printed.parse().unwrap();
    assert_eq!(printed["train"], settings("tuned")["train"], "what --print prints trains");
    works(&place, "export tuned --out trained");
    let card = read("trained");
    assert_eq!(front_matter(&card, "library_name"), Some("transformers".into()));
    assert_eq!(front_matter(&card, "license"), Some("cc-by-4.0".into()));
    for part in [
        "smalti import trained --out trained-run",
        "smalti generate trained-run",
        "a.txt",
        "## Metrics",
        "AutoModelForCausalLM.from_pretrained(\"trained\")",
    ] {
        assert!(card.contains(part), "expected {part:?} in: {card}");
    }
    commands_exist(&card);
}
