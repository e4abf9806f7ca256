//! Why episodes could not be read.

/// Why episodes could not be read.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum TrajectoryError {
    /// A file or a slice without a single episode.
    #[error("there is no episode")]
    Empty,
    /// Bytes that are not an npz archive, or an array in it that cannot be read.
    #[error("npz: {0}")]
    Npz(String),
    /// A Parquet file, or a column in it, that cannot be read.
    #[error("Parquet: {0}")]
    Parquet(String),
    /// An HDF5 file, or a dataset in it, that cannot be read.
    #[error("HDF5: {0}")]
    Hdf5(String),
    /// A data set's description that is not as its layout asks.
    #[error("{file}: {problem}")]
    Description {
        /// The file that describes, such as `meta/info.json`.
        file: &'static str,
        /// What is wrong.
        problem: String,
    },
    /// No array or column for something that is needed.
    #[error("no column for {what} (such as {such_as:?}); found: {found}")]
    Missing {
        /// What was looked for.
        what: &'static str,
        /// A name that it could have.
        such_as: &'static str,
        /// The columns that are there.
        found: String,
    },
    /// Columns that cannot stand side by side.
    #[error("{0}")]
    Columns(String),
    /// A line that is not an episode in JSON, or not a row of a table.
    #[error("line {line}: {problem}")]
    Line {
        /// The line's number; the first is 1.
        line: usize,
        /// What is wrong.
        problem: String,
    },
    /// An array of the wrong length or width.
    #[error("{array} must have {expected}; found {found}")]
    Shape {
        /// The array's name.
        array: String,
        /// What it must have.
        expected: String,
        /// What it has.
        found: String,
    },
    /// A number that is infinite or not a number.
    #[error("{array} at step {step} is {found}; it must be finite")]
    NotFinite {
        /// The array's name.
        array: String,
        /// Time step of the episode; the first is 0.
        step: usize,
        /// What was found.
        found: f32,
    },
    /// A number outside the range of what it stands for.
    #[error("{array} at step {step} is {found}; it must be {expected}")]
    Value {
        /// The array's name.
        array: String,
        /// Time step, counted from the beginning of the file, or of the line.
        step: usize,
        /// The range that it must be in.
        expected: String,
        /// What was found.
        found: f64,
    },
    /// Something wrong with one episode of several.
    #[error("episode {episode}: {error}")]
    Episode {
        /// Which episode; the first is 0.
        episode: usize,
        /// What is wrong with it.
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
