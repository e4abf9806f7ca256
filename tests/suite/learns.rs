//! Each modality, in each way of reading it, overfits eight examples in seconds, and every parameter gets a gradient.

use base64::{Engine, engine::general_purpose::STANDARD};
use candle_core::Device;
use smalti::config::RunConfig;
use smalti::data::{DataError, Dataset, Sample};
use smalti::model::Model;
use smalti::registry::Modalities;
use smalti::sample::Start;
use smalti::train::{Metrics, Observer, Outcome, StepReport, TrainTask, Trainer};
use std::collections::BTreeMap;
use std::sync::{Arc, atomic::AtomicBool};

/// The first eight samples of a data set, without random variation.
struct Eight(Arc<dyn Dataset>);

impl Dataset for Eight {
    fn len(&self) -> usize {
        8
    }
    fn sample(&self, index: usize, _seed: Option<u64>) -> Result<Sample, DataError> {
        self.0.sample(index, None)
    }
}

/// Records the notes and reports of training.
#[derive(Default)]
struct Record {
    losses: Vec<f64>,
    notes: Vec<String>,
}

impl Observer for Record {
    fn step(&mut self, report: &StepReport) {
        self.losses.push(report.loss);
    }
    fn note(&mut self, text: &str) {
        self.notes.push(text.into());
    }
}

/// Train on eight samples of each task, and evaluate on the same samples.
fn learn(settings: &str) -> (Outcome, Record) {
    let config = RunConfig::parse("test", settings, &[]).unwrap();
    let mut parts = Vec::new();
    for entry in config.tasks() {
        let opened = entry.open(&Modalities::builtin(), Start::New).unwrap();
        let eight: Arc<dyn Dataset> = Arc::new(Eight(opened.train));
        let task = opened.task;
        parts.push(TrainTask { task, train: eight.clone(), validation: eight, weight: entry.weight });
    }
    let specs: Vec<_> = parts.iter().map(|part| part.task.spec().clone()).collect();
    let model = Model::new(&config.model, &specs, 1, &Device::Cpu).unwrap();
    let mut record = Record::default();
    let mut trainer = Trainer::new(&config.train, model, parts).unwrap();
    let outcome = trainer.run(None, &AtomicBool::new(false), &mut record).unwrap();
    (outcome, record)
}

fn settings(data: &str, model: &str, steps: usize) -> String {
    format!(
        "{data}\n[model]\nd_model = 32\nn_layers = 2\nattention.n_heads = 2\n{model}\n[train]\nmax_steps = {steps}\nbatch_size = 8\n\
         learning_rate = 3e-3\nmin_learning_rate = 1e-4\nwarmup_steps = 10\nweight_decay = 0.0\neval_every = 0\n"
    )
}

/// Assert that every output with this metric reaches the goal. Returns all metrics.
fn assert_learned(settings: &str, metric: &str, goal: impl Fn(f64) -> bool) -> BTreeMap<String, Metrics> {
    let (outcome, record) = learn(settings);
    assert_eq!(record.notes, Vec::<String>::new(), "the audit has no notes");
    for (output, metrics) in outcome.metrics.iter().filter(|(_, metrics)| metrics.contains_key(metric)) {
        assert!(
            goal(metrics[metric]),
            "{output}: {metrics:?}; losses {:?} … {:?}",
            record.losses[0],
            record.losses.last()
        );
    }
    assert!(outcome.metrics.values().any(|metrics| metrics.contains_key(metric)), "{:?}", outcome.metrics);
    outcome.metrics
}

