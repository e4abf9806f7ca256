//! smalti: tokenize text, images, audio and trajectories, and train one transformer on them.
//!
//! Raw input → tokenizer (plain data) → tokens → collate → [`data::Batch`] → [`model::Embedder`] (content + type +
//! position) → [`model::Transformer`] (with attention [`rules`] as data) → [`head`] → loss or prediction.

pub mod bench;
mod builtin;
#[cfg(feature = "cli")]
pub mod cli;
pub mod codes;
pub mod config;
#[cfg(feature = "cuda")]
pub mod cuda;
pub mod data;
pub mod env;
pub mod head;
pub mod inference;
pub mod inspect;
pub mod metrics;
pub mod modalities;
pub mod model;
pub mod ops;
mod pattern;
// A published checkpoint may be of any modality.
#[cfg(all(feature = "text", feature = "image", feature = "audio", feature = "trajectory"))]
pub mod pretrained;
pub mod random;
pub mod registry;
pub mod report;
pub mod rules;
pub mod run;
pub mod sample;
pub mod table;
pub mod task;
pub mod train;
