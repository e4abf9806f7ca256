//! A step has the same gradient with any micro-batches and with activation checkpointing, and the same report with
//! asynchronous launch.

use super::step::OUT_OF_MEMORY;
use super::*;
use crate::data::Batch;
use crate::data::{DataError, Sample, Stream, Target};
use crate::head::{Classify, Generate, HeadSpec};
use crate::model::Params;
use crate::model::{AttentionConfig, ModelConfig};
use crate::ops::Gradients;
use crate::rules::Rule;
use crate::task::{TaskSpec, learned_kind, learned_tokens};
use crate::train::{Metrics, Observers, RanksError, Silent, log, ranks::testing::on_ranks};
use candle_core::Device;
use candle_core::Tensor;
use smalti_contract::{Axis, Content, ContentSpec, Group, KindSpec, Tokens};
use std::sync::atomic::{AtomicBool, Ordering};

/// A task with synthetic samples.
struct Synthetic(TaskSpec);

impl Task for Synthetic {
    fn spec(&self) -> &TaskSpec {
        &self.0
    }
}

impl Dataset for Synthetic {
    fn len(&self) -> usize {
        5
    }

    fn sample(&self, index: usize, _: Option<u64>) -> Result<Sample, DataError> {
        let task = tasks().iter().position(|task| task.name == self.0.name).unwrap();
        Ok(sample(task, index as u64, 3 + index as u32).1)
    }
}

/// Text generation, and text classification with a smaller loss weight.
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
        task("generate", vec![kind.clone()], vec![rule("character", Rule::causal())], next, 1.0),
        task("classify", vec![kind, learned_kind("class", 1, false)], rules, class, 0.3),
    ]
}

fn trainer(ranks: Arc<dyn Ranks>, train: TrainConfig, dropout: f32) -> Trainer {
    let config = ModelConfig {
        d_model: 16,
        n_layers: 3,
        dropout,
        // The gradient of a key bias is zero up to rounding errors.
        attention: AttentionConfig { bias: Some(false), ..AttentionConfig::of_heads(2) },
        ..ModelConfig::default()
    };
    let tasks = tasks();
    let model = Model::new(&config, &tasks, 3, &Device::Cpu).unwrap();
    let train_task = |spec: TaskSpec| {
        let data = Arc::new(Synthetic(spec));
        TrainTask { task: data.clone(), train: data.clone(), validation: data, weight: 1.0 }
    };
    Trainer::over(ranks, &train, model, tasks.map(train_task).into()).unwrap()
}

/// A text of `n` characters to generate, with different weights, or to classify.
fn sample(task: usize, id: u64, n: u32) -> (usize, Sample) {
    let ids: Vec<u32> = (0..n).map(|i| (3 * i + id as u32) % 9).collect();
    let tokens = Tokens::new(vec![Group::sequence(Content::Ids(ids.clone()))]);
    let (tokens, target) = match task {
        0 => (tokens, Target::Ids { ids, weights: (0..n).map(|i| (i % 3) as f32 / 2.0).collect() }),
        _ => (tokens.merge(learned_tokens(1, false)), Target::class(n % 3)),
    };
    (task, Sample { inputs: vec![(Stream::Main, tokens)], outputs: vec![target.into()], id })
}

/// Samples of both tasks, of different lengths and weights; the last two are of one task.
fn samples() -> Vec<(usize, Sample)> {
    let of = [(0, 7), (1, 4), (0, 16), (0, 2), (1, 11), (1, 3), (1, 5), (1, 6)];
    (0..).zip(of).map(|(id, (task, n))| sample(task, id, n)).collect()
}

/// Every parameter with its moments, and the last loss, after `steps` steps on [`samples`] in micro-batches of `batch`.
fn after(trainer: &mut Trainer, batch: usize, steps: usize) -> (BTreeMap<String, Vec<f32>>, f64) {
    let samples = samples();
    let micro = samples.chunks(batch).map(|samples| collate(trainer.model().layouts(), samples).unwrap());
    let micro: Vec<Batch> = micro.collect();
    let losses: Vec<f64> =
        (0..steps).map(|_| trainer.train_step(&micro, &mut Silent).unwrap().unwrap().loss).collect();
    let tensors = trainer.optimizer.tensors().into_iter().chain(trainer.model().params().tensors());
    let values = |tensor: Tensor| tensor.flatten_all().unwrap().to_vec1().unwrap();
    (tensors.map(|(name, tensor)| (name, values(tensor))).collect(), losses[steps - 1])
}

