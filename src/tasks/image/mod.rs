//! Images: which class.

mod config;
mod pictures;
#[cfg(test)]
mod tests;

pub use config::{ImageTaskConfig, Registers};

use self::pictures::Pictures;
use super::embed::{Pooling, embed};
use super::{SavedTask, Splits, TaskError, holdout::hold_out, saved};
use crate::data::{Bad, Batch, DataError, Dataset, Sample, Stream, Target, collate};
use crate::head::{Classify, HeadSpec, Represent};
use crate::model::Model;
use crate::random::{self, mix};
use crate::rules::Rule;
use crate::task::{Task, TaskSpec, joined, learned_kind, learned_tokens};
use serde::Serialize;
use smalti_contract::{AnyTokenizer, KindSpec, TokenizeError, Tokenizer, Tokens};
use smalti_image::{Augment, Blend, Image, ImageConfig, ImageTokenizer, fit};
use std::collections::BTreeSet;
use std::sync::Arc;

/// An image task: its tokenizer and its classes.
pub struct ImageTask {
    spec: TaskSpec,
    tokenizer: ImageTokenizer,
    classes: Vec<String>,
    blend: Blend,
    learned: Learned,
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
/// The kind of the token that the head reads.
const READOUT: &str = "readout";
/// The most images that mean and deviation are taken from.
const FIT_ON: usize = 5_000;

impl ImageTask {
    pub(super) fn open(
        name: &str,
        loss_weight: f64,
        config: &ImageTaskConfig,
        saved: Option<&SavedTask>,
    ) -> Result<(Arc<Self>, Splits), TaskError> {
        config.check()?;
        let named = |split: &Option<String>| split.clone().filter(|split| !split.is_empty());
        let open = |split: Option<&str>| Pictures::open(&config.path, split, config.background);
        let mut train = open(named(&config.train).as_deref())?;
        let mut valid = named(&config.valid).map(|split| open(Some(&split))).transpose()?;
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
        Ok(Self::with(name, loss_weight, config, ImageTokenizer::new(fitted)?, classes))
    }

    fn fit(
        name: &str,
        loss_weight: f64,
        config: &ImageTaskConfig,
        pictures: &Pictures,
        indices: &[u32],
    ) -> Result<Self, TaskError> {
        let mut some = Vec::new();
        if config.mean.is_none() || config.size.is_none() {
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
        }
        let mut fitted = config.tokenizer();
        if config.mean.is_none() {
            (fitted.mean, fitted.std) = fit::normalisation(&some, config.channels)?;
        }
        if config.max_patches.is_none() {
            let sizes = some.iter().map(|image| [image.height, image.width]).chain(config.size);
            let grids = sizes.map(|size| fitted.patches_of(size));
            fitted.max_patches = grids.fold([1, 1], |[rows, columns], [r, c]| [rows.max(r), columns.max(c)]);
        }
        let tokenizer = ImageTokenizer::new(fitted)?;
        Ok(Self::with(name, loss_weight, config, tokenizer, pictures.classes.clone()))
    }

    /// The task of this tokenizer. Without a class it predicts nothing: it gives the last hidden states of an image.
    pub fn with(
        name: &str,
        loss_weight: f64,
        config: &ImageTaskConfig,
        tokenizer: ImageTokenizer,
        classes: Vec<String>,
    ) -> Self {
        let mut kinds = Tokenizer::spec(&tokenizer).kinds.clone();
        let learned = Learned { readout_position: config.readout_position, registers: config.registers };
        kinds.extend(learned.kinds());
        // An encoder: all see all.
        let pairs = kinds.iter().flat_map(|q| kinds.iter().map(move |k| (q.name.clone(), k.name.clone())));
        let head = match classes.len() {
            0 => HeadSpec::new("", READOUT, Represent::default()),
            _ => HeadSpec::new("", READOUT, Classify::new(classes.clone())),
        };
        let spec = TaskSpec {
            name: name.into(),
            rules: pairs.map(|(q, k)| (q, k, Rule::ALL)).collect(),
            inputs: vec![(Stream::Main, kinds)],
            heads: vec![head],
            loss_weight,
            shares: vec![],
        };
        Self { spec, tokenizer, classes, blend: config.blend, learned, skipped: vec![] }
    }

    /// What the model reads of a picture: its patches, and behind them the learned tokens.
    pub fn inputs(&self, patches: Tokens) -> Vec<(Stream, Tokens)> {
        vec![(Stream::Main, self.learned.behind(patches))]
    }

    /// The names of the classes, by number.
    pub fn classes(&self) -> &[String] {
        &self.classes
    }

    /// The tokenizer.
    pub fn tokenizer(&self) -> &ImageTokenizer {
        &self.tokenizer
    }

