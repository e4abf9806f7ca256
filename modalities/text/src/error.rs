//! What can go wrong with a text that is read piece by piece.

use smalti_contract::TokenizeError;
use std::io;

/// Why a text could not be read, or did not become ids.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TextError {
    /// The text could not be read.
    #[error(transparent)]
    Read(io::Error),
    /// The temporary file that holds many ids could not be written or read.
    #[error("the temporary file for ids: {0}")]
    Temporary(io::Error),
    /// The text is not UTF-8, or not of the vocabulary.
    #[error(transparent)]
    Tokenize(#[from] TokenizeError),
}
