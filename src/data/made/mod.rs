//! Data that is made rather than measured: each set a pure function of the seed in its module.
//!
//! Only IEEE arithmetic, sine and logarithm in software, and a generator of integers go into it, so every
//! machine makes the same bytes: those that ship.

mod cartpole;
mod npz;
mod touchtone;

/// A file that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Made {
    /// Its name, under which it also ships.
    pub file_name: &'static str,
    /// Its content.
    pub bytes: Vec<u8>,
}

/// Why a set was not made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MakeError {
    /// A name that no set has.
    #[error("no data set called {name:?} can be made; there are {}", names().join(" and "))]
    Unknown {
        /// The name that was asked for.
        name: String,
    },
    /// A container that could not be written.
    #[error("{file_name}: {source}")]
    Write {
        /// The file's name.
        file_name: &'static str,
        /// What the container's writer said.
        source: std::io::Error,
    },
}

/// The names of the sets that can be made.
pub fn names() -> &'static [&'static str] {
    &["cartpole", "touchtone"]
}

/// Makes the set of this name: the same bytes each time.
///
/// # Errors
/// [`MakeError::Unknown`] for a name that is not among [`names`]; [`MakeError::Write`] is not expected, as
/// files are written to memory.
///
/// ```
/// let keys = smalti::data::made::make("touchtone")?;
/// assert_eq!(keys.file_name, "touchtone.tar");
/// # Ok::<(), smalti::data::made::MakeError>(())
/// ```
pub fn make(name: &str) -> Result<Made, MakeError> {
    let (file_name, bytes) = match name {
        "cartpole" => (cartpole::FILE_NAME, cartpole::npz()),
        "touchtone" => (touchtone::FILE_NAME, touchtone::tar()),
        _ => return Err(MakeError::Unknown { name: name.into() }),
    };
    let bytes = bytes.map_err(|source| MakeError::Write { file_name, source })?;
    Ok(Made { file_name, bytes })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::shipped;

    /// So `smalti data make` leaves a checkout unchanged. If a newer crate compresses otherwise, make the
    /// set again with that command and commit it.
    #[test]
    fn what_is_made_is_what_ships() {
        for name in names() {
            let made = make(name).unwrap();
            let (_, shipped) = shipped::files().iter().find(|(path, _)| *path == made.file_name).unwrap();
            assert!(made.bytes == *shipped, "{}: {} bytes made", made.file_name, made.bytes.len());
        }
    }

    #[test]
    fn other_names_are_refused() {
        let error = make("mnist").unwrap_err();
        assert_eq!(
            error.to_string(),
            r#"no data set called "mnist" can be made; there are cartpole and touchtone"#
        );
    }
}
