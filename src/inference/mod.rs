//! Predictions of a trained model.

mod sampling;

pub use sampling::{Sampling, SamplingError, draw};
