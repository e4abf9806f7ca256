//! A generated output: token by token, with kept keys and values.

use super::PredictError;
use super::sampling::{Sampling, draw};
use crate::data::{Output, Sample, Stream, Target, collate};
use crate::model::Model;
use crate::random;
use crate::sample::{Composition, Part, Role};
use smalti_contract::{Content, Tokens};

/// How values are generated.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Generation {
    /// The most tokens of a value; 0 for as many as the part has positions.
    pub max_length: usize,
    /// How each token is drawn.
    pub sampling: Sampling,
}

impl Default for Generation {
    fn default() -> Self {
        Self { max_length: 0, sampling: Sampling::greedy() }
    }
}

/// The ids that the model generates for output `output` of a task's sample, which has been made for prediction; without the
/// id that ends them. `number` is the task's among the model's.
///
/// # Errors
/// If the output is not generated, or a token does not fit the model.
pub fn generate(
    model: &Model,
    number: usize,
    task: &Composition,
    output: usize,
    sample: &Sample,
    generation: &Generation,
) -> Result<Vec<u32>, PredictError> {
    let Some(part) = task.parts().iter().find(|part| part.role == Role::Generated(output)) else {
        return Err(PredictError::Generated { output: task.outputs()[output].name.clone() });
    };
    let random = &mut random::generator(generation.sampling.seed ^ sample.id);
    let most = most_tokens(part, generation.max_length);
    let (mut cache, mut ids) = (model.cache(), Vec::new());
    let mut read = part.added.begin.clone();
    let mut next = Sample { outputs: vec![asks(output)], ..sample.clone() };
    let first = read.len();
    while ids.len() < most {
        let batch = collate(model.layouts(), &[(number, next)])?;
        let logits = model.step(&batch, &mut cache)?.remove(0);
        let mut last = logits.get(logits.dim(0)? - 1)?.to_vec1::<f32>()?;
        // What begins a value never continues it.
        for &id in part.added.begin.iter().filter(|&&id| Some(id) != part.added.end) {
            last[id as usize] = f32::NEG_INFINITY;
        }
        let id = draw(&last, &generation.sampling, random);
        if Some(id) == part.added.end {
            break;
        }
        ids.push(id);
        read.push(id);
        next = following(task, part, sample, output, &read, ids.len() - 1 + first)?;
    }
    Ok(ids)
}

fn asks(head: usize) -> Output {
    Output { head, places: None, target: Target::Unknown }
}

/// The most tokens of a value.
fn most_tokens(part: &Part, max_length: usize) -> usize {
    let most = part.capacity().unwrap_or(usize::MAX);
    if max_length == 0 { most } else { most.min(max_length) }
}

/// The token at `place` of the ids that are read, alone: what comes before is kept.
fn following(
    task: &Composition,
    part: &Part,
    before: &Sample,
    output: usize,
    read: &[u32],
    place: usize,
) -> Result<Sample, PredictError> {
    let mut token = part.sequence(read[..=place].to_vec())?.groups.remove(0);
    let axes = part.kinds[0].axes.len();
    let start: usize =
        before.inputs.iter().filter(|(stream, _)| *stream == Stream::Main).map(|(_, t)| t.len()).sum();
    token.content = Content::Ids(vec![read[place]]);
    token.positions.drain(..place * axes);
    token.time.drain(..place);
    // The first of the ids that are read is among the sample's tokens.
    token.order = vec![(start + place - part.added.begin.len()) as u32];
    let inputs = before.inputs.iter().map(|(stream, _)| {
        let tokens = task.empty(*stream);
        (*stream, tokens)
    });
    let mut inputs: Vec<(Stream, Tokens)> = inputs.collect();
    for (stream, tokens) in &mut inputs {
        if *stream == Stream::Main {
            tokens.groups[task.first_kind(part)] = token.clone();
        }
    }
    Ok(Sample { inputs, outputs: vec![asks(output)], id: before.id })
}