#[test]
fn text_is_learned_by_next_and_by_masked_tokens() {
    let text = "[data]\nsource = \"builtin:text/smalti.txt\"\n[outputs.text]\nhead = \"generate\"\nmodality = \"text\"\n\
                windows = true\ncontext = 24\n";
    assert_learned(&settings(text, "", 250), "accuracy", |a| a > 0.85);
    assert_learned(&settings(text, "bias = false\nhead.tie_embeddings = true", 250), "accuracy", |a| {
        a > 0.85
    });
    let masked = text.replace("\"generate\"", "\"masked\"\nmask = 0.3");
    assert_learned(&settings(&masked, "", 300), "accuracy", |a| a > 0.85);
    let bytes = format!("{text}vocabulary = \"bytes\"\n");
    assert_learned(&settings(&bytes, "embedding.positions = \"sinusoidal\"", 250), "accuracy", |a| a > 0.85);
}

#[test]
fn text_is_learned_in_bf16_as_in_f32() {
    let text = "[data]\nsource = \"builtin:text/smalti.txt\"\n[outputs.text]\nhead = \"generate\"\nmodality = \"text\"\n\
                windows = true\ncontext = 24\n";
    let last_losses = |precision: &str| {
        let settings = format!("{}precision = \"{precision}\"\n", settings(text, "", 80));
        let (_, record) = learn(&settings);
        assert_eq!(record.notes, Vec::<String>::new(), "the audit has no notes");
        let last = &record.losses[record.losses.len() * 3 / 4..];
        last.iter().sum::<f64>() / last.len() as f64
    };
    let (exact, rounded) = (last_losses("f32"), last_losses("bf16"));
    assert!((rounded / exact - 1.0).abs() < 0.05, "loss {rounded} in bf16, {exact} in f32");
    assert!(rounded != exact, "bf16 rounds");
}

/// Linear attention, a state space and softmax attention, alone and by turns.
#[test]
fn texts_and_images_are_learned_by_other_mixers() {
    let text = "[data]\nsource = \"builtin:text/smalti.txt\"\n[outputs.text]\nhead = \"generate\"\nmodality = \"text\"\n\
                windows = true\ncontext = 24\n";
    let digits = "[data]\nsource = \"builtin:digits\"\nvalidation = \"split = test\"\n[inputs.image]\n\
                  modality = \"image\"\npatch_size = 4\n[outputs.class]\nhead = \"classify\"\n";
    let linear = "{ kind = \"linear\" }";
    let space = "{ kind = \"state_space\", d_state = 16, min_step = 0.01, max_step = 0.5 }";
    let turns =
        format!("{}, {}", linear.replace(" }", ", layers = [0] }"), space.replace(" }", ", layers = [1] }"));
    for mixers in [linear, space, &turns] {
        let model = format!("mixers = [{mixers}]");
        assert_learned(&settings(text, &model, 250), "accuracy", |a| a > 0.85);
        let both_ways = model.replace("d_state = 16", "d_state = 16, bidirectional = true");
        assert_learned(&settings(digits, &both_ways, 200), "accuracy", |a| a == 1.0);
    }
}

#[test]
fn image_classes_are_learned() {
    let digits = "[data]\nsource = \"builtin:digits\"\nvalidation = \"split = test\"\n[inputs.image]\n\
                  modality = \"image\"\npatch_size = 4\n[outputs.class]\nhead = \"classify\"\n";
    for model in [
        "",
        "norm = \"rms\"\nmlp.activation = \"silu\"",
        "norm_placement = \"post\"\nmlp.activation = \"relu\"",
    ] {
        assert_learned(&settings(digits, model, 150), "accuracy", |a| a == 1.0);
    }
    let pooled = format!("{digits}pool = \"attention\"\n");
    assert_learned(&settings(&pooled, "", 200), "accuracy", |a| a == 1.0);
}

