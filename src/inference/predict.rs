//! Predicting the outputs of rows.

use super::generate::{Generation, NextToken, generate_batch};
use super::{Continuation, Sampling};
use crate::data::{DataError, Sample, Stream, collate};
use crate::head::Prediction;
use crate::model::Model;
use crate::sample::{Composition, GetField, Part, Purpose, Role};
use smalti_contract::{Row, TokenizeError, Tokens, Value};
use std::collections::BTreeMap;
use std::ops::Range;

/// The predictions of a row by output; of a series, one value for each step.
pub type Predicted = BTreeMap<String, Prediction>;

/// Why a row cannot be predicted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PredictError {
    /// A value cannot be tokenized.
    #[error(transparent)]
    Tokenizer(#[from] TokenizeError),
    /// Tokens do not fit the model.
    #[error(transparent)]
    Data(#[from] DataError),
    /// A sampling setting is out of range.
    #[error(transparent)]
    Sampling(#[from] super::SamplingError),
    /// An option, as the command line names it, cannot be followed.
    #[error("--{option}: {problem}")]
    Option {
        /// The option.
        option: &'static str,
        /// Expected and found.
        problem: String,
    },
    /// An output is not generated.
    #[error("outputs.{output}: expected head = \"generate\"; found a head that does not generate")]
    Generated {
        /// The output's name.
        output: String,
    },
    /// An output has no masked tokens.
    #[error("outputs.{output}: expected head = \"masked\"; found a head that fills no masked tokens")]
    Masked {
        /// The output's name.
        output: String,
    },
    /// Only outputs trained on windows continue a prompt; only other outputs generate the value of a row.
    #[error(
        "outputs.{output}: expected windows = {} to {}", !is_windows, if *is_windows { "generate the value of a row" } else { "continue a prompt" }
    )]
    Windows {
        /// The output's name.
        output: String,
        /// Whether it is trained on windows.
        is_windows: bool,
    },
    /// A task lacks required parts.
    #[error("expected {expected}; the task has {found}")]
    Parts {
        /// The required parts.
        expected: &'static str,
        /// The parts of the task.
        found: String,
    },
    /// An operation failed.
    #[error(transparent)]
    Tensor(#[from] candle_core::Error),
}

/// Predict the outputs of rows, each with the steps of its window (`0..0` for rows without a clock), in one batch; then generate
/// outputs, a few rows at a time. `number` is the task's in the model.
///
/// # Errors
/// [`PredictError`] for the first row that cannot be predicted.
pub fn predict(
    model: &Model,
    number: usize,
    task: &Composition,
    rows: &[(GetField, Range<usize>)],
    generation: &Generation,
) -> Result<Vec<Predicted>, PredictError> {
    generation.sampling.check()?;
    let sample = |(id, (get, steps)): (usize, &(GetField, Range<usize>))| {
        task.sample(get, steps.clone(), Purpose::Predict, id as u64)
    };
    let samples = rows.iter().enumerate().map(sample).collect::<Result<Vec<_>, _>>()?;
    let is_generated = |output: usize| task.parts().iter().any(|part| part.role == Role::Generated(output));
    let not_generated = samples.iter().map(|sample| {
        let mut sample = sample.clone();
        sample.outputs.retain(|output| !is_generated(output.head));
        (number, sample)
    });
    let mut predicted = predict_samples(model, task, &not_generated.collect::<Vec<_>>())?;
    for (output, of) in task.outputs().iter().enumerate().filter(|(output, _)| is_generated(*output)) {
        let values = generate_values((model, number, task), output, rows, &samples, generation)?;
        for (value, predicted) in values.into_iter().zip(&mut predicted) {
            if let Some(value) = value {
                predicted.insert(of.name.clone(), Prediction { value, probabilities: vec![] });
            }
        }
    }
    Ok(predicted)
}

/// Predict the outputs of rows in memory, in one batch, as [`predict`] does; a field that a row does not have is missing. A
/// row's series have at most the task's context of time steps.
///
/// # Errors
/// As for `predict`, for longer series, for a row without a value of an input, and for a row that lacks an input and has a
/// field that the task does not have.
pub fn predict_rows(
    model: &Model,
    number: usize,
    task: &Composition,
    rows: &[Row],
    generation: &Generation,
) -> Result<Vec<Predicted>, PredictError> {
    let steps = |row: &Row| row.fields.values().filter_map(Value::steps).max().unwrap_or(0);
    if let Some((place, row)) = rows.iter().enumerate().find(|(_, row)| steps(row) > task.context()) {
        let (expected, found) = (task.context(), steps(row));
        let problem = format!("row {}: expected at most {expected} time steps; found {found}", place + 1);
        return Err(TokenizeError::Input(problem).into());
    }
    rows.iter().enumerate().try_for_each(|(place, row)| check_fields(task, place, row))?;
    let get = |row: &Row, field: &str| Ok(row.get(field).clone());
    let gets: Vec<_> = rows.iter().map(|row| move |field: &str| get(row, field)).collect();
    let requests: Vec<(GetField, Range<usize>)> =
        gets.iter().zip(rows).map(|(get, row)| (get as GetField, 0..steps(row))).collect();
    predict(model, number, task, &requests, generation)
}

/// Fails if row number `place` has no value of an input, or lacks one and has a field that the task does not have.
fn check_fields(task: &Composition, place: usize, row: &Row) -> Result<(), TokenizeError> {
    let is_read = |part: &&Part| matches!(part.role, Role::Input | Role::Series(_)) || part.windows;
    let inputs: Vec<&String> = task.parts().iter().filter(is_read).flat_map(|part| &part.fields).collect();
    let derived = || task.derived().values().map(|derivation| derivation.field().to_string());
    let known = || task.fields().into_iter().chain(derived()).collect::<Vec<_>>();
    let lacks_one = inputs.iter().any(|field| !row.fields.contains_key(*field));
    let unknown = || row.fields.keys().find(|&field| !known().contains(field));
    let found = match lacks_one.then(unknown).flatten() {
        Some(field) => format!("{field:?}"),
        None if inputs.is_empty() || inputs.iter().any(|field| !row.get(field).is_missing()) => return Ok(()),
        None => "no value of one".into(),
    };
    let inputs = smalti_contract::listed(&inputs, ", ");
    let problem = format!("row {}: expected a field of the inputs: {inputs}; found {found}", place + 1);
    Err(TokenizeError::Input(problem))
}

/// Generate the values of an output: for one trained on windows, the continuation of each row's value, if it has one; for one
/// with decoding rules, the transcripts.
fn generate_values(
    (model, number, task): (&Model, usize, &Composition),
    output: usize,
    rows: &[(GetField, Range<usize>)],
    samples: &[Sample],
    generation: &Generation,
) -> Result<Vec<Option<Value>>, PredictError> {
    #[cfg(feature = "audio")]
    if task.outputs()[output].decoding.is_some() {
        let transcript = |(get, _): &(GetField, Range<usize>)| {
            super::transcribe::of_row((model, number, task), output, *get, &generation.sampling)
        };
        return rows.iter().map(transcript).collect();
    }
    let NextToken { part, .. } = NextToken::new(model, number, task, output)?;
    if !part.windows {
        let texts = generate_batch(model, number, task, output, samples, generation)?;
        return texts.iter().map(|ids| Ok(Some(task.decode(output, ids)?))).collect();
    }
    let continued = |((get, _), sample): (&(GetField, Range<usize>), &Sample)| {
        let prompt = Part::value(&part.fields, *get)?;
        if prompt.is_missing() {
            return Ok(None);
        }
        let sampling = Sampling { seed: generation.sampling.seed ^ sample.id, ..generation.sampling };
        let mut continuation = Continuation::new(model, number, task, output, prompt, sampling)?;
        continuation.value(generation.most_tokens(part)).map(Some)
    };
    rows.iter().zip(samples).map(continued).collect()
}

/// Predict every output that is not generated from the tokens of values of part number `part` alone. `number` is the task's in
/// the model.
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

/// Predict the outputs of samples, none of which is generated. Each sample comes with the number of its task in the model.
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
