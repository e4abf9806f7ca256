//! Files written by other programs, with `data/make.py`.

use smalti_trajectory::lerobot::{INFO, Info};
use smalti_trajectory::{Actions, End, Episode, Images, parquet};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

fn path(name: &str) -> PathBuf {
    Path::new("tests/data").join(name)
}

fn bytes(name: &str) -> Vec<u8> {
    std::fs::read(path(name)).unwrap()
}

/// Episode `e` of the script, with `steps` steps.
fn expected(e: u8, steps: u8, names: [&str; 2]) -> Episode {
    let steps = (0..steps).map(f32::from);
    let e = f32::from(e);
    Episode {
        observations: steps.clone().flat_map(|t| [e + t / 8.0, -t / 4.0]).collect(),
        state_dim: 2,
        state_names: names.map(String::from).to_vec(),
        images: BTreeMap::new(),
        actions: Actions::Continuous {
            values: steps.clone().flat_map(|t| [t / 2.0, 1.0 - t, e]).collect(),
            dim: 3,
        },
        rewards: steps.collect(),
        end: End::Unknown,
    }
}

/// Check and remove the images of episodes, each a PNG of one colour.
fn without_images(mut episodes: Vec<Episode>) -> Vec<Episode> {
    for episode in &mut episodes {
        let images = std::mem::take(&mut episode.images);
        let Some(Images::Encoded(files)) = images.get("image") else { panic!("{:?}", images.keys()) };
        assert_eq!((images.len(), files.len()), (1, episode.len()));
        assert!(
            files
                .iter()
                .all(|file| file.starts_with(b"\x89PNG\r\n\x1a\n") && file.ends_with(b"IEND\xaeB`\x82"))
        );
        assert!(files.windows(2).all(|pair| pair[0] != pair[1]), "each step has its own image");
    }
    episodes
}

#[test]
fn files_of_pyarrow_are_read() {
    let names = ["state.0", "state.1"];
    let read = parquet::read(&bytes("file-000.parquet")).unwrap();
    assert_eq!(read.skipped, []);
    assert_eq!(without_images(read.episodes), [expected(0, 3, names), expected(1, 4, names)]);
}

#[test]
fn a_data_set_with_a_description_is_read() {
    let info = Info::parse(&bytes(&format!("lerobot/{INFO}"))).unwrap();
    let paths = [0, 1].map(|e| format!("data/chunk-000/episode_{e:06}.parquet"));
    let mut episodes = vec![];
    for path in &paths {
        assert!(info.is_data(path), "{path}");
        episodes.extend(info.read(&bytes(&format!("lerobot/{path}"))).unwrap().episodes);
    }
    let names = ["state.pan", "state.lift"];
    assert_eq!(without_images(episodes), [expected(0, 3, names), expected(1, 4, names)]);
    assert_eq!(info.check(2, 7), Ok(()));
}

#[cfg(feature = "hdf5")]
#[test]
fn files_of_h5py_are_read() {
    let d4rl = smalti_trajectory::hdf5::read(&path("d4rl.hdf5")).unwrap();
    let ends: Vec<(usize, End)> = d4rl.iter().map(|episode| (episode.len(), episode.end)).collect();
    assert_eq!(ends, [(2, End::Terminated), (3, End::TimeLimit), (1, End::Unknown)]);
    assert_eq!(d4rl[1].observations, [2.0, 2.5, 3.0, 3.5, 4.0, 4.5]);
    assert_eq!(d4rl[1].actions, Actions::Continuous { values: vec![2.0, 3.0, 4.0], dim: 1 });

    let minari = smalti_trajectory::hdf5::read(&path("main_data.hdf5")).unwrap();
    let ends: Vec<(usize, End)> = minari.iter().map(|episode| (episode.len(), episode.end)).collect();
    assert_eq!(ends, [(3, End::TimeLimit), (4, End::Terminated)]);
    assert_eq!(minari[1].state_names, ["achieved_goal", "observation.0", "observation.1"]);
    assert_eq!(minari[1].observations[3..6], [1.0, 2.0, 3.0]);
    assert_eq!(minari[1].actions, Actions::Discrete(vec![0, 1, 2, 3]));
}