#[test]
fn audio_is_learned_by_ctc_as_a_prefix_and_by_cross_attention() {
    let keys = "[data]\nsource = \"builtin:touchtone.tar\"\ntrain = \"split=train\"\nvalidation = \"split=valid\"\n\
                 [outputs.text]\nhead = \"ctc\"\nmodality = \"text\"\n\
                 [inputs.audio]\nmodality = \"audio\"\nsampling_rate = 4000\nframes_per_slice = 4\nmax_slices = 200\n\
                 [inputs.audio.mel]\nn_fft = 128\nhop_length = 40\nn_mels = 24\nfmin = 600\nfmax = 1700\n";
    assert_learned(&settings(keys, "", 200), "cer", |e| e < 0.05);
    assert_learned(
        &settings(keys, "embedding.positions = \"none\"\nattention.rotary = {}", 200),
        "cer",
        |e| e < 0.05,
    );
    let prefix = keys.replace("\"ctc\"", "\"generate\"");
    assert_learned(&settings(&prefix, "", 200), "accuracy", |a| a > 0.95);
    let cross = keys.replace("\"ctc\"", "\"generate\"\ncross_attention = true");
    assert_learned(&settings(&cross, "n_encoder_layers = 1", 300), "accuracy", |a| a > 0.95);
}

/// The settings of a decision transformer with a return-to-go, these inputs and these outputs.
fn policy(source: &str, context: usize, inputs: &str, outputs: &str) -> String {
    format!(
        "[data]\nsource = {source:?}\ncontext = {context}\n[data.derived.return_to_go]\nkind = \"return_to_go\"\n\
         field = \"rewards\"\n[inputs.return_to_go]\nmodality = \"numbers\"\nscale = 0\n{inputs}{outputs}"
    )
}

const ACTIONS: &str = "[outputs.actions]\nhead = \"classify\"\n";
/// Numbers become ids of 64 bins (Gato).
const BINS: &str = "mu_law = { bins = 64 }\n";

#[test]
fn actions_are_learned_from_states() {
    let cartpole =
        policy("builtin:cartpole-mixed.npz", 10, "[inputs.observations]\nmodality = \"numbers\"\n", ACTIONS);
    assert_learned(&settings(&cartpole, "", 200), "accuracy", |a| a > 0.95);
    let binned = format!("[inputs.observations]\nmodality = \"numbers\"\n{BINS}");
    let binned = policy("builtin:cartpole-mixed.npz", 10, &binned, ACTIONS);
    assert_learned(&settings(&binned, "", 200), "accuracy", |a| a > 0.95);
}

#[test]
fn continuous_actions_are_regressed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log.jsonl");
    let episode = |e: usize| {
        let numbers = |f: &dyn Fn(f64) -> f64| {
            (0..30).map(|t| format!("[{:.3}]", f((t + 7 * e) as f64))).collect::<Vec<_>>().join(",")
        };
        let (states, actions) = (numbers(&|x| (x * 0.3).sin()), numbers(&|x| (x * 0.3).cos()));
        let rewards = vec!["1"; 30].join(",");
        format!(
            "{{\"observations\":[{states}],\"actions\":[{actions}],\"rewards\":[{rewards}],\"terminated\":true}}\n"
        )
    };
    std::fs::write(&path, (0..10).map(episode).collect::<String>()).unwrap();
    let observations = "[inputs.observations]\nmodality = \"numbers\"\n";
    let actions = "[outputs.actions]\nhead = \"regress\"\nnormalize = false\n";
    let data = policy(&path.display().to_string(), 10, observations, actions);
    assert_learned(&settings(&data, "", 200), "loss", |loss| loss < 0.01);
}

