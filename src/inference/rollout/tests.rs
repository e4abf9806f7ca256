#![cfg(all(feature = "text", feature = "image", feature = "numbers"))]

use super::episode::{Episode, next_return_to_go};
use super::policy::Policy;
use super::*;
use crate::data::{DataError, Sample};
use crate::env::{ActionSpec, CartPole, Copies, Image, Observation, Step};
use crate::model::{AttentionConfig, ModelConfig};
use crate::registry::Modalities;
use crate::sample::{Opened, Purpose, Start, TaskSettings};
use crate::table::{MemoryTable, Place, Table};
use crate::task::Task;
use candle_core::Device;
use smalti_contract::{Array, Numbers, TokenizeError, Value};
use std::sync::Arc;

const STEPS: usize = 6;

fn series(step: impl Fn(usize) -> Value) -> Value {
    Value::Series((0..STEPS).map(step).collect())
}

fn number(number: usize) -> Value {
    Value::Number(number as f64)
}

fn pixels(step: usize) -> Vec<u8> {
    vec![10 * step as u8, 40, 80, 120]
}

/// An episode: four numbers of a state in two fields, an image, an action of two parts, a goal in words.
fn row() -> Row {
    let image = |step| Value::Array(Array { shape: vec![2, 2], numbers: Numbers::U8(pixels(step)) });
    let fields = [
        ("cart", series(|t| Value::vector([t as f32, 0.5 * t as f32]))),
        ("pole", series(|t| Value::vector([-0.25 * t as f32, 1.0]))),
        ("front", series(image)),
        ("actions.arm", series(|t| Value::vector([0.1 * t as f32, -0.1]))),
        ("actions.grip", series(|t| number(t % 3))),
        ("actions", series(|t| number(t % 2))),
        ("rewards", series(|t| number(t + 1))),
        ("goal", Value::Text("up".into())),
    ];
    Row { fields: fields.map(|(name, value)| (name.to_string(), value)).into() }
}

fn memory(place: &Place) -> Result<Option<Arc<dyn Table>>, DataError> {
    let rows = || MemoryTable::new("rows", vec![row(); 2]);
    Ok((place.path == "rows").then(|| Arc::new(rows()) as Arc<dyn Table>))
}

fn open(parts: &str) -> Opened {
    open_with("context = 3", parts)
}

fn open_with(data: &str, parts: &str) -> Opened {
    let toml = format!(
        "[data]\nsource = {{ path = \"rows\", layout = \"memory\" }}\nholdout = 0.5\n{data}\n{DERIVED}{parts}"
    );
    let settings: TaskSettings = toml::from_str(&toml).unwrap();
    let modalities = Modalities::builtin().with_source("memory", memory);
    Composition::open(("", 1.0), &settings, &modalities, Start::New).unwrap_or_else(|e| panic!("{e}"))
}

const DERIVED: &str = r#"
[data.derived]
return_to_go = { kind = "return_to_go", field = "rewards", discount = 0.5 }
first = { kind = "first", field = "rewards" }
last = { kind = "last", field = "rewards" }
step = { kind = "step", field = "rewards" }
before = { kind = "previous", field = "actions.grip" }
earned = { kind = "previous", field = "rewards" }
total = { kind = "total", field = "rewards" }
"#;

/// Every kind of field that is known while an episode runs.
const ALL: &str = r#"
[inputs]
goal = { modality = "text" }
total = { modality = "numbers" }
return_to_go = { modality = "numbers" }
front = { modality = "image", patch_size = 1 }
state = { modality = "numbers", field = ["cart", "pole"] }
clock = { modality = "numbers", field = ["first", "last", "step"] }
before = { modality = "numbers", ids = true, n_ids = 3 }
earned = { modality = "numbers" }
[outputs]
arm = { head = "regress", field = "actions.arm" }
grip = { head = "classify", field = "actions.grip" }
"#;

/// A state of four numbers and one action.
const CARTPOLE: &str = r#"
[inputs.return_to_go]
modality = "numbers"
[inputs.state]
modality = "numbers"
field = ["cart", "pole"]
[outputs.actions]
head = "classify"
"#;

