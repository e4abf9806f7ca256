//! Metrics of generated values against those of the data set.

use super::PredictError;
use super::generate::{BATCH_SIZE, Generation, generate_batch};
use crate::data::Dataset;
use crate::head::Metrics;
use crate::metrics::{bleu, chrf, error_rates};
use crate::model::Model;
use crate::random;
use crate::sample::{Composition, Part, Purpose, Role, Samples};
use smalti_contract::Value;
use std::collections::BTreeMap;

/// A value that was generated for a sample.
#[derive(Clone, Debug, PartialEq)]
pub struct Generated {
    /// The index of the output.
    pub output: usize,
    /// The index of the sample.
    pub sample: usize,
    /// The value.
    pub value: Value,
}

/// Generates the outputs of `limit` rows spread evenly over the data set (0 for all rows): those whose value in the row `is_wanted`
/// accepts. Windows of a longer text and removed spans are left out.
///
/// # Errors
/// [`PredictError`] for a row that cannot be predicted.
pub fn generate_rows(
    model: &Model,
    number: usize,
    task: &Composition,
    samples: &Samples,
    limit: usize,
    generation: &Generation,
    is_wanted: &dyn Fn(&Value) -> bool,
) -> Result<Vec<Generated>, PredictError> {
    let n = samples.len();
    let n_rows = if limit == 0 { n } else { limit.min(n) };
    let indexes: Vec<usize> = (0..n_rows).map(|place| random::spread(place, n_rows, n)).collect();
    let mut all = vec![];
    for part in task.parts() {
        // A window of a longer text has no target of its own, and removed spans are drawn.
        let Role::Generated(output) = part.role else { continue };
        if part.windows || task.outputs()[output].spans.is_some() {
            continue;
        }
        for indexes in indexes.chunks(BATCH_SIZE) {
            let (mut wanted, mut of_rows) = (vec![], vec![]);
            for &index in indexes {
                let (get, steps, id) = samples.row(index);
                if is_wanted(&Part::value(&part.fields, &get)?) {
                    wanted.push(index);
                    of_rows.push(task.sample(&get, steps, Purpose::Predict, id)?);
                }
            }
            let generated = generate_batch(model, number, task, output, &of_rows, generation)?;
            for (sample, ids) in wanted.into_iter().zip(generated) {
                all.push(Generated { output, sample, value: task.decode(output, &ids)? });
            }
        }
    }
    Ok(all)
}

/// Metrics of a task's generated texts, by output, on `limit` rows spread evenly over the data set (0 for all rows).
///
/// `generated_samples` is the number of texts; `exact` is the share of exact matches; `wer` and `cer` are error rates; `bleu`
/// (4-grams, tokenization 13a) and `chrf` (6-grams of characters, β 2) are in 0..=100, as in sacreBLEU.
///
/// # Errors
/// [`PredictError`] for a row that cannot be predicted.
pub fn measure_generated(
    model: &Model,
    number: usize,
    task: &Composition,
    samples: &Samples,
    limit: usize,
    generation: &Generation,
) -> Result<BTreeMap<String, Metrics>, PredictError> {
    let is_text = |value: &Value| matches!(value, Value::Text(_));
    let values = generate_rows(model, number, task, samples, limit, generation, &is_text)?;
    score_generated(task, samples, &values)
}

/// The metrics of [`measure_generated`], of texts that were generated for these samples already.
///
/// # Errors
/// [`PredictError`] for a row that cannot be read.
pub fn score_generated(
    task: &Composition,
    samples: &Samples,
    values: &[Generated],
) -> Result<BTreeMap<String, Metrics>, PredictError> {
    let mut all = BTreeMap::new();
    for part in task.parts() {
        let Role::Generated(output) = part.role else { continue };
        let mut pairs: Vec<(String, String)> = vec![];
        for made in values.iter().filter(|made| made.output == output) {
            let expected = Part::value(&part.fields, &samples.row(made.sample).0)?;
            let (Value::Text(found), Value::Text(_)) = (&made.value, &expected) else { continue };
            // Both texts are decoded from ids: normalization, such as lower case, is no error.
            if let Some(ids) = part.ids(expected)? {
                pairs.push((found.clone(), task.decode(output, &ids)?.into_text()?));
            }
        }
        if !pairs.is_empty() {
            all.insert(task.outputs()[output].name.clone(), text_metrics(&pairs));
        }
    }
    Ok(all)
}

/// The metrics of pairs of a generated text and its target.
fn text_metrics(pairs: &[(String, String)]) -> Metrics {
    let texts = || pairs.iter().map(|(found, target)| (found.as_str(), target.as_str()));
    let exact = pairs.iter().filter(|(found, target)| found == target).count();
    let mut metrics = Metrics::from([
        ("generated_samples".to_string(), pairs.len() as f64),
        ("exact".to_string(), exact as f64 / pairs.len() as f64),
        ("bleu".to_string(), bleu(texts())),
        ("chrf".to_string(), chrf(texts())),
    ]);
    if let Some(rates) = error_rates(texts()) {
        metrics.extend([("wer".to_string(), rates.wer), ("cer".to_string(), rates.cer)]);
    }
    metrics
}
