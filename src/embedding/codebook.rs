//! A learned codebook: vector quantization of the encoder's outputs.

use crate::ops::{self, Value};
use crate::params::Scope;
use crate::transformer::{CodebookConfig, Linear, ModelConfig};
use candle_core::{D, DType, Result, Tensor};

/// Vectors of unit root mean square, of which the nearest stands for an output of the encoder (van den Oord et al. 2017; on a
/// sphere of few dimensions, Yu et al. 2022).
#[derive(Clone)]
pub(super) struct Codebook {
    config: CodebookConfig,
    /// d_model → `dim`.
    down: Linear,
    /// `[size, dim]`, before normalization.
    codes: Value,
    /// `dim` → d_model.
    up: Linear,
    /// `[dim]` ones: the norm has no scale.
    ones: Value,
}

/// Outputs of the encoder, each replaced by its nearest code.
pub struct Quantized {
    /// The kind of the tokens that take their place in the main stream.
    pub kind: usize,
    /// `[n]`: the nearest codes.
    pub ids: Vec<u32>,
    /// `[n, d_model]`: what the main stack reads, before positions. Its gradient goes to the encoder's outputs as if nothing
    /// had been replaced (Bengio et al. 2013).
    pub tokens: Value,
    /// A scalar: the distances of codes and outputs, summed over tokens.
    pub loss: Value,
}

/// Added to the mean square before the root.
const EPS: f64 = 1e-6;

impl Codebook {
    pub(super) fn new(mut scope: Scope, config: CodebookConfig, model: &ModelConfig) -> Result<Self> {
        let (d, dim) = (model.d_model, config.dim);
        let std = |inputs: usize| 1.0 / (inputs as f64).sqrt();
        let down = Linear::new(scope.at("down"), d, dim, model.bias, std(d))?;
        let codes = scope.normal("codes", (config.size, dim), 1.0)?;
        let up = Linear::new(scope.at("up"), dim, d, model.bias, std(dim))?;
        let ones = Value::constant(Tensor::ones(dim, DType::F32, codes.tensor().device())?);
        Ok(Self { config, down, codes, up, ones })
    }

    /// `[n, d_model]` → the nearest codes. A code that is nearest to no token is drawn to the token nearest to it, so that no
    /// code stays unused.
    pub(super) fn quantize(&self, encoded: &Value, kind: usize) -> Result<Quantized> {
        let outputs = ops::cast(&self.down.forward(encoded)?, DType::F32)?;
        let outputs = ops::rms_norm(&outputs, &self.ones, EPS)?; // [n, dim]
        let codes = ops::rms_norm(&self.codes, &self.ones, EPS)?; // [size, dim]
        let (n, size) = (outputs.dims()[0], self.config.size);
        // All have one length, so the nearest is the one of greatest product.
        let products = outputs.tensor().detach().matmul(&codes.tensor().detach().t()?)?; // [n, size]
        let ids: Vec<u32> = products.argmax(D::Minus1)?.to_vec1()?;
        let chosen = ops::gather_rows(&codes, &ids)?;
        let difference = (chosen.tensor().detach() - outputs.tensor().detach())?;
        let through = ops::add(&outputs, &Value::constant(difference))?;
        let numbers = |value: &Value| value.tensor().flatten_all()?.to_vec1::<f32>();
        let each = vec![1.0; n];
        let commitment = ops::squared_error(&outputs, &numbers(&chosen)?, &each)?;
        let mut loss = ops::scale(&commitment, self.config.commitment_weight)?;
        loss = ops::add(&loss, &ops::squared_error(&chosen, &numbers(&outputs)?, &each)?)?;
        let mut used = vec![false; size];
        ids.iter().for_each(|&id| used[id as usize] = true);
        let unused: Vec<u32> = (0..size as u32).filter(|&id| !used[id as usize]).collect();
        if !unused.is_empty() {
            let nearest: Vec<u32> = products.argmax(0)?.to_vec1()?;
            let nearest: Vec<u32> = unused.iter().map(|&id| nearest[id as usize]).collect();
            let tokens = outputs
                .tensor()
                .detach()
                .index_select(&Tensor::new(nearest, outputs.tensor().device())?, 0)?;
            let idle = ops::gather_rows(&codes, &unused)?;
            let drawn = ops::squared_error(
                &idle,
                &tokens.flatten_all()?.to_vec1::<f32>()?,
                &vec![1.0; unused.len()],
            )?;
            loss = ops::add(&loss, &drawn)?;
        }
        Ok(Quantized { kind, ids, tokens: self.up.forward(&through)?, loss })
    }

    /// The tokens of some codes, `[n, d_model]`.
    pub(super) fn embed(&self, ids: &[u32]) -> Result<Value> {
        let codes = ops::rms_norm(&self.codes, &self.ones, EPS)?;
        self.up.forward(&ops::gather_rows(&codes, ids)?)
    }
}
