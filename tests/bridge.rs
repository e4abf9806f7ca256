//! Environments in a process of their own: the same returns as built in; whatever they say that they should not is an
//! error that names the command; and none is waited for without end or left behind.

#![cfg(all(unix, feature = "trajectory"))]

#[allow(dead_code)] // other tests need more of it
mod support;

use serde_json::Value;
use smalti::env::{Action, Bridge, CartPole, Copies, EnvError, VectorEnvironment};
use smalti::inference::random_policy;
use std::path::Path;
use std::time::{Duration, Instant};
use support::{TINY, ran, smalti};

/// Long enough for any answer that comes.
const PATIENT: Duration = Duration::from_secs(60);

/// The command of the tests' own environment, in this manner.
fn command(manner: &str) -> String {
    let script = std::path::absolute("tests/support/environment.py").unwrap();
    format!("python3 '{}' {manner}", script.display())
}

fn start(manner: &str) -> Bridge {
    Bridge::start(&command(manner), PATIENT).unwrap_or_else(|e| panic!("{e}"))
}

/// What goes wrong in an episode of two steps; the message names the command.
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
        Err(EnvError::Outside { command: named, problem }) => {
            assert_eq!(named, command(manner));
            problem
        }
        other => panic!("{manner}: {other:?}"),
    }
}

