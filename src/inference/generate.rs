//! Generating outputs token by token, several at a time, with cached keys and values.

use super::PredictError;
use super::sampling::{Sampling, draw};
use crate::data::{Output, Sample, Stream, Target, collate};
use crate::model::Cache;
use crate::model::Model;
use crate::random;
use crate::sample::{Composition, Part, Role};
use crate::task::Task;
use candle_core::Tensor;
use rand_pcg::Pcg64Mcg;
use smalti_contract::Tokens;
use std::ops::Range;

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

/// The number of texts that are generated at one time: as many rows as a CPU multiplies by weights that it reads once.
pub(super) const BATCH_SIZE: usize = 16;

/// The inputs of a sample.
type Inputs = Vec<(Stream, Tokens)>;

/// The next ids of an output.
pub(super) struct NextIds {
    /// The ids.
    pub ids: Vec<u32>,
    /// The number of the output's tokens before them.
    pub first: usize,
    /// The number of tokens in the main stream before the output.
    pub before: usize,
}

/// Predicts the next tokens of one output, of one or several documents.
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

    /// The logits after each of the output's tokens in each of these documents, with their samples' ids:
    /// `[tokens, vocabulary]`. All their tokens go through the model in one step.
    pub fn read(
        &self,
        documents: Vec<(u64, Inputs)>,
        cache: &mut Cache,
    ) -> Result<Vec<Tensor>, PredictError> {
        let sample = |(id, inputs): (u64, Inputs)| {
            let output = Output { head: self.output, places: None, target: Target::Unknown };
            (self.number, Sample { inputs, outputs: vec![output], id })
        };
        let samples: Vec<(usize, Sample)> = documents.into_iter().map(sample).collect();
        let batch = collate(self.model.layouts(), &samples)?;
        let logits = self.model.step(&batch, cache)?.remove(0);
        let of_document = |rows: &Range<usize>| Ok(logits.narrow(0, rows.start, rows.len())?);
        batch.heads[0].documents.iter().map(of_document).collect()
    }

    /// Set the output's tokens in a sample.
    pub fn set(&self, inputs: &mut Inputs, next: NextIds) -> Result<(), PredictError> {
        let NextIds { ids, first, before } = next;
        let mut group = self.part.sequence_from(ids, first)?;
        group.order.iter_mut().for_each(|order| *order += before as u32);
        for (_, main) in inputs.iter_mut().filter(|(stream, _)| *stream == Stream::Main) {
            main.groups[self.task.first_kind(self.part)] = group.clone();
        }
        Ok(())
    }

    /// The logits after the last of the next ids of each document; the cache has the tokens before them.
    pub fn after(
        &self,
        next: impl IntoIterator<Item = NextIds>,
        cache: &mut Cache,
    ) -> Result<Vec<Vec<f32>>, PredictError> {
        let document = |next: NextIds| -> Result<(u64, Inputs), PredictError> {
            let streams = self.task.spec().inputs.iter().map(|(stream, _)| *stream);
            let mut inputs = streams.map(|stream| (stream, self.task.empty(stream))).collect();
            self.set(&mut inputs, next)?;
            Ok((0, inputs))
        };
        let documents = next.into_iter().map(document).collect::<Result<_, _>>()?;
        self.read(documents, cache)?.iter().map(last_row).collect()
    }
}

