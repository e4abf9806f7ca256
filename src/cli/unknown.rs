//! Settings that are given as options: `--lr 3e-4` in place of `--set train.learning_rate=3e-4`.

use crate::config::{RunConfig, SettingKey, nearest, setting_keys, usual_name};
use crate::metrics::edits;
use crate::registry::Modalities;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use std::ffi::OsString;

/// How to give a setting that these arguments give as an option of `train`; `None` for any other error.
pub fn advice(error: &clap::Error, arguments: &[OsString], modalities: &Modalities) -> Option<String> {
    let arguments: Vec<&str> = arguments.iter().filter_map(|argument| argument.to_str()).collect();
    let Some(ContextValue::String(option)) = error.get(ContextKind::InvalidArg) else { return None };
    if error.kind() != ErrorKind::UnknownArgument || arguments.get(1) != Some(&"train") {
        return None;
    }
    let name = option.strip_prefix("--")?.replace('-', "_");
    let keys = setting_keys(modalities);
    let is_table = |key: &SettingKey| key.key.split('.').next() == Some(&name);
    let is_similar_option = error.get(ContextKind::SuggestedArg).is_some();
    let problem = format!("unexpected argument '{option}': settings go through --set");
    let found = match named(&name, &keys) {
        found if !found.is_empty() => found,
        _ if keys.iter().any(is_table) => {
            return Some(format!("{problem} KEY=VALUE; `smalti settings {name}` lists those of {name}"));
        }
        _ if is_similar_option => return None,
        _ => vec![similar(&name, &keys)?],
    };
    let value = value(option, &arguments).unwrap_or("VALUE");
    let config = arguments[2..].iter().find_map(|preset| RunConfig::of_preset_or_file(preset, &[]).ok());
    let set = |key: &&SettingKey| {
        let pair = format!("{}={value}", of_part(key, config.as_ref()));
        if pair.contains(char::is_whitespace) { format!("--set '{pair}'") } else { format!("--set {pair}") }
    };
    let set = found.iter().map(set).collect::<Vec<_>>().join(" or ");
    let table = found[0].key.split('.').next()?;
    Some(format!("{problem}: {set}; `smalti settings {table}` lists them"))
}

/// The settings of this name.
fn named<'a>(name: &str, keys: &'a [SettingKey]) -> Vec<&'a SettingKey> {
    let is_named = |key: &&SettingKey| match usual_name(name) {
        Some(usual) => key.key == usual,
        None => key.key == name || last(key) == name,
    };
    keys.iter().filter(is_named).collect()
}

/// The setting whose name has this word, or differs by two letters at most.
fn similar<'a>(name: &str, keys: &'a [SettingKey]) -> Option<&'a SettingKey> {
    let known = nearest(name, keys.iter().map(|key| key.key.as_str()))?;
    let key = keys.iter().find(|key| key.key == known)?;
    let letters = |text: &str| text.chars().collect::<Vec<_>>();
    let is_word = last(key).split('_').any(|word| word == name);
    (is_word || edits(&letters(name), &letters(last(key))) <= 2).then_some(key)
}

fn last(key: &SettingKey) -> &str {
    key.key.rsplit('.').next().unwrap_or(&key.key)
}

/// The value after an option, or after its `=`.
fn value<'a>(option: &str, arguments: &[&'a str]) -> Option<&'a str> {
    let after = |argument: &&'a str| argument.strip_prefix(option)?.strip_prefix('=');
    let next = || {
        let place = arguments.iter().position(|argument| *argument == option)?;
        arguments.get(place + 1).copied().filter(|value| !value.starts_with("--"))
    };
    arguments.iter().find_map(after).or_else(next)
}

/// The path of a setting; `NAME` becomes the first part with this modality or head.
fn of_part(key: &SettingKey, config: Option<&RunConfig>) -> String {
    let found = || {
        let ((_, setting), config, of) = (key.key.split_once(".NAME.")?, config?, key.of.as_deref()?);
        let is_modality = |modality: &str| of == format!("modality = {modality:?}");
        let inputs = config.inputs.iter().filter(|(_, input)| is_modality(&input.modality));
        let outputs = config.outputs.iter().filter(|(_, output)| {
            output.modality.as_deref().is_some_and(is_modality) || of == format!("head = {:?}", output.head)
        });
        let inputs = inputs.map(|(name, _)| format!("inputs.{name}.{setting}"));
        inputs.chain(outputs.map(|(name, _)| format!("outputs.{name}.{setting}"))).next()
    };
    found().unwrap_or_else(|| key.key.clone())
}
