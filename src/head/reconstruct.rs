//! Reconstruction of an input from the codes of a learned codebook.

use super::accumulator::{MetricAccumulator, NumberSums, Transcript};
use super::{CodebookConfig, FitData, Head, HeadInput, HeadKind, Metrics, Prediction, TargetContext, loss};
use crate::data::{HeadBatch, Target, Targets};
use crate::ops;
use candle_core::{Result, Tensor};
use serde::{Deserialize, Serialize};
use smalti_contract::{Content, TokenizeError, Value};
use std::ops::Range;

/// Reconstructs the features of an input's tokens from their codes: a VQ-VAE (van den Oord et al. 2017), whose encoder and
/// decoder are the model's encoder and main transformer. Code vectors lie on a sphere of few dimensions (Yu et al. 2022).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reconstruct {
    codebook: CodebookConfig,
    /// Number of features of a token.
    dim: usize,
}

/// Settings of [`Reconstruct`].
#[derive(Clone, Debug, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ReconstructSettings {
    /// Number of codes.
    pub codebook_size: usize,
    /// Width of a code vector.
    pub codebook_dim: usize,
    /// Weight of the commitment loss: the distance of the encoder's outputs from their code vectors.
    pub commitment_weight: f64,
}

impl Default for ReconstructSettings {
    fn default() -> Self {
        Self { codebook_size: 512, codebook_dim: 8, commitment_weight: 0.25 }
    }
}

impl Head for Reconstruct {
    fn width(&self) -> usize {
        self.dim
    }

    fn codebook(&self) -> Option<CodebookConfig> {
        Some(self.codebook)
    }

    /// The features of the input's tokens, `[tokens, dim]`.
    fn target(&self, _: Value, context: &TargetContext) -> std::result::Result<Target, TokenizeError> {
        match &context.content {
            Some(Content::Features { values, dim }) if *dim == self.dim => {
                Ok(Target::Features { values: values.clone(), dim: *dim, weights: vec![1.0; context.tokens] })
            }
            _ => Err(TokenizeError::Input(format!(
                "expected an input of {} features for each token, as in training",
                self.dim
            ))),
        }
    }

    fn loss(&self, output: &ops::Value, read: &HeadBatch, _: f32) -> Result<ops::Value> {
        loss::squared_error(Self::NAME, output, read)
    }

    fn accumulator(&self) -> Box<dyn MetricAccumulator> {
        Box::new(ReconstructionAccumulator::default())
    }

    /// The features of all tokens of a document, concatenated.
    fn predict(&self, output: &Tensor, documents: &[Range<usize>]) -> Result<Vec<Prediction>> {
        let predict = |rows: &Range<usize>| {
            let features = output.narrow(0, rows.start, rows.len())?.flatten_all()?.to_vec1::<f32>()?;
            Ok(Prediction { value: Value::vector(features), probabilities: vec![] })
        };
        documents.iter().map(predict).collect()
    }
}

impl HeadKind for Reconstruct {
    const NAME: &'static str = "reconstruct";
    const INPUT: HeadInput = HeadInput::Codes;
    type Settings = ReconstructSettings;

    fn settings_schema() -> serde_json::Value {
        schemars::schema_for!(ReconstructSettings).into()
    }

    fn fit(settings: ReconstructSettings, data: &FitData) -> std::result::Result<Self, TokenizeError> {
        let refuse = |problem: String| Err(TokenizeError::Config { tokenizer: Self::NAME, problem });
        let ReconstructSettings { codebook_size, codebook_dim, commitment_weight } = settings;
        let Some(dim) = data.features else {
            return refuse(
                "expected an input whose tokens are features on a grid of positions, such as image patches"
                    .into(),
            );
        };
        for (setting, found) in [("codebook_size", codebook_size), ("codebook_dim", codebook_dim)] {
            if !(2..=MAX_SIZE).contains(&found) {
                return refuse(format!("{setting}: expected 2 to {MAX_SIZE}; found {found}"));
            }
        }
        if !(commitment_weight >= 0.0 && commitment_weight.is_finite()) {
            return refuse(format!("commitment_weight: expected 0 or more; found {commitment_weight}"));
        }
        Ok(Self {
            codebook: CodebookConfig { size: codebook_size, dim: codebook_dim, commitment_weight },
            dim,
        })
    }
}

/// The largest number of codes, and the largest width of a code vector.
const MAX_SIZE: usize = 1 << 16;

/// The squared error of reconstructed features relative to their variance.
#[derive(Default)]
struct ReconstructionAccumulator {
    features: NumberSums,
}

impl MetricAccumulator for ReconstructionAccumulator {
    fn add(&mut self, output: &Tensor, read: &HeadBatch, _: f64, _: &dyn Transcript) -> Result<()> {
        let Targets::Features { values, .. } = &read.targets else { return Ok(()) };
        for (predicted, &target) in output.flatten_all()?.to_vec1::<f32>()?.into_iter().zip(values) {
            self.features.add(f64::from(target), f64::from(predicted), 1.0);
        }
        Ok(())
    }

    /// `mse_over_variance`: the mean squared error divided by the variance of all features.
    fn metrics(&self) -> Metrics {
        let mut metrics = Metrics::new();
        if self.features.varies() {
            metrics.insert("mse_over_variance".into(), self.features.square_errors / self.features.squares);
        }
        metrics
    }
}
