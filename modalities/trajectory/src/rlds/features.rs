//! The descriptions beside the records: `features.json` and `dataset_info.json`.

use super::{FEATURES, INFO};
use crate::TrajectoryError;
use serde::Deserialize;
use serde_json::Value as Json;
use std::collections::BTreeMap;

/// The features of a data set.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Features {
    /// The features that are read, sorted by their keys.
    pub list: Vec<Feature>,
    /// The keys of features that are not read, and the reason.
    pub skipped: Vec<(String, &'static str)>,
}

/// A feature of a record.
#[derive(Clone, Debug, PartialEq)]
pub struct Feature {
    /// The name in the record: `steps/observation/state`.
    pub key: String,
    /// Whether it has a value for each time step, not one for the episode.
    pub of_steps: bool,
    /// The form of a value.
    pub form: Form,
}

/// The form of a feature's value.
#[derive(Clone, Debug, PartialEq)]
pub enum Form {
    /// Numbers.
    Numbers {
        /// The length of each axis, each at least 1; empty for a single number.
        shape: Vec<usize>,
        /// Whether they are bytes, which are pixels if they have two or more axes.
        bytes: bool,
    },
    /// A text in UTF-8.
    Text,
    /// The content of an image file.
    Image,
}

impl Features {
    /// Parse `features.json`.
    ///
    /// # Errors
    /// [`TrajectoryError::Description`] if it is not JSON, or has no steps.
    pub fn parse(bytes: &[u8]) -> Result<Self, TrajectoryError> {
        let invalid = |problem| TrajectoryError::Description { file: FEATURES, problem };
        let json: Json = serde_json::from_slice(bytes).map_err(|e| invalid(e.to_string()))?;
        let mut features = Self::default();
        features.add(&json, "", false);
        match features.list.iter().any(|feature| feature.of_steps) {
            true => Ok(features),
            false => {
                let keys = features.list.iter().map(|feature| feature.key.as_str());
                let found = keys.chain(features.skipped.iter().map(|(key, _)| key.as_str()));
                let found = smalti_contract::listed(found, ", ");
                let found = if found.is_empty() { "none" } else { &found };
                Err(invalid(format!("expected the features of RLDS, a data set `steps`; found: {found}")))
            }
        }
    }

    /// The feature with this key.
    pub fn find(&self, key: &str) -> Option<&Feature> {
        self.list.iter().find(|feature| feature.key == key)
    }

    /// Add the features of a part of the description, whose depth the JSON parser limits.
    fn add(&mut self, json: &Json, key: &str, of_steps: bool) {
        if let Some(inner) = json["featuresDict"]["features"].as_object() {
            for (name, feature) in inner {
                let key = if key.is_empty() { name.clone() } else { format!("{key}/{name}") };
                self.add(feature, &key, of_steps);
            }
            return;
        }
        let inner = ["sequence", "dataset"].map(|kind| &json[kind]["feature"]);
        let form = match inner.into_iter().find(|inner| !inner.is_null()) {
            Some(step) if key == "steps" && !of_steps => return self.add(step, key, true),
            Some(_) => Err("lists within a step are not read"),
            None => Form::of(json),
        };
        match form {
            Ok(form) => self.list.push(Feature { key: key.into(), of_steps, form }),
            Err(why) => self.skipped.push((key.into(), why)),
        }
    }
}

impl Feature {
    /// The number of elements of a value.
    pub fn size(&self) -> usize {
        match &self.form {
            Form::Numbers { shape, .. } => shape.iter().product(),
            Form::Text | Form::Image => 1,
        }
    }
}

impl Form {
    fn of(json: &Json) -> Result<Self, &'static str> {
        if json["text"].is_object() {
            return Ok(Self::Text);
        }
        if json["classLabel"].is_object() {
            return Ok(Self::Numbers { shape: vec![], bytes: false });
        }
        if json["image"].is_object() {
            return match json["image"]["dtype"].as_str() {
                Some("uint8") | None => Ok(Self::Image),
                Some(_) => Err("images of other than 8 bits are not read"),
            };
        }
        let tensor = &json["tensor"];
        let (dtype, encoding) = (tensor["dtype"].as_str().unwrap_or(""), tensor["encoding"].as_str());
        let number = ["int", "uint", "float", "bfloat", "bool"].iter().any(|kind| dtype.starts_with(kind));
        let shape = tensor["shape"]["dimensions"].as_array().map_or(&[][..], Vec::as_slice);
        match (dtype, encoding) {
            ("string", _) if shape.is_empty() => return Ok(Self::Text),
            (_, None | Some("none")) if number => {}
            (_, Some(_)) if number => return Err("tensors that are stored as bytes are not read"),
            _ => return Err("only numbers, texts and images are read"),
        }
        let side =
            |side: &Json| integer(side).and_then(|side| usize::try_from(side).ok()).filter(|side| *side > 0);
        let shape: Option<Vec<usize>> = shape.iter().map(side).collect();
        let shape =
            shape.filter(|shape| shape.iter().try_fold(1_usize, |n, &side| n.checked_mul(side)).is_some());
        match shape {
            Some(shape) => Ok(Self::Numbers { shape, bytes: dtype == "uint8" }),
            None => Err("its shape is not fixed"),
        }
    }
}

