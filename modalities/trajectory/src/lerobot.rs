//! Data sets in LeRobot's layout, versions 2 and 3: `meta/info.json`, and Parquet files in `data/`.
//!
//! A file has one episode (`data/chunk-000/episode_000000.parquet`) or many (`data/chunk-000/file-000.parquet`),
//! according to its columns. [`parquet`] reads them; the description adds names and the expected
//! numbers of episodes and steps.

use crate::{TrajectoryError, parquet};
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// The path of the description in a data set's folder.
pub const INFO: &str = "meta/info.json";

/// The description of a data set, `meta/info.json`.
#[derive(Clone, Debug, PartialEq)]
pub struct Info {
    /// The layout's version, such as `v2.1`.
    pub version: String,
    /// The expected number of episodes.
    pub episodes: usize,
    /// The expected number of steps.
    pub steps: usize,
    /// The folder of the Parquet files.
    folder: String,
    /// The names of each feature's elements, if the description has them.
    names: BTreeMap<String, Vec<String>>,
    /// Features in video files, which are not read.
    videos: Vec<String>,
}

/// The keys that are read; other keys are ignored.
#[derive(Deserialize)]
struct Described {
    codebase_version: String,
    total_episodes: usize,
    total_frames: usize,
    data_path: String,
    features: BTreeMap<String, Feature>,
}

#[derive(Deserialize)]
struct Feature {
    dtype: String,
    #[serde(default)]
    names: Value,
}

impl Info {
    /// Parse `meta/info.json`.
    ///
    /// # Errors
    /// [`TrajectoryError::Description`] if it is not a description, or of a version before 2.
    pub fn parse(bytes: &[u8]) -> Result<Self, TrajectoryError> {
        let invalid = |problem| TrajectoryError::Description { file: INFO, problem };
        let described: Described = serde_json::from_slice(bytes).map_err(|e| invalid(e.to_string()))?;
        let version = described.codebase_version;
        if !version.starts_with("v2") && !version.starts_with("v3") {
            return Err(invalid(format!("codebase_version is {version:?}; expected v2 or v3")));
        }
        let (folder, _) = described.data_path.split_once('/').unwrap_or((&described.data_path, ""));
        let video = |(name, feature): (&String, &Feature)| (feature.dtype == "video").then(|| name.clone());
        Ok(Self {
            version,
            episodes: described.total_episodes,
            steps: described.total_frames,
            folder: folder.to_string(),
            videos: described.features.iter().filter_map(video).collect(),
            names: described.features.iter().map(|(name, f)| (name.clone(), texts(&f.names))).collect(),
        })
    }

    /// Whether a file of the data set's folder contains episodes.
    pub fn is_data(&self, path: &str) -> bool {
        let inside = path.strip_prefix(&self.folder).is_some_and(|rest| rest.starts_with('/'));
        inside && path.ends_with(".parquet")
    }

    /// The features in video files, and why they are not read.
    pub fn skipped(&self) -> Vec<(String, &'static str)> {
        self.videos.iter().map(|name| (name.clone(), "videos are not read")).collect()
    }

    /// Read one of the data set's Parquet files.
    ///
    /// # Errors
    /// As of [`parquet::read`].
    pub fn read(&self, bytes: &[u8]) -> Result<parquet::Read, TrajectoryError> {
        parquet::read_named(bytes, &self.names)
    }

    /// Check that all files together have the expected numbers of episodes and steps.
    ///
    /// # Errors
    /// [`TrajectoryError::Description`] with both numbers.
    pub fn check(&self, episodes: usize, steps: usize) -> Result<(), TrajectoryError> {
        if (episodes, steps) == (self.episodes, self.steps) {
            return Ok(());
        }
        let problem = format!(
            "expected {} episodes with {} steps in total; the files have {episodes} with {steps}",
            self.episodes, self.steps
        );
        Err(TrajectoryError::Description { file: INFO, problem })
    }
}

/// The strings of a list, or of the lists of an object.
fn texts(names: &Value) -> Vec<String> {
    match names {
        Value::Array(names) => names.iter().filter_map(|name| Some(name.as_str()?.to_string())).collect(),
        Value::Object(groups) => groups.values().flat_map(texts).collect(),
        _ => vec![],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INFO: &str = r#"{"codebase_version": "v2.1", "robot_type": "arm", "total_episodes": 3, "total_frames": 60,
        "fps": 10, "splits": {"train": "0:3"},
        "data_path": "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet",
        "features": {
            "observation.state": {"dtype": "float32", "shape": [2], "names": {"motors": ["pan", "lift"]}},
            "action": {"dtype": "float32", "shape": [2], "names": ["pan", "lift"]},
            "observation.images.top": {"dtype": "video", "shape": [48, 64, 3], "names": ["height", "width", "channel"]},
            "timestamp": {"dtype": "float32", "shape": [1], "names": null}}}"#;

    #[test]
    fn a_description_has_files_names_and_videos() {
        let info = Info::parse(INFO.as_bytes()).unwrap();
        assert_eq!((info.version.as_str(), info.episodes, info.steps), ("v2.1", 3, 60));
        assert!(info.is_data("data/chunk-000/episode_000000.parquet"));
        for other in ["meta/episodes/chunk-000/file-000.parquet", "data/readme.md", "database/a.parquet"] {
            assert!(!info.is_data(other), "{other}");
        }
        assert_eq!(info.names["observation.state"], ["pan", "lift"]);
        assert_eq!(info.skipped(), [("observation.images.top".to_string(), "videos are not read")]);
        assert_eq!(info.check(3, 60), Ok(()));
        assert_eq!(
            info.check(2, 40).unwrap_err().to_string(),
            "meta/info.json: expected 3 episodes with 60 steps in total; the files have 2 with 40"
        );
    }

    #[test]
    fn invalid_descriptions_are_errors() {
        let error = |text: &str| Info::parse(text.as_bytes()).unwrap_err().to_string();
        assert!(error("{}").starts_with("meta/info.json: missing field `codebase_version`"));
        assert_eq!(
            error(&INFO.replace("v2.1", "v1.6")),
            "meta/info.json: codebase_version is \"v1.6\"; expected v2 or v3"
        );
    }
}
