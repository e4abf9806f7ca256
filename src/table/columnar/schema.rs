//! The fields of a schema: groups are flattened, and class names come from the metadata of Hugging Face's `datasets`.

use arrow_schema::{DataType, Field, Fields, Schema};
use serde_json::Value as Json;
use std::sync::Arc;

/// The key of the features in the metadata of a schema.
pub const FEATURES: &str = "huggingface";
/// The key, in the same metadata, of the names of the fields that are series: a JSON list.
pub const SERIES: &str = "smalti.series";
/// The most levels of lists and groups.
const MAX_DEPTH: usize = 32;

/// The place and type of a field's values.
#[derive(Clone, Debug)]
pub struct Column {
    /// The number of the column.
    pub root: usize,
    /// The numbers of the fields in the groups from the column down.
    pub path: Vec<usize>,
    /// The type of the values.
    pub kind: Kind,
    /// The class names that replace numbers.
    pub names: Option<Arc<Vec<String>>>,
    /// The type of each step, if the values are declared as series.
    pub steps: Option<Kind>,
}

/// A type of values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// No value at all.
    Missing,
    Text,
    Number,
    List,
    File,
    /// Bytes without a declared type: texts if the first ones are UTF-8, or else files.
    Bytes,
}

impl Kind {
    /// A noun for the type.
    pub fn noun(self) -> &'static str {
        match self {
            Kind::Missing => "nothing",
            Kind::Text => "a text",
            Kind::Number => "a number",
            Kind::List => "a list",
            Kind::File => "a file",
            Kind::Bytes => "bytes",
        }
    }

    /// Whether a field may have values of both types.
    pub fn agrees(self, other: Self) -> bool {
        let either = |a: Self, b: &[Self]| self == a && b.contains(&other) || other == a && b.contains(&self);
        self == other
            || self == Kind::Missing
            || other == Kind::Missing
            || either(Kind::Bytes, &[Kind::Text, Kind::File])
    }
}

/// The fields of a file.
#[derive(Debug, Default)]
pub struct FileFields {
    /// The fields by name, in the file's order.
    pub columns: Vec<(String, Column)>,
    /// Columns that are not read, with the reason.
    pub skipped: Vec<(String, &'static str)>,
}

impl FileFields {
    /// The fields of a schema; fields of a group are named `group.field`. `features` is the description of `datasets`, and
    /// `series` are the names of lists with an item for each time step.
    pub fn of(schema: &Schema, features: &Json, series: &[String]) -> Self {
        let mut fields = Self::default();
        for (root, field) in schema.fields().iter().enumerate() {
            let column = Column { root, path: vec![], kind: Kind::Missing, names: None, steps: None };
            fields.add(field.name().clone(), field, &features[field.name()], column);
            if let (true, Some((_, column))) = (series.contains(field.name()), fields.columns.last_mut())
                && column.root == root
                && column.path.is_empty()
            {
                column.steps = step_kind(field.data_type());
            }
        }
        fields
    }

    fn add(&mut self, name: String, field: &Field, feature: &Json, mut column: Column) {
        if let Some(children) = group(field.data_type()).filter(|_| column.path.len() < MAX_DEPTH) {
            for (number, child) in children.iter().enumerate() {
                let mut column = column.clone();
                column.path.push(number);
                let known = [&feature[child.name()], &feature["feature"][child.name()]];
                let feature = known.into_iter().find(|json| !json.is_null()).unwrap_or(&Json::Null);
                self.add(format!("{name}.{}", child.name()), child, feature, column);
            }
            return;
        }
        match kind(field.data_type(), 0) {
            Ok(kind) => {
                column.names = class_names(feature).map(Arc::new);
                column.kind = match (kind, &column.names) {
                    (Kind::Number, Some(_)) => Kind::Text,
                    _ => kind,
                };
                self.columns.push((name, column));
            }
            Err(why) => self.skipped.push((name, why)),
        }
    }
}

/// The fields of a group that is no file.
fn group(data_type: &DataType) -> Option<&Fields> {
    match data_type {
        DataType::Struct(fields) if !is_file(fields) => Some(fields),
        _ => None,
    }
}

/// Whether a group is `{bytes, path}`, in which `datasets` writes images and audio clips.
pub fn is_file(fields: &Fields) -> bool {
    let has = |name: &str, expected: Kind| {
        fields.iter().any(|field| {
            let kind = kind(field.data_type(), MAX_DEPTH - 1);
            field.name() == name && (kind == Ok(expected) || kind == Ok(Kind::Missing))
        })
    };
    fields.len() == 2 && has("bytes", Kind::Bytes) && has("path", Kind::Text)
}

/// The type of a column's values, or the reason why they are not read.
fn kind(data_type: &DataType, depth: usize) -> Result<Kind, &'static str> {
    use DataType as T;
    if depth >= MAX_DEPTH {
        return Err("more than 32 levels of lists and groups");
    }
    Ok(match data_type {
        T::Null => Kind::Missing,
        T::Boolean | T::Utf8 | T::LargeUtf8 | T::Utf8View => Kind::Text,
        T::Date32 | T::Date64 | T::Timestamp(..) | T::Time32(_) | T::Time64(_) => Kind::Text,
        T::Binary | T::LargeBinary | T::BinaryView | T::FixedSizeBinary(_) => Kind::Bytes,
        T::Dictionary(_, values) => kind(values, depth + 1)?,
        T::List(item) | T::LargeList(item) | T::FixedSizeList(item, _) => {
            kind(item.data_type(), depth + 1)?;
            Kind::List
        }
        T::Struct(fields) if is_file(fields) => Kind::File,
        T::Struct(_) => return Err("a list of groups; texts, numbers, files and lists of them are read"),
        T::Map(..) => return Err("a map; texts, numbers, lists and files are read"),
        other if other.is_numeric() => Kind::Number,
        _ => return Err("a type that is not read; texts, numbers, lists and files are"),
    })
}