    /// A vector for each image: of the token that says its class, or the mean of its patches. `number` is the task's
    /// among the model's.
    ///
    /// # Errors
    /// Where an image cannot become tokens.
    pub fn embed(
        &self,
        model: &Model,
        number: usize,
        images: &[Image],
        pooling: Pooling,
        normalize: bool,
    ) -> Result<Vec<Vec<f32>>, TaskError> {
        let kind = |name: &str| {
            let name = joined(&[&self.spec.name, name]);
            model.kinds().iter().position(|kind| kind.name == name).unwrap_or_default() as u32
        };
        let wanted = match pooling {
            Pooling::Mean => kind(&self.spec.inputs[0].1[0].name),
            Pooling::First => kind(READOUT),
        };
        let inputs = images.iter().map(|image| Ok(self.inputs(self.tokenizer.encode(image)?)));
        let inputs = inputs.collect::<Result<Vec<_>, TaskError>>()?;
        let pool = |batch: &Batch, rows: std::ops::Range<usize>| {
            rows.filter(|&row| batch.main.meta.kind[row] == wanted).collect()
        };
        embed(model, number, inputs, pool, normalize)
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
        let samples = images.iter().enumerate().map(|(i, image)| {
            let inputs = self.inputs(self.tokenizer.encode(image)?);
            Ok((number, Sample { inputs, outputs: vec![Target::Unknown.into()], id: i as u64 }))
        });
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
}

/// The learned tokens of a picture: the one that says its class, and registers.
#[derive(Clone, Copy)]
struct Learned {
    readout_position: bool,
    registers: Registers,
}

impl Learned {
    fn kinds(self) -> impl Iterator<Item = KindSpec> {
        let Registers { tokens, positions } = self.registers;
        let registers = (tokens > 0).then(|| learned_kind(REGISTER, tokens, positions));
        std::iter::once(learned_kind(READOUT, 1, self.readout_position)).chain(registers)
    }

    fn behind(self, patches: Tokens) -> Tokens {
        let Registers { tokens, positions } = self.registers;
        let merged = patches.merge(learned_tokens(1, self.readout_position));
        if tokens == 0 { merged } else { merged.merge(learned_tokens(tokens, positions)) }
    }
}

/// The kind of the learned tokens that nothing reads.
const REGISTER: &str = "register";

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

/// Some of the pictures, each with its class.
struct Labels {
    pictures: Arc<Pictures>,
    indices: Vec<u32>,
    task: Arc<ImageTask>,
    bad: Bad,
}

impl Labels {
    /// A picture's patches and its class, or where it is varied and blended, the classes that it shows.
    fn tokens(&self, image: &Image, class: u32, seed: Option<u64>) -> Result<(Tokens, Target), LoadError> {
        let ImageTask { tokenizer, blend, .. } = &*self.task;
        let Some(seed) = seed else { return Ok((tokenizer.encode(image)?, Target::class(class))) };
        let varied = tokenizer.vary(image, seed)?;
        let Some(blending) = blend.draw(seed) else {
            return Ok((tokenizer.cut(&varied)?, Target::class(class)));
        };
        // Another picture, varied by luck of its own. It may be this one: then it is seen twice.
        let partner_seed = mix(seed, PARTNER);
        let partner = random::below(&mut random::generator(partner_seed), self.indices.len());
        let (partner, other) = self.pictures.get(self.indices[partner] as usize)?;
        let (blended, share) = blending.apply(varied, &tokenizer.vary(&partner, partner_seed)?)?;
        Ok((tokenizer.cut(&blended)?, Target::classes([(class, share), (other, 1.0 - share)])))
    }
}

/// Tells what is drawn for a picture's partner from what is drawn for the picture.
const PARTNER: u64 = 1;

/// Why a picture, or the one that it is blended with, cannot become a sample.
enum LoadError {
    Read(DataError),
    Tokenize(TokenizeError),
}

impl From<DataError> for LoadError {
    fn from(error: DataError) -> Self {
        LoadError::Read(error)
    }
}

impl From<TokenizeError> for LoadError {
    fn from(error: TokenizeError) -> Self {
        LoadError::Tokenize(error)
    }
}

impl Dataset for Labels {
    fn len(&self) -> usize {
        self.indices.len()
    }

    fn sample(&self, index: usize, seed: Option<u64>) -> Result<Sample, DataError> {
        let index = self.indices[index] as usize;
        let (image, class) = self.pictures.get(index)?;
        let (tokens, target) = self.tokens(&image, class, seed).map_err(|error| match error {
            LoadError::Read(error) => error,
            LoadError::Tokenize(error) => DataError::Sample {
                task: self.task.spec.name.clone(),
                id: index as u64,
                problem: format!("({}): {error}", self.pictures.location(index)),
            },
        })?;
        Ok(Sample { inputs: self.task.inputs(tokens), outputs: vec![target.into()], id: index as u64 })
    }

    fn bad(&self) -> Bad {
        self.bad
    }

    fn varies(&self) -> bool {
        self.task.tokenizer.config().augment != Augment::default() || !self.task.blend.is_off()
    }

    fn origin(&self, index: usize) -> Option<String> {
        let index = self.indices[index] as usize;
        Some(format!("{index} {}", self.pictures.origin(index)?))
    }
}
