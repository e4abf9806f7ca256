//! Every output of some rows.

use super::generate::{Generation, generate};
use crate::data::{DataError, collate};
use crate::head::Prediction;
use crate::model::Model;
use crate::sample::{Composition, Get, Purpose, Role};
use smalti_contract::{TokenizeError, Value};
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
    /// An output that is not generated.
    #[error("outputs.{output} is not generated")]
    Generated {
        /// The output's name.
        output: String,
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
    let mut predicted = vec![Predicted::new(); rows.len()];
    let is_generated = |output: usize| task.parts().iter().any(|part| part.role == Role::Generated(output));
    let asked = samples.iter().map(|sample| {
        let mut sample = sample.clone();
        sample.outputs.retain(|output| !is_generated(output.head));
        (number, sample)
    });
    let asked: Vec<_> = asked.collect();
    if asked.iter().any(|(_, sample)| !sample.outputs.is_empty()) {
        let batch = collate(model.layouts(), &asked)?;
        for (read, output) in batch.heads.iter().zip(model.outputs(&batch)?) {
            let of = &task.outputs()[read.head];
            let predictions = of.head.predict(&output, &read.documents)?;
            for (&place, mut prediction) in read.places.iter().zip(predictions) {
                if of.labels.is_some() {
                    prediction.value = task.decode(read.head, &ids(prediction.value)?)?;
                }
                predicted[place].insert(of.name.clone(), prediction);
            }
        }
    }
    for (number_of_output, output) in task.outputs().iter().enumerate().filter(|(n, _)| is_generated(*n)) {
        for (sample, predicted) in samples.iter().zip(&mut predicted) {
            let ids = generate(model, number, task, number_of_output, sample, generation)?;
            let value = task.decode(number_of_output, &ids)?;
            predicted.insert(output.name.clone(), Prediction { value, probabilities: vec![] });
        }
    }
    Ok(predicted)
}

/// The ids in an array of numbers.
fn ids(value: Value) -> Result<Vec<u32>, TokenizeError> {
    Ok(value.into_numbers()?.into_iter().map(|id| id as u32).collect())
}
