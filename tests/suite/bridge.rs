//! Environments in their own process: they give the same returns as built-in ones; an invalid answer is an error that names
//! the command; every answer has a time-out; no process outlives its bridge.

#![cfg(all(unix, feature = "trajectory"))]

use crate::support;

use serde_json::Value;
use smalti::env::{Action, Bridge, CartPole, Copies, EnvError, VectorEnvironment};
use smalti::inference::random_policy;
use std::path::Path;
use std::time::{Duration, Instant};
use support::{TINY, ran, smalti};

/// Time-out for answers that are expected to come.
const PATIENT: Duration = Duration::from_secs(60);

/// The command of the test environment with this behaviour.
fn command(manner: &str) -> String {
    let script = std::path::absolute("tests/support/environment.py").unwrap();
    format!("python3 '{}' {manner}", script.display())
}

fn start(manner: &str) -> Bridge {
    Bridge::start(&command(manner), PATIENT).unwrap_or_else(|e| panic!("{e}"))
}

/// The error of an episode of two steps.
fn problem(manner: &str, timeout: Duration) -> String {
    let play = || {
        let mut bridge = Bridge::start(&command(manner), timeout)?;
        bridge.reset(&[(0, 7)])?;
        for _ in 0..2 {
            bridge.step(&[(0, &Action::Discrete(1))])?;
        }
        Ok(())
    };
    match play() {
        Err(EnvError::Process { command: named, problem }) => {
            assert_eq!(named, command(manner));
            problem
        }
        other => panic!("{manner}: {other:?}"),
    }
}

#[test]
fn cartpole_in_a_process_equals_the_built_in_one_bit_for_bit() {
    let (mut inside, mut outside) = (Copies::new(CartPole::NAME).unwrap(), start("cartpole"));
    assert_eq!(outside.state_dim(), inside.state_dim());
    assert_eq!(outside.action_spec(), inside.action_spec());
    let starts: Vec<(usize, u64)> = (0..5).map(|slot| (slot, u64::MAX / 5 * slot as u64)).collect();
    assert_eq!(outside.reset(&starts).unwrap(), inside.reset(&starts).unwrap());
    for t in 0..8 {
        let pushes = [0, 1, 1, 0, t % 2].map(Action::Discrete);
        let pushes: Vec<(usize, &Action)> = (0..).zip(&pushes).collect();
        assert_eq!(outside.step(&pushes).unwrap(), inside.step(&pushes).unwrap(), "step {t}");
    }
    let expected = random_policy(&mut inside, 500, 40, 3).unwrap();
    assert_eq!(random_policy(&mut outside, 500, 40, 3).unwrap(), expected);
}

#[test]
fn parts_of_an_observation_are_read_in_the_order_of_their_names() {
    let (mut inside, mut outside) = (Copies::new(CartPole::NAME).unwrap(), start("dictionary"));
    assert_eq!((outside.slots(), outside.state_dim()), (1, 4));
    let expected = random_policy(&mut inside, 500, 5, 9).unwrap();
    assert_eq!(
        random_policy(&mut outside, 500, 5, 9).unwrap(),
        expected,
        "episodes one after another in a single slot"
    );
}

#[test]
fn rollouts_in_a_process_equal_built_in_ones() {
    let folder = tempfile::tempdir().unwrap();
    let works = |line: &str| {
        let ran = ran(smalti(folder.path()), line);
        assert_eq!(ran.code, Some(0), "smalti {line}\n{}", ran.err);
        ran.out
    };
    works(&format!("train trajectory {TINY} --set train.max_steps=40 --set train.eval_samples=8 --out run"));
    let rollouts = |env: &str| -> Value {
        let mut command = smalti(folder.path());
        command.args(["rollout", "run", "--env", env]);
        let ran = ran(command, "--episodes 12 --target-return 40,500 --random --json");
        assert_eq!(ran.code, Some(0), "--env {env}\n{}", ran.err);
        serde_json::from_str(&ran.out).unwrap()
    };
    let (inside, outside) = (rollouts("cartpole"), rollouts(&command("cartpole")));
    assert_eq!(outside["rollouts"], inside["rollouts"]);
    assert_eq!(outside["random"], inside["random"]);
    assert_eq!(inside["rollouts"][1]["target_return"], 500.0);
    assert_eq!(inside["random"]["returns"].as_array().unwrap().len(), 12);
}

