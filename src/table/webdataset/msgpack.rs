//! MessagePack as fields, in the same way as JSON; arrays as `msgpack-numpy` writes them.

use super::decode::array;
use crate::table::rows::json::list;
use rmpv::Value as Packed;
use rmpv::decode::read_value_with_max_depth;
use smalti_contract::{File, Value};

/// The maximal nesting.
const MAX_DEPTH: usize = 256;

/// The fields of a map, named as those of JSON; any other value is one field, the prefix.
///
/// # Errors
/// If the bytes are not MessagePack, end early or late, or have a value that is no field.
pub(super) fn fields(prefix: &str, mut bytes: &[u8]) -> Result<Vec<(String, Value)>, String> {
    let packed = read_value_with_max_depth(&mut bytes, MAX_DEPTH).map_err(|e| e.to_string())?;
    if !bytes.is_empty() {
        return Err(format!("{} bytes follow the value", bytes.len()));
    }
    let mut fields = vec![];
    add(prefix.into(), packed, &mut fields)?;
    Ok(fields)
}

fn add(name: String, packed: Packed, fields: &mut Vec<(String, Value)>) -> Result<(), String> {
    match packed {
        Packed::Map(pairs) if !is_numpy(&pairs) => {
            for (key, packed) in pairs {
                let key = text(&key)
                    .ok_or_else(|| format!("the field {name:?} has the key {key}; expected texts"))?;
                add(format!("{name}.{key}"), packed, fields)?;
            }
        }
        other => {
            let value = value(&name, other).map_err(|problem| format!("the field {name:?} is {problem}"))?;
            fields.push((name, value));
        }
    }
    Ok(())
}

/// The value of anything but a map of fields. Empty texts, empty lists and nil are missing; true and false are texts.
fn value(name: &str, packed: Packed) -> Result<Value, String> {
    Ok(match packed {
        Packed::Nil => Value::Missing,
        Packed::Boolean(truth) => truth.into(),
        Packed::Integer(_) | Packed::F32(_) | Packed::F64(_) => {
            packed.as_f64().filter(|number| !number.is_nan()).map_or(Value::Missing, Value::Number)
        }
        Packed::String(text) => match text.into_str() {
            Some(text) if text.is_empty() => Value::Missing,
            Some(text) => Value::Text(text),
            None => return Err("a text that is not UTF-8".into()),
        },
        Packed::Binary(bytes) if bytes.is_empty() => Value::Missing,
        Packed::Binary(bytes) => Value::File(File { name: name.into(), bytes }),
        Packed::Array(items) => {
            list(items.into_iter().map(|item| value(name, item)).collect::<Result<_, _>>()?)
        }
        Packed::Map(pairs) if is_numpy(&pairs) => numpy(&pairs)?,
        Packed::Map(_) => return Err("a list of maps; expected texts, numbers or lists of them".into()),
        Packed::Ext(kind, _) => return Err(format!("an extension of type {kind}")),
    })
}

/// Whether a map is an array or a number of NumPy.
fn is_numpy(pairs: &[(Packed, Packed)]) -> bool {
    entry(pairs, "nd").is_some_and(Packed::is_bool) && entry(pairs, "data").is_some_and(Packed::is_bin)
}

/// An array or a number of NumPy: `{nd, type, shape, data}`.
fn numpy(pairs: &[(Packed, Packed)]) -> Result<Value, String> {
    let of = |key| entry(pairs, key).ok_or_else(|| format!("an array of NumPy without {key:?}"));
    let kind = of("type").map(text)?.ok_or("an array of NumPy with fields; expected numbers")?;
    let size = |size: &Packed| size.as_u64().and_then(|size| usize::try_from(size).ok());
    let shape = match entry(pairs, "shape").and_then(Packed::as_array) {
        Some(sizes) => {
            sizes.iter().map(size).collect::<Option<_>>().ok_or("an array of NumPy of unknown shape")?
        }
        None => vec![],
    };
    let data = of("data")?.as_slice().ok_or("an array of NumPy without bytes")?;
    let read = smalti_npy::Array::of_parts(&kind, shape, data.to_vec());
    read.map(array).map_err(|problem| format!("an array of NumPy: {problem}"))
}

