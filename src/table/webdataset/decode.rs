//! Decoding of members by their ending, as webdataset's `autodecode` does.

use super::msgpack;
use crate::data::DataError;
use crate::table::rows::json;
use smalti_contract::{Array, File, Numbers, Value, memory};
use smalti_npy::Npz;

/// Endings of members that are short texts.
const TEXTS: [&str; 10] =
    ["class", "cls", "cls2", "count", "id", "index", "inx", "text", "transcript", "txt"];
/// Endings of Python's pickles, which may run code when they are read.
const PICKLES: [&str; 6] = ["pickle", "pickled", "pkl", "pth", "pt", "pyd"];

/// The most bytes of an array, uncompressed: a byte may become a number of 8.
fn array_limit() -> u64 {
    memory::unpack_limit() / 8
}

/// Check that the values of JSON or MessagePack, of which a byte may be one, fit into memory.
fn check_values(location: &str, bytes: usize) -> Result<(), DataError> {
    let values = bytes as u64 * size_of::<serde_json::Value>() as u64;
    memory::check(values).map_err(|e| {
        DataError::format(location, "values", format!("{bytes} bytes may be as many values: {e}"))
    })
}

/// The decoder of a member's bytes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Decoder {
    Text,
    Json,
    MessagePack,
    Npy,
    /// An array of NumPy with the steps of a series.
    Series,
    Npz,
    /// None: a modality reads the file.
    File,
}

impl Decoder {
    /// The decoder for an ending; `None` for pickles, which are not read. Of `seg.png`, the last part counts.
    pub fn of(ending: &str) -> Option<Self> {
        if series_name(ending).is_some() {
            return Some(Self::Series);
        }
        let ending = ending.strip_suffix(".gz").unwrap_or(ending);
        match ending.rsplit('.').next().unwrap_or(ending) {
            text if TEXTS.contains(&text) => Some(Self::Text),
            "json" | "jsn" => Some(Self::Json),
            "mp" | "msg" | "msgpack" => Some(Self::MessagePack),
            "npy" => Some(Self::Npy),
            "npz" => Some(Self::Npz),
            pickle if PICKLES.contains(&pickle) => None,
            _ => Some(Self::File),
        }
    }

    /// Whether each key of a member is a field, `ENDING.KEY`.
    pub fn has_keys(self) -> bool {
        matches!(self, Self::Json | Self::MessagePack | Self::Npz)
    }

    /// The fields of a member with keys; `prefix` is its ending.
    ///
    /// # Errors
    /// [`DataError::Format`] for a corrupt member.
    pub fn keys(self, location: &str, bytes: &[u8], prefix: &str) -> Result<Vec<String>, DataError> {
        match self {
            Self::Npz => {
                let names =
                    Npz::new(bytes).map_err(|problem| DataError::format(location, "npz", problem))?.names();
                Ok(names.into_iter().map(|name| format!("{prefix}.{name}")).collect())
            }
            _ => Ok(self.fields(location, bytes, prefix)?.into_iter().map(|(field, _)| field).collect()),
        }
    }

    /// The value of one field of a member with keys.
    ///
    /// # Errors
    /// [`DataError::Format`] for a corrupt member.
    pub fn key(self, location: &str, bytes: &[u8], prefix: &str, field: &str) -> Result<Value, DataError> {
        if self != Self::Npz {
            let found = self.fields(location, bytes, prefix)?.into_iter().find(|(known, _)| known == field);
            return Ok(found.map_or(Value::Missing, |(_, value)| value));
        }
        let refuse = |problem: String| DataError::format(location, "npz", problem);
        let mut archive = Npz::new(bytes).map_err(refuse)?;
        let name = field.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('.')).unwrap_or(field);
        if !archive.names().iter().any(|known| known == name) {
            return Ok(Value::Missing);
        }
        archive
            .array(name, array_limit())
            .map(array)
            .map_err(|problem| refuse(format!("array {name:?}: {problem}")))
    }

    /// The value of a member without keys, whose text is read by the table.
    ///
    /// # Errors
    /// [`DataError::Format`] for a corrupt array.
    pub fn whole(self, location: &str, path: &str, bytes: Vec<u8>) -> Result<Value, DataError> {
        match self {
            Self::Npy | Self::Series => {
                let read = smalti_npy::Array::read(&bytes[..], array_limit());
                let read = read.map_err(|problem| DataError::format(location, "npy", problem))?;
                Ok(if self == Self::Series { series(&read) } else { array(read) })
            }
            _ => Ok(Value::File(File { name: path.into(), bytes })),
        }
    }

    fn fields(self, location: &str, bytes: &[u8], prefix: &str) -> Result<Vec<(String, Value)>, DataError> {
        check_values(location, bytes.len())?;
        if self == Self::MessagePack {
            let refuse = |problem| DataError::format(location, "MessagePack", problem);
            return msgpack::fields(prefix, bytes).map_err(refuse);
        }
        let refuse = |problem: String| DataError::format(location, "JSON", problem);
        match json::parse(bytes).map_err(refuse)? {
            serde_json::Value::Object(object) => {
                json::fields(prefix, object.into_iter().collect()).map_err(refuse)
            }
            other => Ok(vec![(prefix.into(), json::value(&other).map_err(refuse)?)]),
        }
    }
}

/// The name of the field of a series: of `position.series.npy`, `position`.
pub(super) fn series_name(ending: &str) -> Option<&str> {
    ending.strip_suffix(".series.npy").filter(|name| !name.is_empty())
}

/// An array of NumPy as a series: a step for each element of its first axis. A step without a number but NaN is missing, and
/// so is an array without steps.
fn series(array: &smalti_npy::Array) -> Value {
    let (steps, shape) = match array.shape() {
        [steps, shape @ ..] if !array.shape().contains(&0) => (*steps, shape.to_vec()),
        _ => return Value::Missing,
    };
    let values: Vec<f64> = array.values().collect();
    let step = |values: &[f64]| match values {
        values if values.iter().all(|number| number.is_nan()) => Value::Missing,
        [number] if shape.is_empty() => Value::Number(*number),
        values => {
            let numbers = match array.is_bytes() {
                true => Numbers::U8(values.iter().map(|byte| *byte as u8).collect()),
                false => Numbers::F32(values.iter().map(|number| *number as f32).collect()),
            };
            Value::Array(Array { shape: shape.clone(), numbers })
        }
    };
    Value::Series(values.chunks((values.len() / steps).max(1)).map(step).collect())
}

/// An array of NumPy as a value; one without axes is a number, and one without elements is missing.
pub(super) fn array(array: smalti_npy::Array) -> Value {
    let shape = array.shape().to_vec();
    match shape[..] {
        [] => array.values().next().map_or(Value::Missing, Value::Number),
        _ if shape.contains(&0) => Value::Missing,
        _ => {
            let numbers = match array.is_bytes() {
                true => Numbers::U8(array.values().map(|byte| byte as u8).collect()),
                false => Numbers::F32(array.values().map(|number| number as f32).collect()),
            };
            Value::Array(Array { shape, numbers })
        }
    }
}
