//! Writing HDF5 files with the same library.

use hdf5_metno::{File, Group, H5Type};
use std::path::Path;

/// Add a dataset with this shape to a group, compressed with gzip.
pub fn put<T: H5Type>(group: &Group, name: &str, shape: &[usize], values: &[T]) {
    let dataset = group.new_dataset::<T>().chunk(shape).deflate(4).shape(shape).create(name).unwrap();
    dataset.write_raw(values).unwrap();
}

/// Six steps in D4RL's layout: termination at the second, a time limit at the fifth.
pub fn d4rl(path: &Path) {
    let file = File::create(path).unwrap();
    put(&file, "observations", &[6, 2], &(0..12).map(|i| i as f32 * 0.5).collect::<Vec<_>>());
    put(&file, "next_observations", &[6, 2], &[0.0_f32; 12]);
    put(&file, "actions", &[6, 1], &[0.5_f32, -0.5, 1.5, -1.5, 2.5, -2.5]);
    put(&file, "rewards", &[6], &[1.0_f64, 2.0, 3.0, 4.0, 5.0, 6.0]);
    put(&file, "terminals", &[6], &[false, true, false, false, false, false]);
    put(&file, "timeouts", &[6], &[false, false, false, false, true, false]);
    put(&file.create_group("infos").unwrap(), "qpos", &[6, 5], &[0.0_f64; 30]);
}

/// Eleven episodes in Minari's layout, each with one more step than the previous one: observations and actions in
/// parts, and an observation after the last action. Odd episodes terminate, the others reach a time limit.
pub fn minari(path: &Path) {
    let file = File::create(path).unwrap();
    for e in 0..11 {
        let steps = e + 1;
        let group = file.create_group(&format!("episode_{e}")).unwrap();
        let observations = group.create_group("observations").unwrap();
        put(&observations, "position", &[steps + 1, 2], &vec![e as f64; 2 * steps + 2]);
        let goal = observations.create_group("goal").unwrap();
        put(&goal, "room", &[steps + 1], &(0..=steps as i64).collect::<Vec<_>>());
        let actions = group.create_group("actions").unwrap();
        put(&actions, "move", &[steps], &(0..steps as i64).collect::<Vec<_>>());
        put(&actions, "force", &[steps, 1], &vec![0.25_f32; steps]);
        put(&group, "rewards", &[steps], &vec![e as f64; steps]);
        let last = |is: bool| (1..=steps).map(|step| is && step == steps).collect::<Vec<bool>>();
        put(&group, "terminations", &[steps], &last(e % 2 == 1));
        put(&group, "truncations", &[steps], &last(e % 2 == 0));
    }
}

/// Two episodes in Minari's layout, with one and two steps, whose observations have colour images of 1×2 pixels.
pub fn with_images(path: &Path) {
    let file = File::create(path).unwrap();
    for (e, steps) in [(0, 1), (1, 2)] {
        let group = file.create_group(&format!("episode_{e}")).unwrap();
        let observations = group.create_group("observations").unwrap();
        let pixels: Vec<u8> = (0..6 * (steps + 1) as u8).map(|pixel| pixel + 12 * e).collect();
        put(&observations, "front", &[steps + 1, 1, 2, 3], &pixels);
        put(&observations, "speed", &[steps + 1], &vec![0.5_f32; steps + 1]);
        put(&group, "actions", &[steps], &vec![1_i64; steps]);
        put(&group, "rewards", &[steps], &vec![1.0_f32; steps]);
    }
}
