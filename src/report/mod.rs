//! Figures, summaries and pages: the tokens of an input, attention rules, loss curves, measured numbers, runs side by side.

pub mod card;
pub mod chart;
pub mod compare;
pub mod curves;
pub mod figure;
pub mod html;
pub mod inside;
pub mod page;
pub mod parameters;
mod parts;
mod plot;
pub mod range_test;
pub mod rules;
pub mod sparkline;
pub mod summary;
pub mod tensorboard;
pub mod tokens;

/// A figure that cannot be drawn.
#[derive(Debug, thiserror::Error)]
#[error("the figure cannot be drawn: {0}")]
pub struct DrawError(String);

impl DrawError {
    fn new(problem: impl ToString) -> Self {
        Self(problem.to_string())
    }
}
