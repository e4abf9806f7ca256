mod images;

use super::*;
use crate::{Actions, End, Format};
use proptest::prelude::*;
use smalti_npy as npy;
use std::collections::BTreeMap;
use std::io::{Cursor, Write};
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

/// A zip archive of arrays.
fn archive(arrays: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut writer = ZipWriter::new(Cursor::new(vec![]));
    for (name, array) in arrays {
        writer.start_file(format!("{name}.npy"), SimpleFileOptions::default()).unwrap();
        writer.write_all(array).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

/// Write an archive of compatible episodes.
fn written(episodes: &[Episode]) -> Vec<u8> {
    let steps: usize = episodes.iter().map(Episode::len).sum();
    let one_axis = format!("({steps},)");
    let floats = |of: fn(&Episode) -> &[f32]| {
        episodes.iter().flat_map(move |episode| of(episode).iter().flat_map(|value| value.to_le_bytes()))
    };
    let flags = |of: fn(&Episode, usize) -> bool| {
        episodes.iter().flat_map(move |episode| (0..episode.len()).map(move |t| u8::from(of(episode, t))))
    };
    let actions = match &episodes[0].actions {
        Actions::Discrete(_) => {
            let wide = |&id: &u32| i64::from(id).to_le_bytes();
            let ids = episodes.iter().flat_map(|episode| discrete(&episode.actions).iter().flat_map(wide));
            npy::write("<i8", &format!("({steps}, 1)"), ids)
        }
        Actions::Continuous { dim, .. } => {
            npy::write("<f4", &format!("({steps}, {dim})"), floats(|episode| continuous(&episode.actions)))
        }
        Actions::Parts(_) => panic!("one action per step"),
    };
    archive(&[
        (
            "obs",
            npy::write("<f4", &format!("({steps}, {})", episodes[0].state_dim), floats(|e| &e.observations)),
        ),
        ("actions", actions),
        ("rewards", npy::write("<f4", &one_axis, floats(|e| &e.rewards))),
        ("episode_starts", npy::write("|b1", &one_axis, flags(|_, t| t == 0))),
        (
            "terminals",
            npy::write("|b1", &one_axis, flags(|e, t| e.end == End::Terminated && t + 1 == e.len())),
        ),
        ("timeouts", npy::write("|b1", &one_axis, flags(|e, t| e.end == End::TimeLimit && t + 1 == e.len()))),
    ])
}

fn discrete(actions: &Actions) -> &[u32] {
    match actions {
        Actions::Discrete(ids) => ids,
        Actions::Continuous { .. } | Actions::Parts(_) => &[],
    }
}

fn continuous(actions: &Actions) -> &[f32] {
    match actions {
        Actions::Discrete(_) | Actions::Parts(_) => &[],
        Actions::Continuous { values, .. } => values,
    }
}

/// Three steps in two episodes.
fn arrays() -> Vec<(&'static str, Vec<u8>)> {
    let floats = |values: &[f32]| values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>();
    vec![
        ("obs", npy::write("<f4", "(3, 2)", floats(&[0.0, 0.5, 1.0, 1.5, 2.0, 2.5]))),
        ("actions", npy::write("|u1", "(3,)", vec![0, 2, 1])),
        ("rewards", npy::write("<f8", "(3, 1)", [1.0_f64, 2.0, 3.0].iter().flat_map(|v| v.to_le_bytes()))),
        ("episode_starts", npy::write("<f4", "(3,)", floats(&[1.0, 0.0, 1.0]))),
    ]
}

/// The arrays with one replaced or added.
fn with(name: &'static str, array: Vec<u8>) -> Vec<(&'static str, Vec<u8>)> {
    let mut arrays = arrays();
    arrays.retain(|&(other, _)| other != name);
    arrays.push((name, array));
    arrays
}

fn error(arrays: &[(&str, Vec<u8>)]) -> String {
    read(&archive(arrays)).unwrap_err().to_string()
}

#[test]
fn mixed_types_are_read() {
    let terminals = with("terminals", npy::write("|b1", "(3,)", vec![0, 1, 0]));
    let episodes = read(&archive(&terminals)).unwrap();
    assert_eq!(
        episodes[0],
        Episode {
            observations: vec![0.0, 0.5, 1.0, 1.5],
            state_dim: 2,
            actions: Actions::Discrete(vec![0, 2]),
            rewards: vec![1.0, 2.0],
            state_names: vec![],
            images: BTreeMap::new(),
            end: End::Terminated,
        }
    );
    assert_eq!((episodes.len(), episodes[1].end), (2, End::Unknown));
}

#[test]
fn d4rl_has_ends_but_no_starts() {
    let flags = |values: Vec<u8>| npy::write("|b1", "(3,)", values);
    let mut arrays = arrays();
    arrays.retain(|&(name, _)| name != "episode_starts");
    arrays[0].0 = "observations";
    arrays.extend([
        ("terminals", flags(vec![1, 0, 0])),
        ("timeouts", flags(vec![0, 0, 1])),
        ("infos/qpos", npy::write("<f4", "(7,)", vec![0; 28])),
    ]);
    let ends: Vec<(usize, End)> =
        read(&archive(&arrays)).unwrap().iter().map(|episode| (episode.len(), episode.end)).collect();
    assert_eq!(ends, [(1, End::Terminated), (2, End::TimeLimit)]);
}

#[test]
fn states_and_actions_may_be_in_parts() {
    let mut arrays = arrays();
    arrays[0].0 = "obs.speed";
    arrays[1].0 = "actions.grip";
    arrays.extend([
        ("obs.height", npy::write("<f4", "(3,)", vec![0; 12])),
        ("actions.arm", npy::write("<f4", "(3, 2)", vec![0; 24])),
    ]);
    let episode = read(&archive(&arrays)).unwrap().remove(0);
    assert_eq!(episode.state_names, ["height", "speed.0", "speed.1"]);
    assert_eq!(episode.observations, [0.0, 0.0, 0.5, 0.0, 1.0, 1.5]);
    let names: Vec<&str> = episode.actions.parts().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["arm", "grip"]);
}

#[test]
fn missing_arrays_are_named() {
    let mut arrays = arrays();
    arrays.pop();
    assert_eq!(
        error(&arrays),
        "no column for episode boundaries (such as \"episode_starts\"); found: actions, obs, rewards"
    );
}

#[test]
fn ragged_and_invalid_arrays_are_named() {
    let zeros = |descr: &str, shape: &str, bytes| npy::write(descr, shape, vec![0; bytes]);
    assert_eq!(
        error(&with("actions", zeros("|i1", "(4,)", 4))),
        "actions must have 3 rows, as obs has; found 4"
    );
    assert_eq!(
        error(&with("rewards", zeros("|i1", "(3, 2)", 6))),
        "rewards must have one number per step; found 2"
    );
    assert_eq!(
        error(&with("actions", npy::write("|i1", "(3,)", vec![0, 0xFF, 0]))),
        "actions at step 1 is -1; it must be a number from 0 to 4294967295"
    );
    assert_eq!(
        error(&with("episode_starts", zeros("|b1", "(3,)", 3))),
        "episode_starts at step 0 is 0; it must be 1 at the first step"
    );
    assert_eq!(
        error(&with("terminals", npy::write("|b1", "(3,)", vec![1, 0, 0]))),
        "terminals at step 0 is 1; it must be 0 before an episode's last step"
    );
    let nan = [0.0, 1.0, f32::NAN].iter().flat_map(|v| v.to_le_bytes());
    assert_eq!(
        error(&with("rewards", npy::write("<f4", "(3,)", nan.collect::<Vec<_>>()))),
        "episode 1: rewards at step 0 is NaN; it must be finite"
    );
    assert_eq!(error(&[("obs", zeros("<f4", "(0, 2)", 0))]), {
        "no column for episode boundaries (such as \"episode_starts\"); found: obs"
    });
}

#[test]
fn a_declared_size_is_not_allocated() {
    let bomb = with("obs", npy::write("<f8", "(1000000000000, 1000)", vec![]));
    let too_large = error(&bomb);
    assert!(
        too_large.starts_with("npz: array \"obs\": shape (1000000000000, 1000) of 8-byte numbers exceeds ")
            && too_large.contains("SMALTI_MEMORY"),
        "{too_large}"
    );
    // Within the limit, but far more than the file has.
    let short = with("obs", npy::write("<f4", "(1000000, 10)", vec![0; 64]));
    assert!(error(&short).ends_with("expected 40000000 bytes; found 64"));
}

/// One to four compatible episodes of up to 20 steps.
fn any_episodes() -> impl Strategy<Value = Vec<Episode>> {
    (1_usize..4, prop::option::of(1_usize..3), prop::collection::vec((1_usize..20, any_end()), 1..5))
        .prop_flat_map(|(state_dim, action_dim, lengths)| {
            let episodes: Vec<_> = lengths
                .into_iter()
                .map(move |(steps, end)| any_episode(state_dim, action_dim, steps, end))
                .collect();
            episodes
        })
}

fn any_end() -> impl Strategy<Value = End> {
    prop_oneof![Just(End::Terminated), Just(End::TimeLimit), Just(End::Unknown)]
}

fn any_episode(
    state_dim: usize,
    action_dim: Option<usize>,
    steps: usize,
    end: End,
) -> impl Strategy<Value = Episode> {
    let number = -1e6_f32..1e6;
    let actions = match action_dim {
        None => prop::collection::vec(any::<u32>(), steps).prop_map(Actions::Discrete).boxed(),
        Some(dim) => prop::collection::vec(number.clone(), steps * dim)
            .prop_map(move |values| Actions::Continuous { values, dim })
            .boxed(),
    };
    let observations = prop::collection::vec(number.clone(), steps * state_dim);
    let rewards = prop::collection::vec(number, steps);
    (observations, actions, rewards).prop_map(move |(observations, actions, rewards)| Episode {
        observations,
        state_dim,
        actions,
        rewards,
        state_names: vec![],
        images: BTreeMap::new(),
        end,
    })
}

proptest! {
    #[test]
    fn written_episodes_are_read_back(episodes in any_episodes()) {
        let bytes = written(&episodes);
        prop_assert_eq!(Format::of(&bytes), Some(Format::Npz));
        prop_assert_eq!(read(&bytes).unwrap(), episodes);
    }

    #[test]
    fn damaged_archives_give_errors_or_valid_episodes(
        episodes in any_episodes(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut: prop::sample::Index,
    ) {
        let mut bytes = written(&episodes);
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        bytes.truncate(cut.index(2 * bytes.len()));
        for episode in read(&bytes).into_iter().flatten() {
            prop_assert_eq!(episode.validate(), Ok(()));
        }
    }
}
