//! Images: which class.

use super::{More, SavedTask, Splits, TaskError, holdout::hold_out, saved};
use crate::data::labelled::{self, Entry, Labelled};
use crate::data::{self, Bad, DataError, Dataset, Files, Sample, Stream, Target, collate};
use crate::head::{HeadSpec, Says};
use crate::model::Model;
use crate::rules::Rule;
use crate::task::{READOUT, Task, TaskSpec, readout_kind, readout_tokens};
use serde::{Deserialize, Serialize};
use smalti_contract::{AnyTokenizer, Tokenizer};
use smalti_image::{Augment, Image, ImageConfig, ImageTokenizer, cifar, fit, idx};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// `[data]` of an image task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ImageTaskConfig {
    /// Folder of class folders, WebDataset tar or pattern of tars, manifest (TSV, CSV, JSON lines, Parquet) with the
    /// columns `path` and `label`, IDX files, or CIFAR-10 in its binary format.
    pub path: String,
    /// More data of the same sort, each with its weight: `more = [{ path = "b.tar", weight = 0.5 }]`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub more: Vec<More>,
    /// The training part: an IDX pair, a folder, or archives of this name. Left out or empty, all there is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub train: Option<String>,
    /// The validation part. Left out or empty, a share of the training part is held out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub valid: Option<String>,
    /// Share of the training part that validates where `valid` is left out.
    pub holdout: f64,
    /// 1 for grey, 3 for RGB.
    pub channels: usize,
    /// Side of a square patch in pixels.
    pub patch: usize,
    /// [height, width] that every image is resized to; left out, each keeps its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<[usize; 2]>,
    /// The most rows and columns of patches. Left out, as many as the training images have: positions that none of
    /// them fills would not be learned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_patches: Option<[usize; 2]>,
    /// Whether a picture that cannot be read stops the run (`fail`), or another takes its place (`skip`).
    pub bad: Bad,
    /// A folder in which tokens are kept once they are made, of samples that are always the same: those that validate, and
    /// in training those that are not varied. Left out or empty, none are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache: Option<String>,
    /// Random variation in training.
    pub augment: Augment,
}

impl Default for ImageTaskConfig {
    fn default() -> Self {
        Self {
            path: "builtin:digits".into(),
            more: vec![],
            train: None,
            valid: None,
            holdout: 0.1,
            channels: 1,
            patch: 4,
            size: None,
            max_patches: None,
            bad: Bad::Fail,
            cache: None,
            augment: Augment::default(),
        }
    }
}

/// An image task: its tokenizer and its classes.
pub struct ImageTask {
    spec: TaskSpec,
    tokenizer: ImageTokenizer,
    classes: Vec<String>,
    skipped: Vec<(String, &'static str)>,
}

/// A class and how likely it is.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Guess {
    /// The class's name.
    pub class: String,
    /// Between 0 and 1.
    pub probability: f64,
}

/// What the tokenizer is for, in the run folder.
const ROLE: &str = "image";
/// What keeps the class names, in the run folder: they are fitted to data like a vocabulary.
const CLASSES: &str = "classes";
/// The most images that mean and deviation are taken from.
const FIT_ON: usize = 5_000;

