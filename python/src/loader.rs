//! The rows of a task as batches of tokens.

use crate::batch::Batch;
use crate::error::{input, raise};
use crate::json;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use rayon::prelude::*;
use serde_json::json;
use smalti::config::{RunConfig, SettingsError};
use smalti::contract::KindSpec;
use smalti::data::{self, DataError, Layout, OnCorruptSample, Plan, Sample, Sampler, collate};
use smalti::model::Model;
use smalti::registry::Modalities;
use smalti::run::{Run, RunError, open_tasks};
use smalti::sample::Start;
use smalti::task::TaskSpec;
use smalti::train::{TrainTask, lanes};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The samples of a task, or of a mix of tasks, as batches of tokens with targets.
///
/// `settings` are a preset, the path of a TOML file, or a dict of such a file; `set` changes single settings:
/// `{"data.source": "photos", "train.batch_size": 64}`. Batches are those of `smalti train`: `train.batch_size` documents or
/// `train.batch_tokens` tokens, in an order that follows from `train.seed`, prepared by `train.workers` threads.
///
/// `for batch in loader` is one epoch of the split "train", without end if it is repeated, or all samples of the split
/// "validation", in order and without augmentation. A `for` after a `break` continues with the next batch. With `padded`,
/// tokens are `[n_documents, max_seqlen]` with a mask. Of several processes, each takes the batches of its `rank`.
#[pyclass(frozen, module = "smalti")]
pub struct Loader {
    opened: Arc<OpenTasks>,
    split: Split,
    padded: bool,
    rank: usize,
    world_size: usize,
    state: Mutex<State>,
}

/// The tasks of a loader, and their places in a model.
struct OpenTasks {
    config: RunConfig,
    tasks: Vec<TrainTask>,
    specs: Vec<TaskSpec>,
    kinds: Vec<KindSpec>,
    layouts: Vec<Layout>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Split {
    Train,
    Validation,
}

impl Split {
    fn name(self) -> &'static str {
        match self {
            Split::Train => "train",
            Split::Validation => "validation",
        }
    }
}

/// The place in the split.
#[derive(Default)]
struct State {
    /// The batches after `next`, of the split `train`.
    batches: Option<data::Loader>,
    /// The next draw of the split `train`, or the next batch of the split `validation`.
    next: u64,
    /// The first draw or batch after this epoch.
    end: u64,
}

impl OpenTasks {
    fn new(config: RunConfig, run: Option<&Run>) -> Result<Self, RunError> {
        let tasks = match run {
            Some(run) => run.splits(&config)?,
            None => open_tasks(&config, &Modalities::builtin(), |_| Ok(Start::New))?,
        };
        let tasks = tasks.into_iter().map(|(entry, opened)| TrainTask {
            task: opened.task,
            train: opened.train,
            validation: opened.validation,
            weight: entry.weight,
        });
        let tasks: Vec<TrainTask> = tasks.collect();
        let specs: Vec<TaskSpec> = tasks.iter().map(|task| task.task.spec().clone()).collect();
        let layouts = Model::outline(&config.model, &specs)?.layouts().to_vec();
        let kinds = Model::kinds_of(&config.model, &specs)?;
        Ok(Self { config, tasks, specs, kinds, layouts })
    }

    /// The number of samples of a split.
    fn len(&self, split: Split) -> usize {
        let of =
            |task: &TrainTask| if split == Split::Train { task.train.len() } else { task.validation.len() };
        self.tasks.iter().map(of).sum()
    }

    /// Samples `first..last` of all validation splits, one task after another, without corrupt ones that are skipped.
    fn validation(&self, first: usize, last: usize) -> Result<Vec<(usize, Sample)>, DataError> {
        let place = |mut place: usize| {
            self.tasks.iter().enumerate().find_map(|(number, task)| {
                let found = (place < task.validation.len()).then_some((number, task, place));
                place = place.wrapping_sub(task.validation.len());
                found
            })
        };
        let sample = |at: usize| {
            let (number, task, index) = place(at)?;
            match task.validation.sample(index, None) {
                Err(_) if task.validation.on_corrupt() == OnCorruptSample::Skip => None,
                sample => Some(sample.map(|sample| (number, sample))),
            }
        };
        (first..last).into_par_iter().filter_map(sample).collect()
    }
}

impl Loader {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn batch_size(&self) -> usize {
        self.opened.config.train.batch_size
    }

    /// Begin an epoch, if the last one has ended.
    fn begin(&self) {
        let mut state = self.state();
        if state.next < state.end {
            return;
        }
        match self.split {
            Split::Train => state.end = state.next + self.draws(),
            Split::Validation => {
                let batches = self.opened.len(Split::Validation).div_ceil(self.batch_size());
                (state.next, state.end) = (self.rank as u64, batches as u64);
            }
        }
    }

