//! Convolutions before the first block.

use crate::model::{config::ModelConfig, layer::Layer, linear::Linear, params::Scope};
use crate::ops::{self, Activation, Value};
use candle_core::{Result, Tensor, bail};
use std::ops::Range;

/// Two convolutions over the frames of a spectrogram, each three frames wide and followed by GELU, the second with a
/// stride of two: Whisper's stem (Radford et al. 2022).
///
/// A token is a slice of two frames, so the number of tokens stays the same. Documents are padded with zeros.
pub(super) struct Convolutions {
    /// `[d_model, 3·bands]`: the frame before, the frame, the frame after.
    first: Linear,
    /// `[d_model, 3·d_model]`.
    second: Linear,
}

impl Convolutions {
    /// Convolutions over slices of `dim` features, two frames each.
    pub(super) fn new(mut scope: Scope, dim: usize, config: &ModelConfig) -> Result<Self> {
        if !dim.is_multiple_of(2) {
            bail!("model.embedding.stem: expected slices of two frames; found {dim} features");
        }
        let (bands, d) = (dim / 2, config.d_model);
        let std = |inputs: usize| 1.0 / (inputs as f64).sqrt();
        Ok(Self {
            first: Linear::new(scope.at("first"), 3 * bands, d, config.bias, std(3 * bands))?,
            second: Linear::new(scope.at("second"), 3 * d, d, config.bias, std(3 * d))?,
        })
    }
}

impl Layer for Convolutions {
    /// `[n, 2·bands]` → `[n, d_model]`.
    fn forward(&self, slices: &Value, documents: &[Range<usize>]) -> Result<Value> {
        let (n, dim) = slices.dims2()?;
        let frames = ops::reshape(slices, &[2 * n, dim / 2])?;
        let documents: Vec<_> = documents.iter().map(|rows| 2 * rows.start..2 * rows.end).collect();
        let x = self.first.forward(&windows(&frames, &documents, 1)?)?;
        let x = ops::activation(&x, Activation::Gelu)?; // [2·n, d_model]
        let y = self.second.forward(&windows(&x, &documents, 2)?)?;
        ops::activation(&y, Activation::Gelu)
    }
}

/// Every `stride`-th row of each document with both neighbours: `[n, c]` → `[n/stride, 3·c]`.
fn windows(x: &Value, documents: &[Range<usize>], stride: usize) -> Result<Value> {
    let (n, c) = x.dims2()?;
    let zeros = Value::constant(Tensor::zeros((1, c), x.tensor().dtype(), x.tensor().device())?);
    let padding = n as u32; // the row of zeros
    let mut rows = Vec::with_capacity(3 * n / stride);
    for document in documents {
        for row in document.clone().step_by(stride) {
            rows.push(if row > document.start { row as u32 - 1 } else { padding });
            rows.push(row as u32);
            rows.push(if row + 1 < document.end { row as u32 + 1 } else { padding });
        }
    }
    let neighbours = ops::gather_rows(&ops::concat_rows(&[x.clone(), zeros])?, &rows)?;
    ops::reshape(&neighbours, &[rows.len() / 3, 3 * c])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{check_kernel, random};

    /// Against candle's own convolution, document by document.
    #[test]
    fn a_product_of_windows_is_a_convolution() -> Result<()> {
        let documents = [0..4, 4..6, 6..12];
        let t = [random(&[12, 3], 1)?, random(&[5, 9], 2)?];
        for stride in [1, 2] {
            check_kernel(
                "convolution",
                |t| ops::linear(&windows(&t[0], &documents, stride)?, &t[1], None),
                |t| {
                    // [out, window, channels] → [out, channels, window]
                    let kernel = t[1].reshape((5, 3, 3))?.transpose(1, 2)?.contiguous()?;
                    let convolved = documents.iter().map(|rows| {
                        let x = t[0].narrow(0, rows.start, rows.len())?.t()?.unsqueeze(0)?.contiguous()?;
                        x.conv1d(&kernel, 1, stride, 1, 1)?.squeeze(0)?.t()
                    });
                    Tensor::cat(&convolved.collect::<Result<Vec<_>>>()?, 0)
                },
                &t,
            )?;
        }
        Ok(())
    }
}
