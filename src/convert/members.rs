//! Rows as members of a tar archive: WebDataset.

use super::ConvertError;
use super::field::Field;
use super::kind::Kind;
use super::npy::npy;
use crate::inference::write::Json;
use indexmap::{IndexMap, IndexSet};
use smalti_contract::{Array, File, Numbers, Value};
use std::io::{self, Write};

/// The most numbers of a value in JSON.
const MAX_IN_JSON: usize = 256;
/// Names of the field of the text.
const TEXTS: [&str; 2] = ["text", "txt"];
/// Names of the field of the class, if its values are numbers.
const CLASSES: [&str; 3] = ["label", "class", "cls"];
/// Endings of members that are no files of the table.
const OWN: [&str; 3] = ["cls", "json", "txt"];
/// The time of change of all members, in seconds of Unix time: the start of 2000.
const CHANGED: u64 = 946_684_800;
/// Bytes of a header; members are padded to a multiple.
const BLOCK: usize = 512;

/// A file of a row: its name after the row's key, and its bytes.
pub(super) type Member = (String, Vec<u8>);

/// The place of each field.
pub(super) struct Members {
    places: Vec<Place>,
}

/// The place of a field's values.
#[derive(Clone, Debug, PartialEq)]
enum Place {
    Class,
    Text,
    /// The key in `json`.
    Json(String),
    /// The name before `.npy`.
    Npy(String),
    /// The name before `.series.npy`.
    Series(String),
    /// The name before the ending of the file; `None` for the only field of files.
    File(Option<String>),
}

impl Members {
    /// The places of these fields.
    ///
    /// # Errors
    /// [`ConvertError::Field`] for series of files, and for two fields in one place.
    pub fn new(fields: &[Field]) -> Result<Self, ConvertError> {
        let of_files = fields.iter().filter(|field| field.kind.is_file()).count();
        let mut places: Vec<Place> = vec![];
        for field in fields {
            let place = match &field.kind {
                Kind::Class(_) if !places.contains(&Place::Class) => Place::Class,
                Kind::Integer if CLASSES.contains(&field.name.as_str()) && !has_several_classes(fields) => {
                    Place::Class
                }
                Kind::Text if TEXTS.contains(&field.name.as_str()) && !places.contains(&Place::Text) => {
                    Place::Text
                }
                Kind::Image | Kind::Audio | Kind::File => {
                    Place::File((of_files > 1).then(|| ending(&field.name)))
                }
                Kind::Series(step) if step.is_file() => {
                    let problem =
                        "a series of files has no place in WebDataset; choose Parquet, or other fields";
                    return Err(ConvertError::field(&field.name, problem));
                }
                Kind::Series(step) if is_numeric(step) && !field.is_ragged => {
                    Place::Series(ending(&field.name))
                }
                kind if is_numeric(kind) && (field.most_numbers > MAX_IN_JSON || field.has_nan) => match kind
                {
                    Kind::Number => Place::Json(key(&field.name)),
                    _ => Place::Npy(ending(&field.name)),
                },
                _ => Place::Json(key(&field.name)),
            };
            if let Some(other) = places.iter().position(|known| *known == place) {
                let problem =
                    format!("it has the place of the field {:?}; choose one of them", fields[other].name);
                return Err(ConvertError::field(&field.name, problem));
            }
            places.push(place);
        }
        Ok(Self { places })
    }

