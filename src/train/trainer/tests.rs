//! A step's gradient does not depend on how its batch is cut up, nor on what the way forward keeps, and its report is its
//! own, whenever it is looked at.

use super::step::OUT_OF_MEMORY;
use super::*;
use crate::data::Batch;
use crate::data::{DataError, Sample, Stream, Target};
use crate::head::{Classify, Generate, HeadSpec};
use crate::model::Params;
use crate::model::{AttentionConfig, ModelConfig};
use crate::rules::Rule;
use crate::task::{TaskSpec, learned_kind, learned_tokens};
use crate::train::{Silent, log, ranks::testing::on_ranks};
use candle_core::Device;
use candle_core::Tensor;
use smalti_contract::{Axis, Content, ContentSpec, Group, KindSpec, Tokens};
use std::sync::atomic::{AtomicBool, Ordering};

/// A task whose samples the tests make themselves.
struct Given(TaskSpec);

impl Task for Given {
    fn spec(&self) -> &TaskSpec {
        &self.0
    }
}

impl Dataset for Given {
    fn len(&self) -> usize {
        5
    }

    fn sample(&self, index: usize, _: Option<u64>) -> Result<Sample, DataError> {
        let task = tasks().iter().position(|task| task.name == self.0.name).unwrap();
        Ok(sample(task, index as u64, 3 + index as u32).1)
    }
}

/// Texts that are continued, and texts that are sorted, which count for less.
fn tasks() -> [TaskSpec; 2] {
    let kind = KindSpec {
        name: "character".into(),
        content: ContentSpec::Ids { vocabulary: 9 },
        axes: vec![Axis::new("index", 16)],
        time_steps: None,
    };
    let rule = |query: &str, rule| (query.to_string(), "character".to_string(), rule);
    let task = |name: &str, kinds, rules, head, loss_weight| TaskSpec {
        name: name.into(),
        inputs: vec![(Stream::Main, kinds)],
        rules,
        heads: vec![head],
        loss_weight,
        shares: vec![],
    };
    let rules = vec![rule("character", Rule::ALL), rule("class", Rule::ALL)];
    let next = HeadSpec::new("", "character", Generate::new(9));
    let class = HeadSpec::new("", "class", Classify::numbered(3));
    [
        task("go_on", vec![kind.clone()], vec![rule("character", Rule::causal())], next, 1.0),
        task("sort", vec![kind, learned_kind("class", 1, false)], rules, class, 0.3),
    ]
}

fn trainer(ranks: Arc<dyn Ranks>, train: TrainConfig, dropout: f32) -> Trainer {
    let config = ModelConfig {
        d_model: 16,
        n_layers: 3,
        dropout,
        // A bias of keys has no gradient but rounding errors.
        attention: AttentionConfig { bias: Some(false), ..AttentionConfig::of_heads(2) },
        ..ModelConfig::default()
    };
    let tasks = tasks();
    let model = Model::new(&config, &tasks, 3, &Device::Cpu).unwrap();
    let part = |spec: TaskSpec| {
        let given = Arc::new(Given(spec));
        Part { task: given.clone(), train: given.clone(), valid: given, weight: 1.0 }
    };
    Trainer::over(ranks, &train, model, tasks.map(part).into()).unwrap()
}

/// A text of `n` characters to go on with, whose weights differ, or to be sorted.
fn sample(task: usize, id: u64, n: u32) -> (usize, Sample) {
    let ids: Vec<u32> = (0..n).map(|i| (3 * i + id as u32) % 9).collect();
    let tokens = Tokens::new(vec![Group::sequence(Content::Ids(ids.clone()))]);
    let (tokens, target) = match task {
        0 => (tokens, Target::Ids { ids, weights: (0..n).map(|i| (i % 3) as f32 / 2.0).collect() }),
        _ => (tokens.merge(learned_tokens(1, false)), Target::class(n % 3)),
    };
    (task, Sample { inputs: vec![(Stream::Main, tokens)], outputs: vec![target.into()], id })
}

/// Both tasks, in documents of differing lengths and weights; the last two are of one task.
fn samples() -> Vec<(usize, Sample)> {
    let of = [(0, 7), (1, 4), (0, 16), (0, 2), (1, 11), (1, 3), (1, 5), (1, 6)];
    (0..).zip(of).map(|(id, (task, n))| sample(task, id, n)).collect()
}

