//! Predictions of a trained model: every output of a row, generated values token by token.

mod generate;
mod measure;
mod predict;
mod rollout;
mod sampling;
pub mod write;

pub use generate::{Generation, generate};
pub use measure::measure_generated;
pub use predict::{PredictError, Predicted, predict};
pub use rollout::{Rollout, RolloutError, RolloutSettings, random_policy, rollout};
pub use sampling::{Sampling, SamplingError, draw};
