use super::*;
use crate::Actions;
use crate::Images;
use std::collections::BTreeMap;

const DISCRETE: &str =
    r#"{"observations": [[0.5, 2], [1, 3]], "actions": [0, 3], "rewards": [1, 1.5], "terminated": true}"#;

#[test]
fn integer_actions_are_discrete() {
    let file = [
        DISCRETE,
        "",
        r#"{"observations": [[1], [2]], "actions": [[-1, 2.5], [3, 4]], "rewards": [0, 0]}"#,
        r#"{"observations": [1, 2], "actions": [1, 0.5], "rewards": [0, 0], "truncated": true}"#,
    ]
    .join("\r\n");
    let episodes = read(file.as_bytes()).unwrap();
    assert_eq!(
        episodes[0],
        Episode {
            observations: vec![0.5, 2.0, 1.0, 3.0],
            state_dim: 2,
            state_names: vec![],
            images: BTreeMap::new(),
            actions: Actions::Discrete(vec![0, 3]),
            rewards: vec![1.0, 1.5],
            end: End::Terminated,
        }
    );
    assert_eq!(episodes[1].actions, Actions::Continuous { values: vec![-1.0, 2.5, 3.0, 4.0], dim: 2 });
    assert_eq!(episodes[2].actions, Actions::Continuous { values: vec![1.0, 0.5], dim: 1 });
    assert_eq!((episodes[1].end, episodes[2].end), (End::Unknown, End::TimeLimit));
}

#[test]
fn the_observation_after_the_last_action_is_dropped() {
    let log = r#"{"observations": [[1], [2], [3]], "images": {"a": {"files": ["0", "1", "2"]}}, "actions": [0, 1], "rewards": [0, 0]}"#;
    let episode = read(log.as_bytes()).unwrap().remove(0);
    assert_eq!((episode.len(), episode.observations, episode.images["a"].len()), (2, vec![1.0, 2.0], 2));
    let two = log.replace("[3]]", "[3], [4]]").replace("\"2\"]", "\"2\", \"3\"]");
    let error = read(two.as_bytes()).unwrap_err().to_string();
    let expected =
        "observations must have 2 rows, as the actions have, or 3 with one more for each episode; found 4";
    assert_eq!(error, format!("line 1: {expected}"));
}

