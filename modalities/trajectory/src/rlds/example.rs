//! The values of a record, which is a `tf.train.Example`.
//!
//! ```text
//! Example  { 1: Features }
//! Features { 1: { 1: key, 2: Feature }, once for each feature }
//! Feature  { 1: { 1: bytes, … } or 2: { 1: floats, … } or 3: { 1: 64-bit integers, … } }
//! ```
//!
//! Not read by a crate, because these decode a whole message into lists of their own; of an episode with images, only the
//! features that are requested should be copied.

use super::wire::{Wire, fields, inside, varint};
use super::{Feature, Form};
use crate::{Images, TrajectoryError};
use std::collections::BTreeMap;

/// The features of an episode as they lie in its bytes.
pub struct Record<'a> {
    features: BTreeMap<&'a str, &'a [u8]>,
}

/// The values of a feature: one for each time step, or one for the episode.
#[derive(Clone, Debug, PartialEq)]
pub enum Values<'a> {
    /// Row-major `[steps, …shape]`.
    Numbers(Vec<f64>),
    /// Pixels of a tensor of bytes.
    Images(Images),
    /// Texts or image files; empty for a value that is missing.
    Bytes(Vec<&'a [u8]>),
}

impl<'a> Record<'a> {
    /// Find the features of a record.
    ///
    /// # Errors
    /// [`TrajectoryError::Record`] if the bytes are not a `tf.train.Example`.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, TrajectoryError> {
        let features = features(bytes);
        let problem =
            || TrajectoryError::Record("expected a record of tf.train.Example; it is corrupt".into());
        Ok(Self { features: features.ok_or_else(problem)? })
    }

    /// The number of time steps, by the number of values of a feature of steps.
    ///
    /// # Errors
    /// [`TrajectoryError`] if the record does not have the feature, or its values are no whole number of steps.
    pub fn steps(&self, feature: &Feature) -> Result<usize, TrajectoryError> {
        let found = match self.elements(feature)? {
            Some(Values::Numbers(numbers)) => numbers.len(),
            Some(Values::Bytes(strings)) => strings.len(),
            Some(Values::Images(_)) | None => 0,
        };
        let size = feature.size();
        match found > 0 && found.is_multiple_of(size) {
            true => Ok(found / size),
            false => Err(wrong_shape(feature, format!("{size} for each of at least 1 step"), found)),
        }
    }

    /// The values of a feature at all `steps`, or its one value; `None` if the record does not have the feature.
    ///
    /// # Errors
    /// [`TrajectoryError`] if the values are of another type, or their number differs from that of steps.
    pub fn values(&self, feature: &Feature, steps: usize) -> Result<Option<Values<'a>>, TrajectoryError> {
        let Some(values) = self.elements(feature)? else { return Ok(None) };
        let found = match &values {
            Values::Numbers(numbers) => numbers.len(),
            Values::Bytes(strings) => strings.len(),
            Values::Images(images) => images.len(),
        };
        let values_expected = if feature.of_steps { steps } else { 1 };
        if values_expected.checked_mul(feature.size()) != Some(found) {
            let of = if feature.of_steps { format!(" for each of {steps} steps") } else { String::new() };
            return Err(wrong_shape(feature, format!("{}{of}", feature.size()), found));
        }
        match (values, &feature.form) {
            (Values::Numbers(numbers), Form::Numbers { shape, bytes: true }) if shape.len() > 1 => {
                let shape: Vec<usize> =
                    std::iter::once(values_expected).chain(shape.iter().copied()).collect();
                let pixels = numbers.into_iter().map(|number| number as u8).collect();
                let images = Images::of_array(&shape, pixels);
                let refuse = |e| TrajectoryError::Record(format!("{}: {e}", feature.key));
                images.map(Values::Images).map(Some).map_err(refuse)
            }
            (values, _) => Ok(Some(values)),
        }
    }

    fn elements(&self, feature: &Feature) -> Result<Option<Values<'a>>, TrajectoryError> {
        let Some(&bytes) = self.features.get(feature.key.as_str()) else { return Ok(None) };
        let values = match feature.form {
            Form::Numbers { .. } => numbers(bytes).map(Values::Numbers),
            Form::Text | Form::Image => strings(bytes).map(Values::Bytes),
        };
        let expected =
            if matches!(feature.form, Form::Numbers { .. }) { "numbers" } else { "texts or images" };
        let problem = || format!("{}: expected {expected}; it is corrupt, or of another type", feature.key);
        values.map(Some).ok_or_else(|| TrajectoryError::Record(problem()))
    }
}

