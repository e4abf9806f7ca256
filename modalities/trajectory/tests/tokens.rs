//! Windows to tokens and back, for each way of making tokens.

use smalti_contract::testing::check;
use smalti_contract::{Axis, ContentSpec, TokenizeError, Tokenizer};
use smalti_trajectory::{
    ActionSpec, Actions, End, Episode, FitOptions, MuLaw, TrajectoryConfig, TrajectoryTokenizer, Window, fit,
};
use std::collections::BTreeMap;

const STEPS: usize = 50;

/// An episode of three numbers a state, one of which never changes.
fn episode(actions: Actions) -> Episode {
    let observations =
        (0..STEPS).flat_map(|t| [(t as f32 * 0.7).sin() * 3.0, 100.0 + t as f32, 4.0]).collect();
    let rewards = (0..STEPS).map(|t| (t as f32).cos()).collect();
    let (state_names, end) = (vec![], End::Terminated);
    Episode { observations, state_dim: 3, state_names, pictures: BTreeMap::new(), actions, rewards, end }
}

fn discrete() -> Episode {
    episode(Actions::Discrete((0..STEPS as u32).map(|t| t % 4).collect()))
}

fn continuous() -> Episode {
    let values = (0..STEPS).flat_map(|t| [(t as f32).sin() * 2.0, 0.01 * t as f32]).collect();
    episode(Actions::Continuous { values, dim: 2 })
}

/// Two real numbers and a choice a step.
fn mixed() -> Episode {
    let Actions::Continuous { values, dim } = continuous().actions else { panic!("continuous") };
    let parts = [
        ("arm".to_string(), Actions::Continuous { values, dim }),
        ("grip".to_string(), Actions::Discrete((0..STEPS as u32).map(|t| t % 3).collect())),
    ];
    episode(Actions::Parts(parts.into()))
}

fn tokenizer(episode: &Episode, discretise: Option<MuLaw>) -> TrajectoryTokenizer {
    let options = FitOptions { context: 8, max_steps: 64, discretise, ..FitOptions::default() };
    TrajectoryTokenizer::new(fit(std::slice::from_ref(episode), options).unwrap()).unwrap()
}

/// Every window of eight steps, a short one, and one whose last action is yet to be chosen.
fn windows(episode: &Episode) -> Vec<Window> {
    let returns = episode.returns_to_go(1.0);
    let mut windows: Vec<Window> = (0..STEPS).map(|start| episode.window(start, 8, &returns)).collect();
    windows.push(undecided(episode));
    windows.push(Window { actions: no_action(&episode.actions), ..episode.window(5, 1, &returns) });
    windows
}

/// Three steps from step 2, the last without its action.
fn undecided(episode: &Episode) -> Window {
    let returns = episode.returns_to_go(1.0);
    Window { actions: episode.window(2, 2, &returns).actions, ..episode.window(2, 3, &returns) }
}

fn no_action(like: &Actions) -> Actions {
    match like {
        Actions::Discrete(_) => Actions::Discrete(vec![]),
        Actions::Continuous { dim, .. } => Actions::Continuous { values: vec![], dim: *dim },
        Actions::Parts(parts) => {
            Actions::Parts(parts.iter().map(|(name, part)| (name.clone(), no_action(part))).collect())
        }
    }
}

#[test]
fn conforms() {
    for episode in [discrete(), continuous(), mixed()] {
        let coarse = MuLaw { bins: 16, ..MuLaw::default() };
        let fine = MuLaw { bins: 1 << 16, ..MuLaw::default() };
        for discretise in [None, Some(MuLaw::default()), Some(coarse), Some(fine)] {
            check(&tokenizer(&episode, discretise), &windows(&episode)).unwrap();
        }
    }
}

#[test]
fn returns_states_and_actions_take_turns() {
    let tokens = tokenizer(&discrete(), None).encode(&undecided(&discrete())).unwrap();
    let [returns, states, actions] = &tokens.groups[..] else { panic!("three kinds") };
    assert_eq!((&returns.order[..], &returns.time[..]), (&[0, 3, 6][..], &[2, 3, 4][..]));
    assert_eq!((&states.order[..], &states.time[..]), (&[1, 4, 7][..], &[2, 3, 4][..]));
    assert_eq!((&actions.order[..], &actions.time[..]), (&[2, 5][..], &[2, 3][..]));
    assert_eq!(actions.content.ids(), Some(&[2, 3][..]));
    assert!(states.positions.is_empty());
}

