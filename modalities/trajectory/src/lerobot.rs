//! Data sets in LeRobot's layout, versions 2 and 3: `meta/info.json`, and Parquet files in `data/`.
//!
//! A file has one episode (`data/chunk-000/episode_000000.parquet`) or many (`data/chunk-000/file-000.parquet`),
//! according to its columns. [`parquet`] reads them; the description adds names and the expected
//! numbers of episodes and steps, the splits, and the cameras whose images are in video files.

use crate::table::{Role, role};
use crate::{Read, TrajectoryError, parquet};
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::ops::Range;

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
    /// The time steps of a second; 0 if the description has none.
    pub fps: f64,
    /// The cameras whose images are in video files.
    pub videos: Vec<Video>,
    /// The episodes of each split.
    splits: Vec<(String, Range<usize>)>,
    /// The template of a video file's path.
    video_path: String,
    /// The number of episodes of a chunk, in version 2.
    chunk_size: usize,
    /// The folder of the Parquet files.
    folder: String,
    /// The names of each feature's elements, if the description has them.
    names: BTreeMap<String, Vec<String>>,
}

/// A camera whose images are in video files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Video {
    /// The feature: `observation.images.front`.
    pub feature: String,
    /// The camera: `images.front`.
    pub camera: String,
    /// In pixels; 0 if the description has no size.
    pub height: usize,
    /// In pixels; 0 if the description has no size.
    pub width: usize,
}

/// The keys that are read; other keys are ignored.
#[derive(Deserialize)]
struct Described {
    codebase_version: String,
    total_episodes: usize,
    total_frames: usize,
    #[serde(default)]
    fps: f64,
    #[serde(default)]
    splits: BTreeMap<String, String>,
    data_path: String,
    video_path: Option<String>,
    #[serde(default)]
    chunks_size: usize,
    features: BTreeMap<String, Feature>,
}

