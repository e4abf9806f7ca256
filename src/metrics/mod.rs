//! Evaluation metrics over texts, classes and numbers, each with the values of the reference implementation that it
//! names: sacrebleu, scikit-learn or jiwer.
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

/// The space characters of Python's `str.split`, which has four control characters more than Unicode's White_Space.
fn is_space(character: char) -> bool {
    character.is_whitespace() || matches!(character, '\u{1c}'..='\u{1f}')
}