/// An environment with these actions, whose observations and rewards are those of the log.
struct LogEnvironment {
    action_spec: ActionSpec,
    state_dim: usize,
    cameras: Vec<&'static str>,
    steps: usize,
    /// The actions so far.
    actions: Vec<Action>,
}

fn log_environment(action_spec: ActionSpec) -> LogEnvironment {
    LogEnvironment { action_spec, state_dim: 4, cameras: vec!["front"], steps: STEPS, actions: vec![] }
}

/// An action of a choice and of numbers with narrow bounds.
fn hand_spec() -> ActionSpec {
    let arm = ActionSpec::Continuous { low: vec![-0.01; 2], high: vec![0.01; 2] };
    ActionSpec::Parts([("arm".to_string(), arm), ("grip".to_string(), ActionSpec::Discrete { n: 3 })].into())
}

fn seen(step: usize) -> Observation {
    let image = Image::Pixels { height: 2, width: 2, channels: 1, pixels: pixels(step) };
    let t = step as f32;
    Observation { state: vec![t, 0.5 * t, -0.25 * t, 1.0], images: [("front".to_string(), image)].into() }
}

fn stepped(step: usize, over: bool) -> Step {
    Step { observation: seen(step + 1), reward: (step + 1) as f32, terminated: over, truncated: false }
}

impl VectorEnvironment for LogEnvironment {
    fn name(&self) -> &str {
        "log"
    }
    fn state_dim(&self) -> usize {
        self.state_dim
    }
    fn cameras(&self) -> Vec<String> {
        self.cameras.iter().map(|camera| camera.to_string()).collect()
    }
    fn action_spec(&self) -> ActionSpec {
        self.action_spec.clone()
    }
    fn slots(&self) -> usize {
        1
    }
    fn reset(&mut self, starts: &[(usize, u64)]) -> Result<Vec<Observation>, EnvError> {
        if !starts.is_empty() {
            self.actions.clear();
        }
        Ok(starts.iter().map(|_| seen(0)).collect())
    }
    fn step(&mut self, actions: &[(usize, &Action)]) -> Result<Vec<Step>, EnvError> {
        let act = |&(_, action): &(usize, &Action)| {
            self.action_spec.check(action)?;
            self.actions.push(action.clone());
            Ok(stepped(self.actions.len() - 1, self.actions.len() == self.steps))
        };
        actions.iter().map(act).collect()
    }
}

/// The discounted return of the logged episode: 1 + 2/2 + 3/4 + ….
fn logged_return() -> f32 {
    (0..STEPS).rev().fold(0.0, |to_go, t| (t + 1) as f32 + 0.5 * to_go)
}

fn settings(target_return: f32, episodes: usize) -> RolloutSettings {
    let goal = [("goal".to_string(), Value::Text("up".into()))];
    let total = [("total".to_string(), Value::Number(21.0))];
    let row = Row { fields: goal.into_iter().chain(total).collect() };
    RolloutSettings { target_return, episodes, seed: 1, row }
}

fn small(task: &Composition) -> Model {
    let config = ModelConfig {
        d_model: 8,
        n_layers: 1,
        attention: AttentionConfig::of_heads(1),
        ..ModelConfig::default()
    };
    Model::new(&config, &[task.spec().clone()], 0, &Device::Cpu).unwrap()
}

/// The sample of the logged episode up to this step; of its action, the first `known` parts are known.
fn logged_sample(opened: &Opened, now: usize, known: usize) -> Sample {
    let (table, steps) = (&opened.train_rows.rows().table, now.saturating_sub(2)..now + 1);
    let get = |field: &str| {
        let mut value =
            table.window(0, field, steps.clone()).map_err(|e| TokenizeError::Input(e.to_string()))?;
        let unknown = ["actions.arm", "actions.grip"].iter().skip(known).any(|it| *it == field);
        if let (true, Value::Series(steps)) = (unknown, &mut value) {
            steps.pop();
            steps.push(Value::Missing);
        }
        Ok(value)
    };
    opened.task.sample(&get, steps.clone(), Purpose::Predict, 0).unwrap()
}

