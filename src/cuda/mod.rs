//! NVIDIA GPUs: what the kernels of all operations share. The kernels themselves lie with their operations.
//!
//! Kernels are compiled for the GPU at their first use. They take `f32` and `bf16` and compute in `f32`. As on the CPU,
//! results do not depend on scheduling: no kernel adds atomically, so the same input gives the same bits. Matrix products
//! are cuBLASLt's.

mod compile;
mod device;
mod driver;
mod launch;
#[cfg(feature = "nccl")]
mod nccl;
mod product;
mod sum;
mod transfer;

pub(crate) use compile::{Constant, Source, element, number, vector};
pub use device::{Gpu, count, identity, open};
pub(crate) use launch::{Launch, address, empty, whole};
#[cfg(feature = "nccl")]
pub use nccl::{Nccl, NcclId};
pub(crate) use product::{BiasAndResidual, plain, product, product_bias_residual, transposed};
#[cfg(test)]
pub(crate) use sum::SOURCE as SUM;
pub(crate) use sum::{Stripes, column_sums, convert, total};
pub(crate) use transfer::{FeaturePrefetch, ScalarCopies, upload};

use candle_core::{DType, Tensor};

/// Whether the GPU kernels accept this tensor.
pub(crate) fn has_kernel(tensor: &Tensor) -> bool {
    tensor.device().is_cuda() && matches!(tensor.dtype(), DType::F32 | DType::BF16)
}