/// Every parameter, its moments, and the last loss, after some steps on these samples in micro-batches of `batch`.
fn after(trainer: &mut Trainer, batch: usize, steps: usize) -> (BTreeMap<String, Vec<f32>>, f64) {
    let samples = samples();
    let micro = samples.chunks(batch).map(|samples| collate(trainer.model().layouts(), samples).unwrap());
    let micro: Vec<Batch> = micro.collect();
    let losses: Vec<f64> =
        (0..steps).map(|_| trainer.advance(&micro, &mut Silent).unwrap().unwrap().loss).collect();
    let tensors = trainer.optimizer.tensors().into_iter().chain(trainer.model().params().tensors());
    let values = |tensor: Tensor| tensor.flatten_all().unwrap().to_vec1().unwrap();
    (tensors.map(|(name, tensor)| (name, values(tensor))).collect(), losses[steps - 1])
}

#[test]
fn micro_batches_add_up_to_one() {
    // Without clipping and inertia, the first moment is the gradient.
    let train = TrainConfig { max_grad_norm: 0.0, beta1: 0.0, ..TrainConfig::default() };
    let step = |batch: usize| after(&mut trainer(Arc::new(Alone), train.clone(), 0.0), batch, 1);
    let (whole, loss) = step(8);
    for batch in [4, 3, 2, 1] {
        let (parts, loss_of_parts) = step(batch);
        assert!((loss_of_parts - loss).abs() < 1e-6 * loss, "{loss_of_parts} is not {loss}");
        for (name, whole) in whole.iter().filter(|(name, _)| name.starts_with("adamw.m.")) {
            let norm = |x: &mut dyn Iterator<Item = f32>| x.map(|x| f64::from(x).powi(2)).sum::<f64>().sqrt();
            let apart = norm(&mut parts[name].iter().zip(whole).map(|(a, b)| a - b));
            let share = apart / norm(&mut whole.iter().copied());
            assert!(share < 1e-6, "{name}: {share:.1e} apart, in micro-batches of {batch}");
        }
    }
}

/// One of two ranks, whose other has nothing to add.
struct Second;

impl Ranks for Second {
    fn rank(&self) -> usize {
        1
    }
    fn size(&self) -> usize {
        2
    }
    fn sum(&self, _: &mut [f32]) {}
    fn sum_f64(&self, _: &mut [f64]) {}
    fn gather(&self, text: &str) -> Vec<String> {
        vec![text.into(); 2]
    }
    fn wait(&self) {}
    fn abort(&self) -> ! {
        unreachable!("nothing fails")
    }
}

#[test]
fn blocks_that_are_computed_again_change_no_bit() {
    for ranks in [Arc::new(Alone) as Arc<dyn Ranks>, Arc::new(Second)] {
        let [kept, again] = [false, true].map(|recompute| {
            let train =
                TrainConfig { checkpoint_activations: recompute, ema_decay: 0.5, ..TrainConfig::default() };
            after(&mut trainer(ranks.clone(), train, 0.2), 3, 3)
        });
        assert!(kept == again, "{} of {}", ranks.rank(), ranks.size());
    }
}

/// Stops a run after some step is told of, and keeps the reports.
struct StopsAfter<'a>(u64, &'a AtomicBool, Vec<StepReport>);

impl Observer for StopsAfter<'_> {
    fn step(&mut self, report: &StepReport) {
        self.2.push(StepReport { tokens_per_s: 0.0, ..report.clone() });
        self.1.fetch_or(report.step == self.0, Ordering::Relaxed);
    }
}

#[test]
fn a_run_that_looks_ahead_tells_and_saves_the_same() {
    let train = TrainConfig {
        max_steps: 12,
        batch_size: 4,
        eval_every: 4,
        checkpoint_every: 3,
        log_every: 2,
        ema_decay: 0.5,
        ..TrainConfig::default()
    };
    // A step ahead, a stop is heard one step later.
    let [at_once, ahead] = [(false, 11), (true, 10)].map(|(looks_ahead, last)| {
        let folder = tempfile::tempdir().unwrap();
        let stop = AtomicBool::new(false);
        let mut observer = StopsAfter(last, &stop, vec![]);
        let mut run = |train: &TrainConfig| {
            let mut trainer = trainer(Arc::new(Alone), train.clone(), 0.2);
            trainer.looks_ahead = looks_ahead;
            if folder.path().join(STATE_FILE).exists() {
                trainer.resume(folder.path()).unwrap();
            }
            stop.store(false, Ordering::Relaxed);
            let outcome = trainer.run(Some(folder.path()), &stop, &mut observer).unwrap();
            let lines = log::read(folder.path()).unwrap().into_iter().map(|mut line| {
                line.as_object_mut().unwrap().remove("tokens_per_s");
                line
            });
            let files = [MODEL_FILE, STATE_FILE].map(|file| std::fs::read(folder.path().join(file)).unwrap());
            (outcome, lines.collect::<Vec<_>>(), files)
        };
        let told = [run(&train), run(&train)];
        (told, observer.2)
    });
    assert_eq!(at_once.0[0].0.step, 11);
    assert!(at_once.0[0].0.stopped && !at_once.0[1].0.stopped);
    let told = |reports: &[StepReport]| format!("{reports:?}");
    assert_eq!(told(&ahead.1), told(&at_once.1));
    for (ahead, at_once) in ahead.0.iter().zip(&at_once.0) {
        assert_eq!((&ahead.0, &ahead.1), (&at_once.0, &at_once.1));
        assert!(ahead.2 == at_once.2, "the files differ");
    }
}

