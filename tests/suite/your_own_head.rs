//! A user's own head: the example's binary trains, evaluates and predicts, and is a command line.

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The binary of examples/08_ordinal_head.rs, which cargo builds with the tests.
fn example() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let folder = test.parent().and_then(Path::parent).unwrap();
    let binary = folder.join("examples").join(format!("08_ordinal_head{}", std::env::consts::EXE_SUFFIX));
    assert!(binary.is_file(), "{} is missing; `cargo test` builds the examples", binary.display());
    binary
}

fn run(arguments: &[&str]) -> Output {
    Command::new(example()).args(arguments).output().unwrap()
}

fn text(arguments: &[&str]) -> String {
    let output = run(arguments);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {error}");
    String::from_utf8(output.stdout).unwrap()
}

fn json(arguments: &[&str]) -> Value {
    serde_json::from_str(&text(arguments)).unwrap()
}

#[test]
fn the_example_prints_metrics_and_predictions() {
    let printed = text(&[]);
    let mae = printed.split("MAE ").nth(1).and_then(|rest| rest.split(' ').next()).unwrap();
    assert!(mae.parse::<f64>().unwrap() < 0.5, "{printed}");
    assert!(
        printed.contains("[1.0, 4.5]: grade 1,") && printed.contains("[9.5, 0.5]: grade 5,"),
        "{printed}"
    );
}

#[test]
fn every_command_works_with_a_users_own_head() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let rows = (0..300).map(|i| (i * 7 % 100, ["low", "middle", "high"][i * 7 % 100 * 3 / 100]));
    let lines: String = rows.map(|(size, class)| format!("{size},{class}\n")).collect();
    std::fs::write(path("sizes.csv"), format!("size,class\n{lines}")).unwrap();
    let task = format!(
        "data.source = {:?}\n\
         inputs.size.modality = \"numbers\"\n\
         outputs.class = {{ head = \"ordinal\", classes = [\"low\", \"middle\", \"high\"] }}\n\
         model = {{ d_model = 16, n_layers = 1 }}\n\
         train = {{ max_steps = 200, learning_rate = 1e-2, warmup_steps = 5, eval_every = 0 }}\n",
        path("sizes.csv")
    );
    std::fs::write(path("task.toml"), task).unwrap();
    let (task, run_folder) = (path("task.toml"), path("run"));

    let trained = json(&["train", &task, "--out", &run_folder, "--json"]);
    let metrics = &trained["metrics"]["class"];
    assert!(metrics["loss"].is_f64() && metrics["mae"].as_f64().unwrap() < 0.3, "{trained}");
    let evaluated = json(&["eval", &run_folder, "--json"]);
    assert_eq!(evaluated["class"]["mae"], metrics["mae"], "{evaluated}");
    let predicted = json(&["predict", &run_folder, "--row", "size=97", "--json"]);
    assert_eq!(predicted["rows"][0]["class"]["value"], "high", "{predicted}");
    assert!(text(&["settings", "ordinal"]).contains("classes"));

    let one = ["train", &task, "--set", "outputs.class.classes=[\"low\"]", "--out", &path("one")];
    let refused = run(&one);
    let message = String::from_utf8_lossy(&refused.stderr).to_string();
    assert!(!refused.status.success() && message.contains("expected at least 2; found 1"), "{message}");
}