#[test]
fn numbers_come_back_as_they_were() {
    for episode in [discrete(), continuous(), mixed()] {
        let tokenizer = tokenizer(&episode, None);
        for window in windows(&episode) {
            let back = tokenizer.decode(&tokenizer.encode(&window).unwrap()).unwrap();
            assert_eq!((back.start, &back.actions), (window.start, &window.actions));
            let numbers = |w: &Window| [&w.states[..], &w.returns_to_go[..]].concat();
            for (back, number) in numbers(&back).iter().zip(numbers(&window)) {
                assert!((back - number).abs() <= 1e-5 * number.abs().max(1.0), "{back} was {number}");
            }
        }
    }
}

#[test]
fn discretised_elements_are_tokens() {
    let tokenizer = tokenizer(&continuous(), Some(MuLaw::default()));
    let kinds = &tokenizer.spec().kinds;
    let ids = ContentSpec::Ids { vocabulary: 1024 };
    assert_eq!(kinds.iter().map(|k| k.content).collect::<Vec<_>>(), [ids; 3]);
    assert_eq!(kinds[0].axes, []);
    assert_eq!(kinds[1].axes, [Axis::new("element", 3)]);
    assert_eq!(kinds[2].axes, [Axis::new("element", 2)]);

    let tokens = tokenizer.encode(&undecided(&continuous())).unwrap();
    let [returns, states, actions] = &tokens.groups[..] else { panic!("three kinds") };
    assert_eq!(returns.order, [0, 6, 12]);
    assert_eq!(states.order, [1, 2, 3, 7, 8, 9, 13, 14, 15]);
    assert_eq!(states.time, [2, 2, 2, 3, 3, 3, 4, 4, 4]);
    assert_eq!(states.positions, [0, 1, 2, 0, 1, 2, 0, 1, 2]);
    assert_eq!(actions.order, [4, 5, 10, 11]);
    assert_eq!(actions.positions, [0, 1, 0, 1]);
}

#[test]
fn each_part_of_an_action_is_a_kind() {
    let window = undecided(&mixed());
    let tokens = tokenizer(&mixed(), None).encode(&window).unwrap();
    let [returns, states, arms, grips] = &tokens.groups[..] else { panic!("four kinds") };
    assert_eq!((&returns.order[..], &states.order[..]), (&[0, 4, 8][..], &[1, 5, 9][..]));
    assert_eq!((&arms.order[..], &grips.order[..]), (&[2, 6][..], &[3, 7][..]));
    assert_eq!(grips.content.ids(), Some(&[2, 0][..]));
    let tokenizer = tokenizer(&mixed(), Some(MuLaw::default()));
    let names: Vec<&str> = tokenizer.spec().kinds.iter().map(|kind| kind.name.as_str()).collect();
    assert_eq!(names, ["return", "state", "action.arm", "action.grip"]);
    let orders: Vec<Vec<u32>> =
        tokenizer.encode(&window).unwrap().groups.into_iter().map(|group| group.order).collect();
    assert_eq!(
        orders[2..],
        [vec![4, 5, 11, 12], vec![6, 13]],
        "1 return, 3 numbers of state, 2 of arm, 1 grip"
    );
}

#[test]
fn parts_that_do_not_fit_are_refused() {
    let tokenizer = tokenizer(&mixed(), None);
    let mut window = undecided(&mixed());
    let Actions::Parts(parts) = &mut window.actions else { panic!("parts") };
    parts.insert("grip".into(), Actions::Discrete(vec![0]));
    let error = |window: &Window| tokenizer.encode(window).unwrap_err().to_string();
    assert_eq!(error(&window), "window has 2 actions in one part and 1 in another");
    let Actions::Parts(parts) = &mut window.actions else { panic!("parts") };
    parts.remove("grip");
    assert_eq!(
        error(&window),
        "window has actions of parts (arm: continuous numbers, 2 a step); expected parts (arm: continuous numbers, \
         2 a step; grip: discrete numbers, 1 a step)"
    );
}

