//! Span corruption and masked diffusion, from a settings file to a generated text.
#![cfg(all(feature = "text", feature = "cli"))]

use crate::support::{Ran, TINY, ran, smalti};
use serde_json::Value;
use std::path::Path;
use tempfile::TempDir;

const SENTENCES: [&str; 4] = [
    "the king saw the queen.",
    "a small cat ate the cake.",
    "we sail to an old port.",
    "do not open this door!",
];

/// Rows with a sentence, and its last word as an answer.
fn place() -> TempDir {
    let place = tempfile::tempdir().unwrap();
    let rows: String = (0..40)
        .map(|row| {
            let text = SENTENCES[row % 4];
            let answer = text.rsplit(' ').next().unwrap();
            format!("{{\"text\": {text:?}, \"answer\": {answer:?}}}\n")
        })
        .collect();
    std::fs::write(place.path().join("rows.jsonl"), rows).unwrap();
    place
}

/// Settings of a small model of these parts.
fn task(parts: &str, steps: usize) -> String {
    format!(
        "[data]\nsource = \"rows.jsonl\"\n{parts}\n[model]\nd_model = 32\nn_layers = 2\nattention.n_heads = 2\n\
         [train]\nmax_steps = {steps}\nbatch_size = 16\nlearning_rate = 3e-3\nmin_learning_rate = 1e-4\nwarmup_steps = 10\n\
         eval_every = 0\n"
    )
}

const DIFFUSION: &str =
    "[outputs.text]\nhead = \"masked\"\ndiffusion = true\nmodality = \"text\"\ncontext = 32\n";
const SPANS: &str = "[inputs.text]\nmodality = \"text\"\ncontext = 32\n[outputs.target]\nhead = \"generate\"\n\
                     spans = { share = 0.3, sentinels = 8 }\n";

fn write(place: &TempDir, name: &str, text: &str) {
    std::fs::write(place.path().join(name), text).unwrap();
}

fn works(place: &Path, line: &str) -> Ran {
    let ran = ran(smalti(place), line);
    assert_eq!(ran.code, Some(0), "smalti {line}\n{}", ran.err);
    ran
}

fn fails(place: &Path, line: &str, message: &str) {
    let ran = ran(smalti(place), line);
    assert_eq!(ran.code, Some(1), "smalti {line}\n{}", ran.err);
    assert!(ran.err.contains(message), "smalti {line}\nexpected {message:?} in: {}", ran.err);
}

/// The text of `generate` with these arguments, of which `text` is one with spaces.
fn generated(place: &Path, option: &str, text: &str, more: &str) -> String {
    let mut command = smalti(place);
    command.args(["generate", "run", option, text]);
    let ran = ran(command, &format!("--json --temperature 0 {more}"));
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    serde_json::from_str::<Value>(&ran.out).unwrap()["text"].as_str().unwrap().into()
}

#[test]
fn masked_diffusion_bounds_the_likelihood_and_fills_any_gap() {
    let place = place();
    write(&place, "task.toml", &task(DIFFUSION, 400));
    works(place.path(), "train task.toml --out run");
    let scores: Value = serde_json::from_str(&works(place.path(), "eval run --json").out).unwrap();
    let scores = &scores["text"];
    let number = |name: &str| scores[name].as_f64().unwrap_or_else(|| panic!("no {name} in {scores}"));
    // Four sentences of 23 characters have 2 bits: 0.09 bits a character.
    let bits = number("bits_per_character_bound");
    assert!((0.0..1.0).contains(&bits), "{scores}");
    assert_eq!(bits, number("bits_per_byte_bound"), "ASCII");
    assert!((number("loss").exp() - number("perplexity_bound")).abs() < 1e-9);
    assert!(scores["eval_rates"].is_null(), "a setting is no metric: {scores}");
    for more in ["", "--order confidence", "--steps 3 --order confidence"] {
        assert_eq!(generated(place.path(), "--infill", "the king saw the _____.", more), SENTENCES[0]);
        assert_eq!(generated(place.path(), "--infill", "a s____ cat ate ___ cake.", more), SENTENCES[1]);
    }
    let new = generated(place.path(), "--prompt", "we sail to ", "--max-new-tokens 12 --order confidence");
    assert_eq!(new, "an old port.");
    fails(place.path(), "generate run --infill none", "--infill: expected _ in the text");
    let long = format!("generate run --infill {}", "_".repeat(33));
    fails(place.path(), &long, "--infill: expected at most 32 tokens; found 33");
    write(&place, "rows.csv", "text\nthe king\n");
    fails(place.path(), "predict run --table rows.csv", "`smalti generate --infill` fills masked tokens");
}

