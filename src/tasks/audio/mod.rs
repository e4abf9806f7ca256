//! Audio: which text is spoken, or keyed.

mod alphabet;
mod decode;
#[cfg(test)]
mod tests;
mod transcribe;

pub use alphabet::Unit;
pub use decode::{Decoding, Options, Segment, Transcript};

use alphabet::Alphabet;

use super::{More, SavedTask, Splits, TaskError, holdout::hold_out, saved};
use crate::data::manifest::{Manifest, Row};
use crate::data::{Bad, DataError, Dataset, Sample, Stream, Target};
use crate::head::{Ctc, Generate, HeadSpec};
use crate::random::{self, mix};
use crate::rules::Rule;
use crate::table::Filter;
use crate::task::{Task, TaskSpec};
use serde::{Deserialize, Serialize};
use smalti_audio::{AudioConfig, AudioTokenizer, Augment, Waveform};
use smalti_contract::{AnyTokenizer, Tokenizer, Tokens};
use smalti_text::{TextTokenizer, fit};
use std::collections::BTreeSet;
use std::sync::Arc;

/// `[data]` of an audio task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AudioTaskConfig {
    /// A manifest: TSV, CSV, JSON lines or Parquet with the columns `path` and `text`, others for filters. Its clips are
    /// of any format that [`smalti_audio::read`] knows: WAV, FLAC, MP3, Ogg Vorbis, M4A or AAC.
    pub path: String,
    /// More data of the same sort, each with its weight: `more = [{ path = "b.tar", weight = 0.5 }]`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub more: Vec<More>,
    /// Which rows train, such as `index>=5 & speaker!=theo`. Left out or empty, all that do not validate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub train: Option<String>,
    /// Which rows validate. Left out or empty, a share of the training rows is held out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub valid: Option<String>,
    /// Share of the training rows that validates where `valid` is left out.
    pub holdout: f64,
    /// How text comes out of audio.
    pub reading: Reading,
    /// What a label of [`Reading::Ctc`] stands for.
    pub unit: Unit,
    /// The fewest and the most clips that are strung together into one sample.
    pub concat: [usize; 2],
    /// The longest silence between strung clips, in seconds.
    pub gap_seconds: f32,
    /// What stands between the texts of strung clips.
    pub separator: String,
    /// Whether texts are put in lower case.
    pub lowercase: bool,
    /// The most characters of a text, where [`reading`](Self::reading) writes it token by token.
    pub max_text: usize,
    /// The ids that a text begins with, where it is written token by token: Whisper's language and task. Left out, that of
    /// `<bos>`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub prefix: Vec<u32>,
    /// The id that ends it. Left out, that of `<eos>`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end: Option<u32>,
    /// What a published model says of decoding, for `smalti transcribe`: languages, tasks, times.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decoding: Option<Box<Decoding>>,
    /// Whether each band of the spectrogram is centred and scaled as the training clips are, unless
    /// `audio.band_mean` says how.
    pub normalize: bool,
    /// Whether a clip that cannot be read stops the run (`fail`), or another takes its place (`skip`).
    pub bad: Bad,
    /// A folder in which tokens are kept once they are made, of samples that are always the same: those that validate, and
    /// in training those that are not varied. Left out or empty, none are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache: Option<String>,
    /// The front end: sample rate, mel spectrogram, slices, random variation; or the name of a published one, such
    /// as `whisper`.
    pub audio: AudioConfig,
}

/// How text comes out of audio.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reading {
    /// Each slice says a character or nothing (CTC).
    Ctc,
    /// Slices first, then text token by token, in one stack.
    Prefix,
    /// Text token by token, looking at the slices by cross-attention; wants `model.n_encoder_layers`.
    Cross,
}