/// The value of a key, which Python may write as text or as bytes.
fn entry<'a>(pairs: &'a [(Packed, Packed)], key: &str) -> Option<&'a Packed> {
    let is_key = |known: &Packed| match known {
        Packed::Binary(bytes) => bytes == key.as_bytes(),
        Packed::String(text) => text.as_str() == Some(key),
        _ => false,
    };
    pairs.iter().find(|(known, _)| is_key(known)).map(|(_, value)| value)
}

/// A text, a text in bytes, or an integer, as a key.
fn text(packed: &Packed) -> Option<String> {
    match packed {
        Packed::String(text) => text.as_str().map(str::to_string),
        Packed::Binary(bytes) => String::from_utf8(bytes.clone()).ok(),
        Packed::Integer(number) => Some(number.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use smalti_contract::{Array, Numbers};

    fn packed(value: &Packed) -> Vec<u8> {
        let mut bytes = vec![];
        rmpv::encode::write_value(&mut bytes, value).unwrap();
        bytes
    }

    fn map(pairs: Vec<(&str, Packed)>) -> Packed {
        Packed::Map(pairs.into_iter().map(|(key, value)| (key.into(), value)).collect())
    }

    #[test]
    fn keys_are_fields() {
        let inner = map(vec![("n", 3.into()), ("t", true.into())]);
        let list = Packed::Array(vec![1.into(), 2.5.into()]);
        let bytes = packed(&map(vec![
            ("a", "x".into()),
            ("b", inner),
            ("c", list),
            ("d", Packed::Nil),
            ("e", Packed::F64(f64::NAN)),
            ("f", Packed::Binary(vec![7])),
        ]));
        let file = Value::File(File { name: "mp.f".into(), bytes: vec![7] });
        let expected = [
            ("mp.a", Value::Text("x".into())),
            ("mp.b.n", Value::Number(3.0)),
            ("mp.b.t", Value::Text("true".into())),
            ("mp.c", Value::vector([1.0, 2.5])),
            ("mp.d", Value::Missing),
            ("mp.e", Value::Missing),
            ("mp.f", file),
        ];
        assert_eq!(
            fields("mp", &bytes),
            Ok(expected.map(|(name, value)| (name.to_string(), value)).to_vec())
        );
        assert_eq!(fields("mp", &packed(&5.into())), Ok(vec![("mp".into(), Value::Number(5.0))]));
    }

    #[test]
    fn arrays_of_numpy_are_arrays() {
        let array = |data: Vec<u8>| {
            let shape = Packed::Array(vec![1.into(), 2.into()]);
            packed(&map(vec![
                ("nd", true.into()),
                ("type", "|u1".into()),
                ("kind", Packed::Binary(vec![])),
                ("shape", shape),
                ("data", Packed::Binary(data)),
            ]))
        };
        let expected = Value::Array(Array { shape: vec![1, 2], numbers: Numbers::U8(vec![8, 9]) });
        assert_eq!(fields("mp", &array(vec![8, 9])), Ok(vec![("mp".into(), expected)]));
        assert!(fields("mp", &array(vec![8])).unwrap_err().contains("an array of NumPy: shape (1, 2)"));
        let scalar = map(vec![
            ("nd", false.into()),
            ("type", "<f4".into()),
            ("data", Packed::Binary(1.5_f32.to_le_bytes().to_vec())),
        ]);
        assert_eq!(fields("mp", &packed(&scalar)), Ok(vec![("mp".into(), Value::Number(1.5))]));
    }

    #[test]
    fn other_bytes_are_errors() {
        assert!(fields("mp", &[0x93, 1]).is_err());
        assert_eq!(fields("mp", &[1, 2]), Err("1 bytes follow the value".into()));
        assert!(fields("mp", &[0x91; 100_000]).is_err());
        let of_maps = packed(&Packed::Array(vec![map(vec![("a", 1.into())])]));
        assert!(fields("mp", &of_maps).unwrap_err().contains("a list of maps"));
    }
}