#[test]
fn episodes_are_truncated_at_the_max_steps_of_the_greeting() {
    // Pushing to the side where the pole leans keeps it up until the episode is truncated.
    let mut bridge = start("cartpole");
    let mut state = bridge.reset(&[(0, 1)]).unwrap().remove(0).state;
    let last = loop {
        let lean = state[2] + 0.1 * (state[0] + state[1]) + 0.3 * state[3];
        let step = bridge.step(&[(0, &Action::Discrete(u32::from(lean > 0.0)))]).unwrap().remove(0);
        state.clone_from(&step.observation.state);
        if step.done() {
            break step;
        }
    };
    assert!(last.truncated && !last.terminated, "{last:?}");
    let error = bridge.step(&[(0, &Action::Discrete(0))]).unwrap_err();
    assert!(matches!(error, EnvError::NotRunning { .. }), "{error}");
}

#[test]
fn invalid_requests_are_not_sent() {
    let mut bridge = start("well");
    let push = Action::Discrete(1);
    assert!(matches!(bridge.step(&[(0, &push)]), Err(EnvError::NotRunning { .. })));
    bridge.reset(&[(0, 1)]).unwrap();
    assert!(matches!(bridge.step(&[(0, &Action::Discrete(2))]), Err(EnvError::Action { .. })));
    assert_eq!(bridge.step(&[(0, &push)]).unwrap()[0].reward, 1.0);
}

#[test]
fn a_command_that_cannot_be_started_is_an_error() {
    let error = |command: &str| Bridge::start(command, PATIENT).err().unwrap().to_string();
    assert_eq!(
        error("no-such-arena --hard"),
        "no-such-arena --hard: expected a built-in environment (cartpole, key-to-door) or a command; found no \
         program \"no-such-arena\""
    );
    assert!(error("'half").ends_with("found a quote that is not closed"));
    assert!(error("  ").contains("found nothing"));
    assert!(error("./tests").contains("cannot be started: "), "{}", error("./tests"));
}

#[test]
fn invalid_answers_are_errors() {
    let cases: [(&str, &[&str]); 12] = [
        (
            "greeting",
            &["expected the greeting {\"hello\"", "found \"welcome to the arena\"", "line 1 column 1"],
        ),
        ("version", &["protocol: expected version 1; found 2"]),
        (
            "chatter",
            &["expected an answer to reset {", "found \"ready!\"", "expected value at line 1 column 1"],
        ),
        ("number", &["expected an answer to reset {", "found \"17\"", "invalid type: integer `17`"]),
        ("no-reward", &["expected an answer to step {", "missing field `reward`"]),
        ("unknown", &["unknown field `colour`, expected one of `env`, `observation`, `images`"]),
        (
            "nan",
            &["expected an answer to reset", "expected finite numbers; JSON has neither NaN nor infinity"],
        ),
        ("huge", &["observation: expected finite numbers; found inf at index 1"]),
        ("nan-reward", &["expected an answer to step", "neither NaN nor infinity"]),
        ("narrow", &["observation: expected 4 numbers, as in the greeting; found 3"]),
        ("other", &["env: expected 0, in the order of the requests; found 3"]),
        ("error", &["reports an error: the arena is on fire"]),
    ];
    for (manner, message) in cases {
        let problem = problem(manner, PATIENT);
        for said in message {
            assert!(problem.contains(said), "{manner}: expected {said:?} in: {problem}");
        }
        let tail = format!("\nthe end of its standard error:\n    about to be {manner}");
        assert!(problem.ends_with(&tail), "{manner}: {problem}");
    }
}

#[test]
fn an_answer_without_a_request_is_an_error() {
    let mut bridge = start("twice");
    bridge.reset(&[(0, 1)]).unwrap();
    std::thread::sleep(Duration::from_millis(500)); // the second answer comes
    let error = bridge.step(&[(0, &Action::Discrete(1))]).unwrap_err().to_string();
    assert!(error.contains("wrote \"{\\\"observation\\\": [0, 0, 0, 0]}\" without a request"), "{error}");
}

#[test]
fn the_error_of_a_process_that_exits_has_its_status_and_stderr() {
    let problem = problem("dies", PATIENT);
    assert!(problem.starts_with("ended before its answer to reset (exit status: 1)\n"), "{problem}");
    assert!(problem.ends_with("    frame 999\n    a wheel came off"), "{problem}");
    assert_eq!(problem.lines().count(), 12, "the last ten lines of its standard error: {problem}");
}

#[test]
fn a_line_without_end_is_an_error_in_bounded_memory() {
    let problem = problem("flood", PATIENT);
    assert!(problem.starts_with("wrote a line of more than 8 MiB"), "{problem}");
}

/// Whether a process is running.
#[cfg(target_os = "linux")]
fn runs(process: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    let state = stat.rsplit(") ").next().and_then(|rest| rest.chars().next());
    state.is_some_and(|state| state != 'Z')
}

