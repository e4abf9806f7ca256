//! One vector for a whole input, of what its tokens have become.

use super::TaskError;
use crate::data::{Batch, Sample, Stream, collate};
use crate::model::Model;
use crate::ops::without_gradients;
use serde::{Deserialize, Serialize};
use smalti_contract::Tokens;

/// How tokens become one vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pooling {
    /// The mean of all tokens that hold input.
    Mean,
    /// The first token: BERT's `[CLS]`, ViT's class token.
    First,
}

/// How texts become vectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Embedding {
    /// How tokens become one vector.
    pub pooling: Pooling,
    /// Whether a vector is brought to length 1.
    pub normalize: bool,
    /// The most tokens of a text that are read; 0 for as many as the context holds.
    pub most_tokens: usize,
}

impl Default for Embedding {
    fn default() -> Self {
        Self { pooling: Pooling::Mean, normalize: false, most_tokens: 0 }
    }
}

/// The vectors of some inputs, `[inputs, d_model]`. `number` is the task's among the model's; the pooled token is
/// the one that `first` says, counted in each input's order, or all of kinds that are not learned.
///
/// # Errors
/// Where an input does not fit the model, or has no token to pool.
pub(super) fn embed(
    model: &Model,
    number: usize,
    inputs: Vec<Vec<(Stream, Tokens)>>,
    pool: impl Fn(&Batch, std::ops::Range<usize>) -> Vec<usize>,
    normalize: bool,
) -> Result<Vec<Vec<f32>>, TaskError> {
    let sample = |(id, inputs)| (number, Sample { inputs, outputs: vec![], id });
    let batch = collate(model.layouts(), &(0..).zip(inputs).map(sample).collect::<Vec<_>>())?;
    let states = without_gradients(|| model.forward(&batch, None))?.into_tensor();
    let (_, d) = states.dims2()?;
    let states = states.flatten_all()?.to_vec1::<f32>()?;
    let documents = batch.main.meta.documents.clone();
    let vector = |rows: std::ops::Range<usize>| {
        let pooled = pool(&batch, rows);
        let mut vector = vec![0.0; d];
        for &row in &pooled {
            vector.iter_mut().zip(&states[row * d..(row + 1) * d]).for_each(|(sum, x)| *sum += x);
        }
        let share = 1.0 / pooled.len().max(1) as f32;
        vector.iter_mut().for_each(|sum| *sum *= share);
        if normalize {
            let length = vector.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt().max(1e-12) as f32;
            vector.iter_mut().for_each(|x| *x /= length);
        }
        vector
    };
    Ok(documents.into_iter().map(vector).collect())
}
