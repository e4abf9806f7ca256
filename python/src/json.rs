//! Settings and kinds of token: JSON of the library, and Python's dicts and lists.

use crate::error::input;
use pyo3::prelude::*;
use serde_json::{Value as Json, json};
use smalti::contract::spec::{ContentSpec, KindSpec};

/// The JSON of a Python value.
pub fn from_python(object: &Bound<'_, PyAny>) -> PyResult<Json> {
    let text: String = object.py().import("json")?.call_method1("dumps", (object,))?.extract()?;
    serde_json::from_str(&text).map_err(|e| input(e.to_string()))
}

/// The Python value of JSON.
pub fn to_python<'py>(py: Python<'py>, json: &Json) -> PyResult<Bound<'py, PyAny>> {
    py.import("json")?.call_method1("loads", (json.to_string(),))
}

/// Kinds of token: `name`, either `vocabulary` or `dim`, the size of each axis of positions, and the number of time steps.
pub fn of_kinds(kinds: &[KindSpec]) -> Json {
    let of = |kind: &KindSpec| {
        let (vocabulary, dim) = match kind.content {
            ContentSpec::Ids { vocabulary } => (Some(vocabulary), None),
            ContentSpec::Features { dim } => (None, Some(dim)),
        };
        let axes: serde_json::Map<String, Json> =
            kind.axes.iter().map(|axis| (axis.name.clone(), axis.size.into())).collect();
        json!({
            "name": kind.name, "vocabulary": vocabulary, "dim": dim, "axes": axes, "time_steps": kind.time_steps,
        })
    };
    kinds.iter().map(of).collect()
}
