use super::*;
use crate::data::{HeadLayout, Lane, Pooling, Stream, Target};
use smalti_contract::{Axis, Content, ContentSpec, Group, KindSpec, Tokens};
use std::time::{Duration, Instant};

/// Texts of different lengths; some are corrupt.
struct Texts {
    samples: usize,
    corrupt: OnCorruptSample,
    /// Whether a sample can be read.
    good: fn(usize) -> bool,
    /// The time to read the slowest sample.
    takes: Duration,
}

const TEXTS: Texts =
    Texts { samples: 50, corrupt: OnCorruptSample::Fail, good: |_| true, takes: Duration::ZERO };

impl Dataset for Texts {
    fn len(&self) -> usize {
        self.samples
    }

    fn sample(&self, index: usize, seed: Option<u64>) -> Result<Sample, DataError> {
        std::thread::sleep(self.takes * (index % 3) as u32 / 2);
        if !(self.good)(index) {
            return Err(DataError::tokenize(&format!("text {index}"), "is torn"));
        }
        let seed = seed.unwrap_or(0);
        let ids: Vec<u32> = (0..1 + index as u64 % 13).map(|i| (mix(seed, i) % 100) as u32).collect();
        let tokens = Tokens::new(vec![Group::sequence(Content::Ids(ids.clone()))]);
        Ok(Sample {
            inputs: vec![(Stream::Main, tokens)],
            outputs: vec![Target::ids(ids).into()],
            id: index as u64,
        })
    }

    fn on_corrupt(&self) -> OnCorruptSample {
        self.corrupt
    }
}

fn layout(task: &str) -> Layout {
    let kind = KindSpec {
        name: "character".into(),
        content: ContentSpec::Ids { vocabulary: 100 },
        axes: vec![Axis::new("index", 100)],
        time_steps: None,
    };
    let heads = vec![HeadLayout { name: String::new(), reads: 0, pool: Pooling::None }];
    Layout { task: task.into(), inputs: vec![(Stream::Main, vec![(0, kind)])], heads }
}

fn plan(steps: Range<u64>, draw: u64) -> Plan {
    Plan { steps, draw, accumulate: 2, tokens: None, workers: 2 }
}

/// The loader of two tasks with these texts.
fn loader(texts: fn() -> Texts, plan: Plan) -> Loader {
    let lane = |task, share| Lane { task, first: 0, samples: 50, share };
    let sampler = Sampler::new(9, vec![lane(0, 3), lane(1, 2)], 20);
    let datasets: Vec<Arc<dyn Dataset>> = vec![Arc::new(texts()), Arc::new(texts())];
    Loader::new(vec![layout("a"), layout("b")], datasets, sampler, plan)
}

/// Everything that a step holds, as text.
fn all(loader: Loader) -> Vec<String> {
    loader.map(|step| format!("{:?}", step.unwrap())).collect()
}

#[test]
fn steps_are_the_same_for_any_number_of_threads() {
    let slow = || Texts { takes: Duration::from_micros(300), ..TEXTS };
    for tokens in [None, Some(40)] {
        let of = |workers| all(loader(slow, Plan { tokens, workers, ..plan(0..12, 0) }));
        let one = of(1);
        assert_eq!(one.len(), 12);
        assert!(one == of(2) && one == of(5), "budget {tokens:?}");
    }
}

#[test]
fn a_plan_can_start_at_any_step() {
    for tokens in [None, Some(40)] {
        let whole: Vec<Prepared> =
            loader(|| TEXTS, Plan { tokens, ..plan(0..9, 0) }).collect::<Result<_, _>>().unwrap();
        for step in [1, 4, 8] {
            let later = loader(|| TEXTS, Plan { tokens, ..plan(step..9, whole[step as usize - 1].draw) });
            let expected: Vec<String> = whole[step as usize..].iter().map(|s| format!("{s:?}")).collect();
            assert!(all(later) == expected, "step {step}, budget {tokens:?}");
        }
    }
}

/// Drawing every earlier sample would take minutes, a stored permutation terabytes.
#[test]
fn the_middle_of_a_huge_epoch_is_drawn_at_once() {
    let lane = Lane { task: 0, first: 0, samples: 1 << 40, share: 32 };
    for shuffle in [0, 10_000] {
        let texts = Texts { samples: 1 << 40, ..TEXTS };
        let sampler = Sampler::new(9, vec![lane], shuffle);
        let begun = Instant::now();
        let plan = plan(1 << 30..(1 << 30) + 1, 64 << 30);
        let step =
            Loader::new(vec![layout("a")], vec![Arc::new(texts)], sampler, plan).next().unwrap().unwrap();
        assert_eq!((step.micro.len(), step.micro[0].n_documents(), step.draw), (2, 32, (64 << 30) + 64));
        assert!(begun.elapsed() < Duration::from_secs(5));
    }
}