#[test]
fn ends_may_be_said_at_each_step() {
    let end = |more: &str| {
        let line = format!(r#"{{"observations": [1, 2], "actions": [0, 1], "rewards": [0, 0], {more}}}"#);
        read(line.as_bytes()).map(|episodes| episodes[0].end).map_err(|error| error.to_string())
    };
    assert_eq!(end(r#""terminals": [false, true]"#), Ok(End::Terminated));
    assert_eq!(
        end(r#""terminations": [0, 0], "truncations": [0, 1], "infos": {"a": [{}]}"#),
        Ok(End::TimeLimit)
    );
    assert_eq!(end(r#""dones": [false, true]"#), Ok(End::Unknown));
    assert_eq!(
        end(r#""terminated": [true, false]"#),
        Err("line 1: terminated at step 0 is 1; it must be 0 before an episode's last step".into())
    );
    assert_eq!(
        end(r#""truncated": [true]"#),
        Err("line 1: truncated must have 2 rows, as observations has; found 1".into())
    );
    let text = end(r#""truncated": "no""#).unwrap_err();
    assert!(text.contains("expected true or false, or a list of them; found \"no\""), "{text}");
}

#[test]
fn the_names_of_jat_are_known() {
    let line = br#"{"continuous_observations": [[1, 2]], "discrete_actions": [3], "rewards": [0.5]}"#;
    let episode = read(line).unwrap().remove(0);
    assert_eq!((episode.state_dim, episode.actions), (2, Actions::Discrete(vec![3])));
    let short = br#"{"__index_level_0__": 7, "episode": 3, "obs": [[1, 2]], "action": [3], "reward": [0.5], "done": [true]}"#;
    assert_eq!(read(short).unwrap().remove(0), read(line).unwrap().remove(0));
    let twice = br#"{"observations": [1], "discrete_observations": [1], "actions": [3], "rewards": [0.5]}"#;
    assert!(read(twice).unwrap_err().to_string().contains("duplicate field `observations`"));
}

#[test]
fn objects_of_lists_equal_lists_of_objects() {
    let columns = r#"{"observations": {"speed": [0.5, 0.7], "goal": {"y": [3, 4], "at": [[1, 2], [5, 6]]}},
        "actions": {"grip": [0, 1], "arm": [[1], [-1]]}, "rewards": [0, 1]}"#;
    let steps = r#"{"observations": [{"speed": 0.5, "goal": {"at": [1, 2], "y": 3}},
        {"goal": {"at": [[5], [6]], "y": 4}, "speed": 0.7}],
        "actions": [{"grip": 0, "arm": [1]}, {"grip": 1, "arm": [-1]}], "rewards": [0, 1]}"#;
    let read_one = |line: &str| read(line.replace('\n', " ").as_bytes()).unwrap().remove(0);
    let episode = read_one(columns);
    assert_eq!(episode.state_names, ["goal.at.0", "goal.at.1", "goal.y", "speed"]);
    assert_eq!(episode.observations, [1.0, 2.0, 3.0, 0.5, 5.0, 6.0, 4.0, 0.7]);
    let arm = Actions::Continuous { values: vec![1.0, -1.0], dim: 1 };
    assert_eq!(episode.actions.parts(), [("arm", &arm), ("grip", &Actions::Discrete(vec![0, 1]))]);
    assert_eq!(read_one(steps), episode);
}

#[test]
fn written_episodes_are_read_back() {
    let parts = [
        ("arm".to_string(), Actions::Continuous { values: vec![0.1, -1.0, 1e-20, 3.0], dim: 2 }),
        ("key.00".to_string(), Actions::Discrete(vec![4, 5])),
        ("key.01".to_string(), Actions::Discrete(vec![0, u32::MAX])),
    ];
    let named = Episode {
        observations: vec![0.1, f32::MAX, 16_777_217.0, f32::MIN_POSITIVE],
        state_dim: 2,
        state_names: vec!["z".into(), "a".into()],
        images: BTreeMap::new(),
        actions: Actions::Parts(parts.into()),
        rewards: vec![0.3, -0.7],
        end: End::TimeLimit,
    };
    let frames =
        Images::Frames { height: 1, width: 2, channels: 3, pixels: (0..12).collect::<Vec<_>>().into() };
    let files = Images::Files(vec!["a/0.png".into(), "a/1.png".into()]);
    let encoded = Images::Encoded(vec![vec![0x89, b'P'].into(), vec![255].into()]);
    let cameras = [("front", frames), ("side.left", files), ("side.right", encoded)];
    let with_images =
        Episode { images: cameras.map(|(name, images)| (name.into(), images)).into(), ..named.clone() };
    let only_images =
        Episode { observations: vec![], state_dim: 0, state_names: vec![], ..with_images.clone() };
    let plain = Episode {
        state_names: vec![],
        actions: Actions::Continuous { values: vec![1.0, 2.0], dim: 1 },
        end: End::Terminated,
        ..named.clone()
    };
    let episodes = vec![named, plain, with_images, only_images];
    let mut lines = vec![];
    write(&mut lines, &episodes).unwrap();
    assert_eq!(read(&lines).unwrap(), episodes);
    let invalid = Episode { rewards: vec![f32::NAN, 0.0], ..episodes[1].clone() };
    let error = write(&mut lines, &[invalid]).unwrap_err().to_string();
    assert_eq!(error, "rewards at step 0 is NaN; it must be finite");
}

#[test]
fn errors_have_the_line() {
    let cases = [
        ("{", "line 3: column 1: EOF while parsing"),
        ("[]", "line 3: column"),
        (
            r#"{"observations": [[1]], "actions": [0], "rewards": [0], "colour": 1}"#,
            "line 3: column 64: unknown field",
        ),
        (
            r#"{"observations": [[1], [1, 2]], "actions": [0, 0], "rewards": [0, 0]}"#,
            "line 3: column 30: observations at step 1: expected 1 numbers, as at step 0; found 2",
        ),
        (
            r#"{"observations": [{"x": 1}, {"y": 1}], "actions": [0, 0], "rewards": [0, 0]}"#,
            "line 3: column 35: observations.y is present at step 1, but not at step 0",
        ),
        (
            r#"{"observations": [[{"x": 1}]], "actions": [0], "rewards": [0]}"#,
            "line 3: column 20: an object in a list",
        ),
        (
            r#"{"observations": {"a": {"b": [1]}, "a.b": [1]}, "actions": [0], "rewards": [0]}"#,
            "line 3: column 46: observations.a.b occurs twice",
        ),
        (
            r#"{"observations": [[1]], "actions": [-1], "rewards": [0]}"#,
            "line 3: actions at step 0 is -1; it must be a number from 0 to 4294967295",
        ),
        (
            r#"{"observations": [[1]], "actions": ["left"], "rewards": [0]}"#,
            "line 3: column 42: invalid type: string \"left\", expected actions as a number",
        ),
        (
            r#"{"observations": [[1]], "actions": [0, 1], "rewards": [0]}"#,
            "line 3: actions must have 1 rows, as observations has; found 2",
        ),
        (
            r#"{"observations": [[1e99]], "actions": [0], "rewards": [0]}"#,
            "line 3: observations at step 0 is inf; it must be finite",
        ),
        (
            r#"{"observations": [[1, 2]], "state_names": ["x"], "actions": [0], "rewards": [0]}"#,
            "line 3: expected 2 state_names, one for each number of an observation; found 1",
        ),
        (
            r#"{"observations": {"x": [1]}, "state_names": ["x"], "actions": [0], "rewards": [0]}"#,
            "line 3: state_names is set; it is only for observations that are lists",
        ),
        (
            r#"{"observations": {"x": [1], "y": [1, 2]}, "actions": [0], "rewards": [0]}"#,
            "line 3: observations.y must have 1 rows, as observations.x has; found 2",
        ),
        (
            r#"{"observations": [], "actions": [], "rewards": []}"#,
            "line 3: rewards must have at least one step; found none",
        ),
        (r#"{"observations": {}, "actions": [0], "rewards": [0]}"#, "line 3: no column for states"),
        (
            r#"{"observations": [[], []], "actions": [0, 0], "rewards": [0, 0]}"#,
            "line 3: actions must have 0 rows, as observations has; found 2",
        ),
        (
            r#"{"images": {"front": {"files": ["a.png"]}}, "actions": [0, 1], "rewards": [0, 1]}"#,
            "line 3: actions must have 1 rows, as observations.front has; found 2",
        ),
        (
            r#"{"images": {"front": {"files": ["a.png", null]}}, "actions": [0, 1], "rewards": [0, 1]}"#,
            "line 3: column 45: invalid type: null, expected a string",
        ),
        (
            r#"{"images": {"": {"encoded": ["§"]}}, "actions": [0], "rewards": [0]}"#,
            "line 3: column 34: not base64: ",
        ),
        (
            r#"{"images": {"a": {"frames": {"height": 1, "width": 2, "channels": 1, "pixels": "AAAA"}}}, "actions": [0], "rewards": [0]}"#,
            "line 3: images.a: expected a multiple of 1×2×1 bytes; found 3",
        ),
        (
            r#"{"images": {"a": {"video": "a.mp4"}}, "actions": [0], "rewards": [0]}"#,
            "line 3: column 25: unknown variant `video`, expected one of `files`, `encoded`, `frames`",
        ),
        (
            r#"{"observations": [{"x": 1, "x": 2}], "actions": [0], "rewards": [0]}"#,
            "line 3: column 33: observations.x occurs twice",
        ),
        (
            r#"{"observations": [{"a": {"b": [1]}, "a.b": [1]}], "actions": [0], "rewards": [0]}"#,
            "line 3: column 44: observations.a.b occurs twice",
        ),
    ];
    for (line, expected) in cases {
        let file = format!("{DISCRETE}\n\n{line}\n");
        let found = read(file.as_bytes()).unwrap_err().to_string();
        assert!(found.starts_with(expected), "{found:?} should start with {expected:?}");
    }
    assert_eq!(read(b" \n\n"), Err(TrajectoryError::Empty));
    let nested = format!("{{\"observations\": {}", "[".repeat(100_000));
    assert!(read(nested.as_bytes()).is_err());
}

#[test]
fn a_number_that_is_not_finite_is_named() {
    for (number, word) in [("NaN", "NaN"), ("-Infinity", "Infinity")] {
        let line = format!("{{\"observations\": [[1], [{number}]], \"actions\": [0, 0]}}");
        let error = read(line.as_bytes()).unwrap_err().to_string();
        assert!(error.contains(&format!("{word} is not JSON; all numbers must be finite")), "{error}");
    }
}

#[test]
fn rewards_may_be_left_out() {
    let episodes = read(br#"{"observations": [[1], [2]], "actions": [0, 1]}"#).unwrap();
    assert_eq!((episodes[0].len(), episodes[0].rewards.len()), (2, 0));
    let mut written = vec![];
    write(&mut written, &episodes).unwrap();
    assert!(!String::from_utf8(written.clone()).unwrap().contains("rewards"));
    assert_eq!(read(&written), Ok(episodes));
}
