//! Settings outside `run.toml`, such as those of generated data: read, checked and listed in the same way.

use super::SettingsError;
use super::overrides::merge;
use super::schema::Schema;
use super::types::{WrongType, wrong_type};
use schemars::JsonSchema;
use serde::de::DeserializeOwned;

/// The table of these overrides, such as `digits=3`.
///
/// # Errors
/// [`SettingsError::Override`] for one that is not `key=value`.
pub fn table_of(overrides: &[String]) -> Result<toml::Table, SettingsError> {
    let mut table = toml::Table::new();
    merge(&mut table, overrides)?;
    Ok(table)
}

/// The settings in a table; `origin` names it in errors.
///
/// # Errors
/// [`SettingsError::Type`] for a value of the wrong type or outside the bounds of its setting;
/// [`SettingsError::Unreadable`] for an unknown setting.
pub fn read_table<T: DeserializeOwned + JsonSchema>(
    origin: &str,
    table: toml::Table,
) -> Result<T, SettingsError> {
    let schema: serde_json::Value = schemars::schema_for!(T).into();
    let table = toml::Value::Table(table);
    if let Some(WrongType { key, expected, found }) = wrong_type(Schema::new(&schema), &table, "") {
        return Err(SettingsError::Type { key, expected, found, origin: origin.into() });
    }
    T::deserialize(table).map_err(|error| SettingsError::Unreadable {
        origin: origin.into(),
        problem: error.to_string().trim_end().into(),
    })
}