/// The number of episodes of each file of each split, from `dataset_info.json`.
///
/// # Errors
/// [`TrajectoryError::Description`] if it is not such a description.
pub fn shard_lengths(bytes: &[u8]) -> Result<BTreeMap<String, Vec<u64>>, TrajectoryError> {
    #[derive(Deserialize)]
    struct Info {
        #[serde(default)]
        splits: Vec<Split>,
    }
    #[derive(Deserialize)]
    struct Split {
        name: String,
        #[serde(default, rename = "shardLengths")]
        shard_lengths: Vec<Json>,
    }
    let invalid = |problem| TrajectoryError::Description { file: INFO, problem };
    let info: Info = serde_json::from_slice(bytes).map_err(|e| invalid(e.to_string()))?;
    let lengths = |split: Split| {
        let lengths: Option<Vec<u64>> = split.shard_lengths.iter().map(integer).collect();
        let lengths = lengths.ok_or_else(|| {
            invalid(format!("shardLengths of the split {:?}: expected whole numbers", split.name))
        })?;
        Ok((split.name, lengths))
    };
    info.splits.into_iter().map(lengths).collect()
}

/// A whole number, which JSON of protocol buffers writes as a text.
fn integer(json: &Json) -> Option<u64> {
    json.as_u64().or_else(|| json.as_str()?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    const FEATURES: &str = r#"{"featuresDict": {"features": {
        "episode_metadata": {"featuresDict": {"features": {"file_path": {"text": {}}}}},
        "steps": {"sequence": {"length": "-1", "feature": {"featuresDict": {"features": {
            "action": {"tensor": {"shape": {"dimensions": ["7"]}, "dtype": "float32", "encoding": "none"}},
            "is_last": {"tensor": {"shape": {}, "dtype": "bool", "encoding": "none"}},
            "label": {"classLabel": {"numClasses": "10"}},
            "observation": {"featuresDict": {"features": {
                "depth": {"image": {"shape": {}, "dtype": "float32"}},
                "front": {"image": {"shape": {"dimensions": ["64", "64", "3"]}, "dtype": "uint8", "encodingFormat": "jpeg"}},
                "packed": {"tensor": {"shape": {}, "dtype": "uint8", "encoding": "zlib"}},
                "points": {"sequence": {"feature": {"tensor": {"shape": {}, "dtype": "float32"}}, "length": "-1"}},
                "ragged": {"tensor": {"shape": {"dimensions": ["-1", 2]}, "dtype": "int64"}},
                "small": {"tensor": {"shape": {"dimensions": ["4", 4]}, "dtype": "uint8"}},
                "sound": {"audio": {}}}}}}}}}}}}}"#;

    #[test]
    fn features_have_shapes_and_forms() {
        let features = Features::parse(FEATURES.as_bytes()).unwrap();
        let found: Vec<_> =
            features.list.iter().map(|f| (f.key.as_str(), f.of_steps, f.form.clone())).collect();
        let numbers = |shape: &[usize], bytes| Form::Numbers { shape: shape.to_vec(), bytes };
        assert_eq!(
            found,
            [
                ("episode_metadata/file_path", false, Form::Text),
                ("steps/action", true, numbers(&[7], false)),
                ("steps/is_last", true, numbers(&[], false)),
                ("steps/label", true, numbers(&[], false)),
                ("steps/observation/front", true, Form::Image),
                ("steps/observation/small", true, numbers(&[4, 4], true)),
            ]
        );
        assert_eq!(features.find("steps/action").map(Feature::size), Some(7));
        let skipped: Vec<&str> =
            features.skipped.iter().map(|(key, _)| key.rsplit('/').next().unwrap()).collect();
        assert_eq!(skipped, ["depth", "packed", "points", "ragged", "sound"]);
    }

    #[test]
    fn other_descriptions_are_errors() {
        let error = |text: &str| Features::parse(text.as_bytes()).unwrap_err().to_string();
        assert!(error("{").starts_with("features.json: EOF"));
        assert_eq!(
            error(r#"{"featuresDict": {"features": {"image": {"image": {}}, "x": {}}}}"#),
            "features.json: expected the features of RLDS, a data set `steps`; found: image, x"
        );
        let deep = "{\"featuresDict\":".repeat(100_000);
        assert!(error(&deep).starts_with("features.json: recursion limit"));
        let huge = r#"{"featuresDict": {"features": {"steps": {"sequence": {"feature": {"tensor":
            {"dtype": "int8", "shape": {"dimensions": ["9223372036854775807", "4"]}}}}}}}}"#;
        assert!(error(huge).ends_with("found: steps"));
    }

    #[test]
    fn splits_have_the_number_of_episodes_of_each_file() {
        let info = br#"{"name": "bridge", "splits": [{"name": "train", "shardLengths": ["25", 3]}, {"name": "val"}]}"#;
        let expected = [("train".to_string(), vec![25, 3]), ("val".to_string(), vec![])];
        assert_eq!(shard_lengths(info), Ok(expected.into()));
        assert_eq!(shard_lengths(b"{}"), Ok([].into()));
        let error = shard_lengths(br#"{"splits": [{"name": "a", "shardLengths": [-1]}]}"#).unwrap_err();
        assert_eq!(
            error.to_string(),
            "dataset_info.json: shardLengths of the split \"a\": expected whole numbers"
        );
    }
}
