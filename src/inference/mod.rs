//! Predictions of a trained model: the outputs of a row, continued prompts, transcripts, embeddings and rollouts.

mod continuation;
mod embed;
mod generate;
mod measure;
mod predict;
mod prompted;
mod rollout;
mod sampling;
#[cfg(all(test, feature = "text"))]
mod tests;
#[cfg(feature = "audio")]
pub mod transcribe;
mod unmask;
pub mod write;

pub use continuation::Continuation;
pub use embed::{Embedded, Embedding, embed, embed_tokens, embedded_part};
pub use generate::{Generation, generate, generate_batch};
pub use measure::{Generated, generate_rows, measure_generated, score_generated};
pub(crate) use predict::predict_samples;
pub use predict::{PredictError, Predicted, predict, predict_rows, predict_tokens};
pub use prompted::{Completion, Prompted};
pub use rollout::{Rollout, RolloutError, RolloutSettings, random_policy, rollout};
pub use sampling::{Sampling, SamplingError, draw};
pub use unmask::{Unmask, Unmasking, UnmaskingOrder};
