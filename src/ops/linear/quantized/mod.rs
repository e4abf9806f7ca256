//! Weights of 8 or 4 bits for inference: x·Wᵀ + b with W rounded.
//!
//! Generation of one text reads every weight for each token, so its speed is that of memory, and smaller weights are read
//! faster. Int8 has one scale for each output, int4 one for each 32 inputs of an output: 8.0 and 5.0 bits a weight in
//! place of 32. Both are symmetric: a weight is its integer times the scale.
//!
//! Up to a few rows, as in generation, are rounded to 16-bit integers with one scale a row, and the products of integers
//! are exact, so that results have the same bits on every processor. More rows are multiplied by the weights in `f32`.

mod cpu;
mod rounding;
mod stored;

use crate::ops::autograd::{Value, traced};
use crate::ops::cpu::storage::Elements;
use candle_core::{DType, Device, Result, Tensor, bail};
use std::fmt;
use std::ops::Range;

/// The type of quantized weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QuantizedType {
    /// −127 to 127, with a scale for each output.
    Int8,
    /// −8 to 7, with a scale for each output and 32 inputs.
    Int4,
}

impl fmt::Display for QuantizedType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Int8 => "int8",
            Self::Int4 => "int4",
        })
    }
}

/// Inputs that share a scale in int4. Rows are padded to a multiple of it with zeros, in both types.
const GROUP: usize = 32;
/// Outputs of a band, which a kernel computes together. The last band is filled with rows of zeros.
const BAND: usize = 4;

/// The weight of a linear map, `[outputs, inputs]`, rounded to integers, on the CPU.
pub struct QuantizedWeight {
    outputs: usize,
    inputs: usize,
    integers: Integers,
}

/// Blocks of [`BAND`] outputs and [`GROUP`] inputs, row by row: a kernel reads one stream.
enum Integers {
    /// Integers, and the scale of each output.
    Int8 {
        blocks: Vec<[[i8; GROUP]; BAND]>,
        scales: Vec<[f32; BAND]>,
    },
    Int4(Vec<Int4Block>),
}

/// A block of int4.
#[derive(Clone)]
struct Int4Block {
    scales: [f32; BAND],
    /// Byte i of a row has input i in its low half and input i + 16 in its high half, each plus 8.
    bytes: [[u8; GROUP / 2]; BAND],
}

impl fmt::Debug for QuantizedWeight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "QuantizedWeight {} [{}, {}]", self.dtype(), self.outputs, self.inputs)
    }
}

impl QuantizedWeight {
    /// Rounds a weight `[outputs, inputs]`.
    ///
    /// # Errors
    /// If it is no contiguous matrix on the CPU, in `f32` or `bf16`.
    pub fn quantize(weight: &Tensor, dtype: QuantizedType) -> Result<Self> {
        let (outputs, inputs) = weight.dims2()?;
        let values = Elements::of(weight)?;
        let integers = match dtype {
            QuantizedType::Int8 => rounding::int8(&values, outputs, inputs),
            QuantizedType::Int4 => rounding::int4(&values, outputs, inputs),
        };
        Ok(Self { outputs, inputs, integers })
    }

    /// The rounded weight in `f32`, `[outputs, inputs]`: the reference of the products.
    ///
    /// # Errors
    /// If the tensor cannot be made.
    pub fn dequantize(&self) -> Result<Tensor> {
        Tensor::from_vec(self.rows(0..self.outputs), (self.outputs, self.inputs), &Device::Cpu)
    }

    /// Outputs and inputs.
    pub fn dims(&self) -> [usize; 2] {
        [self.outputs, self.inputs]
    }

    /// The type of its integers.
    pub fn dtype(&self) -> QuantizedType {
        match self.integers {
            Integers::Int8 { .. } => QuantizedType::Int8,
            Integers::Int4(_) => QuantizedType::Int4,
        }
    }

    /// The bytes of integers and scales.
    pub fn bytes(&self) -> usize {
        match &self.integers {
            Integers::Int8 { blocks, scales } => size_of_val(&blocks[..]) + size_of_val(&scales[..]),
            Integers::Int4(blocks) => size_of_val(&blocks[..]),
        }
    }

    /// Groups of inputs in a row.
    fn groups(&self) -> usize {
        self.inputs.div_ceil(GROUP)
    }

    /// Some rows in `f32`.
    fn rows(&self, rows: Range<usize>) -> Vec<f32> {
        cpu::dequantize(self, rows)
    }
}

/// x·Wᵀ + b with a quantized weight: `x` is `[n, inputs]`, `bias` `[outputs]`; the result is `[n, outputs]`.
///
/// Differs from the product with the [dequantized](QuantizedWeight::dequantize) weight by the rounding of x to 16 bits if
/// there are few rows, and by the rounding of `f32` sums.
///
/// # Errors
/// If the shapes do not fit; if x or the bias has a gradient, outside of
/// [`without_gradients`](crate::ops::without_gradients); if x is not `f32` on the CPU.
pub fn quantized_linear(x: &Value, weight: &QuantizedWeight, bias: Option<&Value>) -> Result<Value> {
    let [outputs, inputs] = weight.dims();
    let fits = matches!(x.dims(), [_, k] if *k == inputs) && bias.is_none_or(|bias| bias.dims() == [outputs]);
    if !fits {
        let (x, bias) = (x.dims(), bias.map(|bias| bias.dims()));
        bail!(
            "quantized_linear: expected x [n, {inputs}] and bias [{outputs}] for a weight [{outputs}, {inputs}]; found \
             {x:?} and {bias:?}"
        )
    }
    let of: Vec<&Value> = [x].into_iter().chain(bias).collect();
    if traced(&of) {
        bail!(
            "a weight in {} has no gradient: compute within `without_gradients`, or load the model in f32",
            weight.dtype()
        )
    }
    if x.tensor().dtype() != DType::F32 || !x.tensor().device().is_cpu() {
        bail!(
            "weights in {} are for f32 activations on the CPU; found {:?} on {:?}",
            weight.dtype(),
            x.tensor().dtype(),
            x.tensor().device().location()
        )
    }
    cpu::linear(x.tensor(), weight, bias.map(Value::tensor)).map(Value::constant)
}

#[cfg(test)]
mod tests;
