//! Logs of episodes, and rollouts.

#[cfg(target_os = "linux")]
use super::{Place, failed};
use super::{damaged, trajectory_place, trajectory_train};
use crate::files::{actions, log, log_with, npz, wav};
#[cfg(target_os = "linux")]
use crate::support::{ran, smalti_under};

#[test]
fn unusable_logs_are_named() {
    let place = trajectory_place();
    let mut nan: Vec<u8> = log()[0].3.clone();
    nan[60..64].copy_from_slice(&f32::NAN.to_le_bytes());
    let whole = npz(&log());
    let without = |name: &str| npz(&log().into_iter().filter(|array| array.0 != name).collect::<Vec<_>>());
    let cases: [(&str, Vec<u8>, &[&str]); 17] = [
        ("empty.npz", vec![], &["empty"]),
        ("cut.npz", whole[..300].to_vec(), &["npz"]),
        ("corrupt.npz", damaged(whole, 100), &["npz", "obs"]),
        ("sound.npz", wav(8000, 800, 1, 16), &["not readable as episodes (npz)"]),
        (
            "nan.npz",
            log_with(("obs", "<f4", "(24, 2)".into(), nan)),
            &["episode 1: observations at step 1 is NaN; it must be finite"],
        ),
        (
            "ragged.npz",
            log_with(("rewards", "<f4", "(23,)".into(), vec![0; 92])),
            &["rewards must have 24 rows, as obs has; found 23"],
        ),
        (
            "starts.npz",
            without("episode_starts"),
            &["no column for episode boundaries", "\"episode_starts\"", "found: actions, obs, rewards"],
        ),
        (
            "objects.npz",
            log_with(("rewards", "|O", "(4,)".into(), vec![])),
            &["\"rewards\"", "Python objects", "save arrays of numbers"],
        ),
        (
            "pixels.npz",
            log_with(("obs", "<f4", "(24, 1, 1, 1)".into(), 2.5_f32.to_le_bytes().repeat(24))),
            &["\"obs\"", "pixels must be from 0 to 1, or whole numbers from 0 to 255; found 2.5"],
        ),
        ("negative.npz", log_with(actions(|_| -1)), &["actions at step 0 is -1; it must be a number from 0"]),
        (
            "claim.npz",
            log_with(("obs", "<f4", "(1000000000, 2)".into(), vec![0; 192])),
            &["\"obs\"", "(1000000000, 2)", "exceeds"],
        ),
        (
            "ragged.jsonl",
            br#"{"observations": [[1], [1, 2]], "actions": [0, 1], "rewards": [1, 1]}"#.to_vec(),
            &["line 1", "observations"],
        ),
        (
            "unknown.jsonl",
            br#"{"views": [[1]], "actions": [0], "rewards": [1]}
{"views": [[1]], "actions": [0], "rewards": [1]}"#
                .to_vec(),
            &["no row has the field \"observations\"", "views, actions, rewards"],
        ),
        (
            "cell.csv",
            b"episode,obs.x,action,reward\n0,1,left,1\n".to_vec(),
            &["line 2", "\"action\"", "left"],
        ),
        (
            "column.csv",
            b"episode,obs.x,action,colour\n0,1,0,1\n".to_vec(),
            &["line 1", "\"colour\" is unknown"],
        ),
        ("cut.parquet", b"PAR1 and no more".to_vec(), &["Parquet"]),
        ("cut.hdf5", b"\x89HDF\r\n\x1a\n and no more".to_vec(), &["HDF5"]),
    ];
    for (name, bytes, message) in cases {
        place.write(name, &bytes);
        let line = format!("{} --set data.source={name}", trajectory_train());
        place.fails_untouched(&line, &[&[name], message].concat());
    }
    place.fails_untouched(
        &format!("{} --set data.source=none.npz", trajectory_train()),
        &["none.npz", "not found"],
    );
}

/// An action number of 4,000,000,000 must not create a head of as many classes.
#[cfg(target_os = "linux")]
#[test]
fn a_huge_action_number_is_an_error_in_bounded_memory() {
    let place = Place::new(&[("log.npz", &log_with(actions(|step| step % 2 * 4_000_000_000)))]);
    let line = format!("{} --out refused", trajectory_train());
    let ran = ran(smalti_under("ulimit -v 4000000", place.0.path()), &line);
    failed(1, &line, &ran, &["outputs.actions", "4000000000"]);
    assert!(!place.path("refused").exists());
}

#[test]
fn rollouts_that_do_not_fit_are_named() {
    let place = trajectory_place();
    place.works(&format!("{} --out run", trajectory_train()));
    place.fails(
        "rollout run --env nonsense",
        &[
            "--env nonsense: expected a built-in environment (cartpole, key-to-door) or a command",
            "no program",
        ],
    );
    place.fails(
        "rollout run",
        &["--env cartpole: has states of 4 numbers", "the model has learned states of 2"],
    );
    place.fails("rollout run --episodes 0", &["--episodes: expected 1 to 1048576; found 0"]);
}
