//! Predictions of a trained model: every output of a row, generated values token by token, prompts that are continued,
//! transcripts of audio, embeddings.

mod continuation;
mod embed;
mod generate;
mod measure;
mod predict;
mod rollout;
mod sampling;
#[cfg(all(test, feature = "text"))]
mod tests;
#[cfg(feature = "audio")]
pub mod transcribe;
pub mod write;

pub use continuation::Continuation;
pub use embed::{Embedded, Embedding, embed, embed_tokens, embedded_part};
pub use generate::{Generation, generate};
pub use measure::measure_generated;
pub(crate) use predict::predict_samples;
pub use predict::{PredictError, Predicted, predict, predict_tokens};
pub use rollout::{Rollout, RolloutError, RolloutSettings, random_policy, rollout};
pub use sampling::{Sampling, SamplingError, draw};