#[test]
fn a_rollouts_samples_are_those_of_training() {
    let opened = open(ALL);
    let (environment, settings) = (log_environment(hand_spec()), settings(logged_return(), 1));
    let policy = Policy::new(&opened.task, &environment, &settings).unwrap();
    let mut episode = Episode::new(0, 0);
    episode.actions = vec![vec![]; 2];
    episode.observe(seen(0));
    let Row { fields } = row();
    // Without the last step of the log: a running episode does not know its last step.
    for now in 0..STEPS - 1 {
        policy.keep_images(&mut episode);
        for known in 0..2 {
            let (found, expected) =
                (policy.sample(&episode, &policy.actions[known..=known]), logged_sample(&opened, now, known));
            let found = found.unwrap();
            assert_same(&found, &expected);
            let tokens: usize = found.inputs.iter().map(|(_, tokens)| tokens.len()).sum();
            let [output] = &found.outputs[..] else { panic!("expected one output") };
            let last = tokens as u32 - 1;
            assert_eq!((output.head, output.places.as_deref()), (known, Some(&[last][..])), "step {now}");
            let Value::Series(actions) = &fields[["actions.arm", "actions.grip"][known]] else { panic!() };
            episode.actions[known].push(actions[now].clone());
        }
        episode.add(stepped(now, false));
    }
}

/// Assert that the tokens are the same, and features up to rounding.
fn assert_same(found: &Sample, expected: &Sample) {
    for ((_, found), (_, expected)) in found.inputs.iter().zip(&expected.inputs) {
        for (found, expected) in found.groups.iter().zip(&expected.groups) {
            let places = (&found.order, &found.time, &found.positions);
            assert_eq!(places, (&expected.order, &expected.time, &expected.positions));
            assert_eq!(found.content.ids(), expected.content.ids());
            let features = found.content.features().into_iter().flatten();
            for (found, expected) in features.zip(expected.content.features().into_iter().flatten()) {
                assert!((found - expected).abs() < 1e-4, "{found}, {expected}");
            }
        }
    }
}

#[test]
fn an_action_of_parts_stays_within_its_bounds() {
    let opened = open(ALL);
    let mut environment = log_environment(hand_spec());
    let played = rollout(&opened.task, &small(&opened.task), 0, &mut environment, &settings(9.0, 2)).unwrap();
    assert_eq!((played.returns, played.truncated), (vec![21.0; 2], 0));
    assert_eq!(environment.actions.len(), STEPS, "the environment checks each action");
    let reads: Vec<_> =
        opened.task.spec().heads.iter().map(|head| (head.name.as_str(), head.head.width())).collect();
    assert_eq!(reads, [("arm", 2), ("grip", 3)]);
}

#[test]
fn an_environment_that_does_not_fit_is_an_error() {
    let error = |parts: &str, environment: LogEnvironment| {
        let opened = open(parts);
        Policy::new(&opened.task, &environment, &settings(1.0, 1)).err().unwrap().to_string()
    };
    assert_eq!(
        error(ALL, LogEnvironment { state_dim: 3, ..log_environment(hand_spec()) }),
        "--env log: has states of 3 numbers and actions of parts (arm: actions of 2 numbers; grip: 3 actions); the \
         model has learned states of 4 and actions of parts (arm: actions of 2 numbers; grip: 3 actions)"
    );
    assert_eq!(
        error(ALL, LogEnvironment { cameras: vec!["side"], ..log_environment(hand_spec()) }),
        "--env log: has cameras [\"side\"]; the model reads images of [\"front\"]"
    );
    let discrete = |n| log_environment(ActionSpec::Discrete { n });
    assert!(
        error(ALL, discrete(3))
            .contains("and 3 actions; the model has learned states of 4 and actions of parts")
    );
    assert!(
        error(CARTPOLE, discrete(3))
            .ends_with("and 3 actions; the model has learned states of 4 and 2 actions")
    );
    assert!(
        error(CARTPOLE, log_environment(hand_spec())).ends_with("and actions of parts (actions: 2 actions)")
    );
    let split_state = "[inputs]\nstate = { modality = \"numbers\", field = [\"cart\", \"first\", \"pole\"] }\n\
                [outputs.actions]\nhead = \"classify\"\n";
    let split_state = error(split_state, discrete(2));
    assert!(
        split_state.starts_with("inputs.state.field: expected fields whose places in the state are known"),
        "{split_state}"
    );
    let no_action = "[inputs.cart]\nmodality = \"numbers\"\n[outputs.earned]\nhead = \"regress\"\n";
    assert_eq!(
        error(no_action, discrete(2)),
        "outputs: expected an output that is a series of actions; found none"
    );
}