/// `arm` is a function of the state, `grip` a choice by its sign, `gear` a choice among three by the time step.
#[test]
fn actions_of_several_parts_are_learned_together() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log.csv");
    let step = |e: usize, t: usize| {
        let angle = (t + 7 * e) as f64 * 0.3;
        let (arm, grip) = (angle.cos(), u8::from(angle.sin() > 0.0));
        format!("{e},{:.3},{:.3},{arm:.3},{grip},{},1\n", angle.sin(), angle.cos(), t % 3)
    };
    let rows = (0..10).flat_map(|e| (0..30).map(move |t| (e, t))).map(|(e, t)| step(e, t));
    let header = "episode,obs.sin,obs.cos,action.arm,action.grip,action.gear,reward\n";
    std::fs::write(&path, header.to_string() + &rows.collect::<String>()).unwrap();
    let actions = "[outputs.arm]\nhead = \"regress\"\nfield = \"actions.arm\"\nnormalize = false\n\
                   [outputs.grip]\nhead = \"classify\"\nfield = \"actions.grip\"\n\
                   [outputs.gear]\nhead = \"classify\"\nfield = \"actions.gear\"\n";
    let path = path.display().to_string();
    let observations = "[inputs.observations]\nmodality = \"numbers\"\n";
    let data = policy(&path, 10, observations, actions);
    let metrics = assert_learned(&settings(&data, "", 250), "accuracy", |a| a > 0.95);
    let outputs: Vec<&str> = metrics.keys().map(String::as_str).collect();
    assert_eq!(outputs, ["arm", "gear", "grip"]);
    let loss: f64 = metrics.values().map(|metrics| metrics["loss"]).sum();
    assert!(loss < 0.3, "the sum over two choices and one number: {metrics:?}");
    let binned = policy(&path, 10, &format!("{observations}{BINS}"), actions);
    assert_learned(&settings(&binned, "", 250), "accuracy", |a| a > 0.95);
}

/// Only the lit half of an image determines the action.
#[test]
fn actions_are_learned_from_images() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log.jsonl");
    let episode = |e: usize, observed: &str| {
        let sides: Vec<usize> = (0..6).map(|t| (e * 7 + t * t + e * t) % 3 % 2).collect();
        let pixels = sides.iter().flat_map(|&side| {
            (0..16).map(move |i| if i % 4 / 2 == side { 200_u8 } else { (10 * e + i) as u8 })
        });
        let pixels = STANDARD.encode(pixels.collect::<Vec<u8>>());
        let frames = format!("{{\"height\": 4, \"width\": 4, \"channels\": 1, \"pixels\": \"{pixels}\"}}");
        format!(
            "{{{observed}\"images\": {{\"front\": {{\"frames\": {frames}}}}}, \"actions\": {sides:?}, \
             \"rewards\": [1, 1, 1, 1, 1, 1]}}\n"
        )
    };
    for observed in ["", "\"observations\": [[1], [2], [3], [4], [5], [6]], "] {
        std::fs::write(&path, (0..10).map(|e| episode(e, observed)).collect::<String>()).unwrap();
        let path = path.display().to_string();
        let camera = "[inputs.front]\nmodality = \"image\"\npatch_size = 2\n";
        let state = if observed.is_empty() { "" } else { "[inputs.observations]\nmodality = \"numbers\"\n" };
        let data = policy(&path, 6, &format!("{camera}{state}"), ACTIONS);
        assert_learned(&settings(&data, "", 200), "accuracy", |a| a > 0.95);
        if !observed.is_empty() {
            let blind = policy(&path, 6, state, ACTIONS);
            let metrics = learn(&settings(&blind, "", 100)).0.metrics["actions"].clone();
            assert!(metrics["accuracy"] < 0.9, "without the images: {metrics:?}");
        }
    }
}

#[test]
fn four_tasks_share_one_trunk() {
    let mix = smalti::config::preset("mix").unwrap();
    let config = RunConfig::parse("mix", mix, &[]).unwrap();
    assert_eq!(config.tasks().len(), 4);
    let small = [
        "train.max_steps=200",
        "train.batch_size=32",
        "train.ema_decay=0.0",
        "model.d_model=32",
        "model.n_layers=2",
    ];
    let config = RunConfig::parse("mix", mix, &small.map(String::from)).unwrap();
    let (outcome, record) = learn(&config.to_toml().unwrap());
    assert_eq!(record.notes, Vec::<String>::new());
    assert_eq!(outcome.metrics.len(), 4);
    let (first, last) = (record.losses[0], record.losses[199]);
    assert!(last < first / 2.0, "the summed loss decreased only from {first} to {last}");
    assert!(outcome.metrics["image.class"]["accuracy"] >= 0.75, "{:?}", outcome.metrics);
}
