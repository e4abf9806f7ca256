//! The rules by which a published model generates text.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What a published model says of decoding: ids that stand for languages, tasks and times, those that are never written,
/// and how it wants to be asked. It is what `generation_config.json` holds for Whisper.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Decoding {
    /// The id behind the start, where neither a language nor a task is asked for. Left out, the language that is heard.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first: Option<u32>,
    /// The ids behind it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub then: Vec<u32>,
    /// The language where none is asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub language: Option<String>,
    /// The task where none is asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task: Option<String>,
    /// Whether times are written where nothing is said of them.
    #[serde(skip_serializing_if = "is_false")]
    pub timestamps: bool,
    /// Whether the model has one language and one task, of which none can be asked for.
    #[serde(skip_serializing_if = "is_false")]
    pub one_language: bool,
    /// The id that says that no times are written; those behind it are times, a slice apart.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub no_timestamps: Option<u32>,
    /// The latest time that a text may begin with, in slices.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_initial_timestamp: Option<u32>,
    /// The id before the text of earlier windows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub previous: Option<u32>,
    /// Ids that are never written.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub suppress: Vec<u32>,
    /// Ids that no text begins with.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub begin_suppress: Vec<u32>,
    /// The most ids that are written, beside those that are given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_length: Option<usize>,
    /// How many texts are followed where nothing is said of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub beams: Option<usize>,
    /// The id of each language, by its code.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub languages: BTreeMap<String, u32>,
    /// The id of each task: `transcribe`, `translate`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub tasks: BTreeMap<String, u32>,
}

fn is_false(flag: &bool) -> bool {
    !flag
}

impl Decoding {
    /// Of a model that says nothing: no languages, no tasks, no times, no rules.
    pub const fn nothing() -> Self {
        Self {
            first: None,
            then: vec![],
            language: None,
            task: None,
            timestamps: false,
            one_language: false,
            no_timestamps: None,
            max_initial_timestamp: None,
            previous: None,
            suppress: vec![],
            begin_suppress: vec![],
            max_length: None,
            beams: None,
            languages: BTreeMap::new(),
            tasks: BTreeMap::new(),
        }
    }

    /// The first id that is a time.
    pub fn first_time(&self) -> Option<u32> {
        self.no_timestamps.map(|id| id + 1)
    }

    /// The code of a language's id.
    pub fn language_of(&self, id: u32) -> Option<&str> {
        self.languages.iter().find(|(_, known)| **known == id).map(|(code, _)| code.as_str())
    }
}
