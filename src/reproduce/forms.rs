//! Sweeps and figures in an experiment's file, each of which has two forms.

use indexmap::IndexMap;
use serde::{Deserialize, Deserializer, de::Error};
use toml::Value;

/// The values of settings, by path, each with its name.
pub type Sweep = IndexMap<String, Vec<(String, Value)>>;

/// `[figure]`: measures as bars, as curves over a swept setting, or as a matrix.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FigureSpec {
    /// Bars, curves or matrices.
    pub kind: FigureKind,
    /// The measures; a name without swept values stands for all of them.
    pub measures: Vec<String>,
    /// The label of the horizontal axis of curves.
    #[serde(default)]
    pub x: String,
    /// The label of the values.
    #[serde(default)]
    pub y: String,
    /// Whether the axes of curves are logarithmic: `[x, y]`.
    #[serde(default)]
    pub log: [bool; 2],
}

/// The kind of a figure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FigureKind {
    /// A bar for each measure.
    Bars,
    /// A curve for each swept measure.
    Lines,
    /// The matrices of one measure of an alignment or of positions, with the first seed: a cell for each pair of an output and an
    /// input token, of the first row, or a map of similarities for each place.
    Matrix,
}

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
