//! Metrics of generated values against those of the data set.

use super::PredictError;
use super::generate::{Generation, generate};
use crate::data::Dataset;
use crate::head::Metrics;
use crate::metrics::{bleu, chrf, error_rates};
use crate::model::Model;
use crate::random;
use crate::sample::{Composition, Part, Purpose, Role, Samples};
use smalti_contract::Value;
use std::collections::BTreeMap;

/// Metrics of a task's generated texts, by output, on `limit` rows spread evenly over the data set (0 for all rows).
///
/// `generated_samples` is the number of texts; `exact` is the share of exact matches; `wer` and `cer` are error rates; `bleu` (4-grams, tokenization 13a) and `chrf`
/// (6-grams of characters, β 2) are in 0..=100, as in sacreBLEU.
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
    let n = samples.len();
    let n_rows = if limit == 0 { n } else { limit.min(n) };
    let mut all = BTreeMap::new();
    for part in task.parts() {
        // A window of a longer text has no target of its own, and removed spans are drawn.
        let Role::Generated(output) = part.role else { continue };
        if part.windows || task.outputs()[output].spans.is_some() {
            continue;
        }
        let mut pairs: Vec<(String, String)> = vec![];
        for i in 0..n_rows {
            let (get, steps, id) = samples.row(random::spread(i, n_rows, n));
            let Value::Text(expected) = Part::value(&part.fields, &get)? else { continue };
            let sample = task.sample(&get, steps, Purpose::Predict, id)?;
            let ids = generate(model, number, task, output, &sample, generation)?;
            let text = |value: Value| value.into_text();
            // Both texts are decoded from ids: normalization, such as lower case, is no error.
            let expected = match part.ids(Value::Text(expected))? {
                Some(ids) => text(task.decode(output, &ids)?)?,
                None => continue,
            };
            pairs.push((text(task.decode(output, &ids)?)?, expected));
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