#[test]
fn cart_and_pole_is_the_same_outside_to_the_last_bit() {
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
fn observations_of_named_parts_are_read_in_the_order_of_their_names() {
    let (mut inside, mut outside) = (Copies::new(CartPole::NAME).unwrap(), start("dictionary"));
    assert_eq!((outside.slots(), outside.state_dim()), (1, 4));
    let expected = random_policy(&mut inside, 500, 5, 9).unwrap();
    assert_eq!(
        random_policy(&mut outside, 500, 5, 9).unwrap(),
        expected,
        "one after another in the one slot"
    );
}

#[test]
fn a_run_earns_the_same_in_it_as_built_in() {
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
fn an_episode_is_truncated_where_the_greeting_says_so() {
    // Cart and pole is pushed to and fro by where the pole leans, which keeps it up for some time.
    let mut bridge = start("cartpole");
    let mut state = bridge.reset(&[(0, 1)]).unwrap().remove(0).state;
    let last = loop {
        let lean = state[2] + 0.1 * (state[0] + state[1]) + 0.3 * state[3];
        let step = bridge.step(&[(0, &Action::Discrete(u32::from(lean > 0.0)))]).unwrap().remove(0);
        state.clone_from(&step.seen.state);
        if step.done() {
            break step;
        }
    };
    assert!(last.truncated && !last.terminated, "{last:?}");
    let error = bridge.step(&[(0, &Action::Discrete(0))]).unwrap_err();
    assert!(matches!(error, EnvError::NotRunning { .. }), "{error}");
}

#[test]
fn what_must_not_be_asked_is_not_sent() {
    let mut bridge = start("well");
    let push = Action::Discrete(1);
    assert!(matches!(bridge.step(&[(0, &push)]), Err(EnvError::NotRunning { .. })));
    bridge.reset(&[(0, 1)]).unwrap();
    assert!(matches!(bridge.step(&[(0, &Action::Discrete(2))]), Err(EnvError::Action { .. })));
    assert_eq!(bridge.step(&[(0, &push)]).unwrap()[0].reward, 1.0);
}

#[test]
fn a_command_that_cannot_be_started() {
    let refused = |command: &str| Bridge::start(command, PATIENT).err().unwrap().to_string();
    assert_eq!(
        refused("no-such-arena --hard"),
        "no-such-arena --hard: is neither a built-in environment, cartpole, nor a command: no program \
         \"no-such-arena\" is found"
    );
    assert!(refused("'half").ends_with("a quote is not closed"));
    assert!(refused("  ").contains("is empty"));
    assert!(refused("./tests").contains("cannot be started: "), "{}", refused("./tests"));
}

#[test]
fn whatever_it_says_that_it_should_not() {
    let cases: [(&str, &[&str]); 12] = [
        ("greeting", &["says \"welcome to the arena\", where the greeting {\"hello\"", "line 1 column 1"]),
        ("version", &["speaks version 2 of the protocol; this build speaks version 1"]),
        ("chatter", &["says \"ready!\", where an answer to reset {", "expected value at line 1 column 1"]),
        ("number", &["says \"17\", where an answer to reset {", "invalid type: integer `17`"]),
        ("no-reward", &["where an answer to step {", "missing field `reward`"]),
        ("unknown", &["unknown field `colour`, expected one of `env`, `observation`, `images`"]),
        ("nan", &["where an answer to reset", "neither NaN nor infinity, and numbers must be finite"]),
        ("huge", &["observation holds inf at place 1; it must be finite"]),
        ("nan-reward", &["where an answer to step", "neither NaN nor infinity"]),
        ("narrow", &["observation must have 4 numbers, as was said; found 3"]),
        ("other", &["env must be 0, in the order of the requests; found 3"]),
        ("error", &["reports an error: the arena is on fire"]),
    ];
    for (manner, says) in cases {
        let problem = problem(manner, PATIENT);
        for said in says {
            assert!(problem.contains(said), "{manner}: expected {said:?} in: {problem}");
        }
        let tail = format!("\nthe last on its standard error:\n    about to be {manner}");
        assert!(problem.ends_with(&tail), "{manner}: {problem}");
    }
}

#[test]
fn an_answer_that_nobody_asked_for() {
    let mut bridge = start("twice");
    bridge.reset(&[(0, 1)]).unwrap();
    std::thread::sleep(Duration::from_millis(500)); // the second answer comes
    let error = bridge.step(&[(0, &Action::Discrete(1))]).unwrap_err().to_string();
    assert!(error.contains("says \"{\\\"observation\\\": [0, 0, 0, 0]}\" without being asked"), "{error}");
}

#[test]
fn one_that_dies_leaves_its_status_and_last_words() {
    let problem = problem("dies", PATIENT);
    assert!(problem.starts_with("ended before its answer to reset (exit status: 1)\n"), "{problem}");
    assert!(problem.ends_with("    frame 999\n    a wheel came off"), "{problem}");
    assert_eq!(problem.lines().count(), 12, "ten lines of its last words: {problem}");
}

#[test]
fn one_that_never_ends_a_line_takes_no_memory() {
    let problem = problem("flood", PATIENT);
    assert!(problem.starts_with("says a line of more than 8 MiB"), "{problem}");
}

/// Whether a process is there and has not ended.
#[cfg(target_os = "linux")]
fn runs(process: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    let state = stat.rsplit(") ").next().and_then(|rest| rest.chars().next());
    state.is_some_and(|state| state != 'Z')
}

#[cfg(target_os = "linux")]
#[test]
fn one_that_does_not_answer_is_given_up_and_ended_with_all_that_it_started() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("started");
    let deaf = command(&format!("deaf '{}'", file.display()));
    let mut bridge = Bridge::start(&deaf, Duration::from_secs(5)).unwrap_or_else(|e| panic!("{e}"));
    let started: u32 = std::fs::read_to_string(&file).unwrap().parse().unwrap();
    let process = bridge.process_id();
    assert!(runs(process) && runs(started));
    // More than a pipe holds, so that the requests cannot even be written.
    let starts: Vec<(usize, u64)> = (0..10_000).map(|slot| (slot, 1)).collect();
    let began = Instant::now();
    let error = bridge.reset(&starts).unwrap_err().to_string();
    assert!(error.contains("gave no answer to reset within 5 s (--env-timeout)"), "{error}");
    drop(bridge);
    assert!(began.elapsed() < Duration::from_secs(30));
    assert!(!Path::new(&format!("/proc/{process}")).exists(), "neither it nor a zombie is left");
    while runs(started) {
        assert!(began.elapsed() < Duration::from_secs(30), "what it started goes on");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[cfg(target_os = "linux")]
#[test]
fn one_that_is_no_longer_needed_is_told_to_close() {
    let bridge = start("well");
    let process = bridge.process_id();
    assert!(runs(process));
    let began = Instant::now();
    drop(bridge);
    assert!(!Path::new(&format!("/proc/{process}")).exists());
    assert!(began.elapsed() < Duration::from_secs(2), "it ended by itself");
}

#[test]
fn the_program_says_which_environment_failed_and_how() {
    let folder = tempfile::tempdir().unwrap();
    let trained =
        format!("train trajectory {TINY} --set train.max_steps=1 --set train.eval_samples=1 --out run");
    assert_eq!(ran(smalti(folder.path()), &trained).code, Some(0));
    let cases =
        [("dies", 60, "ended before its answer to reset"), ("mute", 1, "gave no greeting within 1 s")];
    for (manner, timeout, says) in cases {
        let mut rollout = smalti(folder.path());
        rollout.args(["rollout", "run", "--env", &command(manner)]);
        let ran = ran(rollout, &format!("--env-timeout {timeout} --episodes 2"));
        assert_eq!((ran.code, ran.out.as_str()), (Some(1), ""), "{}", ran.err);
        let expected = format!("error: --env {}: {says}", command(manner));
        assert!(ran.err.starts_with(&expected), "expected {expected:?} in: {}", ran.err);
        assert_eq!(ran.err.matches("environment.py").count(), 1, "named once: {}", ran.err);
    }
    assert_eq!(ran(smalti(folder.path()), "rollout run --env-timeout 0").code, Some(2));
}
