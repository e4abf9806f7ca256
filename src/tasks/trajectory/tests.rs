use super::*;
use crate::data::{Sample, Targets, collate};
use crate::model::Model;
use crate::ops::{self, Value};
use crate::transformer::ModelConfig;
use candle_core::Device;
use smalti_trajectory::{End, Episode, Pictures};
use std::collections::BTreeMap;

/// An episode with the states and actions of cart and pole.
fn episode(steps: usize) -> Episode {
    Episode {
        observations: (0..4 * steps).map(|i| i as f32 / 10.0).collect(),
        state_dim: 4,
        actions: Actions::Discrete((0..steps as u32).map(|step| step % 2).collect()),
        rewards: (0..steps).map(|step| step as f32).collect(),
        state_names: vec![],
        pictures: BTreeMap::new(),
        end: End::Terminated,
    }
}

/// The settings, and the task that is fitted to these episodes.
fn task(episodes: &[Episode], max_steps: usize) -> (TrajectoryTaskConfig, TrajectoryTask) {
    let config = TrajectoryTaskConfig { context: 2, ..TrajectoryTaskConfig::default() };
    let options = FitOptions { context: config.context, max_steps, ..FitOptions::default() };
    let tokenizer = TrajectoryTokenizer::new(fit(episodes, options).unwrap()).unwrap();
    let task = TrajectoryTask::with("log", 1.0, &config, PicturedTokenizer::blind(tokenizer));
    (config, task)
}

/// The episodes as found in a log.
fn logged(episodes: Vec<Episode>) -> Vec<Logged> {
    let found = |(number, episode)| Logged { file: "log.npz".into(), number, episode };
    episodes.into_iter().enumerate().map(found).collect()
}

#[test]
fn every_step_is_measured_within_its_episode() {
    let episodes = vec![episode(3), episode(4), episode(1)];
    let (config, task) = task(&episodes, 4);
    let windows = Windows::new(logged(episodes), None, &config, Arc::new(task));
    let samples: Vec<Sample> = (0..windows.len()).map(|i| windows.sample(i, None).unwrap()).collect();
    let times: Vec<Vec<u32>> = samples.iter().map(|s| s.inputs[0].1.groups[1].time.clone()).collect();
    assert_eq!(times, [vec![0, 1], vec![2], vec![0, 1], vec![2, 3], vec![0]]);
    let ids: Vec<u64> = samples.iter().map(|sample| sample.id).collect();
    assert_eq!(ids, [0, 2, 3, 5, 7], "the steps of the log that they begin at");
}

#[test]
fn each_part_of_an_action_has_a_head_and_a_loss_of_its_own() {
    let parts = |steps: usize| {
        let arm = Actions::Continuous { values: (0..2 * steps).map(|i| i as f32).collect(), dim: 2 };
        let grip = Actions::Discrete((0..steps as u32).map(|step| step % 3).collect());
        Actions::Parts([("arm".to_string(), arm), ("grip".to_string(), grip)].into())
    };
    let episodes = vec![Episode { actions: parts(4), ..episode(4) }];
    let (config, task) = task(&episodes, 4);
    let heads: Vec<(String, usize)> =
        task.spec().heads.iter().map(|head| (head.name.clone(), head.head.width())).collect();
    assert_eq!(heads, [("arm".to_string(), 2), ("grip".to_string(), 3)], "two numbers and three choices");
    assert_eq!(task.spec().output_name(1), "log.grip");

    let settings = ModelConfig { d_model: 8, n_layers: 1, n_heads: 1, ..ModelConfig::default() };
    let model = Model::new(&settings, &[task.spec().clone()], 0, &Device::Cpu).unwrap();
    let windows = Windows::new(logged(episodes), None, &config, Arc::new(task));
    let batch = collate(model.layouts(), &[(0, windows.sample(0, None).unwrap())]).unwrap();
    let outputs = model.outputs(&batch).unwrap();
    assert_eq!([outputs[0].dims(), outputs[1].dims()], [[2, 2], [2, 3]], "two states");

    let losses = model.loss(&batch, None, 0.0).unwrap();
    assert_eq!(losses.iter().map(|loss| loss.weight).collect::<Vec<_>>(), [2.0, 2.0], "a step counts once");
    let values: Vec<Value> = outputs.into_iter().map(Value::constant).collect();
    let (Targets::Features { values: arms, weights, .. }, Targets::Ids { ids, .. }) =
        (&batch.heads[0].targets, &batch.heads[1].targets)
    else {
        panic!("numbers and a choice")
    };
    let number = |loss: &Value| loss.tensor().to_scalar::<f32>().unwrap();
    let expected = [
        ops::squared_error(&values[0], arms, weights).unwrap(),
        ops::cross_entropy(&values[1], ids, weights, 0.0).unwrap(),
    ];
    for (loss, expected) in losses.iter().zip(expected.iter().map(number)) {
        let found = number(&loss.sum);
        assert!((found - expected).abs() <= 1e-5 * expected, "head {}: {found}, {expected}", loss.head);
    }
}

#[test]
fn returns_are_divided_by_what_the_settings_say() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log.csv");
    std::fs::write(&path, "episode,obs,action,reward\n0,1,0,4\n0,2,1,4\n1,3,0,6\n").unwrap();
    let scale = |return_scale: f32| {
        let path = path.display().to_string();
        let config = TrajectoryTaskConfig { path, return_scale, ..TrajectoryTaskConfig::default() };
        let (task, _) = TrajectoryTask::open("log", 1.0, &config, None)?;
        Ok::<f32, TaskError>(task.tokenizer().config().return_scale)
    };
    assert_eq!(scale(100.0).unwrap(), 100.0);
    assert!([6.0, 8.0].contains(&scale(0.0).unwrap()), "the largest of the episode that trains");
    let refused = scale(-1.0).unwrap_err().to_string();
    assert!(refused.contains("return_scale is -1; it must be positive"), "{refused}");
}