#[test]
fn gradients_do_not_depend_on_micro_batches() {
    // Without clipping and with beta1 = 0, the first moment is the gradient.
    let train = TrainConfig { max_grad_norm: 0.0, beta1: 0.0, ..TrainConfig::default() };
    let step = |batch: usize| after(&mut trainer(Arc::new(Alone), train.clone(), 0.0), batch, 1);
    let (whole, loss) = step(8);
    for batch in [4, 3, 2, 1] {
        let (accumulated, accumulated_loss) = step(batch);
        assert!((accumulated_loss - loss).abs() < 1e-6 * loss, "{accumulated_loss} is not {loss}");
        for (name, whole) in whole.iter().filter(|(name, _)| name.starts_with("adamw.m.")) {
            let norm = |x: &mut dyn Iterator<Item = f32>| x.map(|x| f64::from(x).powi(2)).sum::<f64>().sqrt();
            let apart = norm(&mut accumulated[name].iter().zip(whole).map(|(a, b)| a - b));
            let share = apart / norm(&mut whole.iter().copied());
            assert!(share < 1e-6, "{name}: {share:.1e} apart, in micro-batches of {batch}");
        }
    }
}

#[test]
fn a_step_in_which_nothing_counts_changes_nothing() {
    let train = TrainConfig { ema_decay: 0.5, ..TrainConfig::default() };
    let mut trainer = trainer(Arc::new(Alone), train, 0.0);
    let without_weight = |(task, mut sample): (usize, Sample)| {
        let Target::Ids { weights, .. } = &mut sample.outputs[0].target else {
            unreachable!("targets are ids")
        };
        weights.fill(0.0);
        (task, sample)
    };
    let layouts = trainer.model().layouts().to_vec();
    let batch = |samples: &[(usize, Sample)]| vec![collate(&layouts, samples).unwrap()];
    let none = batch(&samples().into_iter().map(without_weight).collect::<Vec<_>>());
    let values = |trainer: &Trainer| {
        let tensors = trainer.optimizer.tensors().into_iter().chain(trainer.model().params().tensors());
        let values = |tensor: Tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        tensors.map(|(name, tensor)| (name, values(tensor))).collect::<BTreeMap<_, _>>()
    };
    let before = values(&trainer);
    let report = trainer.train_step(&none, &mut Silent).unwrap().unwrap();
    assert!(report.loss.is_nan() && report.losses.is_empty(), "{report:?}");
    assert_eq!((report.step, report.empty_steps), (1, 1));
    assert!(values(&trainer) == before);

    // One of two outputs counts; the audit takes place in the first step with a target.
    let (texts, classes): (Vec<_>, Vec<_>) = samples().into_iter().partition(|(task, _)| *task == 0);
    let half: Vec<_> = texts.into_iter().map(without_weight).chain(classes).collect();
    let report = trainer.train_step(&batch(&half), &mut Silent).unwrap().unwrap();
    assert!(report.loss.is_finite() && report.grad_norm > 0.0, "{report:?}");
    assert_eq!((report.losses.len(), report.empty_steps), (1, 1));
    assert!(values(&trainer).values().flatten().all(|value| value.is_finite()));
}

/// The second of two ranks; the first has zeros.
struct Second;

impl Ranks for Second {
    fn rank(&self) -> usize {
        1
    }
    fn world_size(&self) -> usize {
        2
    }
    fn all_reduce(&self, _: &mut [f32]) -> Result<(), RanksError> {
        Ok(())
    }
    fn all_reduce_f64(&self, _: &mut [f64]) -> Result<(), RanksError> {
        Ok(())
    }
    fn all_gather(&self, text: &str) -> Result<Vec<String>, RanksError> {
        Ok(vec![text.into(); 2])
    }
    fn barrier(&self) -> Result<(), RanksError> {
        Ok(())
    }
    fn abort(&self, _: &str) {
        unreachable!("nothing fails")
    }
}

#[test]
fn activation_checkpointing_changes_no_bit() {
    for ranks in [Arc::new(Alone) as Arc<dyn Ranks>, Arc::new(Second)] {
        let [plain, checkpointed] = [false, true].map(|checkpoint_activations| {
            let train = TrainConfig { checkpoint_activations, ema_decay: 0.5, ..TrainConfig::default() };
            after(&mut trainer(ranks.clone(), train, 0.2), 3, 3)
        });
        assert!(plain == checkpointed, "{} of {}", ranks.rank(), ranks.world_size());
    }
}

/// Stops a run after the report of a step, and keeps the reports.
struct StopsAfter<'a>(u64, &'a AtomicBool, Vec<StepReport>);

impl Observer for StopsAfter<'_> {
    fn step(&mut self, report: &StepReport) {
        self.2.push(StepReport { tokens_per_s: 0.0, ..report.clone() });
        self.1.fetch_or(report.step == self.0, Ordering::Relaxed);
    }
}