#[test]
fn the_return_to_go_of_a_rollout_is_that_of_training() {
    let rewards: Vec<f32> = (0..5).map(|step| step as f32).collect();
    for discount in [1.0, 0.9, 0.5] {
        let mut logged = rewards.clone();
        for t in (0..4).rev() {
            logged[t] += discount * logged[t + 1];
        }
        let mut to_go = logged[0];
        for (reward, next) in rewards.iter().zip(&logged[1..]) {
            to_go = next_return_to_go(to_go, *reward, discount, 10.0);
            assert!(
                (to_go - next).abs() < 1e-4,
                "discount {discount}: {to_go} in the rollout, {next} in the log"
            );
        }
    }
}

#[test]
fn a_discounted_return_to_go_stays_bounded() {
    let after = |discount| (0..1000).fold(10.0, |to_go, _| next_return_to_go(to_go, 0.0, discount, 10.0));
    assert_eq!((after(0.5), after(1.0)), (10.0, 10.0));
    assert_eq!(next_return_to_go(10.0, -5.0, 1.0, 10.0), 15.0, "without a discount there is no bound");
    let largest = open(CARTPOLE).task.largest_return("return_to_go").unwrap();
    assert_eq!(largest, 8.0, "5 + 6/2, the largest in the log");
}

fn cartpoles() -> Copies {
    Copies::new(CartPole::NAME).unwrap()
}

/// The pole cannot fall within six steps.
#[test]
fn episodes_longer_than_those_of_the_log_are_truncated() {
    let opened = open(CARTPOLE);
    let model = small(&opened.task);
    let played = rollout(&opened.task, &model, 0, &mut cartpoles(), &settings(100.0, 4)).unwrap();
    assert_eq!((played.returns, played.truncated), (vec![STEPS as f64; 4], 4));
}

/// Environments with a limited number of slots.
struct LimitedSlots(Copies, usize);

impl VectorEnvironment for LimitedSlots {
    fn name(&self) -> &str {
        self.0.name()
    }
    fn state_dim(&self) -> usize {
        self.0.state_dim()
    }
    fn action_spec(&self) -> ActionSpec {
        self.0.action_spec()
    }
    fn slots(&self) -> usize {
        self.1
    }
    fn reset(&mut self, starts: &[(usize, u64)]) -> Result<Vec<Observation>, EnvError> {
        assert!(starts.iter().all(|(slot, _)| *slot < self.1), "{starts:?}");
        self.0.reset(starts)
    }
    fn step(&mut self, actions: &[(usize, &Action)]) -> Result<Vec<Step>, EnvError> {
        self.0.step(actions)
    }
}

#[test]
fn returns_do_not_depend_on_the_number_of_slots() {
    let task = open_with("context = 2\nmax_steps = 500", CARTPOLE).task;
    let model = small(&task);
    let all = rollout(&task, &model, 0, &mut cartpoles(), &settings(100.0, 7)).unwrap();
    let random = random_policy(&mut cartpoles(), 500, 7, 1).unwrap();
    assert!(random.returns.iter().any(|&other| other != random.returns[0]), "{random:?}");
    for slots in [1, 3] {
        let limited = || LimitedSlots(cartpoles(), slots);
        assert_eq!(
            rollout(&task, &model, 0, &mut limited(), &settings(100.0, 7)).unwrap(),
            all,
            "{slots} slots"
        );
        assert_eq!(random_policy(&mut limited(), 500, 7, 1).unwrap(), random, "{slots} slots");
    }
}