/// The type of the items of a list.
fn step_kind(data_type: &DataType) -> Option<Kind> {
    match data_type {
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            kind(item.data_type(), 1).ok()
        }
        _ => None,
    }
}

/// The class names of a feature, or of the items of a list.
fn class_names(feature: &Json) -> Option<Vec<String>> {
    let mut feature = feature;
    for _ in 0..MAX_DEPTH {
        if let Some(names) = feature["names"].as_array() {
            return names.iter().map(|name| Some(name.as_str()?.to_string())).collect();
        }
        // A list is `{"feature": …, "_type": "Sequence"}`, or in old versions `[…]`.
        feature = if feature.is_array() { &feature[0] } else { &feature["feature"] };
    }
    None
}

/// The features that `datasets` writes into the metadata of a schema.
pub fn features(metadata: Option<&str>) -> Json {
    let json: Json = metadata.and_then(|json| serde_json::from_str(json).ok()).unwrap_or_default();
    json["info"]["features"].clone()
}

/// The names of the fields that are series, in the metadata of a schema.
pub fn series(metadata: Option<&str>) -> Vec<String> {
    metadata.and_then(|json| serde_json::from_str(json).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn list(of: DataType) -> DataType {
        DataType::List(Arc::new(Field::new("item", of, true)))
    }

    fn group_of(fields: &[(&str, DataType)]) -> DataType {
        DataType::Struct(fields.iter().map(|(name, of)| Field::new(*name, of.clone(), true)).collect())
    }

    #[test]
    fn groups_are_flattened_and_maps_skipped() {
        let file = group_of(&[("bytes", DataType::Binary), ("path", DataType::Null)]);
        let inner = group_of(&[("x", DataType::Int8), ("y", list(DataType::Utf8))]);
        let messages = list(group_of(&[("role", DataType::Utf8)]));
        let schema = Schema::new(vec![
            Field::new("image", file.clone(), true),
            Field::new("g", inner, true),
            Field::new("frames", list(file), true),
            Field::new("messages", messages, true),
        ]);
        let fields = FileFields::of(&schema, &Json::Null, &[]);
        let found: Vec<(&str, Kind)> =
            fields.columns.iter().map(|(name, column)| (name.as_str(), column.kind)).collect();
        assert_eq!(
            found,
            [("image", Kind::File), ("g.x", Kind::Number), ("g.y", Kind::List), ("frames", Kind::List)]
        );
        assert_eq!(fields.columns[2].1.path, [1]);
        assert!(fields.skipped[0].0 == "messages" && fields.skipped[0].1.starts_with("a list of groups"));
    }

    #[test]
    fn class_names_are_found_in_lists_and_groups() {
        let label = json!({"names": ["a", "b"], "_type": "ClassLabel"});
        let features = json!({
            "label": label, "tags": {"feature": label, "_type": "Sequence"}, "old": [label],
            "g": {"feature": {"c": label}}, "n": {"dtype": "int64", "_type": "Value"},
        });
        let schema = Schema::new(vec![
            Field::new("label", DataType::Int64, true),
            Field::new("tags", list(DataType::Int64), true),
            Field::new("old", list(DataType::Int64), true),
            Field::new("g", group_of(&[("c", list(DataType::Int64))]), true),
            Field::new("n", DataType::Int64, true),
        ]);
        let named: Vec<bool> =
            FileFields::of(&schema, &features, &[]).columns.iter().map(|(_, c)| c.names.is_some()).collect();
        assert_eq!(named, [true, true, true, true, false]);
    }

    #[test]
    fn too_many_levels_are_skipped() {
        let deep = (0..100).fold(DataType::Int8, |of, _| list(of));
        let schema = Schema::new(vec![Field::new("deep", deep, true)]);
        assert_eq!(FileFields::of(&schema, &Json::Null, &[]).skipped.len(), 1);
    }
}
