use super::rollout::left_to_go;
use super::*;
use crate::env::{self, Action, CartPole, Copies, EnvError, Step, VectorEnvironment};
use crate::model::Model;
use crate::transformer::ModelConfig;
use candle_core::Device;

/// An episode with the states and actions of cart and pole.
fn episode(steps: usize) -> Episode {
    Episode {
        observations: (0..4 * steps).map(|i| i as f32 / 10.0).collect(),
        state_dim: 4,
        actions: Actions::Discrete((0..steps as u32).map(|step| step % 2).collect()),
        rewards: (0..steps).map(|step| step as f32).collect(),
        terminated: true,
    }
}

/// The settings, and the task that is fitted to these episodes.
fn task(episodes: &[Episode], max_steps: usize) -> (TrajectoryTaskConfig, TrajectoryTask) {
    let config = TrajectoryTaskConfig { context: 2, ..TrajectoryTaskConfig::default() };
    let options = FitOptions { context: config.context, max_steps, ..FitOptions::default() };
    let tokenizer = TrajectoryTokenizer::new(fit(episodes, options).unwrap()).unwrap();
    let task = TrajectoryTask::new("log", 1.0, &config, tokenizer);
    (config, task)
}

#[test]
fn every_step_is_measured_within_its_episode() {
    let episodes = vec![episode(3), episode(4), episode(1)];
    let (config, task) = task(&episodes, 4);
    let windows = Windows::new(episodes, &config, Arc::new(task));
    let samples: Vec<Sample> = (0..windows.len()).map(|i| windows.sample(i, None).unwrap()).collect();
    let times: Vec<Vec<u32>> = samples.iter().map(|s| s.inputs[0].1.groups[STATE].time.clone()).collect();
    assert_eq!(times, [vec![0, 1], vec![2], vec![0, 1], vec![2, 3], vec![0]]);
    let ids: Vec<u64> = samples.iter().map(|sample| sample.id).collect();
    assert_eq!(ids, [0, 2, 3, 5, 7], "the steps of the log that they begin at");
}

#[test]
fn a_rollout_takes_off_what_training_adds_up() {
    for discount in [1.0, 0.9, 0.5] {
        let logged = episode(5).returns_to_go(discount);
        let mut to_go = logged[0];
        for (reward, next) in episode(5).rewards.into_iter().zip(&logged[1..]) {
            to_go = left_to_go(to_go, reward, discount, 10.0);
            assert!((to_go - next).abs() < 1e-4, "discount {discount}: {to_go} left, {next} logged");
        }
    }
}

#[test]
fn a_discounted_return_that_is_not_earned_stays_a_number() {
    let after = |discount| (0..1000).fold(10.0, |to_go, _| left_to_go(to_go, 0.0, discount, 10.0));
    assert_eq!((after(0.5), after(1.0)), (10.0, 10.0));
    assert_eq!(left_to_go(10.0, -5.0, 1.0, 10.0), 15.0, "without a discount nothing is bounded");
}

fn cartpoles() -> Copies {
    Copies::new(CartPole::NAME).unwrap()
}

/// Cart and pole cannot fall within three steps.
#[test]
fn episodes_that_outlast_the_log_are_counted() {
    let (_, task) = task(&[episode(3)], 3);
    let config = ModelConfig { d_model: 8, n_layers: 1, n_heads: 1, ..ModelConfig::default() };
    let model = Model::new(&config, &[task.spec().clone()], 0, &Device::Cpu).unwrap();
    let played = rollout(&task, &model, 0, &mut cartpoles(), 100.0, 4, 1).unwrap();
    assert_eq!((played.returns, played.cut), (vec![3.0; 4], 4));
}

/// Environments of which only some can be side by side.
struct Few(Copies, usize);

impl VectorEnvironment for Few {
    fn name(&self) -> &str {
        self.0.name()
    }
    fn state_dim(&self) -> usize {
        self.0.state_dim()
    }
    fn action_spec(&self) -> env::ActionSpec {
        self.0.action_spec()
    }
    fn slots(&self) -> usize {
        self.1
    }
    fn reset(&mut self, starts: &[(usize, u64)]) -> Result<Vec<Vec<f32>>, EnvError> {
        assert!(starts.iter().all(|(slot, _)| *slot < self.1), "{starts:?}");
        self.0.reset(starts)
    }
    fn step(&mut self, actions: &[(usize, &Action)]) -> Result<Vec<Step>, EnvError> {
        self.0.step(actions)
    }
}

#[test]
fn episodes_earn_the_same_however_many_are_side_by_side() {
    let (_, task) = task(&[episode(500)], 500);
    let config = ModelConfig { d_model: 8, n_layers: 1, n_heads: 1, ..ModelConfig::default() };
    let model = Model::new(&config, &[task.spec().clone()], 0, &Device::Cpu).unwrap();
    let all = rollout(&task, &model, 0, &mut cartpoles(), 100.0, 7, 1).unwrap();
    let random = random_policy(&mut cartpoles(), 500, 7, 1).unwrap();
    assert!(random.returns.iter().any(|&earned| earned != random.returns[0]), "{random:?}");
    for slots in [1, 3] {
        let few = || Few(cartpoles(), slots);
        assert_eq!(rollout(&task, &model, 0, &mut few(), 100.0, 7, 1).unwrap(), all, "{slots} slots");
        assert_eq!(random_policy(&mut few(), 500, 7, 1).unwrap(), random, "{slots} slots");
    }
}
