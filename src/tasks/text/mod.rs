//! Text: predict the next token, the masked ones, or an answer.

mod answer;
mod embed;
mod generate;
mod vocabulary;

pub use crate::inference::Sampling;
pub use embed::Embedded;
pub use generate::Generator;
pub use smalti_text::TextUnit;
pub use vocabulary::published;

use super::embed::Embedding;
use super::{More, SavedTask, Splits, TaskError, saved};
use crate::data::{DataError, Dataset, Sample, Stream, Target, open_text};
use crate::head::{Generate, HeadSpec, Masked, Represent};
use crate::random;
use crate::rules::Rule;
use crate::task::{Task, TaskSpec};
use serde::{Deserialize, Serialize};
use smalti_contract::{AnyTokenizer, Tokenizer};
use smalti_text::{Ids, MASKS, TextConfig, TextTokenizer, mask};
use std::{ops::Range, sync::Arc};

/// `[data]` of a text task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TextTaskConfig {
    /// The text: a UTF-8 file of any size, or a pattern of several: `texts/**/*.txt`. For answers, a table (TSV, CSV, JSON
    /// lines, Parquet) with the columns `source` and `target`.
    pub path: String,
    /// More data of the same sort, each with its weight: `more = [{ path = "b.tar", weight = 0.5 }]`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub more: Vec<More>,
    /// What a token is.
    pub vocabulary: TextUnit,
    /// Tokens in a training example, and the most that the model can see at once.
    pub context: usize,
    /// What is predicted.
    pub objective: Objective,
    /// Share of tokens hidden from a masked-token model.
    pub mask: f64,
    /// Share of the text, at its end, that validates.
    pub holdout: f64,
    /// How many segments a text may have, each with a learned vector (BERT's two sentences); 0 for none.
    #[serde(skip_serializing_if = "is_zero")]
    pub segments: usize,
    /// The id that an answer begins with. Left out, that of `<bos>`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start: Option<u32>,
    /// The id that ends a question and an answer, and where text that is generated stops. Left out, that of `<eos>`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end: Option<u32>,
    /// How `smalti embed` makes one vector of a text's tokens; left out, their mean.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub embedding: Option<Embedding>,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // as serde wants it
fn is_zero(n: &usize) -> bool {
    *n == 0
}

/// What a text model predicts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Objective {
    /// Each next token, from those before it (GPT).
    Next,
    /// The tokens that were masked, from all others (BERT).
    Masked,
    /// Each next token of an answer, from a question that an encoder reads and the tokens before (T5); wants
    /// `model.n_encoder_layers`.
    Answer,
    /// Nothing: the model gives its tokens' last hidden states, for `smalti embed`. It is not trained.
    Represent,
}

impl Default for TextTaskConfig {
    fn default() -> Self {
        Self {
            path: "builtin:text/smalti.txt".into(),
            more: vec![],
            vocabulary: TextUnit::Characters,
            context: 64,
            objective: Objective::Next,
            mask: 0.15,
            holdout: 0.1,
            segments: 0,
            start: None,
            end: None,
            embedding: None,
        }
    }
}

/// The kinds of token of a question and of its answer.
const SOURCE: &str = "source";
const TARGET: &str = "target";

/// A text task: its tokenizer and what it predicts.
pub struct TextTask {
    spec: TaskSpec,
    tokenizer: TextTokenizer,
    objective: Objective,
    start: Option<u32>,
    end: Option<u32>,
    embedding: Embedding,
}

/// What is put before an answer and behind it, where a vocabulary of the text's own is used.
const START: &str = "<bos>";
const END: &str = "<eos>";
/// What the tokenizer is for, in the run folder.
const ROLE: &str = "text";

