//! Values of the wrong type: the setting, the expected type with an example, and the value.

use super::schema::Schema;
use serde_json::Value as Json;
use toml::Value;

/// A value of the wrong type.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct WrongType {
    /// The setting's path.
    pub key: String,
    /// The expected type, with an example.
    pub expected: String,
    /// The value, as TOML.
    pub found: String,
}

/// The first value at `key` and below that its schema does not allow. Unknown keys and missing ones are allowed.
pub(super) fn wrong_type(schema: Schema, value: &Value, key: &str) -> Option<WrongType> {
    check(schema, value, key, &Json::Null)
}

fn check(schema: Schema, value: &Value, key: &str, default: &Json) -> Option<WrongType> {
    let wrong = || {
        let expected = match example(schema, value, key, default) {
            Some(example) => format!("{}, such as {example}", described(schema, value)),
            None => described(schema, value),
        };
        Some(WrongType { key: key.into(), expected, found: shown(value) })
    };
    if schema.alternatives().next().is_some() {
        let meant: Vec<Schema> = schema.alternatives().filter(|one| is_meant(*one, value)).collect();
        let candidates = if meant.is_empty() { schema.alternatives().collect() } else { meant };
        let mut problems = candidates.iter().map(|one| check(*one, value, key, default));
        return match candidates.len() {
            1 => problems.next()?,
            _ if problems.any(|problem| problem.is_none()) => None,
            _ => unknown_tag(schema, value, key).or_else(wrong),
        };
    }
    match value {
        _ if !is_allowed(schema, value) => wrong(),
        Value::Table(table) => table.iter().find_map(|(name, value)| {
            let key = if key.is_empty() { name.clone() } else { format!("{key}.{name}") };
            let own = schema.at["properties"].get(name);
            let property = own.unwrap_or(&schema.at["additionalProperties"]);
            check(schema.within(property), value, &key, &property["default"])
        }),
        Value::Array(items) => items.iter().enumerate().find_map(|(place, item)| {
            let item_key = format!("{key}[{place}]");
            let found = check(schema.within(&schema.at["items"]), item, &item_key, &Json::Null)?;
            // A wrong number in a list is shown with the list.
            if found.key == item_key { wrong() } else { Some(found) }
        }),
        _ => None,
    }
}

/// Whether a value is of the type of an alternative: a table that has its required keys and its tag.
fn is_meant(schema: Schema, value: &Value) -> bool {
    let required = schema.at["required"].as_array().into_iter().flatten().filter_map(Json::as_str);
    let has_tag = |(name, property): (&String, &Json)| {
        property["const"].is_null() || value.get(name).and_then(Value::as_str) == property["const"].as_str()
    };
    match value {
        Value::Table(table) => {
            is_allowed(schema, value)
                && required.into_iter().all(|name| table.contains_key(name))
                && schema.properties().all(has_tag)
        }
        Value::Array(_) => is_allowed(schema, value),
        _ => false,
    }
}

/// The tag of a table, if each alternative is a table with a tag of its own, and none has this one.
fn unknown_tag(schema: Schema, value: &Value, key: &str) -> Option<WrongType> {
    let tag = |one: Schema| {
        let has_tag =
            |(name, property): (&String, &Json)| Some((name.clone(), property["const"].as_str()?.into()));
        one.properties().find_map(has_tag)
    };
    let tags: Vec<(String, String)> = schema.alternatives().map(tag).collect::<Option<_>>()?;
    let (name, names) = (&tags.first()?.0, tags.iter().map(|(_, one)| one.as_str()).collect::<Vec<_>>());
    let found = value
        .as_table()?
        .get(name)
        .filter(|found| found.as_str().is_none_or(|text| !names.contains(&text)))?;
    Some(WrongType {
        key: format!("{key}.{name}"),
        expected: format!("one of {}", names.join(", ")),
        found: shown(found),
    })
}

/// Whether a value is of a schema's type, within its bounds and among its choices, whatever it holds.
fn is_allowed(schema: Schema, value: &Value) -> bool {
    let (types, choices) = (schema.types(), schema.choices());
    let is = |name: &str| types.is_empty() || types.contains(&name);
    let length = |bound: &str, default| schema.at[bound].as_u64().map_or(default, |length| length as usize);
    match value {
        Value::String(text) => is("string") && (choices.is_empty() || choices.contains(text)),
        Value::Integer(number) => (is("integer") || is("number")) && is_within(schema, *number),
        Value::Float(_) => is("number"),
        Value::Boolean(_) => is("boolean"),
        Value::Datetime(_) => types.is_empty(),
        Value::Array(items) => {
            is("array") && (length("minItems", 0)..=length("maxItems", usize::MAX)).contains(&items.len())
        }
        Value::Table(_) => is("object"),
    }
}

