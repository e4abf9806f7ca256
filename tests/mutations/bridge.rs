//! Damaged lines of an environment process.

use smalti::env::Observation;
use smalti::env::bridge::message::{Hello, MessageError, first_observation, next_step};
use smalti_mutation::{Bound, survives};

/// An observation takes two bytes per number in the line, and a number in a list that doubles.
fn bound() -> Bound {
    Bound::bytes(1 << 16).and_of_file(16)
}

fn lines(lines: &[&str]) -> Vec<Vec<u8>> {
    lines.iter().map(|line| line.as_bytes().to_vec()).collect()
}

#[test]
fn greetings() {
    let good = lines(&[
        r#"{"hello": {"protocol": 1, "observation": 11, "action": {"continuous": {"low": [-1, null], "high": [1, 2.5]}}, "max_steps": 1000}}"#,
        r#"{"hello": {"protocol": 1, "observation": {"position": 5, "velocity": 6}, "action": {"discrete": 2}, "envs": 1}}"#,
        r#"{"hello": {"protocol": 1, "images": ["front", "side"], "action": {"discrete": 2}}}"#,
        r#"{"hello": {"protocol": 1, "observation": 1, "action": {"parts": {"arm": {"continuous": {"low": [0], "high": [1]}}, "grip": {"discrete": 3}}}, "max_steps": null}}"#,
    ]);
    survives("greeting", &good, bound(), Hello::read);
}

fn greeting(seen: &str) -> Hello {
    let line = format!(r#"{{"hello": {{"protocol": 1, {seen}, "action": {{"discrete": 2}}}}}}"#);
    Hello::read(line.as_bytes()).unwrap()
}

#[test]
fn images() {
    let good = lines(&[
        r#"{"env": 0, "images": {"a": {"height": 1, "width": 2, "channels": 3, "pixels": "AAECAwQF"}, "b": {"encoded": "iVBORw=="}}}"#,
        r#"{"images": {"b": {"height": 2, "width": 1, "channels": 1, "pixels": "AP8="}, "a": {"encoded": ""}}, "observation": []}"#,
    ]);
    let hello = greeting(r#""images": ["a", "b"]"#);
    survives("images", &good, bound(), |line| first_observation(line, 0, &hello));
}

#[test]
fn answers() {
    let good = lines(&[
        r#"{"env": 0, "observation": [1.25, -0.5, 3e-7, 4], "reward": 1.5, "terminated": false, "truncated": true}"#,
        r#"{"observation": {"b": [[1, 2]], "a": [3, 4.0]}, "reward": -1, "terminated": true, "truncated": false}"#,
    ]);
    let hello = greeting(r#""observation": 4"#);
    survives("answer to step", &good, bound(), |line| next_step(line, 0, &hello));
    let good = lines(&[r#"{"env": 0, "observation": [[1, 2], [3, 4]]}"#, r#"{"error": "on fire"}"#]);
    survives("answer to reset", &good, bound(), |line| match first_observation(line, 0, &hello) {
        Err(MessageError::Reported(_)) => Ok(Observation::default()),
        other => other,
    });
}
