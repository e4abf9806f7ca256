use super::*;
use crate::{Actions, Images};

fn column(name: &str, values: &[f64]) -> Column {
    Column { name: name.into(), dim: 1, values: values.to_vec(), ..Column::default() }
}

fn whole(name: &str, values: &[f64]) -> Column {
    Column { whole: true, ..column(name, values) }
}

/// Four steps of states, actions and rewards, and additional columns.
fn steps(more: Vec<Column>) -> Vec<Column> {
    let mut columns = vec![
        column("obs", &[0.0, 0.1, 0.2, 0.3]),
        whole("action", &[0.0, 1.0, 0.0, 1.0]),
        column("reward", &[1.0, 2.0, 3.0, 4.0]),
    ];
    columns.extend(more);
    columns
}

fn read(columns: Vec<Column>) -> Result<Vec<Episode>, TrajectoryError> {
    episodes(columns)
}

/// The lengths and ends of the episodes.
fn cut(more: Vec<Column>) -> Vec<(usize, End)> {
    read(steps(more)).unwrap().iter().map(|episode| (episode.len(), episode.end)).collect()
}

fn error(columns: Vec<Column>) -> String {
    read(columns).unwrap_err().to_string()
}

#[test]
fn episodes_begin_at_starts_or_after_ends() {
    let flags = |name, values| whole(name, values);
    assert_eq!(
        cut(vec![flags("episode_starts", &[1.0, 0.0, 0.0, 1.0])]),
        [(3, End::Unknown), (1, End::Unknown)]
    );
    assert_eq!(cut(vec![flags("episode", &[7.0, 7.0, 3.0, 3.0])]), [(2, End::Unknown), (2, End::Unknown)]);
    assert_eq!(
        cut(vec![flags("terminals", &[0.0, 1.0, 0.0, 0.0]), flags("timeouts", &[0.0, 0.0, 1.0, 0.0])]),
        [(2, End::Terminated), (1, End::TimeLimit), (1, End::Unknown)]
    );
    assert_eq!(
        cut(vec![flags("terminals", &[0.0, 1.0, 0.0, 1.0]), flags("truncations", &[0.0, 1.0, 0.0, 0.0])]),
        [(2, End::Terminated), (2, End::Terminated)],
        "termination takes precedence"
    );
    assert_eq!(cut(vec![flags("done", &[0.0, 1.0, 0.0, 1.0])]), [(2, End::Unknown), (2, End::Unknown)]);
}

#[test]
fn ends_must_agree_with_starts() {
    let with = |more| error(steps(more));
    let starts = || whole("episode_starts", &[1.0, 0.0, 1.0, 0.0]);
    assert_eq!(
        with(vec![starts(), whole("terminals", &[1.0, 0.0, 0.0, 0.0])]),
        "terminals at step 0 is 1; it must be 0 before an episode's last step"
    );
    assert_eq!(
        with(vec![starts(), whole("timeouts", &[0.0, 0.0, 1.0, 0.0])]),
        "timeouts at step 2 is 1; it must be 0 before an episode's last step"
    );
    assert_eq!(
        with(vec![whole("episode_starts", &[0.0, 0.0, 1.0, 0.0])]),
        "episode_starts at step 0 is 0; it must be 1 at the first step"
    );
    assert_eq!(
        with(vec![whole("episode", &[1.0, 2.0, 1.0, 1.0])]),
        "episode at step 2 is 1; it must be a new number, because an episode's steps must be contiguous"
    );
    assert_eq!(
        with(vec![starts(), whole("frame_index", &[0.0, 1.0, 2.0, 3.0])]),
        "frame_index at step 2 is 2; it must be 0, the number of steps since the episode began"
    );
}

#[test]
fn parts_of_a_state_are_concatenated_with_their_names() {
    let pair =
        Column { dim: 2, elements: vec!["a".into(), "b".into()], ..column("observation.arm", &[1.0; 8]) };
    let columns = vec![
        column("observation/goal", &[5.0, 6.0, 7.0, 8.0]),
        Column { dim: 2, ..column("obs.hand", &[2.0; 8]) },
        pair,
        whole("action", &[0.0; 4]),
        column("reward", &[0.0; 4]),
        whole("episode", &[0.0; 4]),
    ];
    let episode = read(columns).unwrap().remove(0);
    assert_eq!(episode.state_names, ["goal", "hand.0", "hand.1", "arm.a", "arm.b"]);
    assert_eq!(episode.observations[5..10], [6.0, 2.0, 2.0, 1.0, 1.0]);
}