#[test]
fn asynchronous_launch_gives_the_same_reports_and_files() {
    let train = TrainConfig {
        max_steps: 12,
        batch_size: 4,
        eval_every: 4,
        checkpoint_every: 3,
        log_every: 2,
        ema_decay: 0.5,
        ..TrainConfig::default()
    };
    // With asynchronous launch, a report and so a stop come one step later.
    let [sync, asynchronous] = [(false, 11), (true, 10)].map(|(async_launch, last)| {
        let folder = tempfile::tempdir().unwrap();
        let stop = AtomicBool::new(false);
        let mut observer = StopsAfter(last, &stop, vec![]);
        let mut run = |train: &TrainConfig| {
            let mut trainer = trainer(Arc::new(Alone), train.clone(), 0.2);
            trainer.async_launch = async_launch;
            if folder.path().join(STATE_FILE).exists() {
                trainer.resume(folder.path()).unwrap();
            }
            stop.store(false, Ordering::Relaxed);
            let outcome = trainer.run(Some(folder.path()), &stop, &mut observer).unwrap();
            let lines = log::read(folder.path()).unwrap().into_iter().map(|mut line| {
                line.as_object_mut().unwrap().retain(|key, _| key != "tokens_per_s" && key != "seconds");
                line
            });
            let files = [MODEL_FILE, STATE_FILE].map(|file| std::fs::read(folder.path().join(file)).unwrap());
            (outcome, lines.collect::<Vec<_>>(), files)
        };
        let outcomes = [run(&train), run(&train)];
        (outcomes, observer.2)
    });
    assert_eq!(sync.0[0].0.step, 11);
    assert_eq!([sync.0[0].0.end, sync.0[1].0.end], [End::Stopped, End::Finished]);
    let reports = |reports: &[StepReport]| format!("{reports:?}");
    assert_eq!(reports(&asynchronous.1), reports(&sync.1));
    for (asynchronous, sync) in asynchronous.0.iter().zip(&sync.0) {
        assert_eq!((&asynchronous.0, &asynchronous.1), (&sync.0, &sync.1));
        assert!(asynchronous.2 == sync.2, "the files differ");
    }
}

/// The steps of gradients and of evaluations.
#[derive(Default)]
struct Steps {
    gradients: Vec<u64>,
    evaluated: Vec<u64>,
}

impl Observer for Steps {
    fn evaluated(&mut self, step: u64, _: &BTreeMap<String, Metrics>) {
        self.evaluated.push(step);
    }

    fn gradients(&mut self, step: u64, params: &Params, gradients: &Gradients) -> candle_core::Result<()> {
        for (place, (name, parameter)) in params.iter().enumerate() {
            assert_eq!(gradients.get(place).unwrap().shape(), parameter.shape(), "{name}");
        }
        self.gradients.push(step);
        Ok(())
    }
}

#[test]
fn all_observers_get_gradients_in_the_last_step_before_each_evaluation() {
    let train = TrainConfig { max_steps: 5, batch_size: 4, eval_every: 2, ..TrainConfig::default() };
    let (mut first, mut second) = (Steps::default(), Steps::default());
    let mut observers = Observers(vec![&mut first, &mut second]);
    let mut trainer = trainer(Arc::new(Alone), train, 0.0);
    trainer.run(None, &AtomicBool::new(false), &mut observers).unwrap();
    for Steps { gradients, evaluated } in [first, second] {
        assert_eq!((gradients, evaluated), (vec![2, 4, 5], vec![2, 4, 5]));
    }
}

/// Tensors by name.
type State = BTreeMap<String, Vec<f32>>;

/// A training of two ranks in threads of this process: each rank's outcome, reports and state. Rank 0 stops after the report
/// of step `stop`.
fn of_two(async_launch: bool, stop: u64) -> Vec<(String, Vec<StepReport>, State)> {
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
        trainer.async_launch = async_launch;
        let (folder, flag) = (tempfile::tempdir().unwrap(), AtomicBool::new(false));
        let mut observer = StopsAfter(if first { stop } else { 0 }, &flag, vec![]);
        let outcome = trainer.run(Some(folder.path()), &flag, &mut observer).unwrap();
        let state = trainer.optimizer.tensors().into_iter().chain(trainer.model().params().tensors());
        let values = |tensor: Tensor| tensor.flatten_all().unwrap().to_vec1().unwrap();
        (format!("{outcome:?}"), observer.2, state.map(|(name, tensor)| (name, values(tensor))).collect())
    })
}

