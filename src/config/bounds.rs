//! A bound of all whole numbers among the settings, so that no sum or product of a few of them overflows.

/// The largest whole number of a setting of data, inputs, outputs or the model.
pub(super) const MOST: i64 = i32::MAX as i64;

/// The first whole number above [`MOST`] outside `[train]`, whose numbers of steps may be larger, with its key.
pub(super) fn too_large(settings: &toml::Value) -> Option<(String, i64)> {
    let mut sections = settings.as_table()?.iter().filter(|(key, _)| *key != "train");
    sections.find_map(|(key, value)| below(key, value))
}

fn below(key: &str, value: &toml::Value) -> Option<(String, i64)> {
    match value {
        toml::Value::Integer(found) if *found > MOST => Some((key.into(), *found)),
        toml::Value::Array(values) => values.iter().find_map(|value| below(key, value)),
        toml::Value::Table(table) => {
            table.iter().find_map(|(name, value)| below(&format!("{key}.{name}"), value))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_number_that_is_too_large_is_named() {
        let settings = |text: &str| toml::Value::Table(text.parse().unwrap());
        let text =
            "train.seed = 9007199254740993\n[inputs.image]\npatch_size = 8\nimage_size = [4, 4294967296]";
        let expected = ("inputs.image.image_size".to_string(), 1 << 32);
        assert_eq!(too_large(&settings(text)), Some(expected));
        assert_eq!(too_large(&settings("[data]\ncontext = 2147483647\nholdout = 1e12")), None);
    }
}