#[test]
fn discretising_loses_what_is_documented() {
    let (episode, law) = (continuous(), MuLaw::default());
    let tokenizer = tokenizer(&episode, Some(law));
    let window = episode.window(8, 8, &episode.returns_to_go(1.0));
    let back = tokenizer.decode(&tokenizer.encode(&window).unwrap()).unwrap();

    let config = tokenizer.config();
    for (back, to_go) in back.returns_to_go.iter().zip(&window.returns_to_go) {
        assert!((back - to_go).abs() <= 1.001 * config.return_scale / 1024.0, "{back} was {to_go}");
    }
    for (i, (back, state)) in back.states.iter().zip(&window.states).enumerate() {
        let (mean, std) = (config.state_mean[i % 3], config.state_std[i % 3]);
        let z = (state - mean) / std;
        assert!((back - state).abs() <= 0.01 * (z.abs() + 0.01) * std + 1e-5, "{back} was {state}");
    }
    let ActionSpec::Continuous { low, high, .. } = &config.actions else { panic!("continuous") };
    let (Actions::Continuous { values: back, .. }, Actions::Continuous { values, .. }) =
        (&back.actions, &window.actions)
    else {
        panic!("continuous")
    };
    for (i, (back, value)) in back.iter().zip(values).enumerate() {
        assert!((back - value).abs() <= 0.5001 * (high[i % 2] - low[i % 2]) / 1024.0, "{back} was {value}");
    }
}

#[test]
fn what_lies_outside_is_clipped() {
    let config = TrajectoryConfig {
        state_mean: vec![0.0],
        state_std: vec![1.0],
        state_names: vec![],
        return_scale: 10.0,
        discount: 1.0,
        actions: ActionSpec::Continuous { dim: 2, low: vec![-1.0, 3.0], high: vec![1.0, 3.0] },
        context: 1,
        max_steps: 1,
        discretise: Some(MuLaw::default()),
    };
    let tokenizer = TrajectoryTokenizer::new(config).unwrap();
    let window = Window {
        start: 0,
        returns_to_go: vec![-99.0],
        states: vec![1e30],
        actions: Actions::Continuous { values: vec![9.0, 7.0], dim: 2 },
    };
    let tokens = tokenizer.encode(&window).unwrap();
    let ids = tokens.groups.iter().map(|group| group.content.ids().unwrap());
    assert_eq!(ids.collect::<Vec<_>>(), [&[0][..], &[1023], &[1023, 512]]);
    let back = tokenizer.decode(&tokens).unwrap();
    let Actions::Continuous { values, .. } = back.actions else { panic!("continuous") };
    assert_eq!(values[1], 3.0, "bounds that are one number leave no choice");
}

#[test]
fn windows_that_do_not_fit_are_refused_with_numbers() {
    let tokenizer = tokenizer(&discrete(), None);
    let returns = vec![0.0; 64];
    let whole = |start| Window {
        start,
        returns_to_go: returns[..4].to_vec(),
        states: vec![0.0; 12],
        actions: Actions::Discrete(vec![0; 4]),
    };
    let cases = [
        (discrete().window(0, 9, &returns), "window has 9 steps; it must have 1 to context = 8"),
        (discrete().window(60, 8, &returns[..60]), "window has 0 steps; it must have 1 to context = 8"),
        (whole(61), "window has 4 steps from 61; max_steps is 64"),
        (Window { states: vec![0.0; 11], ..whole(0) }, "window has 11 numbers in states; 4 of 3 are 12"),
        (
            Window { actions: Actions::Discrete(vec![0; 2]), ..whole(0) },
            "window has 2 actions; 4 steps have 3 or 4",
        ),
        (
            Window { actions: Actions::Continuous { values: vec![0.0; 4], dim: 1 }, ..whole(0) },
            "window has actions of continuous numbers, 1 a step; expected discrete numbers, 1 a step",
        ),
        (
            Window { actions: Actions::Discrete(vec![0, 1, 4, 0]), ..whole(0) },
            "action: id 4 at token 2 must be below 4",
        ),
        (
            Window { returns_to_go: vec![0.0, f32::NAN, 0.0, 0.0], ..whole(10) },
            "return at step 11 has NaN at element 0; it must be finite",
        ),
        (
            Window { states: [vec![0.0; 7], vec![f32::INFINITY; 5]].concat(), ..whole(10) },
            "state at step 12 has inf at element 1; it must be finite",
        ),
        (
            Window { states: [vec![0.0; 2], vec![f32::MAX; 10]].concat(), ..whole(0) },
            "state: feature 2 of token 0 is inf; features must be finite",
        ),
    ];
    for (window, expected) in cases {
        assert_eq!(tokenizer.encode(&window).unwrap_err().to_string(), expected);
    }
    assert!(tokenizer.encode(&whole(usize::MAX)).is_err());
}

