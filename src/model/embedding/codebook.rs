//! A learned codebook: vector quantization of the encoder's outputs.

use crate::head::CodebookConfig;
use crate::model::{config::ModelConfig, linear::Linear, params::Scope};
use crate::ops::{self, Value};
use candle_core::{D, DType, Result, Tensor};

/// A kind of the main stream whose tokens are codes.
#[derive(Clone, Copy, Debug)]
pub struct CodedKind {
    /// Its number among the model's kinds.
    pub kind: usize,
    /// The number of the kind of the encoder's stream whose outputs are quantized.
    pub source: usize,
    /// Its codebook.
    pub codebook: CodebookConfig,
}

/// A codebook: each output of the encoder is replaced by its nearest code vector (van den Oord et al. 2017). Outputs and code
/// vectors are projected to a few dimensions and normalized to a root mean square of 1 (Yu et al. 2022).
#[derive(Clone)]
pub(super) struct Codebook {
    config: CodebookConfig,
    /// d_model → `dim`.
    input_projection: Linear,
    /// `[size, dim]`, before normalization.
    code_vectors: Value,
    /// `dim` → d_model.
    output_projection: Linear,
    /// `[dim]` ones: the normalization has no scale.
    ones: Value,
}

/// Outputs of the encoder, each replaced by its nearest code vector.
pub struct Quantized {
    /// The kind of the codes in the main stream.
    pub kind: usize,
    /// `[n]`: the number of each nearest code vector.
    pub ids: Vec<u32>,
    /// `[n, d_model]`: the embedding of the codes, before positions. The encoder's outputs receive its gradient
    /// ([`straight_through`](ops::straight_through())).
    pub tokens: Value,
    /// A scalar: the distances between code vectors and outputs, summed over tokens.
    pub loss: Value,
}

/// Added to the mean square before the root.
const EPS: f64 = 1e-6;

impl Codebook {
    pub(super) fn new(mut scope: Scope, config: CodebookConfig, model: &ModelConfig) -> Result<Self> {
        let (d, dim) = (model.d_model, config.dim);
        let std = |inputs: usize| 1.0 / (inputs as f64).sqrt();
        let input_projection = Linear::new(scope.at("input_projection"), d, dim, model.bias, std(d))?;
        let code_vectors = scope.normal("code_vectors", (config.size, dim), 1.0)?;
        let output_projection = Linear::new(scope.at("output_projection"), dim, d, model.bias, std(dim))?;
        let ones = Value::constant(Tensor::ones(dim, DType::F32, code_vectors.tensor().device())?);
        Ok(Self { config, input_projection, code_vectors, output_projection, ones })
    }

    /// The encoder's outputs, `[n, d_model]`, as codes.
    ///
    /// The loss draws each output and its code vector to each other. So that few codes stay unused, it also draws each code
    /// vector that no token of the batch has chosen to the nearest token; that term is a mean over these vectors, weighted
    /// by the number of tokens.
    pub(super) fn quantize(&self, encoded: &Value, kind: usize) -> Result<Quantized> {
        let outputs = ops::cast(&self.input_projection.forward(encoded)?, DType::F32)?;
        let outputs = ops::rms_norm(&outputs, &self.ones, EPS)?; // [n, dim]
        let vectors = self.normalized()?; // [size, dim]
        let (n, size) = (outputs.dims()[0], self.config.size);
        // Among vectors of the same length the nearest has the largest product.
        let products = outputs.tensor().detach().matmul(&vectors.tensor().detach().t()?)?; // [n, size]
        let ids: Vec<u32> = products.argmax(D::Minus1)?.to_vec1()?;
        let chosen = ops::gather_rows(&vectors, &ids)?;
        let through = ops::straight_through(&outputs, chosen.tensor())?;
        let commitment = distance(&outputs, chosen.tensor(), 1.0)?;
        let mut loss = ops::scale(&commitment, self.config.commitment_weight)?;
        loss = ops::add(&loss, &distance(&chosen, outputs.tensor(), 1.0)?)?;
        let mut used = vec![false; size];
        ids.iter().for_each(|&id| used[id as usize] = true);
        let unused: Vec<u32> = (0..size as u32).filter(|&id| !used[id as usize]).collect();
        if !unused.is_empty() {
            let nearest: Vec<u32> = products.argmax(0)?.to_vec1()?;
            let nearest: Vec<u32> = unused.iter().map(|&id| nearest[id as usize]).collect();
            let nearest = Tensor::new(nearest, outputs.tensor().device())?;
            let tokens = outputs.tensor().detach().index_select(&nearest, 0)?;
            let weight = n as f64 / unused.len() as f64;
            let drawn = distance(&ops::gather_rows(&vectors, &unused)?, &tokens, weight)?;
            loss = ops::add(&loss, &drawn)?;
        }
        Ok(Quantized { kind, ids, tokens: self.output_projection.forward(&through)?, loss })
    }