/// Tensors by name.
type State = BTreeMap<String, Vec<f32>>;

/// A training of two ranks in threads of this process: each rank's outcome, reports and state. The first is asked to stop
/// when it is told of step `stop`.
fn of_two(looks_ahead: bool, stop: u64) -> Vec<(String, Vec<StepReport>, State)> {
    let train = TrainConfig {
        max_steps: 9,
        batch_size: 4,
        eval_every: 4,
        checkpoint_every: 3,
        ..TrainConfig::default()
    };
    on_ranks(2, |ranks| {
        let first = ranks.rank() == 0;
        let mut trainer = trainer(ranks, train.clone(), 0.2);
        trainer.looks_ahead = looks_ahead;
        let (folder, flag) = (tempfile::tempdir().unwrap(), AtomicBool::new(false));
        let mut observer = StopsAfter(if first { stop } else { 0 }, &flag, vec![]);
        let outcome = trainer.run(Some(folder.path()), &flag, &mut observer).unwrap();
        let state = trainer.optimizer.tensors().into_iter().chain(trainer.model().params().tensors());
        let values = |tensor: Tensor| tensor.flatten_all().unwrap().to_vec1().unwrap();
        (format!("{outcome:?}"), observer.2, state.map(|(name, tensor)| (name, values(tensor))).collect())
    })
}

#[test]
fn ranks_that_look_ahead_make_the_same_steps() {
    // To the end; and stopped when step 2 has been asked for: ahead, step 1 is told of then.
    for [at_once, ahead] in [[0, 0], [2, 1]] {
        let (at_once, ahead) = (of_two(false, at_once), of_two(true, ahead));
        for (at_once, ahead) in at_once.iter().zip(&ahead) {
            assert_eq!((&at_once.0, format!("{:?}", at_once.1)), (&ahead.0, format!("{:?}", ahead.1)));
            assert!(at_once.2 == ahead.2, "the weights differ");
        }
    }
}

#[test]
fn a_step_that_diverges_is_named_and_never_saved() {
    for looks_ahead in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let train =
            TrainConfig { max_steps: 4, batch_size: 4, checkpoint_every: 1, ..TrainConfig::default() };
        let mut trainer = trainer(Arc::new(Alone), train, 0.0);
        trainer.looks_ahead = looks_ahead;
        let spoil = |params: &Params| {
            let (_, parameter) = params.iter().next().unwrap();
            parameter.set(&parameter.as_detached_tensor().affine(f64::NAN, 0.0).unwrap()).unwrap();
        };
        trainer.step = 1; // the first step's audit has a message of its own
        spoil(trainer.model().params());
        let error = trainer.run(Some(folder.path()), &AtomicBool::new(false), &mut Silent).unwrap_err();
        assert!(matches!(error, TrainError::Diverged { step: 2, .. }), "{error}");
        assert!(!folder.path().join(STATE_FILE).exists());
    }
}

#[test]
fn a_full_memory_names_what_to_try() {
    let says = |batch, recompute| {
        let full = TrainError::Tensor(candle_core::Error::Msg(OUT_OF_MEMORY.into()));
        let train = TrainConfig {
            batch_size: batch,
            gradient_accumulation_steps: 2,
            checkpoint_activations: recompute,
            ..TrainConfig::default()
        };
        trainer(Arc::new(Alone), train, 0.0).explain(full, Some(99)).to_string()
    };
    let (start, recompute) = (
        "a step on 99 tokens at a time; ",
        "try --set train.checkpoint_activations=true, which is the same step",
    );
    let smaller = |batch, accumulate| {
        format!(
            "in a new run, --set train.batch_size={batch} --set train.gradient_accumulation_steps={accumulate} is a step on as much"
        )
    };
    assert!(says(32, false).contains(&format!("{start}{recompute}")), "{}", says(32, false));
    assert!(says(32, false).contains(&smaller(16, 4)), "{}", says(32, false));
    assert!(says(3, true).contains(&format!("{start}{}", smaller(1, 6))), "{}", says(3, true));
    assert!(says(1, true).ends_with(&format!("{start}a smaller model or shorter inputs take less")));
}
