//! Overrides of settings on the command line.

use super::{SettingsError, preset};

/// Whether the user has set `key`: in the overrides, or in the TOML file `file`. The values of a preset are not the user's.
pub fn is_set(file: Option<&str>, overrides: &[String], key: &str) -> bool {
    let overridden =
        overrides.iter().any(|text| text.split('=').next().is_some_and(|name| name.trim() == key));
    let text = file.filter(|name| preset(name).is_none()).and_then(|file| std::fs::read_to_string(file).ok());
    let table = text.and_then(|text| text.parse::<toml::Table>().ok()).map(toml::Value::Table);
    let value =
        table.and_then(|table| key.split('.').try_fold(table, |value, name| value.get(name).cloned()));
    overridden || value.is_some()
}

/// Sets all overrides in a table. A length in steps replaces one in epochs, and vice versa.
pub(super) fn merge(table: &mut toml::Table, overrides: &[String]) -> Result<(), SettingsError> {
    overrides.iter().try_for_each(|text| set(table, text))?;
    let given = |key: &str| {
        let mut pairs = overrides.iter().rev().filter_map(|text| text.split_once('='));
        pairs.find(|(path, _)| path.trim() == format!("train.{key}")).map(|(_, value)| value.trim())
    };
    for (length, other, zero) in [("max_steps", "epochs", "0.0"), ("epochs", "max_steps", "0")] {
        let is_set = given(length).is_some_and(|value| value.parse::<f64>() != Ok(0.0));
        if is_set && given(other).is_none() {
            set(table, &format!("train.{other}={zero}"))?;
        }
    }
    Ok(())
}

/// Whether an override sets the value at a key, a part of it, or a table that holds it.
pub(super) fn sets(overrides: &[String], key: &str) -> bool {
    let below = |key: &str, table: &str| {
        key.strip_prefix(table).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
    };
    let path = |text: &'_ String| text.split('=').next().unwrap_or_default().trim().to_string();
    overrides.iter().map(path).any(|path| below(key, &path) || below(&path, key))
}

/// Sets `a.b.c=value` in a table. A value that is not TOML is a text. An empty value removes a table: `inputs.return_to_go=`
/// removes that input.
fn set(table: &mut toml::Table, text: &str) -> Result<(), SettingsError> {
    let error = |problem: String| SettingsError::Override { text: text.into(), problem };
    let (path, value) = text.split_once('=').ok_or_else(|| error("expected key=value".into()))?;
    let (path, value) = (path.trim(), value.trim());
    let value = match format!("value = {value}").parse::<toml::Table>() {
        Ok(mut parsed) if parsed.len() == 1 => parsed.remove("value"),
        _ => None,
    }
    .unwrap_or_else(|| toml::Value::String(value.into()));
    let (parents, key) = path.rsplit_once('.').unwrap_or(("", path));
    let mut table = table;
    for parent in parents.split('.').filter(|parent| !parent.is_empty()) {
        let entry = table.entry(parent).or_insert_with(|| toml::Value::Table(toml::Table::new()));
        table = entry.as_table_mut().ok_or_else(|| error(format!("{parent} is a setting, not a table")))?;
    }
    if value.as_str() == Some("") && table.get(key).is_some_and(toml::Value::is_table) {
        table.remove(key);
        return Ok(());
    }
    table.insert(key.into(), value);
    Ok(())
}
