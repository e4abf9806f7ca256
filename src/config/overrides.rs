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

/// Sets `a.b.c=value` in a table. A value that is not TOML is a text. An empty value removes a table: `inputs.return_to_go=`
/// removes that input.
pub(super) fn set(table: &mut toml::Table, text: &str) -> Result<(), SettingsError> {
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
