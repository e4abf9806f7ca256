//! Every output of some rows.

use super::generate::{Generation, NextToken, generate};
use super::{Continuation, Sampling};
use crate::data::{DataError, Sample, Stream, collate};
use crate::head::Prediction;
use crate::model::Model;
use crate::sample::{Composition, Get, Part, Purpose, Role};
use smalti_contract::{TokenizeError, Tokens, Value};
use std::collections::BTreeMap;
use std::ops::Range;

/// What a model predicts of one row: for each output its prediction, or one for each step of a series.
pub type Predicted = BTreeMap<String, Prediction>;

/// Why a row cannot be predicted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PredictError {
    /// A value that cannot become tokens.
    #[error(transparent)]
    Tokenizer(#[from] TokenizeError),
    /// Tokens that do not fit the model.
    #[error(transparent)]
    Data(#[from] DataError),
    /// A setting of sampling.
    #[error(transparent)]
    Sampling(#[from] super::SamplingError),
    /// An option that cannot be followed, as the command line names it.
    #[error("--{option}: {problem}")]
    Option {
        /// The option.
        option: &'static str,
        /// What is wrong, with the expected and the actual value.
        problem: String,
    },
    /// An output that is not generated.
    #[error("outputs.{output} is not generated")]
    Generated {
        /// The output's name.
        output: String,
    },
    /// A prompt is continued only by outputs of windows, and values of whole rows are generated only by others.
    #[error(
        "outputs.{output}: expected windows = {} to {}", !is_windows, if *is_windows { "generate the value of a row" } else { "continue a prompt" }
    )]
    Windows {
        /// The output's name.
        output: String,
        /// Whether it is trained on windows.
        is_windows: bool,
    },
    /// A task without the parts that a job needs.
    #[error("expected {expected}; the task has {found}")]
    Parts {
        /// The parts that are needed.
        expected: &'static str,
        /// The parts of the task.
        found: String,
    },
    /// An operation failed.
    #[error(transparent)]
    Tensor(#[from] candle_core::Error),
}

/// What the model predicts of some rows, each with the steps of its window (`0..0` for rows without a clock), in one
/// batch; generated outputs follow row by row. `number` is the task's among the model's.
///
/// # Errors
/// [`PredictError`] for the first row that cannot be predicted.
pub fn predict(
    model: &Model,
    number: usize,
    task: &Composition,
    rows: &[(Get, Range<usize>)],
    generation: &Generation,
) -> Result<Vec<Predicted>, PredictError> {
    generation.sampling.check()?;
    let sample = |(id, (get, steps)): (usize, &(Get, Range<usize>))| {
        task.sample(get, steps.clone(), Purpose::Predict, id as u64)
    };
    let samples = rows.iter().enumerate().map(sample).collect::<Result<Vec<_>, _>>()?;
    let is_generated = |output: usize| task.parts().iter().any(|part| part.role == Role::Generated(output));
    let asked = samples.iter().map(|sample| {
        let mut sample = sample.clone();
        sample.outputs.retain(|output| !is_generated(output.head));
        (number, sample)
    });
    let mut predicted = predict_samples(model, task, &asked.collect::<Vec<_>>())?;
    for (output, of) in task.outputs().iter().enumerate().filter(|(output, _)| is_generated(*output)) {
        for (((get, _), sample), predicted) in rows.iter().zip(&samples).zip(&mut predicted) {
            if let Some(value) = generated(model, number, task, output, (*get, sample), generation)? {
                predicted.insert(of.name.clone(), Prediction { value, probabilities: vec![] });
            }
        }
    }
    Ok(predicted)
}

/// The value of a generated output: of one of windows, what follows the row's own value, if there is one; of one with rules
/// of decoding, the transcript.
fn generated(
    model: &Model,
    number: usize,
    task: &Composition,
    output: usize,
    (get, sample): (Get, &Sample),
    generation: &Generation,
) -> Result<Option<Value>, PredictError> {
    #[cfg(feature = "audio")]
    if task.outputs()[output].decoding.is_some() {
        let sampling = &generation.sampling;
        return super::transcribe::of_row((model, number, task), output, get, sampling);
    }
    let NextToken { part, .. } = NextToken::new(model, number, task, output)?;
    if !part.windows {
        let ids = generate(model, number, task, output, sample, generation)?;
        return Ok(Some(task.decode(output, &ids)?));
    }
    let prompt = Part::value(&part.fields, get)?;
    if prompt.is_missing() {
        return Ok(None);
    }
    let sampling = Sampling { seed: generation.sampling.seed ^ sample.id, ..generation.sampling };
    let mut continuation = Continuation::new(model, number, task, output, prompt, sampling)?;
    continuation.value(generation.most_tokens(part)).map(Some)
}

/// What the model predicts of the tokens of some values of part number `part` alone: every output that is not generated.
/// `number` is the task's among the model's.
///
/// # Errors
/// If tokens do not fit the model.
pub fn predict_tokens(
    model: &Model,
    number: usize,
    task: &Composition,
    part: usize,
    tokens: Vec<Tokens>,
) -> Result<Vec<Predicted>, PredictError> {
    let sample = |(id, tokens)| Ok((number, task.sample_of_tokens(part, tokens, id)?));
    let samples = (0..).zip(tokens).map(sample).collect::<Result<Vec<_>, PredictError>>()?;
    predict_samples(model, task, &samples)
}

/// What the model predicts of samples that ask for no generated output, each with the number of its task among the
/// model's.
pub(crate) fn predict_samples(
    model: &Model,
    task: &Composition,
    samples: &[(usize, Sample)],
) -> Result<Vec<Predicted>, PredictError> {
    let mut predicted = vec![Predicted::new(); samples.len()];
    if samples.iter().all(|(_, sample)| sample.outputs.is_empty()) {
        return Ok(predicted);
    }
    let batch = collate(model.layouts(), samples)?;
    for (read, output) in batch.heads.iter().zip(model.outputs(&batch)?) {
        let of = &task.outputs()[read.head];
        let predictions = of.head.predict(&output, &read.documents)?;
        for (&place, mut prediction) in read.places.iter().zip(predictions) {
            if of.labels.is_some() {
                prediction.value = task.decode(read.head, &ids(prediction.value)?)?;
            }
            if of.head.codebook().is_some() {
                let tokens = samples[place].1.inputs.iter().find(|(stream, _)| *stream == Stream::Main);
                let features = prediction.value.into_numbers()?;
                let main = tokens.map(|(_, tokens)| tokens.clone()).unwrap_or_default();
                prediction.value = task.decode_features(read.head, features, &main)?;
            }
            predicted[place].insert(of.name.clone(), prediction);
        }
    }
    Ok(predicted)
}

/// The ids in an array of numbers.
fn ids(value: Value) -> Result<Vec<u32>, TokenizeError> {
    Ok(value.into_numbers()?.into_iter().map(|id| id as u32).collect())
}