    /// The draws of an epoch, of this rank.
    fn draws(&self) -> u64 {
        let n = self.opened.len(Split::Train).div_ceil(self.world_size);
        match self.opened.config.train.batch_tokens {
            0 => (n.div_ceil(self.batch_size()) * self.batch_size()) as u64,
            _ => n as u64,
        }
    }

    /// The batches of the split `train` from draw `draw` on.
    fn batches(&self, draw: u64) -> PyResult<data::Loader> {
        let OpenTasks { config, tasks, layouts, .. } = self.opened.as_ref();
        let train = &config.train;
        let lanes = lanes(tasks, train.batch_size).map_err(raise)?;
        let sampler = Sampler::new(train.seed, lanes, train.shuffle).of_rank(self.rank, self.world_size);
        let tokens = Some(train.batch_tokens).filter(|tokens| *tokens > 0);
        let plan = Plan { steps: 0..u64::MAX, draw, accumulate: 1, tokens, workers: train.workers };
        let datasets = tasks.iter().map(|task| task.train.clone()).collect();
        Ok(data::Loader::new(layouts.clone(), datasets, sampler, plan))
    }

    /// The next batch of the split `train`; `None` at the end of the epoch.
    fn next_of_train(&self) -> PyResult<Option<data::Batch>> {
        let mut state = self.state();
        if state.next >= state.end {
            return Ok(None);
        }
        let mut batches = match state.batches.take() {
            Some(batches) => batches,
            None => self.batches(state.next)?,
        };
        let Some(prepared) = batches.next().transpose().map_err(raise)? else { return Ok(None) };
        (state.next, state.batches) = (prepared.draw, Some(batches));
        prepared.corrupt.iter().for_each(|problem| crate::log("warning", problem));
        Ok(prepared.micro.into_iter().next())
    }

    /// The next batch of the split `validation`; `None` after the last.
    fn next_of_validation(&self) -> PyResult<Option<data::Batch>> {
        let mut state = self.state();
        let (n, size) = (self.opened.len(Split::Validation), self.batch_size());
        while state.next < state.end {
            let first = state.next as usize * size;
            state.next += self.world_size as u64;
            let samples = self.opened.validation(first.min(n), (first + size).min(n)).map_err(raise)?;
            if !samples.is_empty() {
                return collate(&self.opened.layouts, &samples).map(Some).map_err(raise);
            }
        }
        Ok(None)
    }

    fn open(
        py: Python<'_>,
        config: Result<RunConfig, SettingsError>,
        run: Option<&Run>,
        (split, padded): (&str, bool),
        (rank, world_size): (usize, usize),
    ) -> PyResult<Self> {
        let split = match split {
            "train" => Split::Train,
            "validation" => Split::Validation,
            _ => return Err(input(format!("split: expected \"train\" or \"validation\"; found {split:?}"))),
        };
        if rank >= world_size {
            return Err(input(format!(
                "rank: expected a number below world_size {world_size}; found {rank}"
            )));
        }
        let config = config.map_err(raise)?;
        let opened = Arc::new(py.detach(|| OpenTasks::new(config, run)).map_err(raise)?);
        Ok(Self::of(opened, split, padded, (rank, world_size)))
    }

    /// A loader at the beginning of its split.
    fn of(opened: Arc<OpenTasks>, split: Split, padded: bool, (rank, world_size): (usize, usize)) -> Self {
        let loader = Self { opened, split, padded, rank, world_size, state: Mutex::default() };
        loader.begin();
        loader
    }
}

/// The overrides of a dict of settings: `train.batch_size=64`.
fn overrides(set: Option<&Bound<'_, PyDict>>) -> PyResult<Vec<String>> {
    let Some(set) = set else { return Ok(vec![]) };
    let one = |(key, value): (Bound<'_, PyAny>, Bound<'_, PyAny>)| {
        let value = json::from_python(&value)?;
        let value = toml::Value::try_from(&value).map_err(|e| input(format!("{key}: {e}")))?;
        Ok(format!("{key}={value}"))
    };
    set.iter().map(one).collect()
}

#[pymethods]
impl Loader {
    #[new]
    #[pyo3(signature = (settings, *, split = "train", set = None, padded = false, rank = 0, world_size = 1))]
    fn new(
        py: Python<'_>,
        settings: &Bound<'_, PyAny>,
        split: &str,
        set: Option<&Bound<'_, PyDict>>,
        padded: bool,
        rank: usize,
        world_size: usize,
    ) -> PyResult<Self> {
        let overrides = overrides(set)?;
        let config = match settings.cast::<PyDict>() {
            Ok(dict) => {
                let table =
                    toml::Value::try_from(json::from_python(dict)?).map_err(|e| input(e.to_string()))?;
                let text = toml::to_string(&table).map_err(|e| input(e.to_string()))?;
                RunConfig::parse("settings", &text, &overrides)
            }
            Err(_) => {
                let path: PathBuf = settings.extract()?;
                RunConfig::of_preset_or_file(&path.to_string_lossy(), &overrides)
            }
        };
        Self::open(py, config, None, (split, padded), (rank, world_size))
    }

