//! Text: predict the next token, or the masked ones.

mod generate;

pub use generate::{Generator, Sampling};

use super::{More, SavedTask, Splits, TaskError, saved};
use crate::data::{DataError, Dataset, Sample, Stream, Target, read_texts};
use crate::head::{HeadSpec, Says};
use crate::random;
use crate::rules::Rule;
use crate::task::{Task, TaskSpec};
use serde::{Deserialize, Serialize};
use smalti_contract::{AnyTokenizer, Tokenizer};
use smalti_text::{TextConfig, TextTokenizer, Vocabulary, fit, mask};
use std::{ops::Range, sync::Arc};

/// `[data]` of a text task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TextTaskConfig {
    /// The text: a UTF-8 file, or a pattern of several: `texts/**/*.txt`.
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

/// What a token of text is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TextUnit {
    /// A character of the training text.
    Characters,
    /// A byte of UTF-8.
    Bytes,
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

const UNKNOWN: &str = "<unk>";
const MASK: &str = "<mask>";
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
        let text = read_texts(&config.path)?;
        let task = match saved {
            Some(saved) => Self::restore(name, loss_weight, config, saved)?,
            None => Self::new(name, loss_weight, config, Self::fit(config, &text)?)?,
        };
        let ids: Arc<[u32]> =
            task.tokenizer.ids(&text).map_err(|e| DataError::tokenize(&config.path, e))?.into();
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

    fn fit(config: &TextTaskConfig, text: &str) -> Result<TextTokenizer, TaskError> {
        // Only the masked model has a special token: a vocabulary stays the text's own characters otherwise.
        let specials = match config.objective {
            Objective::Next => vec![],
            Objective::Masked => vec![MASK.to_string()],
        };
        Ok(TextTokenizer::new(match config.vocabulary {
            TextUnit::Characters => fit::characters([text], specials, config.context)?,
            TextUnit::Bytes => {
                TextConfig { vocabulary: Vocabulary::Bytes, specials, context: config.context }
            }
        })?)
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

    /// A text with characters that the vocabulary lacks left out, so that any prompt can be tried.
    pub fn known_part(&self, text: &str) -> String {
        if self.tokenizer.special(UNKNOWN).is_some() {
            return text.into();
        }
        let mut buffer = [0; 4];
        text.chars().filter(|c| self.tokenizer.ids(c.encode_utf8(&mut buffer)).is_ok()).collect()
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
}

/// Windows of `context` tokens of one text.
struct Windows {
    ids: Arc<[u32]>,
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
        let ids = &self.ids[start..start + self.context];
        let tokenizer = &self.task.tokenizer;
        let (input, target) = match self.task.objective {
            Objective::Next => {
                (ids.to_vec(), Target::ids(self.ids[start + 1..=start + self.context].to_vec()))
            }
            Objective::Masked => {
                let seed = seed.unwrap_or(index as u64);
                let mask_id = tokenizer.special(MASK).unwrap_or_default();
                let (masked, weights) = mask::mask(ids, mask_id, self.mask, tokenizer.ordinary_size(), seed);
                (masked, Target::Ids { ids: ids.to_vec(), weights })
            }
        };
        let tokens = tokenizer.tokens(&input).map_err(|e| DataError::tokenize("text window", e))?;
        Ok(Sample { inputs: vec![(Stream::Main, tokens)], target, id: start as u64 })
    }
}
