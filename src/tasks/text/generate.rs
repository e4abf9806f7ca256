//! Text token by token, with kept keys and values.

use super::{Objective, TextTask};
use crate::data::{Sample, Stream, Target, collate};
use crate::model::Model;
use crate::random;
use crate::tasks::TaskError;
use crate::transformer::Cache;
use rand_pcg::Pcg64Mcg;
use smalti_contract::{Content, Group, Tokens};

/// How the next token is drawn from the model's distribution.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampling {
    /// Divides the logits: 1 as the model says, towards 0 ever more the likeliest; 0 takes the likeliest.
    pub temperature: f64,
    /// Only the `k` likeliest; 0 for all.
    pub top_k: usize,
    /// Only the likeliest that together have this probability; 1 for all.
    pub top_p: f64,
    /// Of the draws.
    pub seed: u64,
}

impl Default for Sampling {
    fn default() -> Self {
        Self { temperature: 0.8, top_k: 0, top_p: 1.0, seed: 1337 }
    }
}

impl Sampling {
    fn check(&self) -> Result<(), TaskError> {
        let refuse = |option, problem: String| Err(TaskError::Generate { option, problem });
        if !(self.temperature >= 0.0 && self.temperature.is_finite()) {
            return refuse("temperature", format!("must be a number from 0 on; found {}", self.temperature));
        }
        if !(self.top_p > 0.0 && self.top_p <= 1.0) {
            return refuse("top-p", format!("must be above 0 and at most 1; found {}", self.top_p));
        }
        Ok(())
    }
}

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
        sampling.check()?;
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

/// One id of the distribution that the logits stand for.
fn draw(logits: &[f32], sampling: &Sampling, random: &mut Pcg64Mcg) -> u32 {
    let mut ids: Vec<u32> = (0..logits.len() as u32).collect();
    let logit = |id: u32| f64::from(logits[id as usize]);
    ids.sort_by(|&a, &b| logit(b).total_cmp(&logit(a)).then(a.cmp(&b)));
    if sampling.temperature == 0.0 {
        return ids.first().copied().unwrap_or_default();
    }
    if sampling.top_k > 0 {
        ids.truncate(sampling.top_k);
    }
    let highest = ids.first().map_or(0.0, |&id| logit(id));
    let weight = |id: u32| ((logit(id) - highest) / sampling.temperature).exp();
    let total: f64 = ids.iter().map(|&id| weight(id)).sum();
    let mut reached = 0.0;
    let enough = ids.iter().position(|&id| {
        reached += weight(id) / total;
        reached >= sampling.top_p
    });
    ids.truncate(enough.map_or(ids.len(), |last| last + 1));
    let mut left = random::uniform(random) * ids.iter().map(|&id| weight(id)).sum::<f64>();
    for &id in &ids {
        left -= weight(id);
        if left < 0.0 {
            return id;
        }
    }
    ids.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sampling_keeps_to_its_bounds() {
        let logits = [0.0, 3.0, 2.0, 1.0];
        let draws = |sampling: Sampling| {
            let mut random = random::generator(1);
            let mut seen: Vec<u32> = (0..300).map(|_| draw(&logits, &sampling, &mut random)).collect();
            seen.sort_unstable();
            seen.dedup();
            seen
        };
        let all = Sampling { temperature: 1.0, ..Sampling::default() };
        assert_eq!(draws(all), [0, 1, 2, 3]);
        assert_eq!(draws(Sampling { temperature: 0.0, ..all }), [1]);
        assert_eq!(draws(Sampling { top_k: 2, ..all }), [1, 2]);
        // The probabilities are 0.64, 0.24, 0.09, 0.03.
        assert_eq!(draws(Sampling { top_p: 0.6, ..all }), [1]);
        assert_eq!(draws(Sampling { top_p: 0.7, ..all }), [1, 2]);
    }
}
