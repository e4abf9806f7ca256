//! `smalti settings`

use super::print;
use crate::config::{SettingKey, nearest, setting_keys};
use crate::registry::Modalities;
use anyhow::{Result, bail};
use clap::Args;
use serde_json::{Value, json};

/// List the settings of run.toml with meaning, type, default and choices.
#[derive(Args)]
pub struct SettingsArgs {
    /// Settings to list: the beginning of a path (train, model.attention), or a modality or head (image).
    prefix: Option<String>,
    /// Print one JSON object: for each setting key, of, type, default, choices and meaning.
    #[arg(long)]
    json: bool,
}

/// Lists.
pub fn run(args: SettingsArgs, modalities: &Modalities) -> Result<()> {
    let all = setting_keys(modalities);
    let prefix = args.prefix.unwrap_or_default();
    let named = |of: &String| of.ends_with(&format!("\"{prefix}\""));
    let listed: Vec<&SettingKey> =
        all.iter().filter(|key| key.key.starts_with(&prefix) || key.of.as_ref().is_some_and(named)).collect();
    if listed.is_empty() {
        match nearest(&prefix, all.iter().map(|key| key.key.as_str())) {
            Some(key) => bail!("no setting begins with {prefix:?}; did you mean {key}?"),
            None => bail!("no setting begins with {prefix:?}, and no modality or head has this name"),
        }
    }
    show(&listed, args.json)
}

/// Prints settings, as a table or as one JSON object.
pub(super) fn show(listed: &[&SettingKey], as_json: bool) -> Result<()> {
    if as_json {
        let object = |key: &&SettingKey| {
            json!({
                "key": key.key, "of": key.of, "type": key.value_type, "default": key.default,
                "choices": key.choices, "meaning": key.meaning,
            })
        };
        return print::json(&json!({ "settings": listed.iter().map(object).collect::<Vec<_>>() }));
    }
    let row = |key: &&SettingKey| {
        let name = key.of.as_ref().map_or(key.key.clone(), |of| format!("{} [{of}]", key.key));
        let values = match key.choices.is_empty() {
            true => key.value_type.clone(),
            false => key.choices.join(", "),
        };
        vec![name, values, key.default.as_ref().map_or(String::new(), Value::to_string), key.meaning.clone()]
    };
    print::wrapped_table(
        &["setting", "value", "default", "meaning"],
        &listed.iter().map(row).collect::<Vec<_>>(),
    );
    Ok(())
}