impl ImageTask {
    pub(super) fn open(
        name: &str,
        loss_weight: f64,
        config: &ImageTaskConfig,
        saved: Option<&SavedTask>,
    ) -> Result<(Arc<Self>, Splits), TaskError> {
        let named = |split: &Option<String>| split.clone().filter(|split| !split.is_empty());
        let mut train = Pictures::open(&config.path, named(&config.train).as_deref())?;
        let mut valid =
            named(&config.valid).map(|split| Pictures::open(&config.path, Some(&split))).transpose()?;
        let restored = saved.map(|saved| Self::restore(name, loss_weight, config, saved)).transpose()?;
        let classes = restored.as_ref().map_or(&train.classes, |task| &task.classes).clone();
        train.number_as(&classes, "path")?;
        if let Some(valid) = &mut valid {
            valid.number_as(&classes, "valid")?;
        }
        // Both parts may lie in one folder, whose files are then passed over twice.
        let skipped: BTreeSet<(String, &'static str)> =
            valid.iter().chain([&train]).flat_map(|part| part.skipped.iter().cloned()).collect();
        let train = Arc::new(train);
        let (train_indices, valid, valid_indices) = match valid {
            Some(valid) => {
                let (n, m) = (train.len(), valid.len());
                ((0..n as u32).collect(), Arc::new(valid), (0..m as u32).collect())
            }
            None => {
                let (rest, held) = hold_out(train.len(), config.holdout)?;
                (rest, train.clone(), held)
            }
        };
        let task = match restored {
            Some(task) => task,
            None => Self::fit(name, loss_weight, config, &train, &train_indices)?,
        };
        let task = Arc::new(Self { skipped: skipped.into_iter().collect(), ..task });
        let dataset = |pictures: Arc<Pictures>, indices: Vec<u32>| -> Arc<dyn Dataset> {
            Arc::new(Labels { pictures, indices, task: task.clone(), bad: config.bad })
        };
        let splits = Splits { train: dataset(train, train_indices), valid: dataset(valid, valid_indices) };
        Ok((task, splits))
    }

    pub(super) fn restore(
        name: &str,
        loss_weight: f64,
        config: &ImageTaskConfig,
        saved: &SavedTask,
    ) -> Result<Self, TaskError> {
        let tokenizer: ImageTokenizer = saved::restore(name, ROLE, saved)?;
        let classes = saved::names(name, CLASSES, saved)?;
        // Augmentation is a setting of training; everything else is as it was fitted.
        let fitted = ImageConfig { augment: config.augment, ..tokenizer.config().clone() };
        Ok(Self::new(name, loss_weight, ImageTokenizer::new(fitted)?, classes))
    }

    fn fit(
        name: &str,
        loss_weight: f64,
        config: &ImageTaskConfig,
        pictures: &Pictures,
        indices: &[u32],
    ) -> Result<Self, TaskError> {
        let mut some = Vec::new();
        // Spread over all of them: where each class has a folder, the first pictures are of the first classes.
        let every = indices.len().div_ceil(FIT_ON).max(1);
        for &index in indices.iter().step_by(every) {
            match pictures.get(index as usize) {
                Ok((image, _)) => some.push(image),
                // Training names it when it is drawn.
                Err(_) if config.bad == Bad::Skip => {}
                Err(error) => return Err(error.into()),
            }
        }
        let (mean, std) = fit::normalisation(&some, config.channels)?;
        let tokenizer = ImageTokenizer::new(ImageConfig {
            channels: config.channels,
            patch: config.patch,
            size: config.size,
            max_patches: config.max_patches.unwrap_or_else(|| most_patches(&some, config)),
            mean,
            std,
            augment: config.augment,
        })?;
        Ok(Self::new(name, loss_weight, tokenizer, pictures.classes.clone()))
    }

    fn new(name: &str, loss_weight: f64, tokenizer: ImageTokenizer, classes: Vec<String>) -> Self {
        let mut kinds = Tokenizer::spec(&tokenizer).kinds.clone();
        let patch = kinds[0].name.clone();
        kinds.push(readout_kind(1));
        // An encoder: all see all.
        let pairs = [(&patch[..], &patch[..]), (&patch, READOUT), (READOUT, &patch), (READOUT, READOUT)];
        let spec = TaskSpec {
            name: name.into(),
            rules: pairs.map(|(q, k)| (q.to_string(), k.to_string(), Rule::ALL)).to_vec(),
            inputs: vec![(Stream::Main, kinds)],
            head: HeadSpec { reads: READOUT.into(), says: Says::Classify { classes: classes.len() } },
            loss_weight,
        };
        Self { spec, tokenizer, classes, skipped: vec![] }
    }

    /// The names of the classes, by number.
    pub fn classes(&self) -> &[String] {
        &self.classes
    }

    /// The tokenizer.
    pub fn tokenizer(&self) -> &ImageTokenizer {
        &self.tokenizer
    }

    /// For each image, every class and its probability, the likeliest first. `number` is the task's among the
    /// model's.
    ///
    /// # Errors
    /// Where an image cannot become tokens.
    pub fn classify(
        &self,
        model: &Model,
        number: usize,
        images: &[Image],
    ) -> Result<Vec<Vec<Guess>>, TaskError> {
        let samples = images
            .iter()
            .enumerate()
            .map(|(i, image)| Ok((number, self.sample(image, Target::Unknown, i as u64)?)));
        let batch = collate(model.layouts(), &samples.collect::<Result<Vec<_>, TaskError>>()?)?;
        let Some(logits) = model.outputs(&batch)?.pop() else { return Ok(vec![]) };
        let guesses = |logits: Vec<f32>| {
            let highest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let weights: Vec<f64> = logits.iter().map(|&l| f64::from(l - highest).exp()).collect();
            let total: f64 = weights.iter().sum();
            let named = self.classes.iter().zip(weights);
            let mut guesses: Vec<Guess> =
                named.map(|(class, w)| Guess { class: class.clone(), probability: w / total }).collect();
            guesses.sort_by(|a, b| b.probability.total_cmp(&a.probability));
            guesses
        };
        Ok(logits.to_vec2::<f32>()?.into_iter().map(guesses).collect())
    }

    fn sample(&self, image: &Image, target: Target, id: u64) -> Result<Sample, TaskError> {
        let tokens = self.tokenizer.encode(image)?.merge(readout_tokens(1));
        Ok(Sample { inputs: vec![(Stream::Main, tokens)], target, id })
    }
}

/// The most rows and columns of patches among some images.
fn most_patches(images: &[Image], config: &ImageTaskConfig) -> [usize; 2] {
    let grid = |image: &Image| {
        config.size.unwrap_or([image.height, image.width]).map(|side| (side / config.patch.max(1)).max(1))
    };
    images.iter().map(grid).fold([1, 1], |[rows, columns], [r, c]| [rows.max(r), columns.max(c)])
}

impl Task for ImageTask {
    fn spec(&self) -> &TaskSpec {
        &self.spec
    }

