//! Retrieval from a memory: a layer with a window recalls what is beyond it.
#![cfg(all(feature = "text", feature = "cli"))]

use crate::support::{ran, smalti};
use serde_json::Value;

/// The mean loss of a model with windows of 4 characters that learns texts whose last character repeats the first.
fn loss(memory: &str) -> f64 {
    let place = tempfile::tempdir().unwrap();
    let row = |row: usize| format!("{{\"text\": \"{0}abcdefghijkl{0}\"}}\n", row * 7 % 10);
    std::fs::write(place.path().join("rows.jsonl"), (0..100).map(row).collect::<String>()).unwrap();
    let task = format!(
        "[data]\nsource = \"rows.jsonl\"\n[outputs.text]\nhead = \"generate\"\nmodality = \"text\"\ncontext = 16\n\
         [model]\nd_model = 32\nn_layers = 2\nattention.n_heads = 2\n{memory}\n\
         attention.rules = [{{ query = \"text.*\", key = \"text.*\", rule = \"causal & near(3, order)\" }}]\n\
         [train]\nmax_steps = 800\nbatch_size = 16\nlearning_rate = 3e-3\nmin_learning_rate = 1e-4\nwarmup_steps = 10\n\
         eval_every = 0\n"
    );
    std::fs::write(place.path().join("task.toml"), task).unwrap();
    let run = |line: &str| {
        let ran = ran(smalti(place.path()), line);
        assert_eq!(ran.code, Some(0), "smalti {line}\n{}", ran.err);
        ran.out
    };
    run("train task.toml --out run");
    let scores: Value = serde_json::from_str(&run("eval run --json")).unwrap();
    scores["text"]["loss"].as_f64().unwrap()
}

/// Of 15 targets two are digits: the first cannot be known, and the last follows from the memory alone. Two layers with windows
/// of 3 earlier characters reach back 6. The memory is that of the first layer: no gradient teaches a layer below what to keep.
#[test]
fn a_layer_with_a_memory_recalls_what_its_window_has_lost() {
    let digit = f64::ln(10.0) / 15.0;
    let (without, with) = (loss(""), loss("memory = { layer = 0, top_k = 12 }"));
    assert!(without > 1.8 * digit, "{without} without a memory; a digit has {digit}");
    assert!(with < 1.5 * digit, "{with} with a memory; a digit has {digit}");
}

#[test]
fn invalid_memories_are_named() {
    let place = tempfile::tempdir().unwrap();
    for (memory, message) in [
        ("{layer=4}", "model.memory.layer: expected 0 to 3; found 4"),
        ("{layer=0,size=0}", "model.memory.size: expected 1 to 1048576; found 0"),
        ("{layer=0,size=8,top_k=9}", "model.memory.top_k: expected 1 to 8; found 9"),
    ] {
        let line = format!("train text --set model.n_layers=4 --set model.memory={memory} --out run");
        let ran = ran(smalti(place.path()), &line);
        assert!(ran.code == Some(1) && ran.err.contains(message), "{memory}: {}", ran.err);
    }
}
