//! Files that other programs wrote: `data/make.py` says which.

use smalti_trajectory::lerobot::{INFO, Info};
use smalti_trajectory::{Actions, End, Episode, Images, parquet};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

fn place(name: &str) -> PathBuf {
    Path::new("tests/data").join(name)
}

fn bytes(name: &str) -> Vec<u8> {
    std::fs::read(place(name)).unwrap()
}

/// Episode `e` as the script makes it, of `steps` steps.
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

/// The episodes without their images, which are PNG of one colour each.
fn without_images(mut episodes: Vec<Episode>) -> Vec<Episode> {
    for episode in &mut episodes {
        let seen = std::mem::take(&mut episode.images);
        let Some(Images::Encoded(files)) = seen.get("image") else { panic!("{:?}", seen.keys()) };
        assert_eq!((seen.len(), files.len()), (1, episode.len()));
        assert!(
            files
                .iter()
                .all(|file| file.starts_with(b"\x89PNG\r\n\x1a\n") && file.ends_with(b"IEND\xaeB`\x82"))
        );
        assert!(files.windows(2).all(|pair| pair[0] != pair[1]), "each step has its own");
    }
    episodes
}

#[test]
fn pyarrow_writes_lerobots_files() {
    let names = ["state.0", "state.1"];
    let read = parquet::read(&bytes("file-000.parquet")).unwrap();
    assert_eq!(read.skipped, []);
    assert_eq!(without_images(read.episodes), [expected(0, 3, names), expected(1, 4, names)]);
}

#[test]
fn a_data_set_is_described() {
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
fn h5py_writes_d4rls_and_minaris_files() {
    let d4rl = smalti_trajectory::hdf5::read(&place("d4rl.hdf5")).unwrap();
    let ends: Vec<(usize, End)> = d4rl.iter().map(|episode| (episode.len(), episode.end)).collect();
    assert_eq!(ends, [(2, End::Terminated), (3, End::TimeLimit), (1, End::Unknown)]);
    assert_eq!(d4rl[1].observations, [2.0, 2.5, 3.0, 3.5, 4.0, 4.5]);
    assert_eq!(d4rl[1].actions, Actions::Continuous { values: vec![2.0, 3.0, 4.0], dim: 1 });

    let minari = smalti_trajectory::hdf5::read(&place("main_data.hdf5")).unwrap();
    let ends: Vec<(usize, End)> = minari.iter().map(|episode| (episode.len(), episode.end)).collect();
    assert_eq!(ends, [(3, End::TimeLimit), (4, End::Terminated)]);
    assert_eq!(minari[1].state_names, ["achieved_goal", "observation.0", "observation.1"]);
    assert_eq!(minari[1].observations[3..6], [1.0, 2.0, 3.0]);
    assert_eq!(minari[1].actions, Actions::Discrete(vec![0, 1, 2, 3]));
}