impl Default for AudioTaskConfig {
    fn default() -> Self {
        Self {
            path: "builtin:touchtone.tar".into(),
            more: vec![],
            train: None,
            valid: None,
            holdout: 0.1,
            reading: Reading::Ctc,
            unit: Unit::Characters,
            concat: [1, 1],
            gap_seconds: 0.1,
            separator: " ".into(),
            lowercase: true,
            max_text: 64,
            prefix: vec![],
            end: None,
            decoding: None,
            normalize: true,
            bad: Bad::Fail,
            cache: None,
            audio: AudioConfig::default(),
        }
    }
}

/// An audio task: its front end, and the alphabet of its texts.
pub struct AudioTask {
    spec: TaskSpec,
    config: AudioTaskConfig,
    audio: AudioTokenizer,
    alphabet: Alphabet,
}

/// What the tokenizers are for, in the run folder.
const AUDIO: &str = "audio";
const TEXT: &str = "text";
const WORDS: &str = "words";
const BEGIN: &str = "<bos>";
const END: &str = "<eos>";
/// How many clips the bands of the spectrogram are measured on.
const CLIPS_TO_FIT: usize = 256;

impl AudioTask {
    pub(super) fn open(
        name: &str,
        loss_weight: f64,
        config: &AudioTaskConfig,
        saved: Option<&SavedTask>,
    ) -> Result<(Arc<Self>, Splits), TaskError> {
        let [fewest, most] = config.concat;
        if fewest == 0 || fewest > most {
            let problem = format!("must be [fewest, most] with at least 1 clip; found [{fewest}, {most}]");
            return Err(TaskError::Setting { setting: "concat", problem });
        }
        if !(0.0..=60.0).contains(&config.gap_seconds) {
            let problem = format!("must be between 0 and 60; found {}", config.gap_seconds);
            return Err(TaskError::Setting { setting: "gap_seconds", problem });
        }
        if config.unit == Unit::Words && config.reading != Reading::Ctc {
            let problem = format!("words are labels of reading ctc; found reading {:?}", config.reading);
            return Err(TaskError::Setting { setting: "unit", problem });
        }
        let (train, valid) = Self::rows(config, saved.is_none())?;
        let task = Arc::new(match saved {
            Some(saved) => Self::restore(name, loss_weight, config, saved)?,
            None => {
                let alphabet = Self::fit(config, &train)?;
                let audio = match config.normalize && config.audio.band_mean.is_empty() {
                    true => Self::fit_bands(config, &train)?,
                    false => config.audio.clone(),
                };
                Self::new(name, loss_weight, config, AudioTokenizer::new(audio)?, alphabet)
            }
        });
        let clips = |rows: Vec<Row>| -> Arc<dyn Dataset> { Arc::new(Clips { rows, task: task.clone() }) };
        let splits = Splits { train: clips(train), valid: clips(valid) };
        Ok((task, splits))
    }

    /// The rows that train and those that validate. A `new` run must not be validated on clips that it learns; one
    /// that has learned may be measured on any.
    fn rows(config: &AudioTaskConfig, new: bool) -> Result<(Vec<Row>, Vec<Row>), TaskError> {
        let manifest = Manifest::open(&config.path)?;
        let select = |filter: &Option<String>| -> Result<Option<Vec<Row>>, DataError> {
            let Some(filter) = filter.as_ref().filter(|filter| !filter.is_empty()) else { return Ok(None) };
            Ok(Some(manifest.select(&Filter::parse(filter)?)?.into_iter().cloned().collect()))
        };
        let (train, valid) = (select(&config.train)?, select(&config.valid)?);
        let Some(valid) = valid else {
            let train = train.unwrap_or_else(|| manifest.rows().to_vec());
            let (rest, held) = hold_out(train.len(), config.holdout)?;
            let pick = |indices: Vec<u32>| indices.into_iter().map(|i| train[i as usize].clone()).collect();
            return Ok((pick(rest), pick(held)));
        };
        let heard: BTreeSet<&str> = valid.iter().map(Row::path).collect();
        let validates = |row: &Row| heard.contains(row.path());
        let refuse = |problem| Err(TaskError::Setting { setting: "valid", problem });
        let train = match train {
            Some(train) => {
                let shared = train.iter().filter(|row| validates(row)).count();
                if new && shared > 0 {
                    return refuse(format!(
                        "selects {shared} of the {} rows of data.train; a row may either train or validate",
                        train.len()
                    ));
                }
                train
            }
            None => {
                let rest: Vec<Row> = manifest.rows().iter().filter(|row| !validates(row)).cloned().collect();
                if new && rest.is_empty() {
                    return refuse(format!("selects all {} rows; none is left to train on", valid.len()));
                }
                rest
            }
        };
        Ok((train, valid))
    }

