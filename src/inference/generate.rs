//! Generating an output token by token, with cached keys and values.

use super::PredictError;
use super::sampling::{Sampling, draw};
use crate::data::{Output, Sample, Stream, Target, collate};
use crate::model::Cache;
use crate::model::Model;
use crate::random;
use crate::sample::{Composition, Part, Role};
use crate::task::Task;
use candle_core::Tensor;
use smalti_contract::Tokens;

/// The settings of generation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Generation {
    /// The most tokens of a value, without those of a prompt; `None` for as many as the model has positions.
    pub max_new_tokens: Option<usize>,
    /// The sampling of each token.
    pub sampling: Sampling,
}

impl Default for Generation {
    fn default() -> Self {
        Self { max_new_tokens: None, sampling: Sampling::greedy() }
    }
}

impl Generation {
    /// The most tokens of a value of this part.
    pub(super) fn most_tokens(&self, part: &Part) -> usize {
        let most = part.capacity().unwrap_or(usize::MAX);
        self.max_new_tokens.map_or(most, |n| most.min(n))
    }
}

/// Predicts the next token of one output.
#[derive(Clone, Copy)]
pub(super) struct NextToken<'a> {
    model: &'a Model,
    /// The task's number among the model's.
    number: usize,
    pub task: &'a Composition,
    /// The part of the output's tokens.
    pub part: &'a Part,
    pub output: usize,
}

impl<'a> NextToken<'a> {
    /// Output number `output` of task number `number` of the model.
    pub fn new(
        model: &'a Model,
        number: usize,
        task: &'a Composition,
        output: usize,
    ) -> Result<Self, PredictError> {
        match task.parts().iter().find(|part| part.role == Role::Generated(output)) {
            Some(part) => Ok(Self { model, number, task, part, output }),
            None => Err(PredictError::Generated { output: task.outputs()[output].name.clone() }),
        }
    }

    /// An empty cache.
    pub fn cache(&self) -> Cache {
        self.model.cache()
    }

    /// The logits after each of the output's tokens in `inputs`: `[tokens, vocabulary]`.
    pub fn read(
        &self,
        inputs: Vec<(Stream, Tokens)>,
        id: u64,
        cache: &mut Cache,
    ) -> Result<Tensor, PredictError> {
        let output = Output { head: self.output, places: None, target: Target::Unknown };
        let sample = Sample { inputs, outputs: vec![output], id };
        let batch = collate(self.model.layouts(), &[(self.number, sample)])?;
        Ok(self.model.step(&batch, cache)?.remove(0))
    }

    /// Set the output's tokens in a sample to `ids`, the first of which is token number `first` of the output. In the main
    /// stream, `before` tokens come before the output.
    pub fn set(
        &self,
        inputs: &mut [(Stream, Tokens)],
        ids: Vec<u32>,
        first: usize,
        before: usize,
    ) -> Result<(), PredictError> {
        let mut group = self.part.sequence_from(ids, first)?;
        group.order.iter_mut().for_each(|order| *order += before as u32);
        for (_, main) in inputs.iter_mut().filter(|(stream, _)| *stream == Stream::Main) {
            main.groups[self.task.first_kind(self.part)] = group.clone();
        }
        Ok(())
    }

    /// The logits after the last of `ids`, which are those of [`set`](Self::set); the cache has the tokens before them.
    pub fn after(
        &self,
        ids: Vec<u32>,
        first: usize,
        before: usize,
        cache: &mut Cache,
    ) -> Result<Vec<f32>, PredictError> {
        let streams = self.task.spec().inputs.iter().map(|(stream, _)| *stream);
        let mut inputs: Vec<(Stream, Tokens)> =
            streams.map(|stream| (stream, self.task.empty(stream))).collect();
        self.set(&mut inputs, ids, first, before)?;
        last_row(&self.read(inputs, 0, cache)?)
    }
}

/// The last row of `[rows, width]`.
pub(super) fn last_row(logits: &Tensor) -> Result<Vec<f32>, PredictError> {
    Ok(logits.get(logits.dim(0)? - 1)?.to_vec1::<f32>()?)
}

/// The number of a sample's tokens in the main stream.
pub(super) fn main_len(inputs: &[(Stream, Tokens)]) -> usize {
    inputs.iter().filter(|(stream, _)| *stream == Stream::Main).map(|(_, tokens)| tokens.len()).sum()
}

/// Generate the ids of output number `output` of a sample of task number `number`, without the id that ends them. The sample is
/// one for prediction. An output trained on windows has no beginning: [`Continuation`](super::Continuation) continues it.
///
/// # Errors
/// If the output is not generated from the inputs of a row, or a token does not fit the model.
pub fn generate(
    model: &Model,
    number: usize,
    task: &Composition,
    output: usize,
    sample: &Sample,
    generation: &Generation,
) -> Result<Vec<u32>, PredictError> {
    let next = NextToken::new(model, number, task, output)?;
    let part = next.part;
    if part.windows {
        return Err(PredictError::Windows { output: task.outputs()[output].name.clone(), is_windows: true });
    }
    let (begin, end) = (&part.special_ids.begin, &part.special_ids.end);
    let random = &mut random::generator(generation.sampling.seed ^ sample.id);
    let length = part.tokenizer.fixed_length();
    let most = length.unwrap_or_else(|| generation.most_tokens(part));
    // The sample's tokens include the ids that begin the value.
    let before = main_len(&sample.inputs) - begin.len();
    let (mut cache, mut ids) = (next.cache(), Vec::new());
    let mut logits = last_row(&next.read(sample.inputs.clone(), sample.id, &mut cache)?)?;
    while ids.len() < most {
        if let Some(&last) = ids.last() {
            logits = next.after(vec![last], begin.len() + ids.len() - 1, before, &mut cache)?;
        }
        // An id that begins a value never continues it.
        for &id in begin.iter().filter(|id| !end.contains(id)) {
            logits[id as usize] = f32::NEG_INFINITY;
        }
        // A value of a fixed number of tokens does not end early.
        if length.is_some() {
            end.iter().for_each(|&id| logits[id as usize] = f32::NEG_INFINITY);
        }
        let id = draw(&logits, &generation.sampling, random);
        if end.contains(&id) {
            break;
        }
        ids.push(id);
    }
    Ok(ids)
}