    /// The embedding of some codes, `[n, d_model]`.
    pub(super) fn embed(&self, ids: &[u32]) -> Result<Value> {
        self.output_projection.forward(&ops::gather_rows(&self.normalized()?, ids)?)
    }

    fn normalized(&self) -> Result<Value> {
        ops::rms_norm(&self.code_vectors, &self.ones, EPS)
    }
}

/// The mean squared distance of each row of `x` from a constant row, summed over rows with this weight.
fn distance(x: &Value, from: &Tensor, weight: f64) -> Result<Value> {
    let rows = vec![weight as f32; x.dims()[0]];
    ops::squared_error(x, &from.flatten_all()?.to_vec1::<f32>()?, &rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::params::Params;
    use crate::ops::testing::random;
    use candle_core::Device;

    fn codebook(params: &mut Params) -> Result<Codebook> {
        let config = CodebookConfig { size: 6, dim: 3, commitment_weight: 0.25 };
        Codebook::new(params.root(), config, &ModelConfig { d_model: 8, ..ModelConfig::default() })
    }

    #[test]
    fn the_nearest_code_replaces_an_output() -> Result<()> {
        let mut params = Params::new(3, &Device::Cpu);
        let codebook = codebook(&mut params)?;
        let encoded = Value::constant(random(&[5, 8], 1)?);
        let quantized = codebook.quantize(&encoded, 2)?;
        let outputs = ops::rms_norm(&codebook.input_projection.forward(&encoded)?, &codebook.ones, EPS)?;
        let vectors = codebook.normalized()?.tensor().to_vec2::<f32>()?;
        for (output, id) in outputs.tensor().to_vec2::<f32>()?.iter().zip(&quantized.ids) {
            let distance =
                |vector: &Vec<f32>| vector.iter().zip(output).map(|(a, b)| (a - b).powi(2)).sum::<f32>();
            let nearest = (0..6).min_by(|a, b| distance(&vectors[*a]).total_cmp(&distance(&vectors[*b])));
            assert_eq!(nearest, Some(*id as usize));
        }
        let embedded = codebook.embed(&quantized.ids)?;
        let rows = |value: &Value| value.tensor().to_vec2::<f32>();
        assert_eq!(rows(&embedded)?, rows(&quantized.tokens)?, "to the last bit");
        Ok(())
    }

    #[test]
    fn every_code_vector_gets_a_gradient() -> Result<()> {
        let mut params = Params::new(3, &Device::Cpu);
        let codebook = codebook(&mut params)?;
        // A single token leaves five codes unused.
        let encoded = Value::constant(random(&[1, 8], 1)?);
        let quantized = codebook.quantize(&encoded, 0)?;
        let gradients = ops::backward(vec![(quantized.loss, 1.0)])?;
        let place = params.iter().position(|(name, _)| name == "code_vectors").unwrap_or(usize::MAX);
        let rows = gradients.get(place).map(|gradient| gradient.to_vec2::<f32>()).transpose()?;
        let moved = |row: &Vec<f32>| row.iter().any(|x| *x != 0.0);
        assert!(rows.is_some_and(|rows| rows.len() == 6 && rows.iter().all(moved)));
        Ok(())
    }
}
