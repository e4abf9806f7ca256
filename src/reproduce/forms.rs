//! Keys of an experiment's file that have two forms.

use super::experiment::FigureSpec;
use indexmap::IndexMap;
use serde::{Deserialize, Deserializer, de::Error};
use toml::Value;

/// The values of settings, by path, each with its name.
pub type Sweep = IndexMap<String, Vec<(String, Value)>>;

/// Reads the values of each setting: a list, whose values are their own names, or a table of names and values.
pub(super) fn sweep<'de, D: Deserializer<'de>>(file: D) -> Result<Sweep, D::Error> {
    let named = |value: Value| (value.as_str().map_or_else(|| value.to_string(), String::from), value);
    let values = |(path, values): (String, Value)| match values {
        Value::Array(values) => Ok((path, values.into_iter().map(named).collect())),
        Value::Table(values) => Ok((path, values.into_iter().collect())),
        other => {
            let found = other.type_str();
            Err(D::Error::custom(format!(
                "sweep.{path}: expected a list of values, or a table of names and values; found {found}"
            )))
        }
    };
    IndexMap::<String, Value>::deserialize(file)?.into_iter().map(values).collect()
}

/// Reads a figure or several.
pub(super) fn figures<'de, D: Deserializer<'de>>(file: D) -> Result<Vec<FigureSpec>, D::Error> {
    let figures = match Value::deserialize(file)? {
        Value::Array(figures) => figures,
        figure => vec![figure],
    };
    figures.into_iter().map(|figure| FigureSpec::deserialize(figure).map_err(D::Error::custom)).collect()
}