fn wrong_shape(feature: &Feature, expected: String, found: usize) -> TrajectoryError {
    let values = if matches!(feature.form, Form::Numbers { .. }) { "numbers" } else { "texts or images" };
    let expected = format!("{values}: {expected}");
    TrajectoryError::Shape { array: feature.key.clone(), expected, found: found.to_string() }
}

/// The features of an example by their keys; `None` if it is corrupt. As in protocol buffers, the last of a key counts.
fn features(example: &[u8]) -> Option<BTreeMap<&str, &[u8]>> {
    let mut features = BTreeMap::new();
    for list in inside(example, 1)? {
        for entry in inside(list, 1)? {
            let key = inside(entry, 1)?.last().map_or(Some(""), |key| std::str::from_utf8(key).ok())?;
            features.insert(key, inside(entry, 2)?.last().unwrap_or_default());
        }
    }
    Some(features)
}

fn numbers(feature: &[u8]) -> Option<Vec<f64>> {
    let mut numbers = vec![];
    for (kind, list) in fields(feature)? {
        let Wire::Bytes(list) = list else { return None };
        for (number, wire) in fields(list)? {
            match (kind, number, wire) {
                // Packed, or one alone.
                (2, 1, Wire::Bytes(floats)) if floats.len().is_multiple_of(4) => {
                    let float = |bytes: &[u8]| f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
                    numbers.extend(floats.chunks_exact(4).map(|bytes| f64::from(float(bytes))));
                }
                (3, 1, Wire::Bytes(mut packed)) => {
                    while !packed.is_empty() {
                        numbers.push(varint(&mut packed)? as i64 as f64);
                    }
                }
                (3, 1, Wire::Number(integer)) => numbers.push(integer as i64 as f64),
                _ => return None,
            }
        }
    }
    Some(numbers)
}

