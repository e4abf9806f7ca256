//! The type of the values of one field.

use crate::table::Modality;
use indexmap::IndexSet;
use smalti_contract::{Array, Numbers, Value};

/// The type of the values of one field.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Kind {
    /// The numbers of classes with these names.
    Class(IndexSet<String>),
    Text,
    /// Whole numbers.
    Integer,
    Number,
    Array {
        /// The number of axes.
        rank: usize,
        /// Whether the numbers are bytes.
        bytes: bool,
    },
    Image,
    Audio,
    /// Any other file.
    File,
    /// One value for each time step.
    Series(Box<Kind>),
}

impl Kind {
    /// The type of a value; `None` for a missing one, for a series without values, and for a file that only its content
    /// tells, if there is none.
    ///
    /// # Errors
    /// If the steps of a series have different types; the message names both.
    pub fn of(value: &Value) -> Result<Option<Self>, String> {
        Ok(Some(match value {
            Value::Missing => return Ok(None),
            Value::Text(_) => Kind::Text,
            Value::Number(number) if number.is_nan() => return Ok(None),
            Value::Number(number) if is_whole(*number) => Kind::Integer,
            Value::Number(_) => Kind::Number,
            Value::Array(array) if is_image(array) => Kind::Image,
            Value::Array(Array { shape, numbers }) => {
                Kind::Array { rank: shape.len(), bytes: matches!(numbers, Numbers::U8(_)) }
            }
            Value::File(file) => match Modality::guess(&file.name, &file.bytes) {
                Some(Modality::Image) => Kind::Image,
                Some(Modality::Audio) => Kind::Audio,
                _ => Kind::File,
            },
            Value::Series(steps) => {
                let mut all = None;
                for step in steps {
                    all = Self::merge(all, Self::of(step)?)?;
                }
                return Ok(all.map(|kind| Kind::Series(Box::new(kind))));
            }
            Value::Several { .. } => return Err(value.unexpected("the value of one row").to_string()),
        }))
    }

    /// The type of the values of both types.
    ///
    /// # Errors
    /// If there is none; the message names both.
    pub fn merge(one: Option<Self>, other: Option<Self>) -> Result<Option<Self>, String> {
        use Kind::{Array, Audio, File, Image, Integer, Number, Series, Text};
        let (one, other) = match (one, other) {
            (Some(one), Some(other)) => (one, other),
            (one, other) => return Ok(one.or(other)),
        };
        Ok(Some(match (one, other) {
            (one, other) if one == other => one,
            (Integer | Number, Integer | Number) => Number,
            (Text, Integer | Number) | (Integer | Number, Text) => Text,
            (Image | Audio | File, Image | Audio | File) => File,
            (Array { rank, .. }, Array { rank: other, .. }) if rank == other => Array { rank, bytes: false },
            (Series(one), Series(other)) => match Self::merge(Some(*one), Some(*other))? {
                Some(kind) => Series(Box::new(kind)),
                None => return Ok(None),
            },
            (one, other) => return Err(format!("{} and {}", one.describe(), other.describe())),
        }))
    }

    /// The type of a step of a series, or of the value itself.
    pub fn step(&self) -> &Self {
        match self {
            Kind::Series(step) => step,
            other => other,
        }
    }

    /// Whether the values are files.
    pub fn is_file(&self) -> bool {
        matches!(self, Kind::Image | Kind::Audio | Kind::File)
    }

    /// A noun phrase for messages.
    pub fn describe(&self) -> String {
        match self {
            Kind::Class(_) => "a class".into(),
            Kind::Text => "text".into(),
            Kind::Integer => "a whole number".into(),
            Kind::Number => "a number".into(),
            Kind::Array { rank, bytes: true } => format!("an array of bytes of {rank} axes"),
            Kind::Array { rank, bytes: false } => format!("an array of {rank} axes"),
            Kind::Image => "an image".into(),
            Kind::Audio => "an audio clip".into(),
            Kind::File => "a file".into(),
            Kind::Series(step) => format!("a series, each step {}", step.describe()),
        }
    }
}

/// Whether a number is a whole one that an `i64` and an `f64` hold exactly.
pub(super) fn is_whole(number: f64) -> bool {
    number.fract() == 0.0 && number.abs() < (1_u64 << f64::MANTISSA_DIGITS) as f64
}

/// Whether an array has the pixels of an image that this build can encode.
fn is_image(array: &Array) -> bool {
    cfg!(feature = "image")
        && matches!(array.numbers, Numbers::U8(_))
        && matches!(array.shape[..], [_, _] | [_, _, 1 | 3])
        && !array.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;
    use smalti_contract::File;

    fn of(values: &[Value]) -> Result<Option<Kind>, String> {
        values.iter().try_fold(None, |all, value| Kind::merge(all, Kind::of(value)?))
    }

    #[test]
    fn values_of_one_field_have_one_type() {
        let series = |steps: &[Value]| Value::Series(steps.to_vec());
        let file = |name: &str| Value::File(File { name: name.into(), bytes: vec![] });
        let (one, half) = (Value::Number(1.0), Value::Number(0.5));
        assert_eq!(of(&[Value::Missing, one.clone()]), Ok(Some(Kind::Integer)));
        assert_eq!(of(&[one.clone(), half.clone()]), Ok(Some(Kind::Number)));
        assert_eq!(of(&[half.clone(), "a".into()]), Ok(Some(Kind::Text)));
        assert_eq!(of(&[file("a.png"), file("b.jpg")]), Ok(Some(Kind::Image)));
        assert_eq!(of(&[file("a.png"), file("b.wav")]), Ok(Some(Kind::File)));
        assert_eq!(of(&[Value::vector([0.5])]), Ok(Some(Kind::Array { rank: 1, bytes: false })));
        let numbers = of(&[series(&[Value::Missing]), series(&[one.clone(), half])]);
        assert_eq!(numbers, Ok(Some(Kind::Series(Box::new(Kind::Number)))));
        assert_eq!(of(&[one, Value::vector([0.5])]).unwrap_err(), "a whole number and an array of 1 axes");
    }
}
