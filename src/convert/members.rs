//! Rows as members of a tar archive: WebDataset.

use super::ConvertError;
use super::endings::{self, ending, key};
use super::field::Field;
use super::kind::Kind;
use super::npy::npy;
use crate::inference::write::Json;
use indexmap::{IndexMap, IndexSet};
use smalti_contract::{Array, Numbers, Value};
use std::io::{self, Write};

/// The most numbers of a value in JSON.
const MAX_IN_JSON: usize = 256;
/// Names of the field of the class, if its values are numbers.
const CLASSES: [&str; 3] = ["label", "class", "cls"];
/// The time of change of all members, in seconds of Unix time: the start of 2000.
const CHANGED: u64 = 946_684_800;
/// Bytes of a header; members are padded to a multiple.
const BLOCK: usize = 512;

/// A file of a row: its name after the row's key, and its bytes.
pub(super) type Member = (String, Vec<u8>);

/// The place of each field.
pub(super) struct Members {
    places: Vec<Place>,
    /// Whether one field alone has files.
    has_one_file: bool,
}

/// The place of a field's values.
#[derive(Clone, Debug, PartialEq)]
enum Place {
    Class,
    /// The ending of a text.
    Text(String),
    /// The key in `json`.
    Json(String),
    /// The ending of an array of NumPy.
    Npy(String),
    /// The name before `.series.npy`.
    Series(String),
    /// The name of the field.
    File(String),
}

impl Members {
    /// The places of these fields.
    ///
    /// # Errors
    /// [`ConvertError::Field`] for series of files, and for two fields in one place.
    pub fn new(fields: &[Field]) -> Result<Self, ConvertError> {
        let has_several_classes = fields.iter().filter(|field| is_class(field)).count() > 1;
        let mut places: Vec<Place> = vec![];
        for field in fields {
            let place = match &field.kind {
                Kind::Class(_) | Kind::Integer | Kind::Text if is_counted(field) => {
                    Place::Text(ending(&field.name))
                }
                Kind::Class(_) if !places.contains(&Place::Class) => Place::Class,
                Kind::Integer if is_class(field) && !has_several_classes => Place::Class,
                Kind::Text if endings::is_text(&field.name) => Place::Text(ending(&field.name)),
                Kind::Image | Kind::Audio | Kind::File => Place::File(ending(&field.name)),
                Kind::Series(step) if step.is_file() => {
                    let problem =
                        "a series of files has no place in WebDataset; choose Parquet, or other fields";
                    return Err(ConvertError::field(&field.name, problem));
                }
                Kind::Series(step) if is_numeric(step) && !field.is_ragged => {
                    Place::Series(ending(&field.name))
                }
                Kind::Array { .. } if is_file_of_numpy(field) => Place::Npy(endings::npy(&field.name)),
                _ => Place::Json(key(&field.name)),
            };
            if let Some(other) = places.iter().position(|known| *known == place) {
                let problem =
                    format!("it has the place of the field {:?}; choose one of them", fields[other].name);
                return Err(ConvertError::field(&field.name, problem));
            }
            places.push(place);
        }
        let has_one_file = fields.iter().filter(|field| field.kind.is_file()).count() == 1;
        Ok(Self { places, has_one_file })
    }