#[cfg(target_os = "linux")]
#[test]
fn a_process_that_does_not_answer_is_killed_with_its_children() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("started");
    let deaf = command(&format!("deaf '{}'", file.display()));
    let mut bridge = Bridge::start(&deaf, Duration::from_secs(3)).unwrap_or_else(|e| panic!("{e}"));
    let started: u32 = std::fs::read_to_string(&file).unwrap().parse().unwrap();
    let process = bridge.process_id();
    assert!(runs(process) && runs(started));
    // More requests than a pipe holds, so that writing them blocks.
    let starts: Vec<(usize, u64)> = (0..10_000).map(|slot| (slot, 1)).collect();
    let began = Instant::now();
    let error = bridge.reset(&starts).unwrap_err().to_string();
    assert!(error.contains("gave no answer to reset within 3 s (--env-timeout)"), "{error}");
    drop(bridge);
    assert!(began.elapsed() < Duration::from_secs(30));
    assert!(!Path::new(&format!("/proc/{process}")).exists(), "the process is gone, without a zombie");
    while runs(started) {
        assert!(began.elapsed() < Duration::from_secs(30), "its child still runs");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[cfg(target_os = "linux")]
#[test]
fn dropping_the_bridge_closes_the_process() {
    let bridge = start("well");
    let process = bridge.process_id();
    assert!(runs(process));
    let began = Instant::now();
    drop(bridge);
    assert!(!Path::new(&format!("/proc/{process}")).exists());
    assert!(began.elapsed() < Duration::from_secs(2), "it exited by itself");
}

/// Wait until a process has ended.
#[cfg(target_os = "linux")]
fn wait_for_end(process: u32) {
    let began = Instant::now();
    while runs(process) {
        assert!(began.elapsed() < PATIENT, "process {process} still runs");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[cfg(target_os = "linux")]
#[test]
fn what_an_environment_has_started_ends_with_it_also_in_a_session_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("started");
    let bridge = start(&format!("parent '{}'", file.display()));
    let started: u32 = std::fs::read_to_string(&file).unwrap().parse().unwrap();
    assert!(runs(started));
    drop(bridge);
    wait_for_end(started);
}

#[cfg(target_os = "linux")]
#[test]
fn an_environment_and_what_it_has_started_end_when_smalti_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let trained =
        format!("train trajectory {TINY} --set train.max_steps=1 --set train.eval_samples=1 --out run");
    assert_eq!(ran(smalti(folder.path()), &trained).code, Some(0));
    let file = folder.path().join("started");
    let mut rollout = smalti(folder.path());
    rollout.args(["rollout", "run", "--episodes", "100000"]);
    let environment = command(&format!("parent '{}'", file.display()));
    rollout.args(["--env", &environment]).stdout(std::process::Stdio::null());
    let mut rollout = rollout.spawn().unwrap();
    let began = Instant::now();
    let started: u32 = loop {
        assert!(began.elapsed() < PATIENT, "the environment has not started");
        if let Ok(started) = std::fs::read_to_string(&file).unwrap_or_default().parse() {
            break started;
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    let parent = std::fs::read_to_string(format!("/proc/{started}/stat")).unwrap();
    let parent = parent.rsplit(") ").next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    rollout.kill().unwrap();
    rollout.wait().unwrap();
    wait_for_end(parent);
    wait_for_end(started);
}

#[test]
fn the_command_line_names_the_environment_that_failed() {
    let folder = tempfile::tempdir().unwrap();
    let trained =
        format!("train trajectory {TINY} --set train.max_steps=1 --set train.eval_samples=1 --out run");
    assert_eq!(ran(smalti(folder.path()), &trained).code, Some(0));
    let cases =
        [("dies", 60, "ended before its answer to reset"), ("mute", 1, "gave no greeting within 1 s")];
    for (manner, timeout, message) in cases {
        let mut rollout = smalti(folder.path());
        rollout.args(["rollout", "run", "--env", &command(manner)]);
        let ran = ran(rollout, &format!("--env-timeout {timeout} --episodes 2"));
        assert_eq!((ran.code, ran.out.as_str()), (Some(1), ""), "{}", ran.err);
        let expected = format!("error: --env {}: {message}", command(manner));
        assert!(ran.err.starts_with(&expected), "expected {expected:?} in: {}", ran.err);
        assert_eq!(ran.err.matches("environment.py").count(), 1, "named once: {}", ran.err);
    }
    assert_eq!(ran(smalti(folder.path()), "rollout run --env-timeout 0").code, Some(2));
}