impl TextTask {
    pub(super) fn open(
        name: &str,
        loss_weight: f64,
        config: &TextTaskConfig,
        saved: Option<&SavedTask>,
    ) -> Result<(Arc<Self>, Splits), TaskError> {
        let shares = [("holdout", config.holdout), ("mask", config.mask)];
        if let Some((setting, found)) = shares.into_iter().find(|(_, share)| !(*share > 0.0 && *share < 1.0))
        {
            return Err(TaskError::Setting {
                setting,
                problem: format!("must be between 0 and 1; found {found}"),
            });
        }
        let task = match saved {
            Some(saved) => Self::restore(name, loss_weight, config, saved)?,
            None => {
                let specials: &[&str] = match config.objective {
                    Objective::Masked => &MASKS[..1],
                    Objective::Answer if config.start.is_none() => &[START, END],
                    _ => &[],
                };
                Self::with(name, loss_weight, config, vocabulary::fitted(config, specials)?)
            }
        };
        match config.objective {
            Objective::Answer => {
                let task = Arc::new(task);
                let splits = answer::splits(&task, config)?;
                return Ok((task, splits));
            }
            Objective::Represent => {
                let problem = "represent has nothing to learn; choose next, masked or answer".into();
                return Err(TaskError::Setting { setting: "objective", problem });
            }
            Objective::Next | Objective::Masked => {}
        }
        let refused = |e| vocabulary::refused(&config.path, e);
        let ids = Arc::new(Ids::read(open_text(&config.path)?, &task.tokenizer).map_err(refused)?);
        let cut = (ids.len() as f64 * (1.0 - config.holdout)) as usize;
        let task = Arc::new(task);
        let windows = |range: Range<usize>| -> Result<Arc<dyn Dataset>, TaskError> {
            if range.len() <= config.context {
                let problem = format!(
                    "a part of {} has {} tokens; context {} needs at least {}",
                    config.path,
                    range.len(),
                    config.context,
                    config.context + 1
                );
                return Err(TaskError::Setting { setting: "context", problem });
            }
            let (ids, task) = (ids.clone(), task.clone());
            Ok(Arc::new(Windows { ids, range, context: config.context, mask: config.mask, task }))
        };
        let splits = Splits { train: windows(0..cut)?, valid: windows(cut..ids.len())? };
        Ok((task, splits))
    }

    pub(super) fn restore(
        name: &str,
        loss_weight: f64,
        config: &TextTaskConfig,
        saved: &SavedTask,
    ) -> Result<Self, TaskError> {
        let mut tokenizer: TextTokenizer = saved::restore(name, ROLE, saved)?;
        if tokenizer.context() != config.context {
            // A run that starts from another's vocabulary may read longer texts, or shorter ones.
            let context = TextConfig { context: config.context, ..tokenizer.config().clone() };
            tokenizer = TextTokenizer::new(context)?;
        }
        Ok(Self::with(name, loss_weight, config, tokenizer))
    }

    /// The task of this tokenizer.
    pub fn with(name: &str, loss_weight: f64, config: &TextTaskConfig, tokenizer: TextTokenizer) -> Self {
        let spec = match config.objective {
            Objective::Answer => Self::spec_of_answers(name, loss_weight, &tokenizer),
            objective => Self::spec_of_one_text(name, loss_weight, objective, config.mask, &tokenizer),
        };
        let special = |id: Option<u32>, name| id.or_else(|| tokenizer.special(name));
        let (start, end) = match config.objective {
            Objective::Answer => (special(config.start, START), special(config.end, END)),
            _ => (config.start, config.end),
        };
        Self {
            spec,
            tokenizer,
            objective: config.objective,
            start,
            end,
            embedding: config.embedding.unwrap_or_default(),
        }
    }

    fn spec_of_one_text(
        name: &str,
        loss_weight: f64,
        objective: Objective,
        mask: f64,
        text: &TextTokenizer,
    ) -> TaskSpec {
        let kinds = Tokenizer::spec(text).kinds.clone();
        let kind = kinds[0].name.clone();
        let vocabulary = text.vocabulary_size();
        let (rule, head) = match objective {
            Objective::Next | Objective::Answer => {
                (Rule::causal(), HeadSpec::new("", &kind, Generate::new(vocabulary)))
            }
            Objective::Masked => (Rule::ALL, HeadSpec::new("", &kind, Masked::new(vocabulary, mask))),
            Objective::Represent => (Rule::ALL, HeadSpec::new("", &kind, Represent::default())),
        };
        TaskSpec {
            name: name.into(),
            inputs: vec![(Stream::Main, kinds)],
            rules: vec![(kind.clone(), kind, rule)],
            heads: vec![head],
            loss_weight,
            shares: vec![],
        }
    }

