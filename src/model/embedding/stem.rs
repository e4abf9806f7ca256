//! Convolutions before the first block.

use super::FEATURE_SCALE;
use crate::model::config::{ModelConfig, PixelConvolution, Stem};
use crate::model::{layer::Layer, linear::Linear, params::Scope};
use crate::ops::{self, Activation, Value};
use candle_core::{Result, Tensor, bail};
use smalti_contract::{ContentSpec, KindSpec};
use std::ops::Range;

/// Checks that a stem's kind exists and has features.
pub(super) fn check_kind(stem: &Stem, kinds: &[KindSpec]) -> Result<()> {
    let features = kinds.iter().filter(|kind| matches!(kind.content, ContentSpec::Features { .. }));
    let names: Vec<&str> = features.map(|kind| kind.name.as_str()).collect();
    if names.contains(&stem.kind.as_str()) {
        return Ok(());
    }
    let names = match names.is_empty() {
        true => "none".into(),
        false => smalti_contract::listed(names, ", "),
    };
    bail!(
        "model.embedding.stem.kind: expected a kind of tokens with features (this model has {names}); found {}",
        stem.kind
    )
}

/// Two convolutions over the frames of a spectrogram, each three frames wide and followed by GELU, the second with a
/// stride of two: Whisper's stem (Radford et al. 2022).
///
/// A token is a slice of two frames, so the number of tokens stays the same. Documents are padded with zeros.
pub(super) struct FrameConvolutions {
    /// `[d_model, 3·bands]`: the frame before, the frame, the frame after.
    first: Linear,
    /// `[d_model, 3·d_model]`.
    second: Linear,
}

impl FrameConvolutions {
    /// Convolutions over slices of `dim` features, two frames each.
    pub(super) fn new(mut scope: Scope, dim: usize, config: &ModelConfig) -> Result<Self> {
        if !dim.is_multiple_of(2) {
            bail!("model.embedding.stem: expected slices of two frames; found {dim} features");
        }
        let (bands, d) = (dim / 2, config.d_model);
        Ok(Self {
            first: Linear::new(scope.at("first"), 3 * bands, d, config.bias, std(3 * bands))?,
            second: Linear::new(scope.at("second"), 3 * d, d, config.bias, std(3 * d))?,
        })
    }
}

