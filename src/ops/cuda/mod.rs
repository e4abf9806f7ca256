//! NVIDIA GPUs: the kernels of each operation are a `.cu` file, compiled for the GPU at their first use.
//!
//! Kernels take `f32` and `bf16` and compute in `f32`. As on the CPU, results do not depend on scheduling: no kernel adds
//! atomically, so the same input gives the same bits. Matrix products are cuBLASLt's.

mod activation;
mod attention;
mod compile;
mod cross_entropy;
mod ctc;
mod device;
mod driver;
mod dropout;
mod gather;
mod launch;
mod linear;
#[cfg(feature = "nccl")]
mod nccl;
mod norm;
mod optimizer;
mod product;
mod relative;
mod rotary;
mod scale;
mod squared_error;
mod sum;
mod transfer;

pub(crate) use activation::{activation, gate, mlp};
pub(crate) use attention::attention;
pub(crate) use cross_entropy::cross_entropy;
pub(super) use ctc::ctc;
pub use device::{Gpu, count, identity, open};
pub(crate) use dropout::dropout;
pub(crate) use gather::gather_rows;
pub(crate) use linear::{can_add_residual, linear};
#[cfg(feature = "nccl")]
pub use nccl::{Nccl, NcclId};
pub(crate) use norm::{WIDEST as WIDEST_NORM, norm};
pub(crate) use optimizer::step;
pub(crate) use rotary::rotary;
pub(crate) use scale::{add_to_columns, scale_columns};
pub(crate) use squared_error::squared_error;
pub(crate) use sum::{add, add_in_place, convert};
pub(crate) use transfer::{FeaturePrefetch, ScalarCopies};

use candle_core::{DType, Tensor};

/// Whether the GPU kernels accept this tensor.
pub(crate) fn has_kernel(tensor: &Tensor) -> bool {
    tensor.device().is_cuda() && matches!(tensor.dtype(), DType::F32 | DType::BF16)
}
