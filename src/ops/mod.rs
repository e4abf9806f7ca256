//! The operations on the training path, each with its own forward and backward.
//!
//! An operation is a file: a public function, a CPU kernel for `f32` (a candle `CustomOp`), kernels for NVIDIA GPUs in
//! `f32` and `bf16` (`cuda/`) and a `reference` written in candle's own differentiable operations. The reference
//! defines the operation: tests compare the CPU kernel with the reference and the reference with finite differences, and
//! `smalti bench ops` compares the GPU with the CPU. The reference also runs on devices and types without a kernel.
//!
//! Kernels keep two promises. Results do not depend on scheduling: work is cut by size and number of threads, and partial
//! sums are added in order, so the same input and thread count give the same bits. And a kernel reads and writes memory
//! as seldom as the mathematics allows: backward recomputes intermediate values, or reads one saved number a row.

pub mod activation;
pub mod adamw;
pub mod attention;
pub mod autograd;
pub mod binary_cross_entropy;
mod blank;
pub mod cast;
pub mod cross_entropy;
pub mod ctc;
#[cfg(feature = "cuda")]
pub mod cuda;
pub mod dropout;
pub mod from_candle;
pub mod gate;
pub mod gather;
pub mod linear;
pub(crate) mod math;
pub mod mlp;
pub mod norm;
pub mod pool;
pub(crate) mod product;
pub mod readback;
pub mod residual;
pub mod rotary;
pub mod scale;
pub mod squared_error;
mod storage;
pub mod straight_through;
#[cfg(test)]
pub(crate) mod testing;

pub use activation::{Activation, activation};
pub use adamw::{AdamwParameter, AdamwSettings, AdamwStep, OptimizerStep, square_sum};
pub use attention::{Buckets, Heads, RelativeBias, attention};
pub use autograd::{Gradients, Value, backward, checkpointed, without_gradients};
pub use binary_cross_entropy::binary_cross_entropy;
pub use cast::cast;
pub use cross_entropy::cross_entropy;
pub use ctc::ctc;
pub use dropout::dropout;
pub use from_candle::{from_candle, from_candle_with};
pub use gate::gate;
pub use gather::gather_rows;
pub use linear::{linear, linear_residual};
pub use mlp::{mlp, mlp_residual};
pub use norm::{layer_norm, rms_norm};
pub use pool::mean_rows;
pub use readback::Readback;
pub(crate) use residual::add_in_place;
pub use residual::{add, concat_rows, replace_rows, reshape};
pub use rotary::{Angles, RotaryScaling, rotary};
pub use scale::{add_to_columns, scale, scale_columns};
pub use squared_error::squared_error;
pub use straight_through::straight_through;
