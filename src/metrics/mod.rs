//! Evaluation metrics of texts, classes and numbers, equal to their reference implementations: sacrebleu, scikit-learn, jiwer.
//!
//! Every metric is an accumulator: `add` each pair of a target and a prediction, then read the score.

mod bleu;
mod chrf;
mod confusion;
mod edits;
mod regression;

pub use bleu::{Bleu, bleu, tokenize_13a};
pub use chrf::{Chrf, chrf};
pub use confusion::{ClassScores, Confusion};
pub use edits::{ErrorCounts, ErrorRates, edits, error_rates};
pub use regression::Regression;

/// The last words of the names of metrics of which more is better; of all others, less is.
const HIGHER_IS_BETTER: [&str; 10] = [
    "accuracy",
    "f1",
    "r2",
    "cosine",
    "margin",
    "chosen_reward",
    "bleu",
    "chrf",
    "success_rate",
    "return_mean",
];

/// Whether more of a metric is better, by its name: `accuracy`, `label.macro_f1`.
pub fn higher_is_better(metric: &str) -> bool {
    HIGHER_IS_BETTER.iter().any(|end| metric.ends_with(end))
}

/// Whether Python's `str.split` splits at a character: Unicode's White_Space and four control characters.
fn is_space(character: char) -> bool {
    character.is_whitespace() || matches!(character, '\u{1c}'..='\u{1f}')
}
