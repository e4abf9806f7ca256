//! A user's own modality through the whole command line: the example's binary trains, resumes, evaluates and predicts.

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The binary of examples/06_your_own_modality.rs, which cargo builds with the tests.
fn example() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let folder = test.parent().and_then(Path::parent).unwrap();
    let binary =
        folder.join("examples").join(format!("06_your_own_modality{}", std::env::consts::EXE_SUFFIX));
    assert!(binary.is_file(), "{} is missing; `cargo test` builds the examples", binary.display());
    binary
}

fn run(arguments: &[&str]) -> Output {
    Command::new(example()).args(arguments).output().unwrap()
}

fn json(arguments: &[&str]) -> Value {
    let output = run(arguments);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {error}");
    serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{arguments:?}: {e}: {error}"))
}

/// Genes of 16 random codons; about half of them have a stop codon.
fn write_genes(path: &Path) {
    let mut state = 1_u64;
    let mut random = |n: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % n
    };
    let mut text = String::from("gene,stops\n");
    for _ in 0..600 {
        let gene: String = (0..48).map(|_| ['A', 'C', 'G', 'T'][random(4) as usize]).collect();
        let codons: Vec<&[u8]> = gene.as_bytes().chunks(3).collect();
        let stops = codons
            .iter()
            .any(|codon| [b"TAA", b"TAG", b"TGA"].contains(&<&[u8; 3]>::try_from(*codon).unwrap()));
        text.push_str(&format!("{gene},{}\n", if stops { "yes" } else { "no" }));
    }
    std::fs::write(path, text).unwrap();
}

#[test]
fn every_command_works_with_a_users_own_modality() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    write_genes(&folder.path().join("genes.csv"));
    let (run_folder, source) = (path("run"), format!("data.source={}", path("genes.csv")));
    let task = "examples/tasks/genes.toml";

    // A resumed run equals an uninterrupted one.
    let whole = json(&["train", task, "--set", &source, "--out", &path("whole"), "--json"]);
    assert_eq!(whole["step"], 300);
    let accuracy = whole["metrics"]["stops"]["accuracy"].as_f64().unwrap();
    assert!(accuracy >= 0.9, "{whole}");
    json(&["train", task, "--set", &source, "--set", "train.max_steps=300", "--out", &run_folder, "--json"]);
    for file in ["state.safetensors", "model.safetensors"] {
        std::fs::remove_file(folder.path().join("run").join(file)).unwrap();
    }
    let resumed = json(&["train", "--resume", "--out", &run_folder, "--json"]);
    assert_eq!(resumed["metrics"], whole["metrics"], "a resumed run has the same results");

    let evaluated = json(&["eval", &run_folder, "--json"]);
    assert_eq!(evaluated["stops"]["accuracy"], whole["metrics"]["stops"]["accuracy"]);
    let predict = |gene: &str| json(&["predict", &run_folder, "--row", &format!("gene={gene}"), "--json"]);
    let predicted = predict(&"ACC".repeat(16));
    assert_eq!(predicted["rows"][0]["stops"]["value"], "no", "{predicted}");
    let predicted = predict(&format!("{}TAA{}", "ACC".repeat(7), "ACC".repeat(8)));
    assert_eq!(predicted["rows"][0]["stops"]["value"], "yes", "{predicted}");

    let info = json(&["info", &run_folder, "--json"]);
    assert!(info["kinds"].as_array().unwrap().iter().any(|kind| kind["name"] == "gene.codon"), "{info}");
    let checked = run(&["data", "check", task, "--set", &source]);
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));

    let wrong = run(&["predict", &run_folder, "--row", "gene=ATGX"]);
    assert_eq!(wrong.status.code(), Some(1));
    let message = String::from_utf8_lossy(&wrong.stderr).to_string();
    assert!(message.contains("inputs.gene: expected a gene") && message.contains("ATGX"), "{message}");
}