impl Layer for FrameConvolutions {
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

/// Two convolutions over the pixels of each patch, the first followed by GELU (Xiao et al. 2021, Early convolutions help
/// transformers see better). The second covers all outputs of the first, so that a patch becomes one token.
///
/// Patches that overlap make these the convolutions of a whole image: of patches of 8 pixels, one every 4, and a kernel of 4 pixels
/// with a stride of 2, the second is 3×3 outputs wide and moves by 2.
pub(super) struct PixelConvolutions {
    /// `[out_channels, kernel_size²·channels]`.
    first: Linear,
    /// `[d_model, places·out_channels]`.
    second: Linear,
    /// Pixels of a patch.
    pixels: usize,
    /// The pixels of a patch under the kernel, `[places·kernel_size²]`.
    covered: Vec<u32>,
    /// Places of the kernel in a patch.
    places: usize,
}

impl PixelConvolutions {
    /// Convolutions over patches of `dim` features: the channels of a pixel, 1 or 3, beside each other, row by row.
    pub(super) fn new(
        mut scope: Scope,
        dim: usize,
        first: PixelConvolution,
        config: &ModelConfig,
    ) -> Result<Self> {
        let PixelConvolution { kernel_size, stride, out_channels } = first;
        // No number is both a square and three times a square.
        let square = |channels: usize| {
            Some(channels).filter(|channels| (dim / channels).isqrt().pow(2) * channels == dim)
        };
        let Some(channels) = square(1).or_else(|| square(3)) else {
            bail!(
                "model.embedding.stem.pixels: expected square patches of 1 or 3 channels; found {dim} features"
            );
        };
        let side = (dim / channels).isqrt();
        if !(1..=side).contains(&kernel_size) || stride == 0 || !(side - kernel_size).is_multiple_of(stride) {
            bail!(
                "model.embedding.stem.pixels: expected a kernel_size of at most {side}, and a stride that divides {side} - \
                 kernel_size; found kernel_size = {kernel_size}, stride = {stride}"
            );
        }
        if !(1..=1 << 20).contains(&out_channels) {
            bail!(
                "model.embedding.stem.pixels.out_channels: expected 1 to {}; found {out_channels}",
                1 << 20
            );
        }
        let starts = || (0..=side - kernel_size).step_by(stride);
        let corners = starts().flat_map(|top| starts().map(move |left| top * side + left));
        let offsets = |corner| {
            (0..kernel_size).flat_map(move |y| (0..kernel_size).map(move |x| (corner + y * side + x) as u32))
        };
        let places = starts().count().pow(2);
        let (window, outputs) = (kernel_size.pow(2) * channels, places * out_channels);
        let std_of_tokens = std(outputs) * FEATURE_SCALE; // as without a stem
        Ok(Self {
            first: Linear::new(scope.at("first"), window, out_channels, config.bias, std(window))?,
            second: Linear::new(scope.at("second"), outputs, config.d_model, config.bias, std_of_tokens)?,
            pixels: side * side,
            covered: corners.flat_map(offsets).collect(),
            places,
        })
    }
}

impl Layer for PixelConvolutions {
    /// `[n, pixels·channels]` → `[n, d_model]`.
    fn forward(&self, patches: &Value, _: &[Range<usize>]) -> Result<Value> {
        let (n, dim) = patches.dims2()?;
        let channels = dim / self.pixels;
        let pixels = ops::reshape(patches, &[n * self.pixels, channels])?;
        let of_patch = |patch| self.covered.iter().map(move |pixel| (patch * self.pixels) as u32 + pixel);
        let rows: Vec<u32> = (0..n).flat_map(of_patch).collect();
        let windows = ops::gather_rows(&pixels, &rows)?;
        let window = self.covered.len() / self.places * channels;
        let windows = ops::reshape(&windows, &[n * self.places, window])?; // [n·places, kernel_size²·channels]
        let x = ops::activation(&self.first.forward(&windows)?, Activation::Gelu)?; // [n·places, out_channels]
        let (_, out_channels) = x.dims2()?;
        self.second.forward(&ops::reshape(&x, &[n, self.places * out_channels])?)
    }
}

/// The deviation of initial weights whose outputs are about as large as their inputs.
fn std(inputs: usize) -> f64 {
    1.0 / (inputs as f64).sqrt()
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
    use crate::model::params::Params;
    use crate::ops::testing::{assert_close, check_kernel, random};
    use candle_core::Device;

    /// Against candle's own convolutions.
    #[test]
    fn pixels_are_convolved() -> Result<()> {
        let (kernel_size, stride, out_channels) = (4, 2, 5);
        let first = PixelConvolution { kernel_size, stride, out_channels };
        let config = ModelConfig { d_model: 7, ..ModelConfig::default() };
        let mut params = Params::new(1, &Device::Cpu);
        let stem = PixelConvolutions::new(params.root().at("stem"), 8 * 8 * 3, first, &config)?;
        let patches = random(&[2, 8 * 8 * 3], 3)?;
        let found = stem.forward(&Value::constant(patches.clone()), &[])?.into_tensor();
        // [out, height, width, channels] → [out, channels, height, width]
        let kernel = |name: &str, [out, side, channels]: [usize; 3]| -> Result<Tensor> {
            let weight = params.tensors()[name].reshape((out, side, side, channels))?;
            weight.permute((0, 3, 1, 2))?.contiguous()
        };
        let x = patches.reshape((2, 8, 8, 3))?.permute((0, 3, 1, 2))?.contiguous()?;
        let x = x.conv2d(&kernel("stem.first.weight", [5, 4, 3])?, 0, 2, 1, 1)?.gelu_erf()?;
        let expected = x.conv2d(&kernel("stem.second.weight", [7, 3, 5])?, 0, 2, 1, 1)?.reshape((2, 7))?;
        assert_close("tokens", &found, &expected, 1e-5)
    }

    /// A kind without features cannot have a stem.
    #[test]
    fn a_stem_of_another_kind_is_refused() {
        let kind =
            |name: &str, content| KindSpec { name: name.into(), content, axes: Vec::new(), time_steps: None };
        let kinds = [
            kind("image.patch", ContentSpec::Features { dim: 64 }),
            kind("text.character", ContentSpec::Ids { vocabulary: 8 }),
        ];
        let check = |name: &str, kinds: &[KindSpec]| {
            let error = check_kind(&Stem { kind: name.into(), pixels: None }, kinds).err();
            error.map(|error| error.to_string())
        };
        assert_eq!(check("image.patch", &kinds), None);
        let found = check("text.character", &kinds).unwrap_or_default();
        assert!(found.contains("(this model has image.patch); found text.character"), "{found}");
        let found = check("image.patch", &kinds[1..]).unwrap_or_default();
        assert!(found.contains("(this model has none); found image.patch"), "{found}");
    }

    /// A kernel must fit, and features must be those of square patches.
    #[test]
    fn stems_that_do_not_fit_are_refused() {
        let refused = |dim, kernel_size, stride, out_channels| {
            let first = PixelConvolution { kernel_size, stride, out_channels };
            let mut params = Params::new(1, &Device::Cpu);
            let stem = PixelConvolutions::new(params.root().at("stem"), dim, first, &ModelConfig::default());
            stem.err().map(|error| error.to_string())
        };
        assert_eq!(refused(8 * 8, 4, 2, 16), None);
        for (case, expected) in [
            (refused(50, 4, 2, 16), "found 50 features"),
            (refused(64, 9, 2, 16), "kernel_size = 9"),
            (refused(64, 0, 2, 16), "kernel_size = 0"),
            (refused(64, 4, 3, 16), "stride = 3"),
            (refused(64, 4, 0, 16), "stride = 0"),
            (refused(64, 4, 2, 0), "out_channels"),
        ] {
            assert!(case.as_ref().is_some_and(|found| found.contains(expected)), "{case:?}: {expected}");
        }
    }

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
