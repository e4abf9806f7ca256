//! Synthetic data sets: each a pure function of the seed in its module.
//!
//! They use only IEEE arithmetic, sine and logarithm in software, and an integer generator, so every machine computes the
//! same bytes, which equal the shipped files.

mod cartpole;
mod npz;
mod touchtone;

/// A synthetic data set as a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyntheticFile {
    /// The name of the file, under which it also ships.
    pub file_name: &'static str,
    /// The content.
    pub bytes: Vec<u8>,
}

/// An error of computing a synthetic data set.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SyntheticError {
    /// No data set has this name.
    #[error("no synthetic data set is named {name:?}; known: {}", names().join(", "))]
    Unknown {
        /// The unknown name.
        name: String,
    },
    /// A file could not be written.
    #[error("{file_name}: {source}")]
    Write {
        /// The file's name.
        file_name: &'static str,
        /// The writer's error.
        source: std::io::Error,
    },
}

/// The names of the synthetic data sets.
pub fn names() -> &'static [&'static str] {
    &["cartpole", "touchtone"]
}

/// Computes the data set of this name.
///
/// # Errors
/// [`SyntheticError::Unknown`] for a name that is not among [`names`]; [`SyntheticError::Write`] if the file cannot be
/// written to memory.
///
/// ```
/// let keys = smalti::data::synthetic::make("touchtone")?;
/// assert_eq!(keys.file_name, "touchtone.tar");
/// # Ok::<(), smalti::data::synthetic::SyntheticError>(())
/// ```
pub fn make(name: &str) -> Result<SyntheticFile, SyntheticError> {
    let (file_name, bytes) = match name {
        "cartpole" => (cartpole::FILE_NAME, cartpole::npz()),
        "touchtone" => (touchtone::FILE_NAME, touchtone::tar()),
        _ => return Err(SyntheticError::Unknown { name: name.into() }),
    };
    let bytes = bytes.map_err(|source| SyntheticError::Write { file_name, source })?;
    Ok(SyntheticFile { file_name, bytes })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::shipped;

    /// If a newer crate compresses otherwise, `smalti data make` writes the file again.
    #[test]
    fn synthetic_files_equal_the_shipped_ones() {
        for name in names() {
            let file = make(name).unwrap();
            let (_, shipped) = shipped::files().iter().find(|(path, _)| *path == file.file_name).unwrap();
            assert!(file.bytes == *shipped, "{}: {} bytes", file.file_name, file.bytes.len());
        }
    }

    #[test]
    fn an_unknown_name_is_an_error() {
        let error = make("mnist").unwrap_err();
        assert_eq!(
            error.to_string(),
            r#"no synthetic data set is named "mnist"; known: cartpole, touchtone"#
        );
    }
}
