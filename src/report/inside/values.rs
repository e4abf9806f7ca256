//! Values of fields, as they are on a page.

use crate::report::html::Html;
use crate::report::parts::shortened;
use base64::{Engine, engine::general_purpose::STANDARD};
use smalti_contract::Value;

/// The most characters of a text, numbers of an array, steps of a series, and bytes of a file.
const CHARACTERS: usize = 400;
const NUMBERS: usize = 12;
const FILE: usize = 60_000;

/// Adds a value after its name: an image as it is, everything else as text.
pub(super) fn add(html: &mut Html, name: &str, value: &Value) {
    if let Value::File(file) = value
        && let Some(kind) = image_kind(&file.bytes).filter(|_| file.bytes.len() <= FILE)
    {
        html.element("p", "", &format!("{name}:"));
        let bytes = STANDARD.encode(&file.bytes);
        html.raw(&format!("<img alt=\"the image of this value\" src=\"data:image/{kind};base64,{bytes}\">"));
        return;
    }
    html.element("p", "class=\"value\"", &format!("{name}: {}", text(value)));
}

/// A value as a short text.
pub(super) fn text(value: &Value) -> String {
    match value {
        Value::Missing => "none".into(),
        Value::Text(text) if text.is_empty() => "\"\"".into(),
        Value::Text(text) => shortened(text, CHARACTERS),
        Value::Number(number) => number.to_string(),
        Value::Array(array) => {
            let numbers: Vec<String> =
                array.to_f32().iter().take(NUMBERS).map(|x| format!("{x:.3}")).collect();
            listed(&numbers, array.len())
        }
        Value::Series(steps) => {
            let shown: Vec<String> = steps.iter().take(NUMBERS).map(text).collect();
            listed(&shown, steps.len())
        }
        Value::File(file) => match std::str::from_utf8(&file.bytes) {
            Ok(text) => shortened(text.trim(), CHARACTERS),
            Err(_) => value.describe(),
        },
        Value::Several { .. } => value.describe(),
    }
}

fn listed(shown: &[String], all: usize) -> String {
    let more = if shown.len() < all { format!(", … ({all})") } else { String::new() };
    format!("{}{more}", shown.join(", "))
}

/// The kind of an image file that pages can show, by its first bytes.
fn image_kind(bytes: &[u8]) -> Option<&'static str> {
    match bytes {
        [0x89, b'P', b'N', b'G', ..] => Some("png"),
        [0xff, 0xd8, 0xff, ..] => Some("jpeg"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use smalti_contract::File;

    #[test]
    fn values_are_short_texts_and_images_are_shown() {
        let series = Value::Series((0..20).map(|i| Value::Number(f64::from(i))).collect());
        assert_eq!(text(&series), "0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, … (20)");
        assert_eq!(text(&Value::vector([0.5, 2.0])), "0.500, 2.000");
        assert_eq!((text(&Value::Missing), text(&Value::Number(7.0))), ("none".into(), "7".to_string()));
        assert_eq!(text(&Value::Text(String::new())), "\"\"");
        let mut html = Html::new();
        let bytes = vec![0x89, b'P', b'N', b'G'];
        add(&mut html, "output", &Value::File(File { name: "a".into(), bytes }));
        assert!(html.into_string().contains("src=\"data:image/png;base64,iVBORw==\""));
    }
}
