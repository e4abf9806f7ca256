//! All settings with their meaning, type and default, from the doc comments of their types.

use super::RunConfig;
use super::schema::Schema;
use crate::metrics::edits;
use crate::registry::Modalities;
use serde_json::Value;

/// A setting of `run.toml`.
#[derive(Clone, Debug, PartialEq)]
pub struct SettingKey {
    /// Its path: `train.max_steps`, `inputs.NAME.patch_size`.
    pub key: String,
    /// The modality or head that has it, if not all parts have it.
    pub of: Option<String>,
    /// The type of its value.
    pub value_type: String,
    /// Its default as JSON; `None` if it has no fixed one.
    pub default: Option<Value>,
    /// The values of a setting with a fixed choice.
    pub choices: Vec<String>,
    /// Its meaning.
    pub meaning: String,
}

/// All settings, in the order of the file; those of a modality or a head come after those of all parts.
pub fn setting_keys(modalities: &Modalities) -> Vec<SettingKey> {
    let mut keys = vec![];
    let schema: Value = schemars::schema_for!(RunConfig).into();
    add_table(Schema::new(&schema), "", None, &mut keys);
    // A mix has the same tables below `mix.NAME`.
    keys.retain(|key| !key.key.starts_with("mix.NAME.data") && !is_part_of_mix(&key.key));
    for key in &mut keys {
        let names: Vec<&str> = match key.key.as_str() {
            "outputs.NAME.head" => modalities.heads().names().collect(),
            "inputs.NAME.modality" | "outputs.NAME.modality" => modalities.tokenizers().names().collect(),
            _ => continue,
        };
        key.choices = names.into_iter().map(String::from).collect();
    }
    for (name, schema) in modalities.tokenizers().settings_schemas() {
        add_table(Schema::new(&schema), "inputs.NAME.", Some(&format!("modality = \"{name}\"")), &mut keys);
    }
    for (name, schema) in modalities.heads().settings_schemas() {
        add_table(Schema::new(&schema), "outputs.NAME.", Some(&format!("head = \"{name}\"")), &mut keys);
    }
    keys
}

/// The settings of a table outside `run.toml`, by its JSON schema.
pub fn keys_of(schema: &Value) -> Vec<SettingKey> {
    let mut keys = vec![];
    add_table(Schema::new(schema), "", None, &mut keys);
    keys
}

fn is_part_of_mix(key: &str) -> bool {
    key.starts_with("mix.NAME.inputs") || key.starts_with("mix.NAME.outputs")
}

/// The error of an unknown setting: the nearest one that all tasks have or, if none is near, those of its table.
pub(super) fn with_suggestion(problem: &str) -> String {
    let quoted = |before: &str| problem.split_once(before).and_then(|(_, rest)| rest.split_once('`'));
    let Some((unknown, _)) = quoted("unknown field `") else { return problem.into() };
    let (prefix, place) = match quoted("\nin `") {
        Some((table, _)) => (format!("{table}."), format!(" in `{table}`")),
        None => (String::new(), String::new()),
    };
    let mut keys = vec![];
    let schema: Value = schemars::schema_for!(RunConfig).into();
    add_table(Schema::new(&schema), "", None, &mut keys);
    match nearest(&format!("{prefix}{unknown}"), keys.iter().map(|key| key.key.as_str())) {
        Some(key) => {
            let table = key.split('.').next().unwrap_or(key);
            format!(
                "unknown field `{unknown}`{place}: did you mean {key}? `smalti settings {table}` lists all"
            )
        }
        None => format!("{problem}\n`smalti settings` lists all"),
    }
}

/// Names of settings in other programs, and of settings that several tables have.
const USUAL_NAMES: [(&str, &str); 21] = [
    ("data", "data.source"),
    ("data_dir", "data.source"),
    ("dataset", "data.source"),
    ("dim", "model.d_model"),
    ("early_stopping_patience", "train.patience"),
    ("grad_clip", "train.max_grad_norm"),
    ("heads", "model.attention.n_heads"),
    ("hidden_size", "model.d_model"),
    ("iterations", "train.max_steps"),
    ("iters", "train.max_steps"),
    ("layers", "model.n_layers"),
    ("lr", "train.learning_rate"),
    ("max_steps", "train.max_steps"),
    ("num_epochs", "train.epochs"),
    ("num_heads", "model.attention.n_heads"),
    ("num_layers", "model.n_layers"),
    ("num_train_epochs", "train.epochs"),
    ("per_device_train_batch_size", "train.batch_size"),
    ("steps", "train.max_steps"),
    ("train_file", "data.source"),
    ("wd", "train.weight_decay"),
];