fn strings(feature: &[u8]) -> Option<Vec<&[u8]>> {
    let mut strings = vec![];
    for (kind, list) in fields(feature)? {
        let Wire::Bytes(list) = list else { return None };
        match kind {
            1 => strings.extend(inside(list, 1)?),
            // An empty list may be of any type.
            _ if list.is_empty() => {}
            _ => return None,
        }
    }
    Some(strings)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(fields: &[(u8, &[u8])]) -> Vec<u8> {
        let mut bytes = vec![];
        for (number, value) in fields {
            bytes.push(number << 3 | 2);
            let mut length = value.len();
            while length >= 0x80 {
                bytes.push(length as u8 | 0x80);
                length >>= 7;
            }
            bytes.push(length as u8);
            bytes.extend(*value);
        }
        bytes
    }

    /// A record of features, each with its key, the number of its type and its list.
    fn record(features: &[(&str, u8, Vec<u8>)]) -> Vec<u8> {
        let entry = |(key, kind, list): &(&str, u8, Vec<u8>)| {
            let feature = message(&[(*kind, list.as_slice())]);
            message(&[(1, key.as_bytes()), (2, feature.as_slice())])
        };
        let entries: Vec<Vec<u8>> = features.iter().map(entry).collect();
        let entries: Vec<(u8, &[u8])> = entries.iter().map(|entry| (1, entry.as_slice())).collect();
        let list = message(&entries);
        message(&[(1, list.as_slice())])
    }

    fn feature(key: &str, form: Form) -> Feature {
        Feature { key: key.into(), of_steps: key.starts_with("steps/"), form }
    }

    fn numbers_of(shape: &[usize], bytes: bool) -> Form {
        Form::Numbers { shape: shape.to_vec(), bytes }
    }

    #[test]
    fn lists_are_packed_or_not() {
        let floats: Vec<u8> = [0.5_f32, -1.0, 2.0, 3.5].iter().flat_map(|x| x.to_le_bytes()).collect();
        let single = |bytes: &[u8]| {
            bytes.chunks(4).flat_map(|one| [&[0x0d_u8][..], one].concat()).collect::<Vec<u8>>()
        };
        let bytes = record(&[
            ("steps/action", 2, message(&[(1, &floats)])),
            ("steps/state", 2, single(&floats)),
            ("steps/is_last", 3, message(&[(1, &[0, 1])])),
            (
                "steps/id",
                3,
                vec![0x08, 0xac, 0x02, 0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
            ),
            ("steps/text", 1, message(&[(1, b"go"), (1, b"")])),
            ("episode_metadata/name", 1, message(&[(1, b"a")])),
            ("steps/pixels", 3, message(&[(1, &[1, 2, 3, 4, 5, 6, 7, 8])])),
        ]);
        let record = Record::parse(&bytes).unwrap();
        let of = |key: &str, form: Form| record.values(&feature(key, form), 2).unwrap().unwrap();
        let all = vec![0.5, -1.0, 2.0, 3.5];
        assert_eq!(of("steps/action", numbers_of(&[2], false)), Values::Numbers(all.clone()));
        assert_eq!(of("steps/state", numbers_of(&[2], false)), Values::Numbers(all));
        assert_eq!(of("steps/id", numbers_of(&[], false)), Values::Numbers(vec![300.0, -1.0]));
        assert_eq!(of("steps/text", Form::Text), Values::Bytes(vec![b"go", b""]));
        assert_eq!(of("episode_metadata/name", Form::Text), Values::Bytes(vec![b"a"]));
        let pixels = (1..=8).collect::<Vec<u8>>().into();
        let frames = Images::Frames { height: 2, width: 2, channels: 1, pixels };
        assert_eq!(of("steps/pixels", numbers_of(&[2, 2], true)), Values::Images(frames));
        assert_eq!(record.steps(&feature("steps/is_last", numbers_of(&[], false))), Ok(2));
        assert_eq!(record.steps(&feature("steps/text", Form::Text)), Ok(2));
        assert_eq!(record.values(&feature("steps/none", Form::Text), 2), Ok(None));
    }

    #[test]
    fn corrupt_records_are_errors() {
        let bytes = record(&[("steps/action", 3, message(&[(1, &[1, 2, 3])]))]);
        let parsed = Record::parse(&bytes).unwrap();
        let error = |form: Form| parsed.values(&feature("steps/action", form), 2).unwrap_err().to_string();
        assert_eq!(
            error(numbers_of(&[2], false)),
            "steps/action must have numbers: 2 for each of 2 steps; found 3"
        );
        assert_eq!(
            error(Form::Text),
            "TFRecord: steps/action: expected texts or images; it is corrupt, or of another type"
        );
        let steps = |feature: &Feature| parsed.steps(feature).unwrap_err().to_string();
        assert_eq!(
            steps(&feature("steps/action", numbers_of(&[2], false))),
            "steps/action must have numbers: 2 for each of at least 1 step; found 3"
        );
        assert!(steps(&feature("steps/none", Form::Text)).ends_with("found 0"));
        for length in 1..bytes.len() {
            assert!(Record::parse(&bytes[..length]).is_err(), "{length} bytes");
        }
        // A length of 2^63 - 1.
        let huge = [0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f];
        assert!(Record::parse(&huge).is_err());
        assert!(Record::parse(&[]).is_ok_and(|record| record.features.is_empty()));
    }
}