    /// Bands are measured on clips spread over the training rows.
    fn fit_bands(config: &AudioTaskConfig, rows: &[Row]) -> Result<AudioConfig, TaskError> {
        let AudioTaskConfig { audio, bad, .. } = config;
        let every = rows.len().div_ceil(CLIPS_TO_FIT).max(1);
        let clips = rows.iter().step_by(every).map(|row| read_clip(row, audio.sample_rate));
        // Where bad clips may be skipped, training names them when they are drawn.
        let clips = clips.filter(|clip| clip.is_ok() || *bad == Bad::Fail);
        audio.clone().fit_bands(clips.map(|clip| clip.map_err(TaskError::from)))
    }

    fn fit(config: &AudioTaskConfig, rows: &[Row]) -> Result<Alphabet, TaskError> {
        let specials = match config.reading {
            Reading::Ctc => vec![],
            Reading::Prefix | Reading::Cross => vec![BEGIN.to_string(), END.to_string()],
        };
        let mut texts: Vec<String> = rows.iter().map(|row| spelled(config, row.text())).collect();
        if config.unit == Unit::Words {
            return Ok(Alphabet::of_words(&texts));
        }
        if config.concat[1] > 1 {
            texts.push(config.separator.clone());
        }
        // One more than the text: its beginning.
        let fitted = fit::characters(texts.iter().map(String::as_str), specials, config.max_text + 1)?;
        Ok(Alphabet::Characters(TextTokenizer::new(fitted)?))
    }

    pub(super) fn restore(
        name: &str,
        loss_weight: f64,
        config: &AudioTaskConfig,
        saved: &SavedTask,
    ) -> Result<Self, TaskError> {
        let audio: AudioTokenizer = saved::restore(name, AUDIO, saved)?;
        let fitted = AudioConfig { augment: config.audio.augment.clone(), ..audio.config().clone() };
        let alphabet = match config.unit {
            Unit::Characters => Alphabet::Characters(saved::restore(name, TEXT, saved)?),
            Unit::Words => Alphabet::Words(saved::names(name, WORDS, saved)?),
        };
        Ok(Self::new(name, loss_weight, config, AudioTokenizer::new(fitted)?, alphabet))
    }

    /// The task of a front end and the vocabulary of its texts.
    pub fn with(
        name: &str,
        loss_weight: f64,
        config: &AudioTaskConfig,
        audio: AudioTokenizer,
        text: TextTokenizer,
    ) -> Self {
        Self::new(name, loss_weight, config, audio, Alphabet::Characters(text))
    }

    fn new(
        name: &str,
        loss_weight: f64,
        config: &AudioTaskConfig,
        audio: AudioTokenizer,
        alphabet: Alphabet,
    ) -> Self {
        let slices = Tokenizer::spec(&audio).kinds.clone();
        let slice = slices[0].name.clone();
        let rule = |query: &str, key: &str, rule: Rule| (query.to_string(), key.to_string(), rule);
        let mut rules = vec![rule(&slice, &slice, Rule::ALL)];
        let (inputs, head) = match (&alphabet, config.reading) {
            (Alphabet::Words(_), _) | (_, Reading::Ctc) => {
                let head = HeadSpec::new("", &slice, Ctc::new(alphabet.len()));
                (vec![(Stream::Main, slices)], head)
            }
            (Alphabet::Characters(text), reading) => {
                let characters = Tokenizer::spec(text).kinds.clone();
                let character = characters[0].name.clone();
                rules.push(rule(&character, &slice, Rule::ALL));
                rules.push(rule(&character, &character, Rule::causal()));
                let inputs = match reading {
                    Reading::Cross => vec![(Stream::Encoder, slices), (Stream::Main, characters)],
                    _ => vec![(Stream::Main, [slices, characters].concat())],
                };
                (inputs, HeadSpec::new("", &character, Generate::new(text.vocabulary_size())))
            }
        };
        let spec =
            TaskSpec { name: name.into(), inputs, rules, heads: vec![head], loss_weight, shares: vec![] };
        Self { spec, config: config.clone(), audio, alphabet }
    }

