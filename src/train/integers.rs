//! Tensors of small integers in a safetensors file.
//!
//! A weight `NAME` `[outputs, inputs]` is stored as I8 of this shape, or as U8 `[outputs, inputs/2]` with two integers in a
//! byte: of each 16 bytes, the low halves are 16 inputs and the high halves the next 16, each plus 8. `NAME.scale`, in F32, has
//! the factor of each output, `[outputs, 1]`, or of each 32 inputs, `[outputs, inputs/32]`.

use crate::ops::{QuantizedType, QuantizedWeight};
use candle_core::{Result, Tensor};
use safetensors::Dtype;
use safetensors::tensor::{Metadata, TensorInfo};

/// Inputs of a scale in int4.
const GROUP: usize = 32;

/// The ending of the name of a tensor's scales.
pub(super) const SCALE: &str = ".scale";

/// The name of the scales of a tensor.
pub(super) fn scales_of(name: &str) -> String {
    format!("{name}{SCALE}")
}

/// How a tensor that is rounded to `dtype` is stored: int4 only with whole groups of inputs.
fn stored_as(dims: &[usize], dtype: QuantizedType) -> QuantizedType {
    match dims {
        [_, inputs] if inputs.is_multiple_of(GROUP) => dtype,
        _ => QuantizedType::Int8,
    }
}

/// The types and shapes of a tensor's integers and scales.
pub(super) fn layout(dims: [usize; 2], dtype: QuantizedType) -> [(Dtype, Vec<usize>); 2] {
    let [outputs, inputs] = dims;
    match stored_as(&dims, dtype) {
        QuantizedType::Int8 => [(Dtype::I8, vec![outputs, inputs]), (Dtype::F32, vec![outputs, 1])],
        QuantizedType::Int4 => {
            [(Dtype::U8, vec![outputs, inputs / 2]), (Dtype::F32, vec![outputs, inputs / GROUP])]
        }
    }
}

/// The bytes of a tensor's integers and scales.
pub(super) fn bytes(tensor: &Tensor, dtype: QuantizedType) -> Result<[Vec<u8>; 2]> {
    let dtype = stored_as(tensor.dims(), dtype);
    let (integers, scales) = QuantizedWeight::quantize(&tensor.contiguous()?, dtype)?.to_rows();
    Ok([integers, scales.into_iter().flat_map(f32::to_le_bytes).collect()])
}

/// The scales of a tensor, and the type and the shape that its integers stand for; `None` if it has other numbers, or the
/// two do not fit.
pub(super) fn find<'a>(
    header: &'a Metadata,
    name: &str,
    info: &TensorInfo,
) -> Option<(&'a TensorInfo, QuantizedType, [usize; 2])> {
    let dtype = match info.dtype {
        Dtype::I8 => QuantizedType::Int8,
        Dtype::U8 => QuantizedType::Int4,
        _ => return None,
    };
    let scales = header.info(&scales_of(name))?;
    let &[outputs, width] = info.shape.as_slice() else { return None };
    let inputs = if dtype == QuantizedType::Int4 { width.checked_mul(2)? } else { width };
    let [integers, expected] = layout([outputs, inputs], dtype);
    let fits =
        integers == (info.dtype, info.shape.clone()) && expected == (scales.dtype, scales.shape.clone());
    fits.then_some((scales, dtype, [outputs, inputs]))
}
