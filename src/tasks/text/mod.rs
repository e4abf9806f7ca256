//! Text: predict the next token, or the masked ones.

mod generate;
mod vocabulary;

pub use generate::{Generator, Sampling};
pub use vocabulary::{TextUnit, published};

use super::{More, SavedTask, Splits, TaskError, saved};
use crate::data::{DataError, Dataset, Sample, Stream, Target, open_text};
use crate::head::{HeadSpec, Says};
use crate::random;
use crate::rules::Rule;
use crate::task::{Task, TaskSpec};
use serde::{Deserialize, Serialize};
use smalti_contract::{AnyTokenizer, Tokenizer};
use smalti_text::{Ids, TextTokenizer, mask};
use std::{ops::Range, sync::Arc};

/// `[data]` of a text task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TextTaskConfig {
    /// The text: a UTF-8 file of any size, or a pattern of several: `texts/**/*.txt`.
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
}

/// What a text model predicts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Objective {
    /// Each next token, from those before it (GPT).
    Next,
    /// The tokens that were masked, from all others (BERT).
    Masked,
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
        }
    }
}

/// A text task: its tokenizer and what it predicts.
pub struct TextTask {
    spec: TaskSpec,
    tokenizer: TextTokenizer,
    objective: Objective,
}

/// The token that hides another: as our own vocabularies call it, and as BERT's does.
const MASKS: [&str; 2] = ["<mask>", "[MASK]"];
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
                let masks: &[&str] = if config.objective == Objective::Masked { &MASKS } else { &[] };
                Self::new(name, loss_weight, config, vocabulary::fitted(config, masks)?)?
            }
        };
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
        Self::new(name, loss_weight, config, saved::restore(name, ROLE, saved)?)
    }

    fn new(
        name: &str,
        loss_weight: f64,
        config: &TextTaskConfig,
        tokenizer: TextTokenizer,
    ) -> Result<Self, TaskError> {
        let kinds = Tokenizer::spec(&tokenizer).kinds.clone();
        let kind = kinds[0].name.clone();
        let vocabulary = tokenizer.vocabulary_size();
        let (rule, says) = match config.objective {
            Objective::Next => (Rule::causal(), Says::NextToken { vocabulary }),
            Objective::Masked => (Rule::ALL, Says::MaskedToken { vocabulary }),
        };
        let spec = TaskSpec {
            name: name.into(),
            inputs: vec![(Stream::Main, kinds)],
            rules: vec![(kind.clone(), kind.clone(), rule)],
            head: HeadSpec { reads: kind, says },
            loss_weight,
        };
        Ok(Self { spec, tokenizer, objective: config.objective })
    }

    /// The tokenizer.
    pub fn tokenizer(&self) -> &TextTokenizer {
        &self.tokenizer
    }

    /// What the task predicts.
    pub fn objective(&self) -> Objective {
        self.objective
    }
}

impl Task for TextTask {
    fn spec(&self) -> &TaskSpec {
        &self.spec
    }

    fn tokenizers(&self) -> Vec<(&'static str, &dyn AnyTokenizer)> {
        vec![(ROLE, &self.tokenizer)]
    }

    fn transcript(&self, ids: &[u32]) -> Option<String> {
        Some(self.tokenizer.text(ids))
    }

    fn text_bytes(&self, ids: &[u32]) -> Option<usize> {
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
            Objective::Masked => {
                let ids = window(self.context).map_err(failed)?;
                let seed = seed.unwrap_or(index as u64);
                let mask_id = MASKS.iter().find_map(|name| tokenizer.special(name)).unwrap_or_default();
                let (masked, weights) = mask::mask(&ids, mask_id, self.mask, tokenizer.ordinary_size(), seed);
                (masked, Target::Ids { ids, weights })
            }
        };
        let tokens = tokenizer.tokens(&input).map_err(|e| DataError::tokenize("text window", e))?;
        Ok(Sample { inputs: vec![(Stream::Main, tokens)], target, id: start as u64 })
    }
}
