//! Continuing a prompt token by token, with cached keys and values.

use super::PredictError;
use super::generate::{NextIds, NextToken};
use super::sampling::{Sampling, draw};
use crate::model::Cache;
use crate::model::Model;
use crate::random;
use crate::sample::{Composition, Part, of_output};
use rand_pcg::Pcg64Mcg;
use smalti_contract::{TokenizeError, Value};

/// A prompt that is continued by an output trained on windows (`windows = true`).
///
/// When the context is full, the model reads its second half again from position 0: it has learned no later positions.
pub struct Continuation<'a> {
    next: NextToken<'a>,
    sampling: Sampling,
    random: Pcg64Mcg,
    /// The ids that the model reads: at most `context`.
    window: Vec<u32>,
    context: usize,
    /// The number of the window's ids whose keys and values are in the cache.
    cached: usize,
    cache: Cache,
    prompt_len: usize,
    ended: bool,
    n_generated: usize,
}

impl<'a> Continuation<'a> {
    /// A continuation of `prompt`, a value of output number `output` of task number `number` of the model, after the ids that
    /// begin it, if the output has any. The model reads the end of a prompt that is longer than the context.
    ///
    /// # Errors
    /// If the output is not trained on windows, a sampling setting is out of range, or the prompt has no token or cannot be
    /// tokenized.
    pub fn new(
        model: &'a Model,
        number: usize,
        task: &'a Composition,
        output: usize,
        prompt: Value,
        sampling: Sampling,
    ) -> Result<Self, PredictError> {
        let next = NextToken::new(model, number, task, output)?;
        if !next.part.windows {
            let output = task.outputs()[output].name.clone();
            return Err(PredictError::Windows { output, is_windows: false });
        }
        sampling.check()?;
        let refuse = |problem| PredictError::Option { option: "prompt", problem };
        let described = match &prompt {
            Value::Text(text) => format!("{text:?}"),
            other => other.describe(),
        };
        let given = prompt_ids(next.part, prompt).map_err(|e| refuse(of_output(next.part, &e)))?;
        let begin = &next.part.special_ids.begin;
        // A prompt may contain the ids before it already.
        let given = given.strip_prefix(&begin[..]).unwrap_or(&given);
        let mut window = [begin, given].concat();
        if window.is_empty() {
            return Err(refuse(format!("expected at least one token; found {described}")));
        }
        let (prompt_len, context) = (window.len(), next.part.capacity().unwrap_or(usize::MAX));
        window.drain(..prompt_len.saturating_sub(context));
        let (random, cache) = (random::generator(sampling.seed), next.cache());
        Ok(Self {
            next,
            sampling,
            random,
            window,
            context,
            cached: 0,
            cache,
            prompt_len,
            ended: false,
            n_generated: 0,
        })
    }

    /// Generate the next id; `None` after the id that ends the value.
    ///
    /// # Errors
    /// If an operation fails.
    pub fn next_id(&mut self) -> Result<Option<u32>, PredictError> {
        if self.ended {
            return Ok(None);
        }
        if self.cached == self.context {
            self.window.drain(..self.context - self.context.div_ceil(2));
            self.cached = 0;
            self.cache = self.next.cache();
        }
        let ids = self.window[self.cached..].to_vec();
        let logits =
            self.next.after([NextIds { ids, first: self.cached, before: 0 }], &mut self.cache)?.remove(0);
        self.cached = self.window.len();
        let id = draw(&logits, &self.sampling, &mut self.random);
        if self.next.part.special_ids.end.contains(&id) {
            self.ended = true;
            return Ok(None);
        }
        if self.window.len() == self.context {
            self.window.remove(0);
            // The window has moved, so the cached positions are wrong: the next call rebuilds the cache.
            self.cached = self.context;
        }
        self.window.push(id);
        self.n_generated += 1;
        Ok(Some(id))
    }

    /// The number of generated ids, without those of the prompt.
    pub fn n_generated(&self) -> usize {
        self.n_generated
    }

    /// The number of ids of the whole prompt, with those that begin it.
    pub fn prompt_len(&self) -> usize {
        self.prompt_len
    }

    /// The most ids that the model reads.
    pub fn context(&self) -> usize {
        self.context
    }

    /// Generate `n` ids, or fewer if the value ends, and decode them: the text after the prompt.
    ///
    /// # Errors
    /// If an operation fails, or the ids cannot be decoded.
    pub fn value(&mut self, n: usize) -> Result<Value, PredictError> {
        self.value_while(n, || true)
    }

    /// [`value`](Self::value), which ends early when `keep_generating`, called before each id, returns false.
    ///
    /// # Errors
    /// As for `value`.
    pub fn value_while(
        &mut self,
        n: usize,
        mut keep_generating: impl FnMut() -> bool,
    ) -> Result<Value, PredictError> {
        let before = self.window.clone();
        let mut new = vec![];
        while new.len() < n && keep_generating() {
            let Some(id) = self.next_id()? else { break };
            new.push(id);
        }
        let decode = |ids: &[u32]| self.next.task.decode(self.next.output, ids);
        let alone = match decode(&new)? {
            Value::Text(alone) => alone,
            other => return Ok(other),
        };
        // Alone, the first subword of a text may decode without its space, and the last without the end of its character:
        // the new text is the whole without the prompt.
        let (given, whole) = (decode(&before)?.into_text()?, decode(&[before, new].concat())?.into_text()?);
        Ok(Value::Text(whole.strip_prefix(&given).map_or(alone, String::from)))
    }

    /// [`value`](Self::value), as the text that follows the prompt.
    ///
    /// # Errors
    /// As of `value`, and if the output is not text.
    pub fn text(&mut self, n: usize) -> Result<String, PredictError> {
        Ok(self.value(n)?.into_text()?)
    }
}

/// The ids of a prompt of any length, without special tokens.
pub(super) fn prompt_ids(part: &Part, prompt: Value) -> Result<Vec<u32>, TokenizeError> {
    let bytes = match &prompt {
        Value::Text(text) => text.as_bytes(),
        Value::File(file) => &file.bytes,
        _ => return Ok(part.ids(prompt)?.unwrap_or_default()),
    };
    if bytes.is_empty() {
        return Ok(vec![]);
    }
    let sequence = part.tokenizer.sequence(Box::new(bytes))?;
    sequence.window(0..sequence.len())
}