#[test]
fn integers_are_discrete_and_floats_are_concatenated() {
    let of = |actions: Vec<Column>| {
        let mut columns = steps(vec![whole("episode", &[0.0; 4])]);
        columns.retain(|column| column.name != "action");
        columns.extend(actions);
        read(columns).map(|mut episodes| episodes.remove(0).actions)
    };
    let parts = |parts: Vec<(&str, Actions)>| {
        Actions::Parts(parts.into_iter().map(|(name, part)| (name.to_string(), part)).collect())
    };
    let ids = |ids: [u32; 4]| Actions::Discrete(ids.to_vec());
    assert_eq!(
        of(vec![Column { dim: 2, ..whole("actions", &[0.0, 9.0, 1.0, 8.0, 2.0, 7.0, 3.0, 6.0]) }]),
        Ok(parts(vec![("0", ids([0, 1, 2, 3])), ("1", ids([9, 8, 7, 6]))]))
    );
    assert_eq!(
        of(vec![
            column("action.arm.0", &[0.5, 0.0, 0.0, 0.0]),
            whole("action.grip", &[0.0, 1.0, 0.0, 1.0]),
            whole("action.arm.1", &[1.0; 4]),
        ]),
        Ok(parts(vec![
            ("arm", Actions::Continuous { values: vec![0.5, 1.0, 0.0, 1.0, 0.0, 1.0, 0.0, 1.0], dim: 2 }),
            ("grip", ids([0, 1, 0, 1])),
        ]))
    );
    let twelve = Column { dim: 12, ..whole("action.key", &[0.0; 48]) };
    let Ok(Actions::Parts(parts)) = of(vec![twelve]) else { panic!("parts") };
    assert_eq!(parts.keys().next_back().map(String::as_str), Some("key.11"));
    assert!(parts.contains_key("key.02"));
    let conflict = of(vec![whole("action", &[0.0; 4]), whole("actions.x", &[0.0; 4])]).unwrap_err();
    assert_eq!(conflict.to_string(), "column \"action\" conflicts with the others of action, actions.x");
    let negative = of(vec![whole("action", &[0.0, -1.0, 0.0, 0.0])]).unwrap_err();
    assert_eq!(negative.to_string(), "action at step 1 is -1; it must be a number from 0 to 4294967295");
}

#[test]
fn columns_must_have_the_same_length_and_unique_roles() {
    let episode = || whole("episode", &[0.0; 4]);
    assert_eq!(
        error(steps(vec![episode(), whole("truncated", &[0.0; 3])])),
        "truncated must have 4 rows, as obs has; found 3"
    );
    assert_eq!(
        error(steps(vec![episode(), column("rewards", &[0.0; 4])])),
        "columns \"reward\" and \"rewards\" have the same meaning; keep one of them"
    );
    assert_eq!(
        error(steps(vec![Column { dim: 2, ..whole("episode", &[0.0; 8]) }])),
        "episode must have one number per step; found 2"
    );
    let unknown = column("colour", &[0.5]);
    assert_eq!(read(steps(vec![episode(), unknown])).unwrap().len(), 1, "unknown columns are ignored");
}

#[test]
fn an_observation_after_the_last_action_is_dropped() {
    let with = |observations: &[f64], more: Vec<Column>| {
        let mut columns = steps(more);
        columns[0] = column("obs", observations);
        let front = Images::Files(observations.iter().map(|x| format!("{x}.png")).collect());
        columns.push(Column::of_images("obs.front".into(), front));
        columns[0].name = "obs.x".into();
        columns
    };
    let starts = || whole("episode_starts", &[1.0, 0.0, 0.0, 1.0]);
    let episodes = read(with(&[0.0, 1.0, 2.0, 3.0, 4.0, 5.0], vec![starts()])).unwrap();
    let found: Vec<_> =
        episodes.iter().map(|one| (one.observations.clone(), one.images["front"].clone())).collect();
    let files = |names: &[&str]| Images::Files(names.iter().map(|name| name.to_string()).collect());
    assert_eq!(
        found,
        [(vec![0.0, 1.0, 2.0], files(&["0.png", "1.png", "2.png"])), (vec![4.0], files(&["4.png"]))],
        "3 and 5 are after the last actions"
    );
    let one = episode(with(&[0.0, 1.0, 2.0, 3.0, 4.0], vec![]), None).unwrap();
    assert_eq!((one.observations, one.images["front"].len()), (vec![0.0, 1.0, 2.0, 3.0], 4));
    assert_eq!(
        error(with(&[0.0, 1.0, 2.0, 3.0, 4.0], vec![starts()])),
        "obs.x must have 4 rows, as the actions have, or 6 with one more for each episode; found 5"
    );
    let mut ragged = with(&[0.0, 1.0, 2.0, 3.0, 4.0], vec![]);
    ragged[2] = column("reward", &[0.0; 5]);
    assert_eq!(error(ragged), "reward must have 4 rows, as action has; found 5");
}

#[test]
fn short_names_are_known() {
    let columns = vec![
        column("obs", &[0.0, 0.1]),
        column("next_obs", &[0.1, 0.2]),
        whole("acts", &[1.0, 0.0]),
        column("rew", &[1.0, 2.0]),
        whole("terminal", &[0.0, 1.0]),
    ];
    let episode = read(columns).unwrap().remove(0);
    assert_eq!((episode.observations, episode.rewards), (vec![0.0, 0.1], vec![1.0, 2.0]));
    assert_eq!((episode.actions, episode.end), (Actions::Discrete(vec![1, 0]), End::Terminated));
}

#[test]
fn demonstrations_have_no_rewards() {
    let mut columns = steps(vec![whole("episode", &[0.0; 4])]);
    columns.remove(2);
    let read = episodes(columns).unwrap();
    assert_eq!((read[0].len(), &read[0].rewards[..]), (4, &[][..]));
}
