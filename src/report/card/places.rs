//! Places of data in a card: addresses are whole, and paths of this machine are names of files.

use crate::data::files::is_hub;

/// Settings whose values are places.
const PLACES: [&str; 6] = ["cache", "codebook", "file", "path", "source", "validation_source"];

/// A place as a card states it: an address without its password and query, or the name of a file.
pub(super) fn place(location: &str) -> String {
    let mut whole = ["builtin:", "memory:", "s3://", "gs://"].iter();
    if is_hub(location) || whole.any(|scheme| location.starts_with(scheme)) {
        return location.into();
    }
    if let Some((scheme, rest)) = location.split_once("://").filter(|(scheme, _)| scheme.starts_with("http"))
    {
        let rest = rest.split(['?', '#']).next().unwrap_or(rest);
        let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
        let host = host.rsplit('@').next().unwrap_or(host);
        return format!("{scheme}://{host}/{path}");
    }
    let trimmed = location.trim_end_matches(['/', '\\']);
    trimmed.rsplit(['/', '\\']).next().unwrap_or(trimmed).into()
}

/// Settings with their places as a card states them, and without other absolute paths; the table `[card]` stays as it is.
pub(super) fn without_paths(mut settings: toml::Table) -> toml::Table {
    let card = settings.remove("card").map(|card| ("card".to_string(), card));
    settings.iter_mut().for_each(|(key, value)| shorten(key, value));
    settings.extend(card);
    settings
}

fn shorten(key: &str, value: &mut toml::Value) {
    match value {
        toml::Value::String(text) if PLACES.contains(&key) => *text = place(text),
        toml::Value::String(text) => *text = without_absolute(text),
        toml::Value::Array(items) => items.iter_mut().for_each(|item| shorten(key, item)),
        toml::Value::Table(table) => table.iter_mut().for_each(|(key, value)| shorten(key, value)),
        _ => {}
    }
}

/// A text in which absolute paths are names of files.
fn without_absolute(text: &str) -> String {
    let words = text.split_inclusive([' ', '"', '\'', '=', ',', '(', ')']);
    let is_absolute = |word: &str| {
        let is_drive = word.get(1..3).is_some_and(|part| [":\\", ":/"].contains(&part));
        (word.starts_with(['/', '~']) || is_drive) && word[1..].contains(['/', '\\'])
    };
    words.map(|word| if is_absolute(word) { place(word) } else { word.into() }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_whole_and_paths_are_names() {
        for (location, expected) in [
            ("/home/ada/data/train.csv", "train.csv"),
            ("data/clips/", "clips"),
            (r"C:\Users\ada\a.npz", "a.npz"),
            ("a.txt", "a.txt"),
            ("builtin:text/smalti.txt", "builtin:text/smalti.txt"),
            ("hf:owner/name@v1", "hf:owner/name@v1"),
            ("s3://bucket/a/b.parquet", "s3://bucket/a/b.parquet"),
            ("https://ada:pw@host.org/a/b.csv?signature=1", "https://host.org/a/b.csv"),
        ] {
            assert_eq!(place(location), expected);
        }
    }

    #[test]
    fn settings_have_no_absolute_path() {
        let settings = "[data]\nsource = [{ path = \"/root/a.csv\" }, \"/root/b.csv\"]\n\
                        train = \"file = /root/x/c.wav\"\n[card]\ndescription = \"see /mine/here\"\n\
                        [train]\nfreeze = [\"stack.*\"]\n[inputs.card.vocabulary]\nfile = \"/root/v\"\n";
        let text = without_paths(settings.parse().unwrap()).to_string();
        assert!(!text.contains("/root"), "{text}");
        for kept in ["a.csv", "b.csv", "file = c.wav", "/mine/here", "stack.*"] {
            assert!(text.contains(kept), "{kept}: {text}");
        }
    }
}