#[test]
fn ranks_with_asynchronous_launch_make_the_same_steps() {
    // To the end; and stopped once step 2 is launched, when asynchronous launch reports step 1.
    for [sync, asynchronous] in [[0, 0], [2, 1]] {
        let (sync, asynchronous) = (of_two(false, sync), of_two(true, asynchronous));
        for (sync, asynchronous) in sync.iter().zip(&asynchronous) {
            assert_eq!(
                (&sync.0, format!("{:?}", sync.1)),
                (&asynchronous.0, format!("{:?}", asynchronous.1))
            );
            assert!(sync.2 == asynchronous.2, "the weights differ");
        }
    }
}

/// A training whose loss stays the same: after 3 evaluations, 2 of them without a lower loss.
fn without_progress() -> TrainConfig {
    TrainConfig {
        max_steps: 40,
        batch_size: 4,
        learning_rate: 1e-30,
        eval_every: 2,
        patience: 2,
        ..TrainConfig::default()
    }
}

#[test]
fn all_ranks_run_out_of_patience_at_the_same_step() {
    for async_launch in [false, true] {
        let ends = on_ranks(2, |ranks| {
            let mut trainer = trainer(ranks, without_progress(), 0.2);
            trainer.async_launch = async_launch;
            let outcome = trainer.run(None, &AtomicBool::new(false), &mut Silent).unwrap();
            (outcome.step, outcome.end)
        });
        assert_eq!(ends, [(6, End::Patience); 2]);
    }
}

#[test]
fn patience_survives_a_resume() {
    let (folder, stop) = (tempfile::tempdir().unwrap(), AtomicBool::new(false));
    let mut first = trainer(Arc::new(Alone), without_progress(), 0.2);
    first.run(Some(folder.path()), &stop, &mut StopsAfter(5, &stop, vec![])).unwrap();
    drop(first);
    let mut second = trainer(Arc::new(Alone), without_progress(), 0.2);
    second.resume(folder.path()).unwrap();
    let outcome = second.run(Some(folder.path()), &AtomicBool::new(false), &mut Silent).unwrap();
    assert_eq!((outcome.step, outcome.end), (6, End::Patience));
    let lines = log::read(folder.path()).unwrap();
    let ends: Vec<_> = lines.iter().filter(|line| !line[log::END].is_null()).collect();
    assert!(ends.len() == 1 && ends[0]["step"] == 6 && ends[0][log::END] == "patience", "{ends:?}");
}

#[test]
fn a_step_that_diverges_is_named_and_never_saved() {
    for async_launch in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let train =
            TrainConfig { max_steps: 4, batch_size: 4, checkpoint_every: 1, ..TrainConfig::default() };
        let mut trainer = trainer(Arc::new(Alone), train, 0.0);
        trainer.async_launch = async_launch;
        let set_to_nan = |params: &Params| {
            let (_, parameter) = params.iter().next().unwrap();
            parameter.set(&parameter.as_detached_tensor().affine(f64::NAN, 0.0).unwrap()).unwrap();
        };
        trainer.step = 1;
        trainer.audited = true; // the audit of the first step has another message
        set_to_nan(trainer.model().params());
        let error = trainer.run(Some(folder.path()), &AtomicBool::new(false), &mut Silent).unwrap_err();
        assert!(matches!(error, TrainError::Diverged { step: 2, .. }), "{error}");
        assert!(!folder.path().join(STATE_FILE).exists());
    }
}

#[test]
fn an_out_of_memory_error_has_hints() {
    let message = |batch, checkpoint_activations| {
        let full = TrainError::Tensor(candle_core::Error::Msg(OUT_OF_MEMORY.into()));
        let train = TrainConfig {
            batch_size: batch,
            gradient_accumulation_steps: 2,
            checkpoint_activations,
            ..TrainConfig::default()
        };
        trainer(Arc::new(Alone), train, 0.0).explain(full, Some(99)).to_string()
    };
    let (start, checkpointing) =
        ("a micro-batch of 99 tokens; ", "try --set train.checkpoint_activations=true, for the same step");
    let smaller = |batch, accumulate| {
        format!(
            "in a new run, --set train.batch_size={batch} --set train.gradient_accumulation_steps={accumulate} takes the \
             same step"
        )
    };
    assert!(message(32, false).contains(&format!("{start}{checkpointing}")), "{}", message(32, false));
    assert!(message(32, false).contains(&smaller(16, 4)), "{}", message(32, false));
    assert!(message(3, true).contains(&format!("{start}{}", smaller(1, 6))), "{}", message(3, true));
    assert!(message(1, true).ends_with(&format!("{start}use a smaller model or shorter inputs")));
}