#[derive(Deserialize)]
struct Feature {
    dtype: String,
    #[serde(default)]
    names: Value,
    #[serde(default)]
    shape: Value,
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
        let split = |(name, range): (&String, &String)| {
            let ends =
                range.split_once(':').and_then(|(start, end)| Some(start.parse().ok()?..end.parse().ok()?));
            let problem =
                || format!("splits.{name} is {range:?}; expected FIRST:END, the numbers of episodes");
            Ok((name.clone(), ends.ok_or_else(|| invalid(problem()))?))
        };
        let (folder, _) = described.data_path.split_once('/').unwrap_or((&described.data_path, ""));
        Ok(Self {
            version,
            episodes: described.total_episodes,
            steps: described.total_frames,
            fps: described.fps,
            videos: described.features.iter().filter_map(Video::of).collect(),
            splits: described.splits.iter().map(split).collect::<Result<_, TrajectoryError>>()?,
            video_path: described.video_path.unwrap_or_default(),
            chunk_size: described.chunks_size.max(1),
            folder: folder.to_string(),
            names: described.features.iter().map(|(name, f)| (name.clone(), texts(&f.names))).collect(),
        })
    }

    /// Whether a file of the data set's folder contains episodes.
    pub fn is_data(&self, path: &str) -> bool {
        let inside = path.strip_prefix(&self.folder).is_some_and(|rest| rest.starts_with('/'));
        inside && path.ends_with(".parquet")
    }

    /// The split of an episode.
    pub fn split(&self, episode: usize) -> Option<&str> {
        let split = self.splits.iter().find(|(_, episodes)| episodes.contains(&episode));
        split.map(|(name, _)| name.as_str())
    }

    /// The path of a camera's video of an episode, in version 2.
    pub fn video_of_episode(&self, video: &Video, episode: usize) -> String {
        let numbers = [("episode_chunk", episode / self.chunk_size), ("episode_index", episode)];
        filled(&self.video_path, &video.feature, &numbers)
    }

    /// The path of a camera's video in a chunk, in version 3.
    pub fn video_of_chunk(&self, video: &Video, chunk: usize, file: usize) -> String {
        filled(&self.video_path, &video.feature, &[("chunk_index", chunk), ("file_index", file)])
    }

    /// Read one of the data set's Parquet files.
    ///
    /// # Errors
    /// As of [`parquet::read`].
    pub fn read(&self, bytes: &[u8]) -> Result<Read, TrajectoryError> {
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

impl Video {
    fn of((name, feature): (&String, &Feature)) -> Option<Self> {
        if feature.dtype != "video" {
            return None;
        }
        let camera = match role(name) {
            Role::State(part) if !part.is_empty() => part,
            _ => name.clone(),
        };
        // `[height, width, channels]`, unless the axes have names in another order.
        let names = texts(&feature.names);
        let axis = |name: &str, default| names.iter().position(|known| known == name).unwrap_or(default);
        let side = |axis: usize| {
            let side = feature.shape.get(axis).and_then(Value::as_u64);
            side.and_then(|side| usize::try_from(side).ok()).unwrap_or(0)
        };
        let (height, width) = (side(axis("height", 0)), side(axis("width", 1)));
        Some(Self { feature: name.clone(), camera, height, width })
    }
}

/// A path by a template of Python's `str.format`: `{video_key}/episode_{episode_index:06d}.mp4`.
fn filled(template: &str, video: &str, numbers: &[(&str, usize)]) -> String {
    let mut path = String::new();
    let mut rest = template;
    while let Some((text, place, after)) = rest
        .split_once('{')
        .and_then(|(text, rest)| rest.split_once('}').map(|(place, after)| (text, place, after)))
    {
        path.push_str(text);
        let (name, format) = place.split_once(':').unwrap_or((place, ""));
        let digits = format.trim_end_matches('d').parse::<usize>().unwrap_or(0).min(20);
        match numbers.iter().find(|(known, _)| *known == name) {
            Some((_, number)) => path.push_str(&format!("{number:0digits$}")),
            None => path.push_str(video),
        }
        rest = after;
    }
    path + rest
}

/// The strings of lists and of objects of lists.
fn texts(names: &Value) -> Vec<String> {
    match names {
        Value::String(name) => vec![name.clone()],
        Value::Array(names) => names.iter().flat_map(texts).collect(),
        Value::Object(groups) => groups.values().flat_map(texts).collect(),
        _ => vec![],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INFO: &str = r#"{"codebase_version": "v2.1", "robot_type": "arm", "total_episodes": 3, "total_frames": 60,
        "fps": 10, "splits": {"train": "0:2"}, "chunks_size": 2,
        "data_path": "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet",
        "video_path": "videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4",
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
        let (feature, camera) = ("observation.images.top".into(), "images.top".into());
        assert_eq!(info.videos, [Video { feature, camera, height: 48, width: 64 }]);
        assert_eq!((info.fps, info.split(1), info.split(2)), (10.0, Some("train"), None));
        assert_eq!(info.check(3, 60), Ok(()));
        assert_eq!(
            info.check(2, 40).unwrap_err().to_string(),
            "meta/info.json: expected 3 episodes with 60 steps in total; the files have 2 with 40"
        );
    }

    #[test]
    fn videos_have_paths() {
        let info = Info::parse(INFO.as_bytes()).unwrap();
        let path = info.video_of_episode(&info.videos[0], 5);
        assert_eq!(path, "videos/chunk-002/observation.images.top/episode_000005.mp4");
        let template = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4";
        let third = INFO.replace(
            "videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4",
            template,
        );
        let info = Info::parse(third.as_bytes()).unwrap();
        let path = info.video_of_chunk(&info.videos[0], 0, 1234);
        assert_eq!(path, "videos/observation.images.top/chunk-000/file-1234.mp4");
        assert_eq!(filled("{a:9999d}{", "x", &[("a", 7)]), format!("{:020}{{", 7), "widths are limited");
        assert_eq!(filled("a{b", "x", &[]), "a{b");
        let first = r#""shape": [3, 48, 64], "names": ["channels", "height", "width"]"#;
        let first = INFO.replace(r#""shape": [48, 64, 3], "names": ["height", "width", "channel"]"#, first);
        let video = Info::parse(first.as_bytes()).unwrap().videos.remove(0);
        assert_eq!((video.height, video.width), (48, 64));
    }

    #[test]
    fn invalid_descriptions_are_errors() {
        let error = |text: &str| Info::parse(text.as_bytes()).unwrap_err().to_string();
        assert!(error("{}").starts_with("meta/info.json: missing field `codebase_version`"));
        assert_eq!(
            error(&INFO.replace("v2.1", "v1.6")),
            "meta/info.json: codebase_version is \"v1.6\"; expected v2 or v3"
        );
        assert_eq!(
            error(&INFO.replace("0:2", "most")),
            "meta/info.json: splits.train is \"most\"; expected FIRST:END, the numbers of episodes"
        );
    }
}
