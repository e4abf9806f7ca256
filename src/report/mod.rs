//! Pictures and summaries: what an input's tokens are, who may attend to whom, how the loss came down.

pub mod curves;
pub mod picture;
pub mod rules;
pub mod tokens;

/// A picture that cannot be drawn.
#[derive(Debug, thiserror::Error)]
#[error("the picture cannot be drawn: {0}")]
pub struct DrawError(String);

impl DrawError {
    fn new(problem: impl ToString) -> Self {
        Self(problem.to_string())
    }
}