#[test]
fn a_token_budget_is_filled_and_never_exceeded() {
    let steps: Vec<Prepared> =
        loader(|| TEXTS, Plan { tokens: Some(40), ..plan(0..20, 0) }).collect::<Result<_, _>>().unwrap();
    let micro: Vec<&Batch> = steps.iter().flat_map(|step| &step.micro).collect();
    // The longest text has 13 tokens, so no batch has room for another 13.
    assert!(micro.iter().all(|batch| (28..=40).contains(&batch.n_tokens())));
    let documents: usize = micro.iter().map(|batch| batch.n_documents()).sum();
    assert_eq!(steps.last().unwrap().draw, documents as u64, "no sample is left out");
    assert!(micro.iter().all(|batch| batch.heads.len() == 2), "tasks are mixed in every batch");
}

#[test]
fn a_sample_above_the_token_budget_fails_or_is_replaced() {
    let failing = loader(|| TEXTS, Plan { tokens: Some(10), ..plan(0..20, 0) });
    let error = failing.map(|step| step.map(drop)).find_map(Result::err).unwrap().to_string();
    assert!(error.contains("tokens; train.batch_tokens is 10"), "{error}");
    let skips = || Texts { corrupt: OnCorruptSample::Skip, ..TEXTS };
    let steps: Vec<Prepared> =
        loader(skips, Plan { tokens: Some(10), ..plan(0..20, 0) }).collect::<Result<_, _>>().unwrap();
    assert!(steps.iter().flat_map(|step| &step.micro).all(|batch| (1..=10).contains(&batch.n_tokens())));
    let corrupt: Vec<&String> = steps.iter().flat_map(|step| &step.corrupt).collect();
    assert!(
        corrupt.len() > 5 && corrupt.iter().all(|problem| problem.contains("train.batch_tokens is 10")),
        "{corrupt:?}"
    );
}

#[test]
fn corrupt_samples_stop_the_loader_or_are_replaced_and_named() {
    let torn = || Texts { good: |index| index % 5 != 2, ..TEXTS };
    let mut failing = loader(torn, plan(0..50, 0));
    let error = failing.find_map(Result::err).unwrap().to_string();
    assert!(error.contains("is torn"), "{error}");
    let skips = || Texts { good: |index| index % 5 != 2, corrupt: OnCorruptSample::Skip, ..TEXTS };
    let steps: Vec<Prepared> = loader(skips, plan(0..50, 0)).collect::<Result<_, _>>().unwrap();
    assert!(steps.iter().flat_map(|step| &step.micro).all(|batch| batch.n_documents() == 5));
    let corrupt: Vec<String> = steps.iter().flat_map(|step| step.corrupt.clone()).collect();
    // A fifth of 500 draws, and a fifth of their replacements.
    assert!((80..180).contains(&corrupt.len()), "{}", corrupt.len());
    assert!(corrupt.iter().all(|problem| problem.ends_with("is torn")));
    assert_eq!(
        all(loader(skips, plan(0..50, 0))),
        steps.iter().map(|s| format!("{s:?}")).collect::<Vec<_>>()
    );
}

#[test]
fn the_loader_fails_if_all_samples_are_corrupt() {
    let none = || Texts { good: |_| false, corrupt: OnCorruptSample::Skip, ..TEXTS };
    let error = loader(none, plan(0..5, 0)).next().unwrap().unwrap_err().to_string();
    assert!(error.contains("100 samples in a row cannot be used; the last: text"), "{error}");
}

#[test]
fn a_sample_that_panics_is_named_or_replaced() {
    const PANICS: Texts =
        Texts { good: |index| if index == 7 { panic!("for the test") } else { true }, ..TEXTS };
    let error = loader(|| PANICS, plan(0..100, 0)).find_map(Result::err).unwrap().to_string();
    assert!(error.contains(": sample 7 panicked while it was read: for the test"), "{error}");
    let skips = || Texts { corrupt: OnCorruptSample::Skip, ..PANICS };
    let steps: Vec<Prepared> = loader(skips, plan(0..100, 0)).collect::<Result<_, _>>().unwrap();
    let corrupt: Vec<&String> = steps.iter().flat_map(|step| &step.corrupt).collect();
    assert!(corrupt.len() > 1 && corrupt.iter().all(|problem| problem.contains("sample 7 ")), "{corrupt:?}");
}

#[test]
fn a_dropped_loader_ends_its_threads() {
    struct Counted {
        _alive: Arc<()>,
    }
    impl Dataset for Counted {
        fn len(&self) -> usize {
            1000
        }
        fn sample(&self, index: usize, seed: Option<u64>) -> Result<Sample, DataError> {
            TEXTS.sample(index, seed)
        }
    }
    let alive = Arc::new(());
    let lane = Lane { task: 0, first: 0, samples: 1000, share: 8 };
    let datasets: Vec<Arc<dyn Dataset>> = vec![Arc::new(Counted { _alive: alive.clone() })];
    let plan = Plan { tokens: Some(60), ..plan(0..u64::MAX, 0) };
    let mut loader = Loader::new(vec![layout("a")], datasets, Sampler::new(0, vec![lane], 0), plan);
    loader.next().unwrap().unwrap();
    drop(loader);
    let begun = Instant::now();
    while Arc::strong_count(&alive) > 1 {
        assert!(begun.elapsed() < Duration::from_secs(10), "threads still run");
        std::thread::sleep(Duration::from_millis(5));
    }
}
