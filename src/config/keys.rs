//! All settings with their meaning, type and default, from the doc comments of their types.

use super::RunConfig;
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
    Walk { root: &schema, of: None, keys: &mut keys }.table(&schema, "");
    // A mix has the same tables below `mix.NAME`.
    keys.retain(|key| !key.key.starts_with("mix.NAME.data") && !is_part_of_mix(&key.key));
    let tokenizers = modalities.tokenizers().settings_schemas();
    for (name, schema) in tokenizers {
        let of = Some(format!("modality = \"{name}\""));
        Walk { root: &schema, of, keys: &mut keys }.table(&schema, "inputs.NAME.");
    }
    for (name, schema) in modalities.heads().settings_schemas() {
        let of = Some(format!("head = \"{name}\""));
        Walk { root: &schema, of, keys: &mut keys }.table(&schema, "outputs.NAME.");
    }
    keys
}

fn is_part_of_mix(key: &str) -> bool {
    key.starts_with("mix.NAME.inputs") || key.starts_with("mix.NAME.outputs")
}

/// The error of a setting that is unknown, with the nearest one that all tasks have.
pub(super) fn with_suggestion(problem: &str) -> String {
    let unknown = problem.split_once("unknown field `").and_then(|(_, rest)| rest.split_once('`'));
    let Some((unknown, _)) = unknown else { return problem.into() };
    let mut keys = vec![];
    let schema: Value = schemars::schema_for!(RunConfig).into();
    Walk { root: &schema, of: None, keys: &mut keys }.table(&schema, "");
    match nearest(unknown, keys.iter().map(|key| key.key.as_str())) {
        Some(key) => format!("{problem}\ndid you mean {key}? `smalti settings` lists all"),
        None => format!("{problem}\n`smalti settings` lists all"),
    }
}

/// The setting that an unknown one was probably meant to be: one that ends alike, or that is a few letters away.
pub fn nearest<'a>(unknown: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let letters = |name: &str| name.chars().collect::<Vec<_>>();
    let distance = |name: &str| {
        let last = name.rsplit('.').next().unwrap_or(name);
        match last == unknown || (unknown.len() > 2 && last.split('_').any(|word| word == unknown)) {
            true => usize::from(last != unknown),
            false => 1 + edits(&letters(unknown), &letters(last)),
        }
    };
    let best = known.into_iter().min_by_key(|name| distance(name))?;
    (distance(best) <= 1 + unknown.len() / 3).then_some(best)
}

struct Walk<'a> {
    root: &'a Value,
    of: Option<String>,
    keys: &'a mut Vec<SettingKey>,
}

impl Walk<'_> {
    /// Adds the settings of a table, below a prefix that ends in a dot or is empty.
    fn table(&mut self, schema: &Value, prefix: &str) {
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            let key = format!("{prefix}{name}");
            let target = self.resolved(property).clone();
            if target["properties"].is_object() {
                self.table(&target, &format!("{key}."));
                continue;
            }
            let entries = self.resolved(&target["additionalProperties"]).clone();
            if entries["properties"].is_object() {
                self.table(&entries, &format!("{key}.NAME."));
                continue;
            }
            let own = property["description"].as_str();
            let meaning = own.or(target["description"].as_str()).unwrap_or_default();
            self.keys.push(SettingKey {
                key,
                of: self.of.clone(),
                value_type: self.value_type(&target),
                default: property.get("default").filter(|default| !default.is_null()).cloned(),
                choices: self.choices(&target),
                meaning: meaning.split_whitespace().collect::<Vec<_>>().join(" "),
            });
        }
    }

    /// The schema that a reference, or an optional reference, stands for.
    fn resolved<'b>(&'b self, schema: &'b Value) -> &'b Value {
        if let Some(name) = schema["$ref"].as_str().and_then(|path| path.strip_prefix("#/$defs/")) {
            return self.resolved(&self.root["$defs"][name]);
        }
        let options =
            schema["anyOf"].as_array().filter(|options| options.iter().any(|one| one["type"] == "null"));
        match options.and_then(|options| options.iter().find(|one| one["type"] != "null")) {
            Some(one) => self.resolved(one),
            None => schema,
        }
    }

    fn value_type(&self, schema: &Value) -> String {
        let named = |name: &str| match name {
            "integer" => "integer",
            "number" => "number",
            "boolean" => "true or false",
            "string" => "text",
            "array" => "list",
            _ => "table",
        };
        if !self.choices(schema).is_empty() {
            return "choice".into();
        }
        match &schema["type"] {
            Value::String(name) => named(name).into(),
            Value::Array(names) => {
                let names = names.iter().filter_map(Value::as_str).filter(|name| *name != "null");
                names.map(named).collect::<Vec<_>>().join(" or ")
            }
            _ => {
                let options = schema["anyOf"].as_array().or(schema["oneOf"].as_array());
                let mut types: Vec<String> =
                    options.into_iter().flatten().map(|one| self.value_type(self.resolved(one))).collect();
                types.dedup();
                types.join(" or ")
            }
        }
    }

    /// The names of an enumeration's values.
    fn choices(&self, schema: &Value) -> Vec<String> {
        let text = |value: &Value| value.as_str().map(String::from);
        let listed = schema["enum"].as_array().into_iter().flatten().filter_map(text);
        let described = schema["oneOf"].as_array().into_iter().flatten().flat_map(|one| {
            let listed = one["enum"].as_array().into_iter().flatten().filter_map(text);
            listed.chain(text(&one["const"])).collect::<Vec<_>>()
        });
        listed.chain(described).collect()
    }
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
    }
}
