//! Front matter: YAML in the notation that it shares with JSON, which has one way to quote a text.

use serde_json::Value;

/// A value as YAML on one line.
pub(super) fn yaml(value: &Value) -> String {
    match value {
        Value::String(text) => quoted(text),
        // Rust displays a float without an exponent; YAML 1.1 reads 1e-5 as a text.
        Value::Number(number) => match number.as_f64().filter(|_| number.is_f64()) {
            Some(number) => number.to_string(),
            None => number.to_string(),
        },
        Value::Array(items) => format!("[{}]", items.iter().map(yaml).collect::<Vec<_>>().join(", ")),
        Value::Object(entries) => {
            let entries = entries.iter().map(|(key, value)| format!("{}: {}", quoted(key), yaml(value)));
            format!("{{{}}}", entries.collect::<Vec<_>>().join(", "))
        }
        Value::Null | Value::Bool(_) => value.to_string(),
    }
}

/// A text in quotes. YAML does not print some characters that JSON does.
fn quoted(text: &str) -> String {
    let escaped = text.chars().map(|c| match c {
        '"' | '\\' => format!("\\{c}"),
        c if c.is_control()
            || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}') =>
        {
            format!("\\u{:04x}", u32::from(c))
        }
        c => c.to_string(),
    });
    format!("\"{}\"", escaped.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn texts_are_quoted_and_numbers_have_no_exponent() {
        let value = json!({ "a": ["x: \"y\" # z\\", "line\nbreak\u{7f}\u{2028}"], "n": [1, 1e-7, 0.5, 2.0] });
        let found = yaml(&value);
        assert_eq!(
            found,
            r#"{"a": ["x: \"y\" # z\\", "line\u000abreak\u007f\u2028"], "n": [1, 0.0000001, 0.5, 2]}"#
        );
        assert_eq!(serde_json::from_str::<Value>(&found).unwrap()["a"], value["a"], "it is JSON too");
    }
}
