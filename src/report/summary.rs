//! A run's log in brief: its best and its last evaluation, its last step, its end.

use super::curves::{self, Evaluation};
use crate::train::{End, SaveError, log};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;

/// The course of a training, from the log of its run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Summary {
    /// The evaluation with the least validation loss, whose weights the run keeps.
    pub best: Option<Evaluation>,
    /// The last evaluation.
    pub last: Option<Evaluation>,
    /// The last step.
    pub step: Option<u64>,
    /// Why the training ended; `None` while it trains, and if it was stopped or killed.
    pub end: Option<End>,
    /// The samples that cannot be used, each with its problem.
    pub not_used: Vec<String>,
    /// The seconds of the training, over all its parts.
    pub seconds: Option<f64>,
    /// The median of the logged tokens per second.
    pub tokens_per_s: Option<f64>,
}

impl Summary {
    /// Reads the log of a run folder, whose outputs have these [weights](crate::task::TaskSpec::loss_weights) in the loss (an
    /// output without a weight has 1). Calls `each` with every line.
    ///
    /// # Errors
    /// [`SaveError`] if the log cannot be read.
    pub fn read(
        folder: &Path,
        loss_weights: &BTreeMap<String, f64>,
        mut each: impl FnMut(&Value),
    ) -> Result<Self, SaveError> {
        let (mut summary, mut rates) = (Self::default(), vec![]);
        let loss = |evaluation: &Evaluation| curves::weighted_loss(evaluation, loss_weights);
        for line in log::lines(folder)? {
            let line = line?;
            each(&line);
            summary.step = summary.step.max(line["step"].as_u64());
            summary.end = serde_json::from_value(line[log::END].clone()).ok();
            summary.not_used.extend(line["not_used"].as_str().map(String::from));
            summary.seconds = line[log::SECONDS].as_f64().or(summary.seconds);
            rates.extend(line["tokens_per_s"].as_f64());
            let Some(found) = curves::evaluation(&line) else { continue };
            // As the trainer keeps weights: without a finite loss, those of the last evaluation.
            let is_best = |best: &Evaluation| loss(&found) < loss(best) || !loss(best).is_finite();
            if summary.best.as_ref().is_none_or(is_best) {
                summary.best = Some(found.clone());
            }
            summary.last = Some(found);
        }
        rates.sort_by(f64::total_cmp);
        summary.tokens_per_s = rates.get(rates.len() / 2).copied();
        Ok(summary)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_evaluation_is_by_weighted_loss() {
        let folder = tempfile::tempdir().unwrap();
        let log = "{\"step\":1,\"tokens_per_s\":9.0}\n\
                   {\"step\":5,\"eval\":{\"a\":{\"loss\":4.0},\"b\":{\"loss\":2.0}}}\n\
                   {\"step\":6,\"not_used\":\"a.png: no image\",\"seconds\":7.5}\n\
                   {\"step\":10,\"eval\":{\"a\":{\"loss\":3.0},\"b\":{\"loss\":2.5}}}\n\
                   {\"step\":15,\"eval\":{\"a\":{\"loss\":null},\"b\":{\"loss\":2.5}}}\n\
                   {\"step\":15,\"end\":\"patience\"}\n";
        std::fs::write(folder.path().join(log::METRICS_FILE), log).unwrap();
        for (weight, best) in [(1.0, 10), (3.0, 5)] {
            let weights = BTreeMap::from([("b".to_string(), weight)]);
            let mut lines = 0;
            let summary = Summary::read(folder.path(), &weights, |_| lines += 1).unwrap();
            let steps = [summary.best, summary.last].map(|evaluation| evaluation.unwrap().step);
            assert_eq!((steps, summary.step, lines), ([best, 15], Some(15), 6));
            assert_eq!(summary.end, Some(End::Patience));
            assert_eq!((summary.tokens_per_s, summary.seconds), (Some(9.0), Some(7.5)));
            assert_eq!(summary.not_used, ["a.png: no image"]);
        }
    }

    #[test]
    fn a_run_without_a_log_has_no_step() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Summary::read(folder.path(), &BTreeMap::new(), |_| {}).unwrap(), Summary::default());
    }
}
