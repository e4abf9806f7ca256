//! Logs of episodes: the observation, action and reward of each time step, from npz archives, JSON lines, CSV, Parquet,
//! HDF5 or TFRecord.
//!
//! ```
//! use smalti_trajectory::{Actions, episodes};
//!
//! let file = br#"{"observations": [[0, 5], [2, 5]], "actions": [1, 0], "rewards": [1, 3], "terminated": true}"#;
//! let episodes = episodes(file).collect::<Result<Vec<_>, _>>()?;
//! assert_eq!(episodes[0].observations, [0.0, 5.0, 2.0, 5.0]);
//! assert_eq!(episodes[0].actions, Actions::Discrete(vec![1, 0]));
//! assert_eq!(episodes[0].total_return(), 4.0);
//! # Ok::<(), smalti_trajectory::TrajectoryError>(())
//! ```
//!
//! The parts: [`Episode`] and its [`Images`] (the data); [`npz`], [`jsonl`], [`csv`], [`parquet`], [`lerobot`], [`minari`],
//! [`rlds`]
//! and, with the feature `hdf5`, `hdf5` (the file formats). An episode becomes a row of a table, whose fields the modalities
//! `numbers` and `image` tokenize.

pub mod csv;
mod episode;
mod error;
mod format;
#[cfg(feature = "hdf5")]
pub mod hdf5;
mod images;
pub mod jsonl;
pub mod lerobot;
pub mod minari;
pub mod npz;
pub mod parquet;
pub mod rlds;
mod table;

pub use episode::{Actions, End, Episode, check_compatible};
pub use error::TrajectoryError;
pub use format::Format;
pub use images::{Image, Images};

/// The content of a file.
#[derive(Clone, Debug, PartialEq)]
pub struct Read {
    /// The episodes.
    pub episodes: Vec<Episode>,
    /// Columns that were not read, and the reason.
    pub skipped: Vec<(String, &'static str)>,
}

/// Read the episodes of a file, whose [`Format`] is detected from its content; an unknown format is read as JSON lines.
///
/// JSON lines are read lazily, other files at once.
///
/// # Errors
/// Errors are those of the format's reader; after an invalid line of JSON, the next ones are still read. HDF5 is read
/// by `hdf5::read_in_subprocess`, and is an error without the feature `hdf5`.
pub fn episodes(bytes: &[u8]) -> Box<dyn Iterator<Item = Result<Episode, TrajectoryError>> + '_> {
    episodes_in(Format::of(bytes).unwrap_or(Format::JsonLines), bytes)
}

/// Read the episodes of a file in this format, as [`episodes`] does.
///
/// # Errors
/// As for [`episodes`].
pub fn episodes_in(
    format: Format,
    bytes: &[u8],
) -> Box<dyn Iterator<Item = Result<Episode, TrajectoryError>> + '_> {
    let read = match format {
        Format::JsonLines => return Box::new(jsonl::episodes(bytes)),
        Format::Npz => npz::read(bytes),
        Format::Csv => csv::read(bytes).map(|read| read.episodes),
        Format::Parquet => parquet::read(bytes).map(|read| read.episodes),
        #[cfg(feature = "hdf5")]
        Format::Hdf5 => hdf5::read_in_subprocess(bytes),
        #[cfg(not(feature = "hdf5"))]
        Format::Hdf5 => Err(TrajectoryError::Hdf5("reading needs a build with the feature `hdf5`".into())),
    };
    match read {
        Ok(episodes) => Box::new(episodes.into_iter().map(Ok)),
        Err(error) => Box::new(std::iter::once(Err(error))),
    }
}