    /// The class names of the member `cls`.
    pub fn classes<'a>(&self, fields: &'a [Field]) -> Option<&'a IndexSet<String>> {
        let mut placed = fields.iter().zip(&self.places);
        placed.find_map(|(field, place)| match (&field.kind, place) {
            (Kind::Class(names), Place::Class) => Some(names),
            _ => None,
        })
    }

    /// The place of a field, as its members end; `at` is its number.
    pub fn place(&self, at: usize, field: &Field) -> String {
        match self.places.get(at) {
            Some(Place::Class) => "cls".into(),
            Some(Place::Text(ending) | Place::Npy(ending)) => ending.clone(),
            Some(Place::Json(key)) => format!("json, key {key}"),
            Some(Place::Series(name)) => format!("{name}.series.npy"),
            Some(Place::File(name)) => endings::pattern(name, &field.kind, self.has_one_file),
            None => String::new(),
        }
    }

    /// The members of a row; one without a value has an empty object in `json`, so that it stays a row.
    ///
    /// # Errors
    /// The number of the field that cannot be encoded, and the reason.
    pub fn encode(&self, fields: &[Field], values: Vec<Value>) -> Result<Vec<Member>, (usize, String)> {
        let (mut members, mut object) = (vec![], IndexMap::new());
        for (at, ((field, place), value)) in fields.iter().zip(&self.places).zip(values).enumerate() {
            let failed = |problem: String| (at, problem);
            match (place, value) {
                (_, Value::Missing) => {}
                (Place::Class, Value::Number(number)) => {
                    members.push(("cls".into(), number.to_string().into()))
                }
                (Place::Text(ending), value @ (Value::Text(_) | Value::Number(_))) => {
                    let text = named(value, &field.kind).into_label().map_err(|e| failed(e.to_string()))?;
                    members.push((ending.clone(), text.into_bytes()));
                }
                (Place::File(name), Value::File(file)) => {
                    let ending = endings::of_file(name, &field.kind, self.has_one_file, &file);
                    members.push((ending, file.bytes));
                }
                (Place::Npy(ending), value) => members.push((ending.clone(), npy(&value).map_err(failed)?)),
                (Place::Series(name), value) => {
                    members.push((format!("{name}.series.npy"), npy(&value).map_err(failed)?))
                }
                (Place::Json(key), value) => {
                    let value = named(value, &field.kind);
                    check_finite(&value).map_err(failed)?;
                    object.insert(key, value);
                }
                (_, value) => return Err(failed(value.unexpected("the type of other rows").to_string())),
            }
        }
        if !object.is_empty() || members.is_empty() {
            let object: IndexMap<_, _> = object.iter().map(|(key, value)| (key, Json(value))).collect();
            let bytes = serde_json::to_vec(&object).map_err(|e| (0, e.to_string()))?;
            members.push(("json".into(), bytes));
        }
        members.sort();
        if let Some(pair) = members.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            return Err((
                0,
                format!("two files of the row would end in .{}; choose other fields", pair[0].0),
            ));
        }
        Ok(members)
    }
}

/// Whether a field may be the member `cls`.
fn is_class(field: &Field) -> bool {
    let has_name = || field.kind == Kind::Integer && CLASSES.contains(&field.name.as_str());
    (matches!(field.kind, Kind::Class(_)) || has_name()) && !is_counted(field)
}

/// Whether the values are whole numbers, and members of the field's name are those: `count`, but `cls` is the class.
fn is_counted(field: &Field) -> bool {
    let is_whole = |text: &String| text.parse::<i64>().is_ok();
    let all_whole = match &field.kind {
        Kind::Class(names) => names.iter().all(is_whole),
        Kind::Text => field.is_whole_text,
        _ => field.name == "class",
    };
    all_whole && field.name != "cls" && endings::is_count(&field.name)
}

/// Whether arrays have files of their own: those that were read from such files, and those that JSON cannot hold well.
fn is_file_of_numpy(field: &Field) -> bool {
    endings::is_npy(&field.name) || field.most_numbers > MAX_IN_JSON || field.has_nan
}

fn is_numeric(kind: &Kind) -> bool {
    matches!(kind, Kind::Integer | Kind::Number | Kind::Array { .. })
}

/// The value with the names of classes.
fn named(value: Value, kind: &Kind) -> Value {
    match (kind, value) {
        (Kind::Class(names), Value::Number(number)) => {
            names.get_index(number as usize).map_or(Value::Missing, |name| Value::Text(name.clone()))
        }
        (_, value) => value,
    }
}

/// Checks that JSON can hold the numbers of a value.
fn check_finite(value: &Value) -> Result<(), String> {
    let finite = match value {
        Value::Number(number) => number.is_finite(),
        Value::Array(Array { numbers: Numbers::F32(numbers), .. }) => numbers.iter().all(|x| x.is_finite()),
        Value::Series(steps) => return steps.iter().try_for_each(check_finite),
        _ => true,
    };
    match finite {
        true => Ok(()),
        false => {
            Err("expected finite numbers, which JSON can hold; found infinity or NaN; choose Parquet".into())
        }
    }
}

/// The size of a member of these bytes in an archive.
pub(super) fn size(bytes: &[u8]) -> u64 {
    (BLOCK + bytes.len().next_multiple_of(BLOCK)) as u64
}

/// Appends the members of a row, with nothing in their headers that depends on the machine or the time.
pub(super) fn append(tar: &mut tar::Builder<impl Write>, row: u32, members: Vec<Member>) -> io::Result<()> {
    for (ending, bytes) in members {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        header.set_mtime(CHANGED);
        header.set_uid(0);
        header.set_gid(0);
        tar.append_data(&mut header, format!("{row:08}.{ending}"), bytes.as_slice())?;
    }
    Ok(())
}
