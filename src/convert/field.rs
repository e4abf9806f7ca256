//! The fields of a table and the types of their values.

use super::ConvertError;
use super::kind::Kind;
use crate::data::DataError;
use crate::table::{Modality, Table};
use indexmap::IndexSet;
use rayon::prelude::*;
use smalti_contract::Value;
use std::collections::BTreeSet;

/// A field, with what the sampled rows say of its values.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Field {
    pub name: String,
    pub kind: Kind,
    /// The most numbers in a value, over all steps of a series.
    pub most_numbers: usize,
    /// Whether a number is infinite or NaN.
    pub has_nan: bool,
    /// Whether all texts are whole numbers.
    pub is_whole_text: bool,
    /// Whether the arrays in the steps of a series have different shapes.
    pub is_ragged: bool,
}

/// Fields that are left out, each with the reason.
pub(super) type LeftOut = Vec<(String, &'static str)>;

/// Rows whose values determine types and sizes.
pub(super) const SAMPLED: usize = 64;
/// The most classes of a field of texts.
const MAX_CLASSES: usize = 10_000;

/// At most [`SAMPLED`] of these rows, evenly spaced.
pub(super) fn sampled(rows: &[u32]) -> impl Iterator<Item = u32> + '_ {
    rows.iter().step_by(rows.len().div_ceil(SAMPLED).max(1)).copied()
}

/// The fields of these names, and those that have no value in any row.
///
/// # Errors
/// [`DataError`] for a field whose values have different types. Values that cannot be read are ignored here.
pub(super) fn fields(
    table: &dyn Table,
    names: &[String],
    rows: &[u32],
) -> Result<(Vec<Field>, LeftOut), ConvertError> {
    let found: Vec<Option<Field>> =
        names.par_iter().map(|name| field(table, name, rows)).collect::<Result<_, _>>()?;
    let missing = names.iter().zip(&found).filter(|(_, field)| field.is_none());
    let missing: Vec<_> = missing.map(|(name, _)| (name.clone(), "no row has a value")).collect();
    let fields: Vec<Field> = found.into_iter().flatten().collect();
    match fields.is_empty() {
        true => {
            let problem = "no row has a value that can be read; `smalti data check` names the problems";
            Err(DataError::layout(table.name(), problem).into())
        }
        false => Ok((fields, missing)),
    }
}

/// A field; `None` if no row has a value.
fn field(table: &dyn Table, name: &str, rows: &[u32]) -> Result<Option<Field>, ConvertError> {
    let mut field = Field {
        name: name.into(),
        kind: Kind::Text,
        most_numbers: 0,
        has_nan: false,
        is_whole_text: true,
        is_ragged: false,
    };
    let mut kind = None;
    for row in sampled(rows) {
        let Some(value) = outline(table, row, name) else { continue };
        let of_row = Kind::of(&value).and_then(|of_row| Kind::merge(kind.take(), of_row));
        kind = of_row.map_err(|types| mixed(table, name, &types))?;
        let (numbers, has_nan) = numbers(&value);
        field.most_numbers = field.most_numbers.max(numbers);
        field.has_nan |= has_nan;
        field.is_whole_text &= !matches!(&value, Value::Text(text) if text.parse::<i64>().is_err());
        field.is_ragged |= is_ragged(&value);
    }
    let later = || rows.iter().find_map(|row| Kind::of(&outline(table, *row, name)?).ok()?);
    let Some(kind) = kind.or_else(later) else { return Ok(None) };
    field.kind = match kind {
        Kind::Integer if !all_whole(table, name, rows) => Kind::Number,
        Kind::Series(step) if *step == Kind::Integer && !all_whole(table, name, rows) => {
            Kind::Series(Box::new(Kind::Number))
        }
        Kind::Text => classes(table, name, rows).map_or(Kind::Text, Kind::Class),
        other => other,
    };
    Ok(Some(field))
}

fn mixed(table: &dyn Table, name: &str, types: &str) -> ConvertError {
    let problem =
        format!("the field {name:?} holds {types}; expected one type; leave the field out (--fields)");
    DataError::layout(table.name(), problem).into()
}

/// A value, without the bytes of a file whose name tells its type; `None` if it cannot be read.
fn outline(table: &dyn Table, row: u32, field: &str) -> Option<Value> {
    let value = table.peek(row as usize, field).ok()?;
    let is_known = |value: &Value| match value {
        Value::File(file) => !file.bytes.is_empty() || Modality::by_name(&file.name).is_some(),
        _ => true,
    };
    let known = match &value {
        Value::Series(steps) => steps.iter().all(is_known),
        value => is_known(value),
    };
    if known { Some(value) } else { table.value(row as usize, field).ok() }
}

/// The count of numbers of a value, and whether one is infinite or NaN.
fn numbers(value: &Value) -> (usize, bool) {
    match value {
        Value::Number(number) => (1, !number.is_finite()),
        Value::Array(array) => (array.len(), array.to_f32().iter().any(|number| !number.is_finite())),
        Value::Series(steps) => steps
            .iter()
            .map(numbers)
            .fold((0, false), |(all, has_nan), (numbers, nan)| (all + numbers, has_nan || nan)),
        _ => (0, false),
    }
}

/// Whether the arrays in the steps of a series have different shapes.
fn is_ragged(value: &Value) -> bool {
    let Value::Series(steps) = value else { return false };
    let mut shapes = steps.iter().filter_map(|step| match step {
        Value::Array(array) => Some(&array.shape),
        _ => None,
    });
    let first = shapes.next();
    shapes.any(|shape| Some(shape) != first)
}

/// Whether all numbers of a field are whole.
fn all_whole(table: &dyn Table, field: &str, rows: &[u32]) -> bool {
    let is_whole = |value: &Value| {
        let kind = Kind::of(value).ok().flatten();
        kind.is_none_or(|kind| *kind.step() == Kind::Integer)
    };
    rows.par_iter().all(|row| table.peek(*row as usize, field).map_or(true, |value| is_whole(&value)))
}

/// The names of the classes of a field of texts: those that the source declares or, for a field that is named as labels are,
/// all texts in order. `None` if the field is no class.
fn classes(table: &dyn Table, field: &str, rows: &[u32]) -> Option<IndexSet<String>> {
    if let Some(names) = table.classes(field) {
        return names.iter().all(|name| is_class_name(name)).then(|| names.iter().cloned().collect());
    }
    if !["label", "class", "cls"].contains(&field) {
        return None;
    }
    let mut names = BTreeSet::new();
    for row in rows {
        match table.peek(*row as usize, field) {
            Ok(Value::Missing) | Err(_) => {}
            Ok(value) => {
                names.insert(value.into_label().ok().filter(|name| is_class_name(name))?);
            }
        }
        if names.len() > MAX_CLASSES {
            return None;
        }
    }
    Some(names.into_iter().collect())
}

/// Whether a name is a line of a list of classes.
fn is_class_name(name: &str) -> bool {
    !name.is_empty() && name.trim() == name && !name.contains(['\n', '\r'])
}
