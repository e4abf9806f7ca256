//! Text token by token, with kept keys and values.

use super::{Objective, TextTask};
use crate::data::{Sample, Stream, Target, collate};
use crate::inference::{Sampling, draw};
use crate::model::Model;
use crate::random;
use crate::tasks::TaskError;
use crate::transformer::Cache;
use rand_pcg::Pcg64Mcg;
use smalti_contract::{Content, Group, Tokens};

/// Writes on from a prompt, or an answer to it.
///
/// When the context is full, its second half is read again from the start, so that positions stay those that
/// the model has learned.
pub struct Generator<'a> {
    model: &'a Model,
    task: &'a TextTask,
    number: usize,
    sampling: Sampling,
    random: Pcg64Mcg,
    /// What the model sees: at most `context` ids.
    window: Vec<u32>,
    /// How many of the window's ids the cache has seen.
    read: usize,
    cache: Cache,
    /// What is answered; empty where a text goes on.
    question: Vec<u32>,
    ended: bool,
    written: usize,
}

impl<'a> Generator<'a> {
    /// A generator behind `prompt`, which must not be empty.
    ///
    /// # Errors
    /// Where the prompt is empty or has a character that the vocabulary lacks, or the model predicts masked
    /// tokens.
    pub fn new(
        model: &'a Model,
        number: usize,
        task: &'a TextTask,
        prompt: &str,
        sampling: Sampling,
    ) -> Result<Self, TaskError> {
        if !matches!(task.objective(), Objective::Next | Objective::Answer) {
            let problem = format!("a model of objective {:?} does not generate", task.objective());
            return Err(TaskError::Setting { setting: "objective", problem });
        }
        sampling.check().map_err(|e| TaskError::Generate { option: e.option, problem: e.problem })?;
        let refuse = |problem: String| TaskError::Generate { option: "prompt", problem };
        let mut window = task.tokenizer().ids(prompt).map_err(|e| refuse(e.to_string()))?;
        if window.is_empty() {
            return Err(refuse(format!("must have at least one token; found {prompt:?}")));
        }
        let mut question = vec![];
        if task.objective() == Objective::Answer {
            question = task.question(prompt).map_err(|e| refuse(e.to_string()))?;
            window = vec![task.start()];
        }
        window.drain(..window.len().saturating_sub(task.tokenizer().context()));
        let random = random::generator(sampling.seed);
        let cache = model.cache();
        Ok(Self {
            model,
            task,
            number,
            sampling,
            random,
            window,
            read: 0,
            cache,
            question,
            ended: false,
            written: 0,
        })
    }

    /// The next id; none behind the end.
    ///
    /// # Errors
    /// Where the tensor library refuses; an answer that is longer than the context.
    pub fn next_id(&mut self) -> Result<Option<u32>, TaskError> {
        if self.ended {
            return Ok(None);
        }
        let context = self.task.tokenizer().context();
        if self.read == context {
            self.window.drain(..context - context.div_ceil(2));
            self.read = 0;
            self.cache = self.model.cache();
        }
        let fresh: Vec<u32> = self.window[self.read..].to_vec();
        let places: Vec<u32> = (self.read as u32..self.window.len() as u32).collect();
        let tokens = Tokens::new(vec![Group {
            content: Content::Ids(fresh),
            positions: places.clone(),
            order: places.clone(),
            time: places,
        }]);
        let mut inputs = vec![(Stream::Main, tokens)];
        if self.task.objective() == Objective::Answer {
            // The encoder's output is kept from the first step on.
            let read = if self.read == 0 { &self.question[..] } else { &[] };
            inputs.insert(0, (Stream::Encoder, self.task.tokenizer().tokens(read)?));
        }
        let sample = Sample { inputs, outputs: vec![Target::Unknown.into()], id: 0 };
        let batch = collate(self.model.layouts(), &[(self.number, sample)])?;
        let logits = self.model.step(&batch, &mut self.cache)?.remove(0);
        let last = logits.get(logits.dim(0)? - 1)?.to_vec1::<f32>()?;
        self.read = self.window.len();
        let id = draw(&last, &self.sampling, &mut self.random);
        if self.task.end() == Some(id) {
            self.ended = true;
            return Ok(None);
        }
        if self.window.len() == context {
            self.window.remove(0);
            // The window has moved: the cache is of no use from here, and is built again above.
            self.read = context;
        }
        self.window.push(id);
        self.written += 1;
        Ok(Some(id))
    }

    /// How many ids were written so far.
    pub fn written(&self) -> usize {
        self.written
    }

    /// The next `n` ids, or fewer where it ends, as text that goes on behind the prompt.
    ///
    /// # Errors
    /// Where the tensor library refuses.
    pub fn text(&mut self, n: usize) -> Result<String, TaskError> {
        let tokenizer = self.task.tokenizer();
        let mut ids = if self.question.is_empty() { self.window.clone() } else { vec![] };
        let given = tokenizer.text(&ids);
        let fresh = ids.len();
        for _ in 0..n {
            let Some(id) = self.next_id()? else { break };
            ids.push(id);
        }
        // The first subword of a text may read without its space, and the last without the end of its character: so
        // what is new is what the whole has more than the prompt.
        let whole = tokenizer.text(&ids);
        Ok(whole.strip_prefix(&given).map_or_else(|| tokenizer.text(&ids[fresh..]), String::from))
    }
}
