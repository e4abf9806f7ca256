//! Prediction of masked tokens, by cross-entropy: of a fixed share (BERT; Devlin et al. 2019), or of a share drawn for each
//! sample, whose weighted loss bounds the likelihood (masked diffusion; Austin et al. 2021, Sahoo et al. 2024).

use super::accumulator::{BoundAccumulator, MetricAccumulator, TokenAccumulator};
use super::ctc::vocabulary;
use super::generate::ids_target;
use super::{FitData, Head, HeadInput, HeadKind, Prediction, TargetContext, loss, predicted_ids};
use crate::data::{HeadBatch, Target};
use crate::ops;
use candle_core::{Result, Tensor};
use serde::{Deserialize, Serialize};
use smalti_contract::{TokenizeError, Value};
use std::ops::Range;

/// The share of masked tokens that BERT has.
const MASK: f64 = 0.15;
/// The number of masked versions of a sample that an evaluation of a diffusion model averages.
const EVAL_RATES: usize = 8;
/// The most of them.
const MOST_EVAL_RATES: usize = 1 << 10;

/// Predicts the ids of masked tokens of the output's sequence.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Masked {
    vocabulary: usize,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    mask: Option<f64>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    diffusion: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    eval_rates: Option<usize>,
}

/// How the tokens of a sample are masked.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Masking {
    /// Each token with this probability, at least one: 80% become the mask id, 10% a random id, 10% stay (BERT). Each masked
    /// token has weight 1.
    Share(f64),
    /// Of `n` tokens, `k` random ones become the mask id, `k` drawn uniformly from `1..=n`, each with weight `n / k`. The mean
    /// loss is then an unbiased estimate of a bound on the negative log-likelihood per token: that of a diffusion process that
    /// masks tokens at a uniform time, and of a model that predicts tokens one by one in a random order (Hoogeboom et al. 2022).
    Diffusion {
        /// The number of versions of a sample that an evaluation averages, each with `k` from another of as many equal ranges.
        eval_rates: usize,
    },
}

impl Default for Masking {
    fn default() -> Self {
        Self::Share(MASK)
    }
}

/// Settings of [`Masked`].
#[derive(Clone, Debug, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct MaskedSettings {
    /// Share of the tokens that are masked, above 0 and at most 1. Default: 0.15.
    pub mask: Option<f64>,
    /// Whether the share is drawn uniformly for each sample, and the loss of a sample divided by it (masked diffusion; Sahoo et
    /// al. 2024): the mean loss bounds the negative log-likelihood, and the model generates tokens in any order.
    pub diffusion: bool,
    /// Number of masked versions of each sample that an evaluation of a diffusion model averages: its bounds are means over as
    /// many shares of masked tokens. Default: 8.
    pub eval_rates: Option<usize>,
}

impl Masked {
    /// A head of `vocabulary` ids.
    pub fn new(vocabulary: usize, masking: Masking) -> Self {
        match masking {
            Masking::Share(mask) => Self { vocabulary, mask: Some(mask), diffusion: false, eval_rates: None },
            Masking::Diffusion { eval_rates } => {
                Self { vocabulary, mask: None, diffusion: true, eval_rates: Some(eval_rates) }
            }
        }
    }

    fn how(&self) -> Masking {
        match self.diffusion {
            true => Masking::Diffusion {
                eval_rates: self.eval_rates.unwrap_or(EVAL_RATES).clamp(1, MOST_EVAL_RATES),
            },
            false => Masking::Share(self.mask.unwrap_or(MASK)),
        }
    }
}

impl Head for Masked {
    fn width(&self) -> usize {
        self.vocabulary
    }

    fn is_vocabulary(&self) -> bool {
        true
    }

    fn smooths_labels(&self) -> bool {
        true
    }

    fn masking(&self) -> Option<Masking> {
        Some(self.how())
    }

    /// The ids before masking, each of weight 1; masking sets the weights.
    fn target(&self, _: Value, context: &TargetContext) -> std::result::Result<Target, TokenizeError> {
        ids_target(context)
    }

    fn loss(&self, output: &ops::Value, read: &HeadBatch, label_smoothing: f32) -> Result<ops::Value> {
        loss::cross_entropy(Self::NAME, output, read, label_smoothing)
    }

    fn accumulator(&self) -> Box<dyn MetricAccumulator> {
        match self.how() {
            Masking::Share(_) => Box::new(TokenAccumulator::default()),
            Masking::Diffusion { .. } => Box::<BoundAccumulator>::default(),
        }
    }

    /// The most probable id of each token.
    fn predict(&self, output: &Tensor, documents: &[Range<usize>]) -> Result<Vec<Prediction>> {
        predicted_ids(output, documents)
    }
}

impl MaskedSettings {
    /// The checked settings.
    fn masking(&self) -> std::result::Result<Masking, String> {
        match (self.diffusion, self.mask, self.eval_rates) {
            (true, Some(_), _) => {
                Err("mask: with diffusion = true a share is drawn for each sample; remove mask".into())
            }
            (true, None, rates) => match rates.unwrap_or(EVAL_RATES) {
                eval_rates @ 1..=MOST_EVAL_RATES => Ok(Masking::Diffusion { eval_rates }),
                found => Err(format!("eval_rates: expected 1 to {MOST_EVAL_RATES}; found {found}")),
            },
            (false, _, Some(_)) => {
                Err("eval_rates: expected diffusion = true; other masks have one share".into())
            }
            (false, mask, None) => match mask.unwrap_or(MASK) {
                mask if mask > 0.0 && mask <= 1.0 => Ok(Masking::Share(mask)),
                mask => Err(format!("mask: expected a share above 0 and at most 1; found {mask}")),
            },
        }
    }
}

impl HeadKind for Masked {
    const NAME: &'static str = "masked";
    const INPUT: HeadInput = HeadInput::MaskedTokens;
    type Settings = MaskedSettings;

    fn settings_schema() -> serde_json::Value {
        schemars::schema_for!(MaskedSettings).into()
    }

    fn fit(settings: MaskedSettings, data: &FitData) -> std::result::Result<Self, TokenizeError> {
        let refuse = |problem| TokenizeError::Config { tokenizer: Self::NAME, problem };
        let masking = settings.masking().map_err(refuse)?;
        Ok(Self::new(vocabulary(Self::NAME, data)?, masking))
    }
}