    /// The front end.
    pub fn tokenizer(&self) -> &AudioTokenizer {
        &self.audio
    }

    /// How text comes out of audio.
    pub fn reading(&self) -> Reading {
        self.config.reading
    }

    /// The ids that a text begins with.
    fn beginning(&self) -> Vec<u32> {
        if self.config.prefix.is_empty() { vec![self.special(BEGIN)] } else { self.config.prefix.clone() }
    }

    /// What the model says of decoding.
    fn decoding(&self) -> &Decoding {
        const NOTHING: &Decoding = &Decoding::nothing();
        self.config.decoding.as_deref().unwrap_or(NOTHING)
    }

    /// The most ids of a text, with those that it begins with.
    fn context(&self) -> usize {
        match &self.alphabet {
            Alphabet::Characters(text) => text.context(),
            Alphabet::Words(_) => 0,
        }
    }

    /// The id behind a text.
    fn end(&self) -> u32 {
        self.config.end.unwrap_or_else(|| self.special(END))
    }

    fn special(&self, name: &str) -> u32 {
        let special = match &self.alphabet {
            Alphabet::Characters(text) => text.special(name),
            Alphabet::Words(_) => None,
        };
        special.unwrap_or_default() // `fit` has put it there for every reading that asks
    }

    /// What the model reads of slices, and of a text as far as it is written.
    ///
    /// # Errors
    /// Where the text is longer than its context, or has an id beyond the vocabulary.
    pub fn inputs(&self, slices: Tokens, written: &[u32]) -> Result<Vec<(Stream, Tokens)>, TaskError> {
        Ok(match (&self.alphabet, self.config.reading) {
            (Alphabet::Words(_), _) | (_, Reading::Ctc) => vec![(Stream::Main, slices)],
            (Alphabet::Characters(text), Reading::Prefix) => {
                vec![(Stream::Main, slices.merge(text.tokens(written)?))]
            }
            (Alphabet::Characters(text), Reading::Cross) => {
                vec![(Stream::Encoder, slices), (Stream::Main, text.tokens(written)?)]
            }
        })
    }

    fn sample(&self, slices: Tokens, text: &str, id: u64) -> Result<Sample, TaskError> {
        let ids = self.alphabet.ids(&spelled(&self.config, text))?;
        if self.config.reading == Reading::Ctc {
            let inputs = self.inputs(slices, &[])?;
            return Ok(Sample { inputs, outputs: vec![Target::Labels(ids).into()], id });
        }
        if ids.len() > self.config.max_text {
            let problem = format!("is {}; {text:?} has {} characters", self.config.max_text, ids.len());
            return Err(TaskError::Setting { setting: "max_text", problem });
        }
        let beginning = self.beginning();
        let written = [&beginning[..], &ids].concat();
        // What a text begins with is given: only after its last id is the next one predicted.
        let next: Vec<u32> = beginning[1..].iter().chain(&ids).copied().chain([self.end()]).collect();
        let weight = |place: usize| if place + 1 < beginning.len() { 0.0 } else { 1.0 };
        let weights = (0..next.len()).map(weight).collect();
        let target = Target::Ids { ids: next, weights };
        Ok(Sample { inputs: self.inputs(slices, &written)?, outputs: vec![target.into()], id })
    }
}

