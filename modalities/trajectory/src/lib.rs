//! Trajectories as tokens: return-to-go, state and action of each time step, as a decision transformer
//! reads them, or every number discretised, as Gato does.
//!
//! Episodes are read from npz archives, JSON lines, CSV, Parquet or HDF5, a configuration is fitted to them, and windows
//! cut out of them become tokens and come back:
//!
//! ```
//! use smalti_contract::Tokenizer;
//! use smalti_trajectory::{FitOptions, TrajectoryTokenizer, episodes, fit};
//!
//! let file = br#"{"observations": [[0, 5], [2, 5]], "actions": [1, 0], "rewards": [1, 3], "terminated": true}"#;
//! let episodes = episodes(file).collect::<Result<Vec<_>, _>>()?;
//! let config = fit(&episodes, FitOptions { context: 20, max_steps: 500, ..FitOptions::default() })?;
//! let tokenizer = TrajectoryTokenizer::new(config)?;
//!
//! let returns_to_go = episodes[0].returns_to_go(1.0);
//! assert_eq!(returns_to_go, [4.0, 3.0]);
//! let window = episodes[0].window(0, 20, &returns_to_go);
//! let tokens = tokenizer.encode(&window)?;
//!
//! let [returns, states, actions] = &tokens.groups[..] else { unreachable!() };
//! assert_eq!(returns.content.features(), Some(&[1.0, 0.75][..])); // divided by the largest, 4
//! assert_eq!(states.content.features(), Some(&[-1.0, 0.0, 1.0, 0.0][..])); // normalised
//! assert_eq!(actions.content.ids(), Some(&[1, 0][..]));
//! assert_eq!([&returns.order, &states.order, &actions.order], [&[0, 3], &[1, 4], &[2, 5]]);
//! assert_eq!(tokenizer.decode(&tokens)?, window);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The parts: [`Episode`], its [`Pictures`] and [`Window`] (the data), [`npz`], [`jsonl`], [`csv`], [`parquet`],
//! [`lerobot`] and, with the feature `hdf5`, `hdf5` (its files), [`fit`] and [`TrajectoryConfig`] (settings and
//! statistics), [`TrajectoryTokenizer`], [`MuLaw`] (discretising).

mod config;
pub mod csv;
mod episode;
mod error;
mod fit;
mod format;
#[cfg(feature = "hdf5")]
pub mod hdf5;
pub mod jsonl;
mod layout;
pub mod lerobot;
mod npy;
pub mod npz;
pub mod parquet;
mod pictures;
mod table;
mod tokenizer;

pub use config::{ActionSpec, TrajectoryConfig};
pub use episode::{Actions, End, Episode, Window, check_alike};
pub use error::TrajectoryError;
pub use fit::{FitOptions, MOST_ACTIONS, fit};
pub use format::Format;
pub use pictures::{Picture, Pictures};
pub use smalti_numbers::MuLaw;
pub use tokenizer::TrajectoryTokenizer;

/// The episodes of a file, whose content tells its [`Format`]; what tells none is read as JSON lines.
///
/// Lines of JSON are read as they are asked for; other files at once.
///
/// # Errors
/// Items are those of the format's reader; after a bad line of JSON, the next ones are still read. HDF5 is read as
/// `hdf5::read_apart` does, and refused without the feature `hdf5`.
pub fn episodes(bytes: &[u8]) -> Box<dyn Iterator<Item = Result<Episode, TrajectoryError>> + '_> {
    let read = match Format::of(bytes) {
        Some(Format::JsonLines) | None => return Box::new(jsonl::episodes(bytes)),
        Some(Format::Npz) => npz::read(bytes),
        Some(Format::Csv) => csv::read(bytes),
        Some(Format::Parquet) => parquet::read(bytes).map(|read| read.episodes),
        #[cfg(feature = "hdf5")]
        Some(Format::Hdf5) => hdf5::read_apart(bytes),
        #[cfg(not(feature = "hdf5"))]
        Some(Format::Hdf5) => {
            Err(TrajectoryError::Hdf5("only a build with the feature `hdf5` reads it".into()))
        }
    };
    match read {
        Ok(episodes) => Box::new(episodes.into_iter().map(Ok)),
        Err(error) => Box::new(std::iter::once(Err(error))),
    }
}