#[test]
fn tokens_that_are_not_a_window_are_refused() {
    let tokenizer = tokenizer(&continuous(), Some(MuLaw::default()));
    let tokens = tokenizer.encode(&undecided(&continuous())).unwrap();
    let error = |change: fn(&mut smalti_contract::Tokens)| {
        let mut changed = tokens.clone();
        change(&mut changed);
        tokenizer.decode(&changed).unwrap_err().to_string()
    };
    assert_eq!(
        error(|t| t.groups[1].order.swap(1, 2)),
        "state token 1 is not at the place that encoding gives it"
    );
    assert_eq!(
        error(|t| t.groups[2].positions.swap(0, 1)),
        "action token 0 is not at the place that encoding gives it"
    );
    assert_eq!(
        error(|t| t.groups[0].time[2] = 9),
        "return token 2 is not at the place that encoding gives it"
    );
    assert_eq!(
        error(|t| t.groups.iter_mut().for_each(|group| *group = empty_ids())),
        "window has 0 steps; it must have 1 to context = 8"
    );
    assert!(error(|t| t.groups.truncate(2)).starts_with("tokens have 2 groups"));
}

fn empty_ids() -> smalti_contract::Group {
    smalti_contract::Group::sequence(smalti_contract::Content::Ids(vec![]))
}

/// An episode of discrete actions as a line of JSON.
fn line(episode: &Episode) -> String {
    let states: Vec<&[f32]> = episode.observations.chunks(episode.state_dim).collect();
    let Actions::Discrete(ids) = &episode.actions else { panic!("discrete") };
    format!(r#"{{"observations": {states:?}, "actions": {ids:?}, "rewards": {:?}}}"#, episode.rewards)
}

#[test]
fn a_file_is_cut_into_windows_that_do_not_overlap() {
    let tokenizer = tokenizer(&discrete(), None);
    let file = format!("{}\n{}\n", line(&discrete()), line(&discrete()));
    let windows: Vec<Window> = tokenizer.records(file.as_bytes()).collect::<Result<_, _>>().unwrap();
    let starts: Vec<usize> = windows.iter().map(|window| window.start).collect();
    assert_eq!(starts, [0, 8, 16, 24, 32, 40, 48, 0, 8, 16, 24, 32, 40, 48]);
    assert_eq!(windows[6], discrete().window(48, 8, &discrete().returns_to_go(1.0)));
    assert_eq!(windows[6].returns_to_go.len(), 2);
}

#[test]
fn a_files_errors_name_its_format() {
    let tokenizer = tokenizer(&discrete(), None);
    let first = |bytes: &[u8]| tokenizer.records(bytes).next().unwrap().unwrap_err();
    assert!(matches!(first(b"PK\x03\x04 cut"), TokenizeError::Format { format: "npz", .. }));
    assert_eq!(first(b"").to_string(), "not readable as JSON lines: there is no episode");
    assert!(matches!(first(b"PAR1 cut"), TokenizeError::Format { format: "Parquet", .. }));
    let hdf5 = first(b"\x89HDF\r\n\x1a\n").to_string();
    assert!(hdf5.starts_with("not readable as HDF5: HDF5: "), "{hdf5}");
    assert!(first(b"\x89PNG").to_string().starts_with("not readable as JSON lines: line 1: column 1:"));
}
