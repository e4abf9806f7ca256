//! Published and logged data sets, in the folder SMALTI_DATA.

use smalti_trajectory::{Actions, End, Episode, npz};
use std::path::Path;

fn bytes(name: &str) -> Vec<u8> {
    let data = std::env::var("SMALTI_DATA").expect("SMALTI_DATA must be the folder of the data");
    let path = Path::new(&data).join("trajectory").join(name);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn steps(episodes: &[Episode]) -> usize {
    episodes.iter().map(Episode::len).sum()
}

/// The minimal and the maximal return.
fn returns(episodes: &[Episode]) -> (f32, f32) {
    let returns = episodes.iter().map(Episode::total_return);
    (returns.clone().fold(f32::INFINITY, f32::min), returns.fold(f32::NEG_INFINITY, f32::max))
}

fn assert_close(found: f32, expected: f32) {
    assert!((found - expected).abs() <= 1e-5 * expected.abs().max(1.0), "{found} should be {expected}");
}

/// The mean and the population standard deviation of element `column` of all observations, in double precision.
fn mean_and_std(episodes: &[Episode], column: usize) -> (f32, f32) {
    let numbers = || {
        let of = |episode: &'_ Episode| {
            episode.observations.iter().skip(column).step_by(episode.state_dim).copied().collect::<Vec<_>>()
        };
        episodes.iter().flat_map(of).map(f64::from)
    };
    let n = numbers().count() as f64;
    let mean = numbers().sum::<f64>() / n;
    let std = (numbers().map(|x| (x - mean).powi(2)).sum::<f64>() / n).sqrt();
    (mean as f32, std as f32)
}

#[test]
#[ignore = "needs SMALTI_DATA"]
fn cartpole() {
    let file = bytes("cartpole-expert.npz");
    let episodes = npz::read(&file).unwrap();
    assert_eq!((episodes.len(), steps(&episodes), returns(&episodes)), (100, 49_527, (27.0, 500.0)));
    assert!(episodes.iter().all(|e| e.end == End::Unknown && matches!(e.actions, Actions::Discrete(_))));
    // NumPy's obs.astype(float64).mean(0) and .std(0).
    let means = [0.56160898, 0.06558482, -0.00059283, -0.00262059];
    let stds = [0.17032908, 0.32647199, 0.05265166, 0.29433133];
    for (column, expected) in means.into_iter().zip(stds).enumerate() {
        let (mean, std) = mean_and_std(&episodes, column);
        assert_close(mean, expected.0);
        assert_close(std, expected.1);
    }
}

#[test]
#[ignore = "needs SMALTI_DATA"]
fn pendulum() {
    let file = bytes("pendulum-expert.npz");
    let episodes = npz::read(&file).unwrap();
    assert_eq!((episodes.len(), steps(&episodes)), (100, 20_000));
    let (least, largest) = returns(&episodes);
    assert_close(least, -356.509_6);
    assert_close(largest, -0.344_566_35);
}

#[test]
#[ignore = "needs SMALTI_DATA"]
fn hopper_replay() {
    let file = bytes("hopper-replay.npz");
    let episodes = npz::read(&file).unwrap();
    assert_eq!((episodes.len(), steps(&episodes)), (335, 188_391));
    assert_eq!(episodes.iter().filter(|episode| episode.end == End::Terminated).count(), 172);
    let (least, largest) = returns(&episodes);
    assert_close(least, 2.376_187_3);
    assert_close(largest, 1_392.430_6);
    assert!(episodes.iter().all(|e| matches!(e.actions, Actions::Continuous { dim: 3, .. })));
    assert_close(mean_and_std(&episodes, 0).0, 1.235_818_6);
    assert_close(mean_and_std(&episodes, 10).1, 2.570_169);
}

#[test]
#[ignore = "needs SMALTI_DATA"]
fn single_expert_episodes() {
    let files = [
        ("ant-expert.npz", 111, 8, 4_701.456_5),
        ("halfcheetah-expert.npz", 17, 6, 4_122.739_5),
        ("hopper-expert.npz", 11, 3, 3_770.722),
        ("walker2d-expert.npz", 17, 6, 5_576.083_4),
    ];
    for (name, state_dim, action_dim, total) in files {
        let file = bytes(name);
        let episodes = npz::read(&file).unwrap();
        let [episode] = &episodes[..] else { panic!("{name} has {} episodes", episodes.len()) };
        assert_eq!((episode.len(), episode.state_dim), (1000, state_dim), "{name}");
        assert_eq!(episode.actions.len(), 1000, "{name}");
        assert!(matches!(episode.actions, Actions::Continuous { dim, .. } if dim == action_dim), "{name}");
        assert_close(episode.total_return(), total);
    }
}
