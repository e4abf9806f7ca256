//! Key-to-Door: from a log of random walks to policies, by the command line.

#![cfg(feature = "trajectory")]

use crate::support::{ran, smalti};
use serde_json::Value;
use std::fs;
use std::path::Path;

fn works(folder: &Path, line: &str) -> Value {
    let ran = ran(smalti(folder), &format!("{line} --json"));
    assert_eq!(ran.code, Some(0), "smalti {line}\n{}", ran.err);
    serde_json::from_str(&ran.out).unwrap()
}

fn error_of(folder: &Path, line: &str) -> String {
    let ran = ran(smalti(folder), line);
    assert_ne!(ran.code, Some(0), "smalti {line}\n{}", ran.out);
    ran.err
}

const SMALL: &str = "--set data.source=door.jsonl --set data.context=32 --set train.max_steps=20 --set train.batch_size=8 \
                     --set train.warmup_steps=2 --set model.d_model=16 --set model.n_layers=1 --set train.eval_samples=16";

#[test]
fn a_log_of_random_walks_trains_a_policy_and_its_baselines() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path();
    let made = works(place, "data make key-to-door --set episodes=400 --set seed=1 --out door.jsonl");
    let share = made["success_rate"].as_f64().unwrap();
    assert!((0.005..0.07).contains(&share), "{share}");
    works(place, "data make key-to-door --set episodes=400 --set seed=1 --out again.jsonl");
    let log = fs::read(place.join("door.jsonl")).unwrap();
    assert_eq!(log, fs::read(place.join("again.jsonl")).unwrap());
    works(place, "data make key-to-door --set episodes=400 --set seed=1 --out walks");
    assert_eq!(
        log,
        fs::read(place.join("walks/episodes.jsonl")).unwrap(),
        "a name without an ending is a folder"
    );

    let best = "--set data.derived.total.kind=total --set data.derived.total.field=rewards --set \
                data.keep_best.field=total --set data.keep_best.share=0.1";
    let cloning = "--set inputs.return_to_go=";
    for (run, set) in [("door", ""), ("cloned", cloning), ("best", &format!("{cloning} {best}"))] {
        works(place, &format!("train trajectory {SMALL} {set} --out {run}"));
        let line =
            format!("rollout {run} --env key-to-door --target-return 1 --episodes 20 --random --device cpu");
        let played = works(place, &line);
        for result in [&played["random"], &played["rollouts"][0]] {
            let (rate, mean) = (result["success_rate"].as_f64().unwrap(), result["return_mean"].as_f64());
            assert_eq!(Some(rate), mean, "the only reward is 1");
            assert_eq!(result["cut"], 0, "the log's longest episodes have all steps");
        }
    }
}

#[test]
fn other_names_and_places_of_a_log_are_errors() {
    let folder = tempfile::tempdir().unwrap();
    let error = error_of(folder.path(), "data make maze");
    assert!(error.contains("no kind \"maze\""), "{error}");
    let error = error_of(folder.path(), "data make cartpole --set episodes=2 --out missing/log.jsonl");
    assert!(error.contains("missing/log.jsonl"), "{error}");
    assert!(
        error_of(folder.path(), "data make cartpole --set episodes=0 --out a.jsonl").contains("episodes")
    );
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "nothing is left");
}