/// The setting that other programs call `name`.
pub fn usual_name(name: &str) -> Option<&'static str> {
    USUAL_NAMES.iter().find(|(usual, _)| *usual == name).map(|(_, key)| *key)
}

/// The setting that an unknown one was probably meant to be: one that other programs call so, that ends alike, or that is a
/// few letters away. Of several, it is one of the same table.
pub fn nearest<'a>(unknown: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let (table, unknown) = unknown.rsplit_once('.').unwrap_or(("", unknown));
    let known: Vec<&'a str> = known.into_iter().collect();
    if let Some(usual) = usual_name(unknown)
        && let Some(key) = known.iter().find(|key| **key == usual)
    {
        return Some(*key);
    }
    let letters = |name: &str| name.chars().collect::<Vec<_>>();
    let distance = |name: &str| {
        let last = name.rsplit('.').next().unwrap_or(name);
        match last == unknown || (unknown.len() > 2 && last.split('_').any(|word| word == unknown)) {
            true => usize::from(last != unknown),
            false => 1 + edits(&letters(unknown), &letters(last)),
        }
    };
    let of_other_table = |name: &str| name.rsplit_once('.').is_none_or(|(of, _)| of != table);
    let best = known.into_iter().min_by_key(|name| (distance(name), of_other_table(name)))?;
    (distance(best) <= 1 + unknown.len() / 3).then_some(best)
}

/// Adds the settings of a table, below a prefix that ends in a dot or is empty.
fn add_table(schema: Schema, prefix: &str, of: Option<&str>, keys: &mut Vec<SettingKey>) {
    for (name, property) in schema.properties() {
        let key = format!("{prefix}{name}");
        let value = schema.within(property);
        let entries = schema.within(&value.at["additionalProperties"]);
        if value.at["properties"].is_object() {
            add_table(value, &format!("{key}."), of, keys);
            continue;
        }
        if entries.at["properties"].is_object() {
            add_table(entries, &format!("{key}.NAME."), of, keys);
            continue;
        }
        let meaning = property["description"].as_str().or(value.at["description"].as_str());
        keys.push(SettingKey {
            key,
            of: of.map(String::from),
            value_type: value_type(value),
            default: property.get("default").filter(|default| !default.is_null()).cloned(),
            choices: value.choices(),
            meaning: meaning.unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" "),
        });
    }
}

fn value_type(schema: Schema) -> String {
    let named = |name: &str| match name {
        "integer" => "integer",
        "number" => "number",
        "boolean" => "true or false",
        "string" => "text",
        "array" => "list",
        _ => "table",
    };
    if !schema.choices().is_empty() {
        return "choice".into();
    }
    let own = schema.types().into_iter().map(|name| named(name).to_string());
    let mut types: Vec<String> = own.chain(schema.alternatives().map(value_type)).collect();
    types.dedup();
    types.join(" or ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_setting_has_a_meaning_and_a_type() {
        let keys = setting_keys(&Modalities::builtin());
        assert!(keys.len() > 120, "{}", keys.len());
        for key in &keys {
            assert!(!key.meaning.is_empty() && !key.value_type.is_empty(), "{key:?}");
        }
        let find = |name: &str| keys.iter().find(|key| key.key == name).unwrap_or_else(|| panic!("{name}"));
        assert_eq!(find("train.max_steps").default, Some(1000.into()));
        assert_eq!(find("train.precision").choices, ["f32", "tf32", "bf16"]);
        assert_eq!(find("model.attention.n_heads").value_type, "integer");
        assert_eq!(find("inputs.NAME.patch_size").of.as_deref(), Some("modality = \"image\""));
        assert_eq!(find("outputs.NAME.codebook_size").of.as_deref(), Some("head = \"reconstruct\""));
        assert!(keys.iter().any(|key| key.key == "mix.NAME.loss_weight"));
    }

    #[test]
    fn a_misspelt_setting_has_a_nearest_one() {
        let keys = setting_keys(&Modalities::builtin());
        let nearest = |unknown: &str| nearest(unknown, keys.iter().map(|key| key.key.as_str()));
        assert_eq!(nearest("lerning_rate"), Some("train.learning_rate"));
        assert_eq!(nearest("n_heads"), Some("model.attention.n_heads"));
        assert_eq!(nearest("warmup"), Some("train.warmup_steps"));
        assert_eq!(nearest("xyzzy"), None);
        for (unknown, key) in [
            ("lr", "train.learning_rate"),
            ("train.lr", "train.learning_rate"),
            ("train.max_stesp", "train.max_steps"),
            ("data.max_stesp", "data.max_steps"),
            ("train.n_layers", "model.n_layers"),
        ] {
            assert_eq!(nearest(unknown), Some(key), "{unknown}");
        }
    }
}
