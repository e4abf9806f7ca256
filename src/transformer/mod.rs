//! The one transformer: a stack of blocks over a flat list of tokens, `[n_tokens, d_model]`.
//!
//! What makes it an encoder, a decoder or both is data: the [rules](crate::rules) and whether a second
//! stack is looked at by cross-attention.

mod attention;
mod block;
mod cache;
mod config;
mod stack;

pub use attention::Attention;
pub use block::{Block, Dropout, Linear, Mlp, Norm};
pub use cache::{Cache, GrowingRows, LayerCache};
pub use config::{
    CodebookConfig, ConfigError, LayerRule, ModelConfig, NormKind, NormPlace, Positions, RelativePositions,
    Rotary, Stem,
};
pub use stack::{Memory, Pass, Place, Stack, Turns};
