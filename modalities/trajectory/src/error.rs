//! Errors of reading episodes.

/// An error of reading or checking episodes.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum TrajectoryError {
    /// There are no episodes.
    #[error("expected at least 1 episode; found 0")]
    Empty,
    /// An npz archive, or an array in it, cannot be read.
    #[error("npz: {0}")]
    Npz(String),
    /// A Parquet file, or a column in it, cannot be read.
    #[error("Parquet: {0}")]
    Parquet(String),
    /// An HDF5 file, or a dataset in it, cannot be read.
    #[error("HDF5: {0}")]
    Hdf5(String),
    /// A TFRecord file, or a record in it, cannot be read.
    #[error("TFRecord: {0}")]
    Record(String),
    /// A data set's description is invalid.
    #[error("{file}: {problem}")]
    Description {
        /// The description's file, such as `meta/info.json`.
        file: &'static str,
        /// The problem.
        problem: String,
    },
    /// A required array or column is missing.
    #[error("no column for {what} (such as {such_as:?}); found: {found}")]
    Missing {
        /// The missing quantity.
        what: &'static str,
        /// A possible name.
        such_as: &'static str,
        /// The columns found.
        found: String,
    },
    /// Columns that exclude each other.
    #[error("{0}")]
    Columns(String),
    /// A line is not an episode in JSON, or not a row of a table.
    #[error("line {line}: {problem}")]
    Line {
        /// The line's number; the first is 1.
        line: usize,
        /// The problem.
        problem: String,
    },
    /// An array of the wrong length or width.
    #[error("{array} must have {expected}; found {found}")]
    Shape {
        /// The array's name.
        array: String,
        /// The expected shape.
        expected: String,
        /// The shape found.
        found: String,
    },
    /// A number that is infinite or not a number.
    #[error("{array} at step {step} is {found}; it must be finite")]
    NotFinite {
        /// The array's name.
        array: String,
        /// The time step in the episode, from 0.
        step: usize,
        /// The value found.
        found: f32,
    },
    /// A number is outside its range.
    #[error("{array} at step {step} is {found}; it must be {expected}")]
    Value {
        /// The array's name.
        array: String,
        /// The time step, from the beginning of the file or of the line.
        step: usize,
        /// The expected range.
        expected: String,
        /// The value found.
        found: f64,
    },
    /// An error in one of several episodes.
    #[error("episode {episode}: {error}")]
    Episode {
        /// The index of the episode, from 0.
        episode: usize,
        /// The error.
        error: Box<TrajectoryError>,
    },
}

impl TrajectoryError {
    pub(crate) fn value(array: &str, step: usize, expected: impl Into<String>, found: f64) -> Self {
        Self::Value { array: array.into(), step, expected: expected.into(), found }
    }

    pub(crate) fn in_episode(self, episode: usize) -> Self {
        Self::Episode { episode, error: Box::new(self) }
    }
}
