//! Trajectories as tokens: return-to-go, state and action of each time step, as a decision transformer
//! reads them, or every number discretised, as Gato does.
//!
//! Episodes are read from npz archives or JSON lines, a configuration is fitted to them, and windows cut
//! out of them become tokens and come back:
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
//! The parts: [`Episode`] and [`Window`] (the data), [`npz`] and [`jsonl`] (its files), [`fit`] and
//! [`TrajectoryConfig`] (settings and statistics), [`TrajectoryTokenizer`], [`MuLaw`] (discretising).

mod config;
mod episode;
mod error;
mod fit;
pub mod jsonl;
mod layout;
mod mu_law;
mod npy;
pub mod npz;
mod tokenizer;

pub use config::{ActionSpec, TrajectoryConfig};
pub use episode::{Actions, Episode, Window};
pub use error::TrajectoryError;
pub use fit::{FitOptions, MOST_ACTIONS, fit};
pub use mu_law::MuLaw;
pub use tokenizer::TrajectoryTokenizer;

/// The episodes of a file: an npz archive where it begins as a zip does, else JSON lines.
///
/// Lines are read as they are asked for; an archive is read at once.
///
/// # Errors
/// Items are those of [`npz::read`] or [`jsonl::read`]; after a bad line, the next ones are still read.
pub fn episodes(bytes: &[u8]) -> Box<dyn Iterator<Item = Result<Episode, TrajectoryError>> + '_> {
    if !npz::is_npz(bytes) {
        return Box::new(jsonl::episodes(bytes));
    }
    match npz::read(bytes) {
        Ok(episodes) => Box::new(episodes.into_iter().map(Ok)),
        Err(error) => Box::new(std::iter::once(Err(error))),
    }
}
