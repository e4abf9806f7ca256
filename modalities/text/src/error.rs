//! Errors of reading a text in blocks.

use smalti_contract::TokenizeError;
use std::io;

/// An error of reading a text or encoding it as ids.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TextError {
    /// The text could not be read.
    #[error(transparent)]
    Read(io::Error),
    /// The temporary file that holds many ids could not be written or read.
    #[error("the temporary file for ids: {0}")]
    Temporary(io::Error),
    /// The text is not UTF-8, or not in the vocabulary.
    #[error(transparent)]
    Tokenize(#[from] TokenizeError),
}

impl From<TextError> for TokenizeError {
    fn from(error: TextError) -> Self {
        match error {
            TextError::Tokenize(error) => error,
            error => TokenizeError::Input(error.to_string()),
        }
    }
}
