//! Settings on the command line.

use super::SettingsError;

/// Sets `a.b.c=value` in a table. The value is read as TOML, and if it is none, taken as a text; an empty one removes a table:
/// `inputs.return_to_go=` leaves that input out.
pub(super) fn set(table: &mut toml::Table, text: &str) -> Result<(), SettingsError> {
    let refuse = |problem: String| SettingsError::Override { text: text.into(), problem };
    let (path, value) = text.split_once('=').ok_or_else(|| refuse("expected key=value".into()))?;
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
        table = entry.as_table_mut().ok_or_else(|| refuse(format!("{parent} is a setting, not a table")))?;
    }
    if value.as_str() == Some("") && table.get(key).is_some_and(toml::Value::is_table) {
        table.remove(key);
        return Ok(());
    }
    table.insert(key.into(), value);
    Ok(())
}