    /// The class names of the member `cls`.
    pub fn classes<'a>(&self, fields: &'a [Field]) -> Option<&'a IndexSet<String>> {
        let mut placed = fields.iter().zip(&self.places);
        placed.find_map(|(field, place)| match (&field.kind, place) {
            (Kind::Class(names), Place::Class) => Some(names),
            _ => None,
        })
    }

    /// The place of a field, as its members end.
    pub fn place(&self, field: usize) -> String {
        match self.places.get(field) {
            Some(Place::Class) => "cls".into(),
            Some(Place::Text) => "txt".into(),
            Some(Place::Json(key)) => format!("json, key {key}"),
            Some(Place::Npy(name)) => format!("{name}.npy"),
            Some(Place::Series(name)) => format!("{name}.series.npy"),
            Some(Place::File(Some(name))) => format!("{name}.*"),
            Some(Place::File(None)) => "*".into(),
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
                (Place::Text, Value::Text(text)) => members.push(("txt".into(), text.into_bytes())),
                (Place::File(name), Value::File(file)) => {
                    let extension = extension(&file);
                    let ending = match name {
                        None if !OWN.contains(&extension.as_str()) => extension,
                        None => format!("{}.{extension}", ending(&field.name)),
                        Some(name) => format!("{name}.{extension}"),
                    };
                    members.push((ending, file.bytes));
                }
                (Place::Npy(name), value) => {
                    members.push((format!("{name}.npy"), npy(&value).map_err(failed)?))
                }
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

fn has_several_classes(fields: &[Field]) -> bool {
    let is_class = |field: &Field| {
        matches!(field.kind, Kind::Class(_))
            || field.kind == Kind::Integer && CLASSES.contains(&field.name.as_str())
    };
    fields.iter().filter(|field| is_class(field)).count() > 1
}

fn is_numeric(kind: &Kind) -> bool {
    matches!(kind, Kind::Integer | Kind::Number | Kind::Array { .. })
}

/// The name of a field as a part of a member's name: in lower case, as readers have it.
fn ending(field: &str) -> String {
    let allowed = |c: char| if c.is_alphanumeric() || ['.', '-', '_'].contains(&c) { c } else { '_' };
    let name: String = key(field).trim_matches('.').to_lowercase().chars().map(allowed).collect();
    // An array that was read from a .npy file has its old name again.
    name.strip_suffix(".npy").map_or(name.clone(), str::to_string)
}

/// The name of a field as a key; a field that was read from JSON has its old key again.
fn key(field: &str) -> String {
    field.strip_prefix("json.").unwrap_or(field).into()
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

/// The ending of a file: that of its name or, without one, by its content.
fn extension(file: &File) -> String {
    let name = file.name.rsplit(['/', '\\', ':']).next().unwrap_or_default();
    let name = name.strip_suffix(".gz").unwrap_or(name);
    let named = name.rsplit_once('.').map(|(_, extension)| extension.to_lowercase());
    let is_plain = |extension: &String| {
        (1..=8).contains(&extension.len()) && extension.bytes().all(|byte| byte.is_ascii_alphanumeric())
    };
    named.filter(is_plain).unwrap_or_else(|| extension_by_content(&file.bytes).into())
}

fn extension_by_content(bytes: &[u8]) -> &'static str {
    match bytes {
        [0x89, b'P', b'N', b'G', ..] => "png",
        [0xff, 0xd8, 0xff, ..] => "jpg",
        [b'G', b'I', b'F', b'8', ..] => "gif",
        [b'B', b'M', ..] => "bmp",
        [b'I', b'I', 42, 0, ..] | [b'M', b'M', 0, 42, ..] => "tif",
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => "webp",
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'A', b'V', b'E', ..] => "wav",
        [b'f', b'L', b'a', b'C', ..] => "flac",
        [b'O', b'g', b'g', b'S', ..] => "ogg",
        [b'I', b'D', b'3', ..] | [0xff, 0xe2..=0xff, ..] => "mp3",
        [_, _, _, _, b'f', b't', b'y', b'p', ..] => "m4a",
        _ => "bin",
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endings_are_those_of_names_or_of_contents() {
        let of = |name: &str, bytes: &[u8]| extension(&File { name: name.into(), bytes: bytes.to_vec() });
        assert_eq!(of("a.b/c.JPG", b""), "jpg");
        assert_eq!(of("notes.txt.gz", b""), "txt");
        assert_eq!(of("step 7", b"\x89PNG\r\n"), "png");
        assert_eq!(of("a.b/c", b"RIFF\0\0\0\0WAVEfmt "), "wav");
        assert_eq!(of("x.a strange ending", b"?"), "bin");
        assert_eq!(
            [ending("json.Left Eye"), ending("scan.npy"), key("json.label")],
            ["left_eye", "scan", "label"]
        );
    }
}
