//! HDF5 in D4RL's and Minari's layouts, read in this process.

#[path = "written/hdf5.rs"]
mod written;

use hdf5_metno::File;
use smalti_trajectory::hdf5::read;
use smalti_trajectory::{Actions, End, Episode, Images};
use std::collections::BTreeMap;
use std::path::PathBuf;
use written::put;

/// A path for a file, in a temporary folder that is the first of the two.
fn path_in_folder() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("data.hdf5");
    (folder, path)
}

fn error(fill: impl FnOnce(&File)) -> String {
    let (_folder, path) = path_in_folder();
    fill(&File::create(&path).unwrap());
    read(&path).unwrap_err().to_string()
}

#[test]
fn d4rl_has_all_steps_in_one_array() {
    let (_folder, path) = path_in_folder();
    written::d4rl(&path);
    let episodes = read(&path).unwrap();
    let ends: Vec<(usize, End)> = episodes.iter().map(|episode| (episode.len(), episode.end)).collect();
    assert_eq!(ends, [(2, End::Terminated), (3, End::TimeLimit), (1, End::Unknown)]);
    assert_eq!(
        episodes[0],
        Episode {
            observations: vec![0.0, 0.5, 1.0, 1.5],
            state_dim: 2,
            state_names: vec![],
            images: BTreeMap::new(),
            actions: Actions::Continuous { values: vec![0.5, -0.5], dim: 1 },
            rewards: vec![1.0, 2.0],
            end: End::Terminated,
        }
    );
}

#[test]
fn minari_has_a_group_for_each_episode() {
    let (_folder, path) = path_in_folder();
    written::minari(&path);
    let episodes = read(&path).unwrap();
    assert_eq!(
        episodes.iter().map(Episode::len).collect::<Vec<_>>(),
        (1..=11).collect::<Vec<_>>(),
        "2 is before 10"
    );
    let third = &episodes[2];
    assert_eq!(third.state_names, ["goal.room", "position.0", "position.1"]);
    assert_eq!(third.observations, [0.0, 2.0, 2.0, 1.0, 2.0, 2.0, 2.0, 2.0, 2.0]);
    let force = Actions::Continuous { values: vec![0.25; 3], dim: 1 };
    assert_eq!(third.actions.parts(), [("force", &force), ("move", &Actions::Discrete(vec![0, 1, 2]))]);
    assert_eq!((third.end, episodes[3].end), (End::TimeLimit, End::Terminated));
}

#[test]
fn bytes_with_more_axes_are_images() {
    let (_folder, path) = path_in_folder();
    written::with_images(&path);
    let episodes = read(&path).unwrap();
    assert_eq!((episodes[1].len(), episodes[1].state_dim), (2, 1));
    let pixels = vec![12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23].into();
    let frames = Images::Frames { height: 1, width: 2, channels: 3, pixels };
    assert_eq!(episodes[1].images, [("front".to_string(), frames)].into(), "without the last one");
}

#[test]
fn errors_name_the_dataset() {
    let steps = |file: &File| {
        put(file, "actions", &[2], &[0_i64, 1]);
        put(file, "rewards", &[2], &[0.0_f32, 1.0]);
        put(file, "terminals", &[2], &[false, true]);
    };
    let missing = error(steps);
    assert_eq!(
        missing,
        "no column for states (such as \"observations\"); found: actions, rewards, terminals"
    );
    let images = error(|file| {
        steps(file);
        put(file, "observations", &[2, 4, 4, 3], &[2.5_f32; 96]);
    });
    assert_eq!(
        images,
        "HDF5: observations: pixels must be from 0 to 1, or whole numbers from 0 to 255; found 2.5"
    );
    let channels = error(|file| {
        steps(file);
        put(file, "observations", &[2, 70, 70, 70], &vec![0_u8; 686_000]);
    });
    assert!(
        channels.starts_with("HDF5: observations: expected [steps, height, width] for images"),
        "{channels}"
    );
    let huge = error(|file| {
        steps(file);
        let dataset = file.new_dataset::<f32>().chunk([1000, 1000]).shape([1 << 30, 1 << 20]);
        dataset.create("observations").unwrap();
    });
    assert_eq!(
        huge,
        "HDF5: observations: the shape [1073741824, 1048576] is too large for a file of this size"
    );
    let elsewhere = error(|file| {
        steps(file);
        file.link_external("/etc/passwd", "/", "observations").unwrap();
    });
    assert!(
        elsewhere.starts_with("no column for states"),
        "a link to another file is not followed: {elsewhere}"
    );
    let outside = error(|file| {
        steps(file);
        let dataset = file.new_dataset_builder().external("/etc/passwd", 0, 16).empty::<f32>().shape([2, 2]);
        dataset.create("observations").unwrap();
    });
    assert_eq!(outside, "HDF5: observations: its elements are in other files, which are not read");
    let (_folder, path) = path_in_folder();
    std::fs::write(&path, b"\x89HDF\r\n\x1a\n and no more").unwrap();
    assert!(read(&path).unwrap_err().to_string().starts_with("HDF5: "));
}