#[test]
fn spans_are_learned_and_the_run_is_tuned_to_answers() {
    let place = place();
    let spans = format!("{SPANS}cross_attention = true\n");
    let with_encoder =
        |parts: &str, steps| task(parts, steps).replace("n_layers", "n_encoder_layers = 1\nn_layers");
    write(&place, "pretrain.toml", &with_encoder(&spans, 500));
    works(place.path(), "train pretrain.toml --out spans");
    let scores: Value = serde_json::from_str(&works(place.path(), "eval spans --json").out).unwrap();
    let accuracy = scores["target"]["accuracy"].as_f64().unwrap();
    assert!(accuracy > 0.6, "{scores}");

    let tuned =
        spans.replace("spans = { share = 0.3, sentinels = 8 }", "field = \"answer\"\nshare = \"text\"");
    write(&place, "tune.toml", &with_encoder(&tuned, 3));
    works(place.path(), "train tune.toml --from spans --out tuned");
    let start: Value =
        serde_json::from_slice(&std::fs::read(place.path().join("tuned/start.json")).unwrap()).unwrap();
    assert_eq!(
        (&start["new"], &start["skipped"]),
        (&serde_json::json!([]), &serde_json::json!([])),
        "{start}"
    );
}

#[test]
fn invalid_objectives_are_named() {
    let place = place();
    let reads_none = "[outputs.target]\nhead = \"generate\"\nmodality = \"text\"\nspans = {}\n";
    let numbers = SPANS.replace("modality = \"text\"\ncontext = 32", "modality = \"numbers\"\nids = true");
    let cases = [
        (
            SPANS.replace("0.3", "1.5"),
            "outputs.target.spans.share: expected a share above 0 and below 1; found 1.5",
        ),
        (SPANS.replace("= 8", "= 0"), "outputs.target.spans.sentinels: expected 1 to 4096; found 0"),
        (
            SPANS.replace("share = 0.3", "mean_length = 0.5"),
            "outputs.target.spans.mean_length: expected 1 token or more; found 0.5",
        ),
        (SPANS.replace("share =", "rate ="), "rate"),
        (
            format!("{SPANS}field = \"answer\"\n"),
            "outputs.target.field: an output of spans has the field of inputs.text",
        ),
        (SPANS.replace("\"generate\"", "\"masked\""), "outputs.target.spans: expected a generated output"),
        (reads_none.into(), "outputs.target.spans: expected an input"),
        (
            format!("{SPANS}[outputs.more]\nhead = \"generate\"\nspans = {{}}\n"),
            "another output has the spans of inputs.text",
        ),
        (format!("{DIFFUSION}mask = 0.2\n"), "remove mask"),
        (format!("{DIFFUSION}eval_rates = 5000\n"), "eval_rates: expected 1 to 1024; found 5000"),
    ];
    for (parts, message) in cases {
        write(&place, "task.toml", &task(&parts, 2));
        fails(place.path(), "train task.toml --out refused", message);
    }
    write(&place, "task.toml", &task(&numbers, 2));
    fails(place.path(), "train task.toml --out refused", "inputs.text");

    write(&place, "task.toml", &task(SPANS, 2));
    works(place.path(), &format!("train task.toml {TINY} --out spans"));
    let none =
        "expected an output of masked tokens (head = \"masked\"); the run has inputs text; outputs target";
    fails(place.path(), "generate spans --steps 3", none);
}
