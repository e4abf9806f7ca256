//! Writing episodes as JSON lines.

use super::images::Form;
use crate::{Actions, End, Episode};
use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};
use std::collections::BTreeMap;
use std::io::{self, Write};

/// Write episodes as JSON lines, into which every other format can be converted.
///
/// # Errors
/// If `to` cannot be written to, or a number is not finite.
pub fn write(mut to: impl Write, episodes: &[Episode]) -> io::Result<()> {
    for episode in episodes {
        episode.validate().map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        serde_json::to_writer(&mut to, &Line::of(episode))?;
        to.write_all(b"\n")?;
    }
    Ok(())
}

#[derive(Serialize)]
struct Line<'a> {
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    state_names: &'a [String],
    #[serde(skip_serializing_if = "Rows::is_empty")]
    observations: Rows<'a>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    images: BTreeMap<&'a str, Form>,
    actions: ActionValues<'a>,
    #[serde(skip_serializing_if = "<[f32]>::is_empty")]
    rewards: &'a [f32],
    terminated: bool,
    truncated: bool,
}

impl<'a> Line<'a> {
    fn of(episode: &'a Episode) -> Self {
        Self {
            state_names: &episode.state_names,
            observations: Rows { values: &episode.observations, dim: episode.state_dim },
            images: episode.images.iter().map(|(name, all)| (name.as_str(), Form::of(all))).collect(),
            actions: ActionValues(&episode.actions),
            rewards: &episode.rewards,
            terminated: episode.end == End::Terminated,
            truncated: episode.end == End::TimeLimit,
        }
    }
}

/// Row-major numbers as a list of lists.
struct Rows<'a> {
    values: &'a [f32],
    dim: usize,
}

impl Rows<'_> {
    fn is_empty(&self) -> bool {
        self.values.is_empty()
    }
}

impl Serialize for Rows<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.values.chunks_exact(self.dim.max(1)))
    }
}

struct ActionValues<'a>(&'a Actions);

impl Serialize for ActionValues<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Actions::Discrete(ids) => ids.serialize(serializer),
            Actions::Continuous { values, dim } => Rows { values, dim: *dim }.serialize(serializer),
            Actions::Parts(parts) => {
                let mut map = serializer.serialize_map(Some(parts.len()))?;
                for (name, part) in parts {
                    map.serialize_entry(name, &ActionValues(part))?;
                }
                map.end()
            }
        }
    }
}
