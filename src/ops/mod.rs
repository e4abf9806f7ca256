//! The operations on the training path, each with its own forward and backward.
//!
//! An operation is a folder: `mod.rs` has the public function, which checks its arguments and chooses a kernel
//! (`dispatch!`); `reference.rs` computes it in candle's own differentiable operations, `cpu.rs` in a CPU kernel, and
//! `cuda.rs` in kernels for NVIDIA GPUs, whose code is the `.cu` file beside it. Kernels accept `f32` and `bf16`, and
//! compute sums, norms and losses in `f32`; on a CPU, linear maps multiply `bf16` factors (`cpu_bf16.rs`), and the other
//! kernels widen their inputs and round their results. The reference defines the operation, and runs for devices and types
//! without a kernel. `cases/` is the table of calls that tests and `smalti bench ops` go through: tests compare the CPU
//! kernel with the reference and the reference with finite differences, and `smalti bench ops` compares a GPU with the CPU.
//! `cpu/` is what CPU kernels share, `crate::cuda` what GPU kernels share.
//!
//! Kernels keep two promises. Results do not depend on scheduling: work is cut by size and number of threads, and partial
//! sums are added in order, so the same input and thread count give the same bits; in `bf16` on a CPU each process chooses a
//! kernel by a measurement, and another kernel rounds differently. And a kernel reads and writes memory as seldom as
//! the mathematics allows: backward recomputes intermediate values, or reads one saved number a row.

pub mod activation;
pub mod adamw;
pub mod attention;
pub mod autograd;
pub mod auxiliary_loss;
pub mod binary_cross_entropy;
pub(crate) mod cases;
pub mod cast;
pub(crate) mod cpu;
pub mod cross_entropy;
pub mod ctc;
#[cfg(all(test, feature = "cuda"))]
mod cuda_tests;
mod dispatch;
pub mod dropout;
pub mod from_candle;
pub mod gate;
pub mod gather;
pub mod linear;
pub mod linear_attention;
pub mod mlp;
pub mod norm;
pub mod pool;
pub mod preference;
pub mod readback;
pub mod residual;
pub mod retrieval;
pub mod rotary;
pub mod scale;
pub mod softmax;
pub mod squared_error;
pub mod state_space;
pub mod straight_through;
#[cfg(test)]
pub(crate) mod testing;

pub use activation::{Activation, activation};
pub use adamw::{AdamwParameter, AdamwSettings, AdamwStep, OptimizerStep, square_sum};
pub use attention::{Buckets, Distances, Heads, RelativeBias, attention, attention_weights, slopes};
pub use autograd::{Gradients, Value, backward, checkpointed, without_gradients};
pub use auxiliary_loss::auxiliary_loss;
pub use binary_cross_entropy::binary_cross_entropy;
pub use cast::cast;
pub use cross_entropy::cross_entropy;
pub use ctc::ctc;
pub use dropout::dropout;
pub use from_candle::{from_candle, from_candle_with};
pub use gate::gate;
pub use gather::gather_rows;
pub use linear::{QuantizedType, QuantizedWeight, linear, linear_residual, quantized_linear};
pub use linear_attention::{FeatureMap, Span, linear_attention, linear_attention_step};
pub use mlp::{mlp, mlp_residual};
pub use norm::{layer_norm, rms_norm};
pub use pool::mean_rows;
pub use preference::preference;
pub use readback::Readback;
pub(crate) use residual::add_in_place;
pub use residual::{add, concat_rows, replace_rows, reshape};
pub use retrieval::{Memory, retrieve};
pub use rotary::{Angles, RotaryScaling, rotary};
pub use scale::{add_to_columns, scale, scale_columns, scale_rows};
pub use softmax::softmax;
pub use squared_error::squared_error;
pub use state_space::{discretize, state_space, state_space_step};
pub use straight_through::straight_through;