fn is_within(schema: Schema, number: i64) -> bool {
    let bound = |name: &str| schema.at[name].as_f64();
    bound("minimum").is_none_or(|least| number as f64 >= least)
        && bound("maximum").is_none_or(|most| number as f64 <= most)
}

/// The expected type in words.
fn described(schema: Schema, found: &Value) -> String {
    let choices = schema.choices();
    let tables = schema.alternatives().filter(|one| one.types() == ["object"]);
    let tables =
        tables.filter_map(|one| one.properties().next().map(|(name, _)| format!("{{ {name} = … }}")));
    if !choices.is_empty() {
        return format!("one of {}", choices.into_iter().chain(tables).collect::<Vec<_>>().join(", "));
    }
    let own = schema.types().into_iter().map(|name| match (name, found) {
        ("integer", Value::Integer(number)) if !is_within(schema, *number) => bounds(schema),
        ("integer", _) => "a whole number".into(),
        ("number", _) => "a number".into(),
        ("boolean", _) => "true or false".into(),
        ("string", _) => "a text".into(),
        ("array", _) => list(schema),
        _ => "a table".into(),
    });
    let mut types: Vec<String> = vec![];
    for one in own.chain(schema.alternatives().map(|one| described(one, found))) {
        if !types.contains(&one) {
            types.push(one);
        }
    }
    types.join(" or ")
}

fn bounds(schema: Schema) -> String {
    match (schema.at["minimum"].as_i64(), schema.at["maximum"].as_i64()) {
        (Some(least), Some(most)) => format!("a whole number from {least} to {most}"),
        (Some(least), None) => format!("a whole number of {least} or more"),
        _ => "a smaller whole number".into(),
    }
}

fn list(schema: Schema) -> String {
    let items = match schema.within(&schema.at["items"]).types()[..] {
        ["integer"] => "whole numbers",
        ["number"] => "numbers",
        ["string"] => "texts",
        _ => "values",
    };
    match (schema.at["minItems"].as_u64(), schema.at["maxItems"].as_u64()) {
        (Some(least), Some(most)) if least == most => format!("a list of {least} {items}"),
        _ => format!("a list of {items}"),
    }
}

/// A value of the type: the default, or a usual one. None for a choice, and for a table without settings of its own.
fn example(schema: Schema, found: &Value, key: &str, default: &Json) -> Option<String> {
    if !schema.choices().is_empty() {
        return None;
    }
    if schema.at["properties"].is_object() {
        let has_example = |(name, property): (&String, &Json)| {
            let of = schema.within(property);
            (!property["default"].is_object()).then_some(())?;
            let key = format!("{key}.{name}").trim_start_matches('.').to_string();
            Some(format!("{key}={}", example(of, &Value::Array(vec![]), &key, &property["default"])?))
        };
        return schema.properties().find_map(has_example);
    }
    let types = schema.types();
    let is_empty = default.is_null() || default.as_array().is_some_and(Vec::is_empty) || default.is_object();
    match types.first().copied() {
        Some("boolean") => None,
        Some(_) if !is_empty => Some(json(default)),
        Some("integer") => Some("8".into()),
        Some("number") => Some("0.5".into()),
        Some("string") => Some(match found {
            Value::Table(_) | Value::Array(_) => "\"name\"".into(),
            scalar => format!("\"{}\"", shown(scalar)),
        }),
        Some("array") => {
            let item = example(schema.within(&schema.at["items"]), found, key, &Json::Null)?;
            let length = schema.at["minItems"].as_u64().unwrap_or(1).max(1) as usize;
            Some(format!("[{}]", vec![item; length].join(", ")))
        }
        Some(_) => None,
        None => schema.alternatives().find_map(|one| example(one, found, key, default)),
    }
}

/// A default in few digits: those of 32 bits, if it has no more.
fn json(value: &Json) -> String {
    match value {
        Json::Array(items) => format!("[{}]", items.iter().map(json).collect::<Vec<_>>().join(", ")),
        Json::Number(number) => match number.as_f64().filter(|_| number.is_f64()) {
            Some(x) if f64::from(x as f32) == x => (x as f32).to_string(),
            _ => number.to_string(),
        },
        other => other.to_string(),
    }
}

/// A value as TOML, in at most 60 characters.
fn shown(value: &Value) -> String {
    const MOST: usize = 60;
    let text = value.to_string();
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}
