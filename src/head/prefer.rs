//! Preference pairs, by direct preference optimization (Rafailov et al. 2023).

use super::accumulator::{MetricAccumulator, Transcript};
use super::ctc::vocabulary;
use super::generate::ids_target;
use super::loss::wrong_target_kind;
use super::{FitData, Head, HeadInput, HeadKind, Metrics, Prediction, TargetContext, predicted_ids};
use crate::data::{HeadBatch, Target, Targets};
use crate::ops::{self, preference::log_probs};
use candle_core::{Result, Tensor};
use serde::{Deserialize, Serialize};
use smalti_contract::{TokenizeError, Value};
use std::ops::Range;

/// Predicts the id after each token of the output's sequence, and is trained to prefer a chosen completion to a rejected one.
///
/// The loss of a pair is −log σ(β·margin), where the margin is how much more the chosen completion has gained over the frozen
/// reference model, in nats, than the rejected one. Before the first step both models are the same, and the loss is ln 2.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Prefer {
    vocabulary: usize,
    beta: f64,
}

/// Settings of [`Prefer`].
#[derive(Clone, Debug, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PreferSettings {
    /// β, above 0: the strength of the pull back to the reference model.
    pub beta: f64,
}

impl Default for PreferSettings {
    fn default() -> Self {
        Self { beta: 0.1 }
    }
}

impl Prefer {
    /// A head of `vocabulary` ids.
    pub fn new(vocabulary: usize, beta: f64) -> Self {
        Self { vocabulary, beta }
    }
}

impl Head for Prefer {
    fn width(&self) -> usize {
        self.vocabulary
    }

    fn is_vocabulary(&self) -> bool {
        true
    }

    fn loss_unit(&self) -> &'static str {
        "per pair"
    }

    fn needs_reference(&self) -> bool {
        true
    }

    /// The id after each token of a completion; the sample makes a pair of two.
    fn target(&self, _: Value, context: &TargetContext) -> std::result::Result<Target, TokenizeError> {
        ids_target(context)
    }

    fn loss(&self, output: &ops::Value, read: &HeadBatch, _: f32) -> Result<ops::Value> {
        match &read.targets {
            Targets::Pairs { ids, weights, pairs } => ops::preference(output, ids, weights, pairs, self.beta),
            _ => wrong_target_kind(Self::NAME, read),
        }
    }

    fn accumulator(&self) -> Box<dyn MetricAccumulator> {
        Box::new(Rewards { beta: self.beta, ..Rewards::default() })
    }

    /// The most probable next id after each token that the head reads.
    fn predict(&self, output: &Tensor, documents: &[Range<usize>]) -> Result<Vec<Prediction>> {
        predicted_ids(output, documents)
    }
}

/// Sums over pairs of the implicit reward of a completion: β × its gain over the reference model.
#[derive(Default)]
struct Rewards {
    beta: f64,
    pairs: f64,
    /// Pairs whose chosen completion has the higher reward.
    correct: f64,
    chosen: f64,
    rejected: f64,
}

impl MetricAccumulator for Rewards {
    fn add(&mut self, output: &Tensor, read: &HeadBatch, _: f64, _: &dyn Transcript) -> Result<()> {
        let Targets::Pairs { ids, weights, pairs } = &read.targets else { return Ok(()) };
        let log_probs = log_probs(output, ids, weights)?;
        for pair in pairs {
            let [chosen, rejected] = pair.gains(&log_probs).map(|gain| self.beta * gain);
            self.pairs += 1.0;
            self.correct += f64::from(u8::from(chosen > rejected));
            self.chosen += chosen;
            self.rejected += rejected;
        }
        Ok(())
    }

    fn metrics(&self) -> Metrics {
        if self.pairs == 0.0 {
            return Metrics::new();
        }
        let metrics = [
            ("accuracy", self.correct),
            ("margin", self.chosen - self.rejected),
            ("chosen_reward", self.chosen),
            ("rejected_reward", self.rejected),
        ];
        metrics.into_iter().map(|(name, sum)| (name.to_string(), sum / self.pairs)).collect()
    }
}

impl HeadKind for Prefer {
    const NAME: &'static str = "prefer";
    const INPUT: HeadInput = HeadInput::Completions;
    type Settings = PreferSettings;

    fn settings_schema() -> serde_json::Value {
        schemars::schema_for!(PreferSettings).into()
    }

    fn fit(settings: PreferSettings, data: &FitData) -> std::result::Result<Self, TokenizeError> {
        let beta = settings.beta;
        if !(beta > 0.0 && beta.is_finite()) {
            let problem = format!("beta: expected a number above 0; found {beta}");
            return Err(TokenizeError::Config { tokenizer: Self::NAME, problem });
        }
        Ok(Self::new(vocabulary(Self::NAME, data)?, beta))
    }
}