/// An episode of two grey pictures of 2×2 pixels a step, and no numbers.
fn filmed(steps: usize) -> Episode {
    let pixels = (0..4 * steps).map(|i| (31 * i) as u8).collect::<Vec<_>>();
    let frames = Pictures::Frames { height: 2, width: 2, channels: 1, pixels: pixels.into() };
    let pictures = [("left".to_string(), frames.clone()), ("right".to_string(), frames)];
    Episode { observations: vec![], state_dim: 0, pictures: pictures.into(), ..episode(steps) }
}

/// The task whose patches are whole pictures, and windows of these episodes.
fn seeing(episodes: Vec<Episode>) -> (Arc<TrajectoryTask>, Windows) {
    let config = TrajectoryTaskConfig { context: 3, ..TrajectoryTaskConfig::default() };
    let options = FitOptions { context: 3, max_steps: 9, ..FitOptions::default() };
    let trajectory = fit(&episodes, options).unwrap();
    let episodes = logged(episodes);
    let pictures = PictureConfig { patch: 2, ..PictureConfig::default() };
    let cameras = pictures.fit(&episodes, None, &[]).unwrap();
    let tokenizer = PicturedTokenizer::new(PicturedConfig { trajectory, cameras }).unwrap();
    let task = Arc::new(TrajectoryTask::with("log", 1.0, &config, tokenizer));
    (task.clone(), Windows::new(episodes, None, &config, task))
}

fn small(task: &TrajectoryTask) -> Model {
    let config = ModelConfig { d_model: 8, n_layers: 2, n_heads: 2, ..ModelConfig::default() };
    Model::new(&config, &[task.spec().clone()], 0, &Device::Cpu).unwrap()
}

#[test]
fn pictures_of_a_step_see_each_other_and_nothing_later() {
    let (task, windows) = seeing(vec![filmed(2)]);
    let model = small(&task);
    let batch = collate(model.layouts(), &[(0, windows.sample(0, None).unwrap())]).unwrap();
    // Each step: return, left, right, action.
    let expected = "x.......\n\
                    xxx.....\n\
                    xxx.....\n\
                    xxxx....\n\
                    xxxxx...\n\
                    xxxxxxx.\n\
                    xxxxxxx.\n\
                    xxxxxxxx\n";
    assert_eq!(model.rules(0).draw(&batch.main.meta), expected);
}

#[test]
fn a_picture_changes_what_is_said_from_its_step_on() {
    let said = |changed: Option<usize>| {
        let mut episode = filmed(3);
        if let (Some(step), Some(Pictures::Frames { pixels, .. })) =
            (changed, episode.pictures.get_mut("right"))
        {
            let mut other = pixels.to_vec();
            other[4 * step] ^= 0xff;
            *pixels = other.into();
        }
        // Both are fitted to the same pictures.
        let (task, _) = seeing(vec![filmed(3)]);
        let windows =
            Windows::new(logged(vec![episode]), None, &TrajectoryTaskConfig::default(), task.clone());
        let model = small(&task);
        let batch = collate(model.layouts(), &[(0, windows.sample(0, None).unwrap())]).unwrap();
        model.outputs(&batch).unwrap().remove(0).to_vec2::<f32>().unwrap()
    };
    let before = said(None);
    assert_eq!(before.len(), 3, "one patch of the last camera a step");
    for step in 0..3 {
        let after = said(Some(step));
        let same: Vec<bool> = before.iter().zip(&after).map(|(b, a)| b == a).collect();
        assert_eq!(same, [0, 1, 2].map(|t| t < step), "changed at step {step}");
    }
}

#[test]
fn settings_choose_cameras_and_say_what_is_wrong() {
    let log = logged(vec![filmed(2)]);
    let fitted = |config: PictureConfig| {
        let skipped = [("observation.images.top".to_string(), "videos are not read")];
        config.fit(&log, None, &skipped).map_err(|e| e.to_string())
    };
    let with = |cameras: &[&str]| PictureConfig {
        cameras: Some(cameras.iter().map(|name| name.to_string()).collect()),
        patch: 1,
        ..PictureConfig::default()
    };
    let left = fitted(with(&["left"])).unwrap();
    assert_eq!((left.len(), left["left"].max_patches, left["left"].channels), (1, [2, 2], 1));
    let resized = PictureConfig { size: Some([4, 6]), patch: 2, channels: Some(3), cameras: None };
    let resized = fitted(resized).unwrap();
    let right = &resized["right"];
    assert_eq!(
        (right.max_patches, right.size, right.channels, right.mean.len()),
        ([2, 3], Some([4, 6]), 3, 3)
    );

    let refused = |config| fitted(config).unwrap_err();
    assert_eq!(
        refused(with(&["images.top"])),
        "data.pictures: cameras has \"images.top\"; the log has pictures of \"left\", \"right\"; \
         observation.images.top: videos are not read"
    );
    assert!(refused(with(&[])).ends_with("leaves nothing to see: all that the log holds are pictures"));
    assert_eq!(
        refused(PictureConfig::default()),
        "data.pictures: pictures of camera \"left\" are 2×2 pixels; height must be a multiple of patch = 16 \
         (data.pictures.patch, data.pictures.size)"
    );
}