    /// The loader of a run's data, with its settings and its fitted tokenizers; `set` changes settings of the data or of
    /// `train`.
    #[staticmethod]
    #[pyo3(signature = (run, *, split = "train", set = None, padded = false, rank = 0, world_size = 1))]
    fn from_run(
        py: Python<'_>,
        run: PathBuf,
        split: &str,
        set: Option<&Bound<'_, PyDict>>,
        padded: bool,
        rank: usize,
        world_size: usize,
    ) -> PyResult<Self> {
        let run = py.detach(|| Run::open(&run)).map_err(raise)?;
        let config = run.config().with(&overrides(set)?);
        Self::open(py, config, Some(&run), (split, padded), (rank, world_size))
    }

    /// A loader of the validation split, with the same tokenizers.
    fn validation(&self) -> Self {
        Self::of(self.opened.clone(), Split::Validation, self.padded, (self.rank, self.world_size))
    }

    /// The kinds of token, by number: a list of dicts with `name`, `vocabulary` (of ids) or `dim` (of features), `axes` (the size
    /// of each axis of positions) and `time_steps`.
    #[getter]
    fn kinds<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        json::to_python(py, &json::of_kinds(&self.opened.kinds))
    }

    /// The outputs: a dict with the `width` of a prediction, the `labels` by number, and the `weight` of the loss of each.
    #[getter]
    fn outputs<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let of_task = |spec: &TaskSpec| {
            let weights = spec.loss_weights().zip(&spec.heads);
            let one = |((name, weight), head): ((String, f64), &smalti::head::HeadSpec)| {
                let of =
                    json!({ "width": head.head.width(), "labels": head.head.labels(), "weight": weight });
                (name, of)
            };
            weights.map(one).collect::<Vec<_>>()
        };
        let all: serde_json::Map<String, serde_json::Value> =
            self.opened.specs.iter().flat_map(of_task).collect();
        json::to_python(py, &all.into())
    }

    /// The number of samples in an epoch.
    #[getter]
    fn n_samples(&self) -> usize {
        self.opened.len(self.split)
    }

    /// The place in the data, from which `load_state_dict` continues bit-exactly.
    fn state_dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let (next, end) = py.detach(|| {
            let state = self.state();
            (state.next, state.end)
        });
        let dict = PyDict::new(py);
        dict.set_item("next", next)?;
        dict.set_item("end", end)?;
        Ok(dict)
    }

    /// Continue at the place of a `state_dict` of the same settings; the next `for` is the rest of its epoch.
    fn load_state_dict(&self, py: Python<'_>, state_dict: &Bound<'_, PyDict>) -> PyResult<()> {
        let number = |key: &str| match state_dict.get_item(key)? {
            Some(number) => number.extract::<u64>(),
            None => Err(input(format!("state_dict: expected next and end; {key} is missing"))),
        };
        let (next, end) = (number("next")?, number("end")?);
        py.detach(|| *self.state() = State { batches: None, next, end });
        Ok(())
    }

    /// The number of batches in an epoch; not known if `train.batch_tokens` is set.
    fn __len__(&self) -> PyResult<usize> {
        match self.split {
            Split::Validation => {
                let all = self.opened.len(Split::Validation).div_ceil(self.batch_size());
                Ok(all.saturating_sub(self.rank).div_ceil(self.world_size))
            }
            Split::Train if self.opened.config.train.batch_tokens == 0 => {
                Ok(self.draws() as usize / self.batch_size())
            }
            Split::Train => Err(PyTypeError::new_err(
                "the number of batches is not known: train.batch_tokens sets their size",
            )),
        }
    }

    fn __iter__<'py>(this: Bound<'py, Self>) -> Bound<'py, Self> {
        let loader = this.get();
        this.py().detach(|| loader.begin());
        this
    }

    fn __next__(&self, py: Python<'_>) -> PyResult<Option<Batch>> {
        py.check_signals()?;
        let batch = py.detach(|| match self.split {
            Split::Train => self.next_of_train(),
            Split::Validation => self.next_of_validation(),
        })?;
        let of = (&self.opened.kinds[..], &self.opened.specs[..]);
        batch.map(|batch| Batch::new(py, batch, of, self.padded)).transpose()
    }

    fn __repr__(&self) -> String {
        let (n, form) = (self.n_samples(), if self.padded { "padded" } else { "packed" });
        format!("<smalti.Loader: {n} samples of {}, {form}>", self.split.name())
    }
}
