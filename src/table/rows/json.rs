//! Conversion of JSON to values of fields.

use indexmap::IndexMap;
use serde::de::DeserializeOwned;
use serde_json::Value as Json;
use smalti_contract::{Array, Numbers, Value};

/// Parses JSON.
///
/// # Errors
/// With the problem; NaN and infinities, which Python's `json.dumps` writes, are named.
pub fn parse<T: DeserializeOwned>(json: &[u8]) -> Result<T, String> {
    serde_json::from_slice(json).map_err(|e| not_finite(json).unwrap_or_else(|| e.to_string()))
}

/// Parses an object.
///
/// # Errors
/// As for [`parse`].
pub fn object(json: &[u8]) -> Result<IndexMap<String, Json>, String> {
    serde_json::from_slice(json).map_err(|e| no_object(json, &e))
}

/// The problem of text that is no JSON object.
fn no_object(json: &[u8], error: &serde_json::Error) -> String {
    not_finite(json).unwrap_or_else(|| format!("expected a JSON object; {error}"))
}

/// The problem of JSON with `NaN`, `Infinity` or `-Infinity` outside of texts.
fn not_finite(json: &[u8]) -> Option<String> {
    let (mut in_text, mut escaped) = (false, false);
    for (at, byte) in json.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = in_text,
            b'"' => in_text = !in_text,
            b'N' | b'I' | b'-' if !in_text => {
                let words = ["NaN", "Infinity", "-Infinity"];
                if let Some(word) = words.into_iter().find(|word| json[at..].starts_with(word.as_bytes())) {
                    return Some(format!("{word} is not JSON; write null for a missing number"));
                }
            }
            _ => {}
        }
    }
    None
}

/// The fields of an object; fields of nested objects are named `outer.inner`.
///
/// # Errors
/// If a list contains objects.
pub fn fields(prefix: &str, object: IndexMap<String, Json>) -> Result<Vec<(String, Value)>, String> {
    let mut fields = vec![];
    for (key, json) in object {
        let name = if prefix.is_empty() { key } else { format!("{prefix}.{key}") };
        match json {
            Json::Object(inner) => fields.extend(self::fields(&name, inner.into_iter().collect())?),
            json => {
                let value = value(&json).map_err(|problem| format!("the field {name:?} is {problem}"))?;
                fields.push((name, value));
            }
        }
    }
    Ok(fields)
}

/// The value of JSON that is not an object. Empty texts, empty lists and null are missing; true and false are texts.
///
/// # Errors
/// If a list contains objects.
pub fn value(json: &Json) -> Result<Value, String> {
    Ok(match json {
        Json::Null => Value::Missing,
        Json::Bool(truth) => Value::Text(truth.to_string()),
        Json::Number(number) => number.as_f64().map_or(Value::Missing, Value::Number),
        Json::String(text) if text.is_empty() => Value::Missing,
        Json::String(text) => Value::Text(text.clone()),
        Json::Array(items) => list(items.iter().map(value).collect::<Result<_, _>>()?),
        Json::Object(_) => return Err("a list of objects; expected texts, numbers or lists of them".into()),
    })
}

/// A list as a value: numbers, and arrays of one shape, are an array; other lists are a series.
pub fn list(items: Vec<Value>) -> Value {
    if items.is_empty() {
        return Value::Missing;
    }
    let numbers = items.iter().map(|item| match item {
        Value::Number(number) => Some(*number as f32),
        _ => None,
    });
    if let Some(numbers) = numbers.collect::<Option<Vec<f32>>>() {
        return Value::vector(numbers);
    }
    let shape = |item: &Value| match item {
        Value::Array(array) => Some(array.shape.clone()),
        _ => None,
    };
    match items.first().and_then(shape) {
        Some(inner) if items.iter().all(|item| shape(item).as_ref() == Some(&inner)) => {
            let mut numbers = Vec::with_capacity(items.len() * inner.iter().product::<usize>());
            for item in &items {
                if let Value::Array(array) = item {
                    numbers.extend(array.to_f32());
                }
            }
            let shape = std::iter::once(items.len()).chain(inner).collect();
            Value::Array(Array { shape, numbers: Numbers::F32(numbers) })
        }
        _ => Value::Series(items),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(json: &str) -> Result<Value, String> {
        value(&serde_json::from_str(json).unwrap())
    }

    #[test]
    fn lists_of_one_shape_are_arrays() {
        assert_eq!(of("[1, 2.5]"), Ok(Value::vector([1.0, 2.5])));
        let numbers = Numbers::F32(vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        assert_eq!(of("[[1, 2], [3, 4], [5, 6]]"), Ok(Value::Array(Array { shape: vec![3, 2], numbers })));
        assert_eq!(of("[[1], [2, 3]]").unwrap().steps(), Some(2));
        let texts = vec![Value::Text("a".into()), Value::Missing];
        assert_eq!(of("[\"a\", null]"), Ok(Value::Series(texts)));
        assert_eq!(
            [of("[]"), of("\"\""), of("null")],
            [Ok(Value::Missing), Ok(Value::Missing), Ok(Value::Missing)]
        );
        assert!(of("[{}]").unwrap_err().starts_with("a list of objects"));
    }

    #[test]
    fn numbers_that_are_not_finite_are_named() {
        let problem = |json: &str| parse::<Json>(json.as_bytes()).unwrap_err();
        for word in ["NaN", "Infinity", "-Infinity"] {
            let expected = format!("{word} is not JSON; write null for a missing number");
            assert_eq!(problem(&format!("{{\"a\": \"x\\\" NaN\", \"b\": [1, {word}]}}")), expected);
            assert_eq!(object(format!("{{\"a\": {word}}}").as_bytes()), Err(expected));
        }
        assert!(problem("{\"a\": \"NaN\"").starts_with("EOF"));
    }

    #[test]
    fn fields_of_nested_objects_are_named_by_their_path() {
        let object = serde_json::from_str("{\"b\": {\"x\": 1, \"y\": {\"z\": true}}, \"a\": \"t\"}").unwrap();
        let names: Vec<String> = fields("", object).unwrap().into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["b.x", "b.y.z", "a"]);
    }
}
