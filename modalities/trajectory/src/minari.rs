//! Minari's data sets in Parquet (version 0.5 and later): `metadata.json`, and a folder with a file for each episode.
//!
//! A file has the columns `observations`, `actions`, `rewards`, `terminations` and `truncations`, with one row for each step
//! and a last one for the observation after the last action, whose other columns are padding. Minari's HDF5 is a file of its
//! own, without such a description.

use crate::{Read, TrajectoryError, parquet};
use serde::Deserialize;

/// The file in a data set's folder that describes it.
pub const INFO: &str = "metadata.json";

/// The description of a data set, `metadata.json`.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct Info {
    /// `parquet`, `arrow` or `hdf5`.
    pub data_format: String,
    /// The expected number of episodes.
    pub total_episodes: usize,
    /// The expected number of steps.
    pub total_steps: usize,
}

impl Info {
    /// Parse `metadata.json`.
    ///
    /// # Errors
    /// [`TrajectoryError::Description`] if it is not a description of Minari.
    pub fn parse(bytes: &[u8]) -> Result<Self, TrajectoryError> {
        let invalid =
            |e: serde_json::Error| TrajectoryError::Description { file: INFO, problem: e.to_string() };
        serde_json::from_slice(bytes).map_err(invalid)
    }

    /// The number of the episode that a file of the data set's folder has: 12 for `12/part-0.parquet`.
    pub fn episode(path: &str) -> Option<usize> {
        let (folder, file) = path.split_once('/')?;
        if file.contains('/') || !file.ends_with(".parquet") { None } else { folder.parse().ok() }
    }

    /// Check the format, and that all files together have the expected numbers of episodes and steps.
    ///
    /// # Errors
    /// [`TrajectoryError::Description`] with what was expected and found.
    pub fn check(&self, episodes: usize, steps: usize) -> Result<(), TrajectoryError> {
        let invalid = |problem| Err(TrajectoryError::Description { file: INFO, problem });
        if self.data_format != "parquet" {
            let found = &self.data_format;
            return invalid(format!(
                "data_format is {found:?}; expected \"parquet\" or \"hdf5\"; write the data set anew with \
                 data_format=\"parquet\""
            ));
        }
        if (episodes, steps) != (self.total_episodes, self.total_steps) {
            return invalid(format!(
                "expected {} episodes with {} steps in total; the files have {episodes} with {steps}",
                self.total_episodes, self.total_steps
            ));
        }
        Ok(())
    }
}

/// Read the episode of a data set's Parquet file.
///
/// # Errors
/// As of [`parquet::read`].
pub fn read(bytes: &[u8]) -> Result<Read, TrajectoryError> {
    parquet::read_padded(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_description_has_the_format_and_the_numbers() {
        let info = |format: &str| {
            let text = format!(
                r#"{{"total_episodes": 2, "total_steps": 60, "data_format": "{format}", "observation_space": "{{}}"}}"#
            );
            Info::parse(text.as_bytes()).unwrap()
        };
        assert_eq!(info("parquet").check(2, 60), Ok(()));
        let error = |format: &str| info(format).check(1, 60).unwrap_err().to_string();
        assert_eq!(
            error("parquet"),
            "metadata.json: expected 2 episodes with 60 steps in total; the files have 1 with 60"
        );
        assert!(error("arrow").starts_with("metadata.json: data_format is \"arrow\"; expected \"parquet\""));
        assert!(Info::parse(b"{}").is_err());
        for (path, episode) in
            [("12/part-0.parquet", Some(12)), ("12/metadata.json", None), ("a/b.parquet", None)]
        {
            assert_eq!(Info::episode(path), episode, "{path}");
        }
    }
}