    fn tokenizers(&self) -> Vec<(&'static str, &dyn AnyTokenizer)> {
        vec![(ROLE, &self.tokenizer)]
    }

    fn names(&self) -> Vec<(&'static str, &[String])> {
        vec![(CLASSES, &self.classes)]
    }

    fn skipped(&self) -> &[(String, &'static str)] {
        &self.skipped
    }
}

/// Labelled pictures: in memory, or in files that are read when they are needed.
struct Pictures {
    classes: Vec<String>,
    /// The class of each picture: an index into the classes.
    labels: Vec<u32>,
    store: Store,
    /// Files that are none of the pictures, and why.
    skipped: Vec<(String, &'static str)>,
}

enum Store {
    Memory(Vec<Image>),
    Files { sources: Vec<Arc<Files>>, entries: Vec<Entry> },
}

impl Pictures {
    fn open(path: &str, split: Option<&str>) -> Result<Self, TaskError> {
        match labelled::open(path, split)? {
            Labelled::Files { sources, entries, classes, skipped } => {
                let labels = entries.iter().map(|entry| entry.label).collect();
                Ok(Self { classes, labels, store: Store::Files { sources, entries }, skipped })
            }
            Labelled::Cifar { batches, classes } => Self::of_cifar(&batches, classes),
            Labelled::Idx { images, labels } => {
                let labels_read =
                    idx::labels(&data::read(&labels)?).map_err(|e| DataError::tokenize(&labels, e))?;
                let bytes = data::read(&images)?;
                let pictures = idx::images(&bytes).collect::<Result<Vec<Image>, _>>();
                let pictures = pictures.map_err(|e| DataError::tokenize(&images, e))?;
                if pictures.len() != labels_read.len() {
                    let problem = format!(
                        "{images} holds {} images; {labels} {} labels",
                        pictures.len(),
                        labels_read.len()
                    );
                    return Err(TaskError::Setting { setting: "path", problem });
                }
                let classes = labels_read.iter().max().map_or(0, |most| usize::from(*most) + 1);
                let classes = (0..classes).map(|class| class.to_string()).collect();
                let labels = labels_read.into_iter().map(u32::from).collect();
                Ok(Self { classes, labels, store: Store::Memory(pictures), skipped: vec![] })
            }
        }
    }

