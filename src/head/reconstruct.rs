//! The input itself, through a learned codebook.

use super::tally::{MeanLoss, NumberSums, Tally, Transcript};
use super::{Asked, CodebookConfig, Fit, Head, HeadKind, Metrics, Prediction, Reads, loss};
use crate::data::{HeadBatch, Target, Targets};
use crate::ops;
use candle_core::{Result, Tensor};
use serde::{Deserialize, Serialize};
use smalti_contract::{Content, TokenizeError, Value};
use std::ops::Range;

/// Reconstructs the features of an input's tokens from their codes: a VQ-VAE (van den Oord et al. 2017), whose encoder and
/// decoder are the two stacks. The codes lie on a sphere of few dimensions (Yu et al. 2022).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reconstruct {
    codebook: CodebookConfig,
    /// Features of a token.
    dim: usize,
}

/// Settings of [`Reconstruct`].
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ReconstructSettings {
    /// The number of codes.
    pub codebook_size: usize,
    /// The width of a code.
    pub codebook_dim: usize,
    /// The weight of the distance of the encoder's outputs from their codes, beside the error of the reconstruction.
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

    /// The features that are asked for, `[tokens, dim]`.
    fn target(&self, _: Value, asked: &Asked) -> std::result::Result<Target, TokenizeError> {
        match &asked.content {
            Some(Content::Features { values, dim }) if *dim == self.dim => {
                Ok(Target::Features { values: values.clone(), dim: *dim, weights: vec![1.0; asked.tokens] })
            }
            _ => Err(TokenizeError::Input(format!(
                "expected an input of {} features for each token, as training has",
                self.dim
            ))),
        }
    }

    fn loss(&self, output: &ops::Value, read: &HeadBatch, _: f32) -> Result<ops::Value> {
        loss::squared_error(Self::NAME, output, read)
    }

    fn tally(&self) -> Box<dyn Tally> {
        Box::new(ReconstructionTally::default())
    }

    /// The features of all tokens of a document, one after another.
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
    const READS: Reads = Reads::Codes;
    type Settings = ReconstructSettings;

    fn fit(settings: ReconstructSettings, of: &Fit) -> std::result::Result<Self, TokenizeError> {
        let refuse = |problem: String| Err(TokenizeError::Config { tokenizer: Self::NAME, problem });
        let ReconstructSettings { codebook_size, codebook_dim, commitment_weight } = settings;
        let Some(dim) = of.features else {
            return refuse(
                "expected an input whose tokens are features on a grid of positions, such as image patches"
                    .into(),
            );
        };
        for (setting, found) in [("codebook_size", codebook_size), ("codebook_dim", codebook_dim)] {
            if !(2..=MOST).contains(&found) {
                return refuse(format!("{setting}: expected 2 to {MOST}; found {found}"));
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

/// The most codes, and the widest.
const MOST: usize = 1 << 16;

/// Squared errors beside the variance of what is reconstructed.
#[derive(Default)]
struct ReconstructionTally {
    loss: MeanLoss,
    features: NumberSums,
}

impl Tally for ReconstructionTally {
    fn add(&mut self, output: &Tensor, read: &HeadBatch, loss: f64, _: &dyn Transcript) -> Result<()> {
        let Targets::Features { values, .. } = &read.targets else { return Ok(()) };
        self.loss.add(loss, read);
        for (predicted, &target) in output.flatten_all()?.to_vec1::<f32>()?.into_iter().zip(values) {
            self.features.add(f64::from(target), f64::from(predicted), 1.0);
        }
        Ok(())
    }

    /// `mse_over_variance`: the mean squared error as a share of the variance of all features.
    fn metrics(&self) -> Metrics {
        let mut metrics = self.loss.metrics();
        if self.features.varies() {
            metrics.insert("mse_over_variance".into(), self.features.square_errors / self.features.squares);
        }
        metrics
    }
}
