//! What CPU kernels share, as `crate::cuda` is for GPUs: vector code, products, work cut by rows, tensors as slices.

pub(crate) mod awake;
pub(crate) mod bf16;
pub(crate) mod blank;
pub(crate) mod math;
pub(crate) mod product;
pub(crate) mod product_bf16;
pub(crate) mod rows;
pub(crate) mod storage;
