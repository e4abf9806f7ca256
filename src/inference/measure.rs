//! How good generated values are: each is generated from its row, and compared with the row's own.

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

/// Metrics of a task's generated texts on `limit` rows spread evenly (0 for all), by output: `exact`, the share of texts
/// that are right as a whole; `wer` and `cer`; `bleu` (4-grams, tokenisation 13a) and `chrf` (6-grams of characters, β 2),
/// both in 0..=100 as by sacreBLEU.
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
    let asked = if limit == 0 { n } else { limit.min(n) };
    let mut all = BTreeMap::new();
    for part in task.parts() {
        // A window of a longer text has no value of its own to compare with.
        let Role::Generated(output) = part.role else { continue };
        if part.windows {
            continue;
        }
        let mut pairs: Vec<(String, String)> = vec![];
        for i in 0..asked {
            let (get, steps, id) = samples.row(random::spread(i, asked, n));
            let Value::Text(expected) = Part::value(&part.fields, &get)? else { continue };
            let sample = task.sample(&get, steps, Purpose::Predict, id)?;
            let ids = generate(model, number, task, output, &sample, generation)?;
            let text = |value: Value| value.into_text();
            // Both as the tokens have them: lower case, say, is no error.
            let expected = match part.ids(Value::Text(expected))? {
                Some(ids) => text(task.decode(output, &ids)?)?,
                None => continue,
            };
            pairs.push((text(task.decode(output, &ids)?)?, expected));
        }
        if !pairs.is_empty() {
            all.insert(task.outputs()[output].name.clone(), of_pairs(&pairs));
        }
    }
    Ok(all)
}

/// The metrics of generated texts beside those that are right.
fn of_pairs(pairs: &[(String, String)]) -> Metrics {
    let texts = || pairs.iter().map(|(found, right)| (found.as_str(), right.as_str()));
    let exact = pairs.iter().filter(|(found, right)| found == right).count();
    let mut metrics = Metrics::from([
        ("exact".to_string(), exact as f64 / pairs.len() as f64),
        ("bleu".to_string(), bleu(texts())),
        ("chrf".to_string(), chrf(texts())),
    ]);
    if let Some(rates) = error_rates(texts()) {
        metrics.extend([("wer".to_string(), rates.wer), ("cer".to_string(), rates.cer)]);
    }
    metrics
}
