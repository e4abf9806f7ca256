//! Why episodes could not be read or fitted to.

/// Why episodes could not be read or fitted to.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum TrajectoryError {
    /// A file or a slice without a single episode.
    #[error("there is no episode")]
    Empty,
    /// Bytes that are not an npz archive, or an array in it that cannot be read.
    #[error("npz: {0}")]
    Npz(String),
    /// An npz archive without an array that the layout asks for.
    #[error("npz: array {array:?} is missing; found: {found}")]
    MissingArray {
        /// The array that was looked for.
        array: &'static str,
        /// The arrays that are there.
        found: String,
    },
    /// A line that is not an episode in JSON.
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
        array: &'static str,
        /// What it must have.
        expected: String,
        /// What it has.
        found: String,
    },
    /// A number that is infinite or not a number.
    #[error("{array} at step {step} is {found}; it must be finite")]
    NotFinite {
        /// The array's name.
        array: &'static str,
        /// Time step of the episode; the first is 0.
        step: usize,
        /// What was found.
        found: f32,
    },
    /// A number outside the range of what it stands for.
    #[error("{array} at step {step} is {found}; it must be {expected}")]
    Value {
        /// The array's name.
        array: &'static str,
        /// Time step, counted from the beginning of the file.
        step: usize,
        /// The range that it must be in.
        expected: &'static str,
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
    /// Settings that cannot work together.
    #[error("{0}")]
    Options(String),
}

impl TrajectoryError {
    pub(crate) fn in_episode(self, episode: usize) -> Self {
        Self::Episode { episode, error: Box::new(self) }
    }
}
