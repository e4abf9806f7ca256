//! Episodes in the RLDS layout of TensorFlow Datasets (Ramos et al. 2021): TFRecord files and `features.json`.
//!
//! A record is one episode: a `tf.train.Example`, whose features are flattened lists over all time steps. `features.json`
//! has the shape of one step, by which a list is cut.
//!
//! | feature | content |
//! | --- | --- |
//! | `steps/observation/NAME` | a tensor of numbers, or an encoded image |
//! | `steps/action`, or `steps/action/NAME` for several | numbers |
//! | `steps/reward`, `steps/discount` | a number |
//! | `steps/is_first`, `steps/is_last`, `steps/is_terminal` | 0 or 1 |
//! | `steps/language_instruction` | a text |
//! | `episode_metadata/NAME` | one value for the episode |
//!
//! The parts: [`Features`] and [`shard_lengths`] (the descriptions), [`record_length`], [`record_data`] and
//! [`frame`] (the framing of a TFRecord file), [`Record`] (the values of an episode).

mod example;
mod features;
mod framing;
mod wire;

pub use example::{Record, Values};
pub use features::{Feature, Features, Form, shard_lengths};
pub use framing::{CHECKSUM, HEADER, frame, record_data, record_length};

/// The file beside the records that describes their features.
pub const FEATURES: &str = "features.json";
/// The file beside the records that lists splits and the number of episodes of each file.
pub const INFO: &str = "dataset_info.json";