/// The last row of `[rows, width]`.
fn last_row(logits: &Tensor) -> Result<Vec<f32>, PredictError> {
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
/// If a sampling setting is out of range, the output is not generated from the inputs of a row, or a token does not fit the model.
pub fn generate(
    model: &Model,
    number: usize,
    task: &Composition,
    output: usize,
    sample: &Sample,
    generation: &Generation,
) -> Result<Vec<u32>, PredictError> {
    let samples = std::slice::from_ref(sample);
    Ok(generate_batch(model, number, task, output, samples, generation)?.remove(0))
}

/// As [`generate`], for several samples, some of which are generated at one time: a step reads the weights once for all of them.
/// The ids are those of each sample alone, up to rounding.
///
/// # Errors
/// As for `generate`.
pub fn generate_batch(
    model: &Model,
    number: usize,
    task: &Composition,
    output: usize,
    samples: &[Sample],
    generation: &Generation,
) -> Result<Vec<Vec<u32>>, PredictError> {
    generation.sampling.check()?;
    let next = NextToken::new(model, number, task, output)?;
    if next.part.windows {
        return Err(PredictError::Windows { output: task.outputs()[output].name.clone(), is_windows: true });
    }
    let mut all = Vec::with_capacity(samples.len());
    for samples in samples.chunks(BATCH_SIZE) {
        all.extend(generate_together(&next, samples, generation)?);
    }
    Ok(all)
}

/// The ids of some samples, which are generated at one time; finished ones leave the batch.
fn generate_together(
    next: &NextToken,
    samples: &[Sample],
    generation: &Generation,
) -> Result<Vec<Vec<u32>>, PredictError> {
    let n_begin = next.part.special_ids.begin.len();
    let mut texts: Vec<Generating> = samples
        .iter()
        .map(|sample| Generating {
            ids: vec![],
            // The sample's tokens include the ids that begin the value.
            before: main_len(&sample.inputs) - n_begin,
            random: random::generator(generation.sampling.seed ^ sample.id),
        })
        .collect();
    let documents = samples.iter().map(|sample| (sample.id, sample.inputs.clone())).collect();
    let mut cache = next.cache();
    let read = next.read(documents, &mut cache)?;
    let mut logits = read.iter().map(last_row).collect::<Result<Vec<_>, _>>()?;
    // The number of the text of each document in the cache.
    let mut running: Vec<usize> = (0..texts.len()).collect();
    loop {
        let mut kept = vec![];
        for (place, (&text, logits)) in running.iter().zip(logits).enumerate() {
            if texts[text].extend(next.part, logits, generation) {
                kept.push(place);
            }
        }
        if kept.is_empty() {
            return Ok(texts.into_iter().map(|text| text.ids).collect());
        }
        if kept.len() < running.len() {
            cache = cache.select(&kept)?;
            running = kept.into_iter().map(|place| running[place]).collect();
        }
        logits = next.after(running.iter().map(|&text| texts[text].last(n_begin)), &mut cache)?;
    }
}

/// A value during its generation.
struct Generating {
    ids: Vec<u32>,
    /// The number of tokens in the main stream before the output.
    before: usize,
    random: Pcg64Mcg,
}

impl Generating {
    /// Draws the next id from its logits; false if the value is complete then.
    fn extend(&mut self, part: &Part, mut logits: Vec<f32>, generation: &Generation) -> bool {
        let (begin, end) = (&part.special_ids.begin, &part.special_ids.end);
        let length = part.tokenizer.fixed_length();
        let most = length.unwrap_or_else(|| generation.most_tokens(part));
        if self.ids.len() >= most {
            return false;
        }
        // An id that begins a value never continues it.
        for &id in begin.iter().filter(|id| !end.contains(id)) {
            logits[id as usize] = f32::NEG_INFINITY;
        }
        // A value of a fixed number of tokens does not end early.
        if length.is_some() {
            end.iter().for_each(|&id| logits[id as usize] = f32::NEG_INFINITY);
        }
        let id = draw(&logits, &generation.sampling, &mut self.random);
        if end.contains(&id) {
            return false;
        }
        self.ids.push(id);
        self.ids.len() < most
    }

    /// The last id, for the model to read; `n_begin` ids begin the value.
    fn last(&self, n_begin: usize) -> NextIds {
        let (ids, first) = (self.ids[self.ids.len() - 1..].to_vec(), n_begin + self.ids.len() - 1);
        NextIds { ids, first, before: self.before }
    }
}