/// Clips are strung together at the rate of the front end.
fn read_clip(row: &Row, sample_rate: u32) -> Result<Waveform, DataError> {
    let clip = smalti_audio::read(&row.read()?).and_then(|clip| clip.resample(sample_rate));
    clip.map_err(|e| DataError::tokenize(&row.location(), e))
}

fn spelled(config: &AudioTaskConfig, text: &str) -> String {
    if config.lowercase { text.to_lowercase() } else { text.into() }
}

impl Task for AudioTask {
    fn spec(&self) -> &TaskSpec {
        &self.spec
    }

    fn tokenizers(&self) -> Vec<(&'static str, &dyn AnyTokenizer)> {
        match &self.alphabet {
            Alphabet::Characters(text) => vec![(AUDIO, &self.audio), (TEXT, text)],
            Alphabet::Words(_) => vec![(AUDIO, &self.audio)],
        }
    }

    fn names(&self) -> Vec<(&'static str, &[String])> {
        match &self.alphabet {
            Alphabet::Characters(_) => vec![],
            Alphabet::Words(words) => vec![(WORDS, words)],
        }
    }

    fn transcript(&self, _head: usize, labels: &[u32]) -> Option<String> {
        Some(self.alphabet.text(labels))
    }
}

/// Rows of a manifest, strung together as the settings say.
struct Clips {
    rows: Vec<Row>,
    task: Arc<AudioTask>,
}

impl Clips {
    fn clip(&self, index: usize) -> Result<Waveform, DataError> {
        read_clip(&self.rows[index], self.task.audio.config().sample_rate)
    }

    /// Clip `index` and others behind it, chosen by `seed`.
    fn string(&self, index: usize, seed: u64) -> Result<(Waveform, String), DataError> {
        let mut random = random::generator(seed);
        let [fewest, most] = self.task.config.concat;
        let n = fewest + random::below(&mut random, most - fewest + 1);
        let mut clip = self.clip(index)?;
        let mut text = self.rows[index].text().to_string();
        for _ in 1..n {
            let gap = random::uniform(&mut random) as f32 * self.task.config.gap_seconds;
            let next = random::below(&mut random, self.rows.len());
            let silence = Waveform::silence(clip.sample_rate, gap);
            let joined = clip.append(&silence).and(clip.append(&self.clip(next)?));
            joined.map_err(|e| DataError::tokenize(&self.rows[next].location(), e))?;
            text.push_str(&self.task.config.separator);
            text.push_str(self.rows[next].text());
        }
        Ok((clip, text))
    }
}

impl Dataset for Clips {
    fn len(&self) -> usize {
        self.rows.len()
    }

    fn sample(&self, index: usize, seed: Option<u64>) -> Result<Sample, DataError> {
        let (clip, text) = self.string(index, seed.unwrap_or(mix(0, index as u64)))?;
        let refuse = |e| DataError::tokenize(&self.rows[index].location(), e);
        let audio = &self.task.audio;
        let slices = match seed {
            Some(seed) => {
                let varied = audio.augment(clip, mix(seed, 1));
                audio.augment_tokens(audio.encode(&varied).map_err(refuse)?, mix(seed, 2))
            }
            None => audio.encode(&clip).map_err(refuse)?,
        };
        self.task.sample(slices, &text, index as u64).map_err(|e| DataError::Sample {
            task: self.task.spec.name.clone(),
            id: index as u64,
            problem: format!("{}: {e}", self.rows[index].location()),
        })
    }

    fn bad(&self) -> Bad {
        self.task.config.bad
    }

    fn varies(&self) -> bool {
        self.task.config.concat != [1, 1] || self.task.audio.config().augment != Augment::default()
    }

    /// Of a single clip; several strung together have no one source.
    fn origin(&self, index: usize) -> Option<String> {
        let row = &self.rows[index];
        let single = self.task.config.concat == [1, 1];
        let origin = single.then(|| row.origin()).flatten()?;
        Some(format!("{index} that says {:?}: {origin}", row.text()))
    }
}