    fn of_cifar(batches: &[String], classes: Vec<String>) -> Result<Self, TaskError> {
        let (mut pictures, mut labels) = (Vec::new(), Vec::new());
        for batch in batches {
            let read = cifar::pictures(&data::read(batch)?).map_err(|e| DataError::tokenize(batch, e))?;
            for (image, label) in read {
                pictures.push(image);
                labels.push(u32::from(label));
            }
        }
        if let Some(label) = labels.iter().find(|label| **label as usize >= classes.len()) {
            let problem = format!("a label is {label}; {} classes are named", classes.len());
            return Err(TaskError::Setting { setting: "path", problem });
        }
        Ok(Self { classes, labels, store: Store::Memory(pictures), skipped: vec![] })
    }

    /// Numbers the classes as training does. Another source, or another part of the same, may have fewer of them or
    /// in another order: what a class means is its name. `setting` is what these pictures come from.
    fn number_as(&mut self, known: &[String], setting: &'static str) -> Result<(), TaskError> {
        let numbers: BTreeMap<&str, u32> = known.iter().map(String::as_str).zip(0..).collect();
        let number = |(index, label): (usize, &u32)| {
            let class = &self.classes[*label as usize];
            numbers.get(class.as_str()).copied().ok_or_else(|| {
                let known = labelled::listed(known.iter().map(String::as_str));
                let problem =
                    format!("{} is of class {class:?}; training knows {known}", self.location(index));
                TaskError::Setting { setting, problem }
            })
        };
        let labels: Vec<u32> = self.labels.iter().enumerate().map(number).collect::<Result<_, _>>()?;
        self.labels = labels;
        self.classes = known.to_vec();
        Ok(())
    }

    fn len(&self) -> usize {
        self.labels.len()
    }

    fn location(&self, index: usize) -> String {
        match &self.store {
            Store::Memory(_) => format!("record {index}"),
            Store::Files { sources, entries } => {
                sources[entries[index].source].location(&entries[index].path)
            }
        }
    }

    fn get(&self, index: usize) -> Result<(Image, u32), DataError> {
        let image = match &self.store {
            Store::Memory(pictures) => pictures[index].clone(),
            Store::Files { sources, entries } => {
                let entry = &entries[index];
                let files = &sources[entry.source];
                let image = smalti_image::read(&files.read(&entry.path)?);
                image.map_err(|e| DataError::tokenize(&files.location(&entry.path), e))?
            }
        };
        Ok((image, self.labels[index]))
    }
}

/// Some of the pictures, each with its class.
struct Labels {
    pictures: Arc<Pictures>,
    indices: Vec<u32>,
    task: Arc<ImageTask>,
    bad: Bad,
}

impl Dataset for Labels {
    fn len(&self) -> usize {
        self.indices.len()
    }

    fn sample(&self, index: usize, seed: Option<u64>) -> Result<Sample, DataError> {
        let index = self.indices[index] as usize;
        let (mut image, class) = self.pictures.get(index)?;
        if let Some(seed) = seed {
            image = self.task.tokenizer.augment(image, seed);
        }
        let refuse = |e: TaskError| DataError::Sample {
            task: self.task.spec.name.clone(),
            id: index as u64,
            problem: format!("({}): {e}", self.pictures.location(index)),
        };
        self.task.sample(&image, Target::class(class), index as u64).map_err(refuse)
    }

    fn bad(&self) -> Bad {
        self.bad
    }

    fn varies(&self) -> bool {
        self.task.tokenizer.config().augment != Augment::default()
    }

    fn origin(&self, index: usize) -> Option<String> {
        let index = self.indices[index] as usize;
        match &self.pictures.store {
            Store::Memory(_) => None, // there is nothing left to decode
            Store::Files { sources, entries } => {
                let Entry { source, path, .. } = &entries[index];
                let label = self.pictures.labels[index];
                Some(format!("{index} of class {label}: {}", sources[*source].origin(path)?))
            }
        }
    }
}
