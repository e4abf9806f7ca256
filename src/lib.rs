//! smalti: chop anything into tokens, throw them in the mix, and let one transformer see the image.
//!
//! Raw input → tokenizer (plain data) → tokens → collate → [`data::Batch`] → [`embedding`] (content + type +
//! position) → [`transformer`] (who may attend to whom is data: [`rules`]) → [`head`] → loss or prediction.

pub mod bench;
mod builtin;
#[cfg(feature = "cli")]
pub mod cli;
pub mod codes;
pub mod config;
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
// A checkpoint may be of any modality.
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
