//! A prompt that is continued: token by token, with kept keys and values.

use super::PredictError;
use super::generate::NextToken;
use super::sampling::{Sampling, draw};
use crate::model::Cache;
use crate::model::Model;
use crate::random;
use crate::sample::{Composition, Part};
use rand_pcg::Pcg64Mcg;
use smalti_contract::{TokenizeError, Value};

/// Continues a prompt, for an output that is trained on windows (`windows = true`).
///
/// When the context is full, its second half is read again from the start, so that positions stay those that
/// the model has learned.
pub struct Continuation<'a> {
    next: NextToken<'a>,
    sampling: Sampling,
    random: Pcg64Mcg,
    /// What the model reads: at most `context` ids.
    window: Vec<u32>,
    context: usize,
    /// How many of the window's ids are in the cache.
    read: usize,
    cache: Cache,
    prompt: usize,
    ended: bool,
    written: usize,
}

impl<'a> Continuation<'a> {
    /// A continuation of `prompt`, a value of output number `output`. `number` is the task's among the model's. Of a prompt
    /// longer than the context, the end is read.
    ///
    /// # Errors
    /// If the output is not one of windows, a setting of sampling cannot work, or the prompt has no token or cannot become
    /// tokens.
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
        let mut window = ids(next.part, prompt).map_err(|e| refuse(e.to_string()))?;
        if window.is_empty() {
            return Err(refuse(format!("must have at least one token; found {described}")));
        }
        let (prompt, context) = (window.len(), next.part.capacity().unwrap_or(usize::MAX));
        window.drain(..prompt.saturating_sub(context));
        let (random, cache) = (random::generator(sampling.seed), next.cache());
        Ok(Self { next, sampling, random, window, context, read: 0, cache, prompt, ended: false, written: 0 })
    }

    /// The next id; `None` after the id that ends the value.
    ///
    /// # Errors
    /// If an operation fails.
    pub fn next_id(&mut self) -> Result<Option<u32>, PredictError> {
        if self.ended {
            return Ok(None);
        }
        if self.read == self.context {
            self.window.drain(..self.context - self.context.div_ceil(2));
            self.read = 0;
            self.cache = self.next.cache();
        }
        let logits = self.next.after(self.window[self.read..].to_vec(), self.read, 0, &mut self.cache)?;
        self.read = self.window.len();
        let id = draw(&logits, &self.sampling, &mut self.random);
        if self.next.part.added.end == Some(id) {
            self.ended = true;
            return Ok(None);
        }
        if self.window.len() == self.context {
            self.window.remove(0);
            // The window has moved: the cache is of no use from here on, and is built again above.
            self.read = self.context;
        }
        self.window.push(id);
        self.written += 1;
        Ok(Some(id))
    }

    /// The number of ids so far, without those of the prompt.
    pub fn written(&self) -> usize {
        self.written
    }

    /// The number of ids of the whole prompt.
    pub fn prompt_len(&self) -> usize {
        self.prompt
    }

    /// The number of ids that the model reads at most.
    pub fn context(&self) -> usize {
        self.context
    }

    /// The value of the next `n` ids, or of fewer if it ends: of a text, what follows the prompt.
    ///
    /// # Errors
    /// If an operation fails, or the ids stand for no value.
    pub fn value(&mut self, n: usize) -> Result<Value, PredictError> {
        let before = self.window.clone();
        let mut new = vec![];
        while new.len() < n {
            let Some(id) = self.next_id()? else { break };
            new.push(id);
        }
        let decode = |ids: &[u32]| self.next.task.decode(self.next.output, ids);
        let alone = match decode(&new)? {
            Value::Text(alone) => alone,
            other => return Ok(other),
        };
        // The first subword of a text may decode without its space, and the last without the end of its character: so
        // what is new is what the whole has more than the prompt.
        let (given, whole) = (decode(&before)?.into_text()?, decode(&[before, new].concat())?.into_text()?);
        Ok(Value::Text(whole.strip_prefix(&given).map_or(alone, String::from)))
    }

    /// [`value`](Self::value), as the text that follows the prompt.
    ///
    /// # Errors
    /// As of `value`, and if the output is of another modality than text.
    pub fn text(&mut self, n: usize) -> Result<String, PredictError> {
        Ok(self.value(n)?.into_text()?)
    }
}

/// The ids of a prompt of any length, without special tokens around it.
fn ids(part: &Part, prompt: Value) -> Result<Vec<u32>, TokenizeError> {
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