    /// Question and answer are one vocabulary, embedded by one table.
    fn spec_of_answers(name: &str, loss_weight: f64, text: &TextTokenizer) -> TaskSpec {
        let named = |name: &str| {
            let kinds = Tokenizer::spec(text).kinds.iter().cloned();
            kinds.map(|kind| smalti_contract::KindSpec { name: name.into(), ..kind }).collect()
        };
        let rule = |query: &str, key: &str, rule| (query.to_string(), key.to_string(), rule);
        TaskSpec {
            name: name.into(),
            inputs: vec![(Stream::Encoder, named(SOURCE)), (Stream::Main, named(TARGET))],
            rules: vec![
                rule(SOURCE, SOURCE, Rule::ALL),
                rule(TARGET, TARGET, Rule::causal()),
                rule(TARGET, SOURCE, Rule::ALL),
            ],
            heads: vec![HeadSpec::new("", TARGET, Generate::new(text.vocabulary_size()))],
            loss_weight,
            shares: vec![(TARGET.into(), SOURCE.into())],
        }
    }

    /// The tokenizer.
    pub fn tokenizer(&self) -> &TextTokenizer {
        &self.tokenizer
    }

    /// What the task predicts.
    pub fn objective(&self) -> Objective {
        self.objective
    }

    /// How a text's tokens become one vector.
    pub fn embedding(&self) -> Embedding {
        self.embedding
    }

    /// The id at which text ends, where one does.
    pub fn end(&self) -> Option<u32> {
        self.end
    }
}

impl Task for TextTask {
    fn spec(&self) -> &TaskSpec {
        &self.spec
    }

    fn tokenizers(&self) -> Vec<(&'static str, &dyn AnyTokenizer)> {
        vec![(ROLE, &self.tokenizer)]
    }

    fn transcript(&self, _head: usize, ids: &[u32]) -> Option<String> {
        Some(self.tokenizer.text(ids))
    }

    fn text_bytes(&self, _head: usize, ids: &[u32]) -> Option<usize> {
        // Masked tokens are guessed from those on both sides: their bits do not add up to those of the text.
        (self.objective == Objective::Next).then(|| self.tokenizer.utf8_len(ids)).flatten()
    }
}

/// Windows of `context` tokens of one text.
struct Windows {
    ids: Arc<Ids>,
    /// The part of the text.
    range: Range<usize>,
    context: usize,
    mask: f64,
    task: Arc<TextTask>,
}

impl Dataset for Windows {
    fn len(&self) -> usize {
        (self.range.len() - 1) / self.context
    }

    /// In training a window anywhere; otherwise the windows back to back.
    fn sample(&self, index: usize, seed: Option<u64>) -> Result<Sample, DataError> {
        let start = match seed {
            Some(seed) => {
                let places = self.range.len() - self.context;
                self.range.start + random::below(&mut random::generator(seed), places)
            }
            None => self.range.start + index * self.context,
        };
        let tokenizer = &self.task.tokenizer;
        let window = |length| self.ids.window(start..start + length);
        let failed = |e| DataError::tokenize("text window", e);
        let (input, target) = match self.task.objective {
            Objective::Next => {
                let mut input = window(self.context + 1).map_err(failed)?;
                let target = Target::ids(input[1..].to_vec());
                input.truncate(self.context);
                (input, target)
            }
            _ => {
                let ids = window(self.context).map_err(failed)?;
                let seed = seed.unwrap_or(index as u64);
                let mask_id = MASKS.iter().find_map(|name| tokenizer.special(name)).unwrap_or_default();
                let (masked, weights) = mask::mask(&ids, mask_id, self.mask, tokenizer.ordinary_size(), seed);
                (masked, Target::Ids { ids, weights })
            }
        };
        let tokens = tokenizer.tokens(&input).map_err(|e| DataError::tokenize("text window", e))?;
        Ok(Sample { inputs: vec![(Stream::Main, tokens)], outputs: vec![target.into()], id: start as u64 })
    }
}
