//! `smalti report`: the sections of a page, several runs, data that are gone, bad arguments.
#![cfg(all(feature = "text", feature = "image", feature = "audio", feature = "trajectory"))]

use crate::support::{Ran, TINY, ran, smalti};
use serde_json::{Value, json};
use std::fs;
use tempfile::TempDir;

fn run(place: &TempDir, code: i32, line: &str) -> Ran {
    let ran = ran(smalti(place.path()), line);
    assert_eq!(ran.code, Some(code), "smalti {line}\n{}", ran.err);
    ran
}

fn train(place: &TempDir, more: &str) {
    let fast =
        "--set train.max_steps=2 --set train.log_every=1 --set train.eval_every=1 --set train.eval_samples=4";
    run(place, 0, &format!("train {more} {TINY} {fast}"));
}

fn page(place: &TempDir, file: &str) -> String {
    fs::read_to_string(place.path().join(file)).unwrap()
}

/// The addresses of everything that the page loads or links to.
fn addresses(page: &str) -> Vec<&str> {
    let of = |attribute| page.split(attribute).skip(1).filter_map(|rest| rest.split('"').next());
    of(" href=\"").chain(of(" src=\"")).collect()
}

#[test]
fn a_page_has_all_sections_and_loads_nothing() {
    let place = tempfile::tempdir().unwrap();
    train(&place, "image --out run");
    let told: Value = serde_json::from_str(&run(&place, 0, "report run --json").out).unwrap();
    let page = page(&place, "run/report.html");
    assert_eq!(told["bytes"], json!(page.len()));
    assert!(page.len() < 10_000_000, "{}", page.len());
    for id in ["summary", "curves", "settings", "data", "examples", "rules"] {
        assert!(page.contains(&format!("<h2 id=\"{id}\">")), "{id}");
        assert!(told["sections"].as_array().unwrap().contains(&json!(id)), "{told}");
    }
    for part in [
        "<h1>Run run</h1>",
        "<figcaption>class loss</figcaption>",
        "<figcaption>gradient norm</figcaption>",
        "d_model = 16",
        "<caption>Classes of ",
        "<td class=\"bar\"",
        "<figcaption>Validation: ",
        "aria-label=\"self-attention, every layer\"",
    ] {
        assert!(page.contains(part), "{part}");
    }
    for address in addresses(&page) {
        assert!(address.starts_with('#') || address.starts_with("data:image/"), "{address}");
    }
    assert!(!page.contains("@import") && !page.contains("url("));
    // The page is none of the run's own files.
    run(&place, 0, "info run --verify");
    run(&place, 0, "report run");
}

#[test]
fn several_runs_are_compared() {
    let place = tempfile::tempdir().unwrap();
    fs::write(place.path().join("a.txt"), crate::support::text()).unwrap();
    let text = "text --set data.source=a.txt --set outputs.text.context=16";
    train(&place, &format!("{text} --out one"));
    train(&place, &format!("{text} --set train.seed=7 --out two"));
    let told = run(&place, 0, "report one two --out both.html").out;
    assert!(told.starts_with("both.html: "), "{told}");
    let page = page(&place, "both.html");
    for part in [
        "<h1>Runs one, two</h1>",
        "the other sections show one only",
        "<th scope=\"row\">train.seed</th><td>1337</td><td>7</td>",
        "the first 90% of the tokens of ",
        "<td>both, before they are divided</td>",
        "<p>Training: 2 steps, finished; best evaluation at step ",
        "/></svg>one train <span",
        "two validation <span",
        "<p>Task: text (generate)</p>",
        "All settings of two",
    ] {
        assert!(page.contains(part), "{part}");
    }
}

#[test]
fn a_run_without_its_data_has_a_page() {
    let place = tempfile::tempdir().unwrap();
    fs::write(place.path().join("a.txt"), crate::support::text()).unwrap();
    train(&place, "text --set data.source=a.txt --set outputs.text.context=16 --out run");
    fs::remove_file(place.path().join("a.txt")).unwrap();
    run(&place, 0, "report run");
    let page = page(&place, "run/report.html");
    let (_, data) = page.split_once("<h2 id=\"data\">").unwrap();
    let (data, _) = data.split_once("</section>").unwrap();
    assert!(data.contains("Not shown: ") && data.contains("a.txt"), "{data}");
    assert!(page.contains("<figcaption>text loss</figcaption>") && page.contains("<h2 id=\"rules\">"));
}

#[test]
fn a_page_of_no_run_and_a_page_over_another_file_are_errors() {
    let place = tempfile::tempdir().unwrap();
    fs::write(place.path().join("a.txt"), crate::support::text()).unwrap();
    train(&place, "text --set data.source=a.txt --set outputs.text.context=16 --out run");
    assert!(run(&place, 2, "report").err.contains("RUN"));
    assert!(run(&place, 1, "report nowhere").err.contains("nowhere is no run folder"));
    assert!(run(&place, 1, "report run nowhere").err.contains("nowhere is no run folder"));
    let refused = run(&place, 1, "report run --out run/run.toml").err;
    assert!(refused.contains("run.toml: expected an HTML page to replace"), "{refused}");
    let refused = run(&place, 1, "report run --out nowhere/x.html").err;
    assert!(refused.contains("nowhere/x.html: expected an existing folder"), "{refused}");
    let refused = run(&place, 1, "report run --out run").err;
    assert!(refused.contains("regular file"), "{refused}");
    assert!(page(&place, "run/run.toml").contains("[train]"));
}
