//! The data files of a dataset, as Hugging Face's `datasets` finds them.

use super::Listing;
use crate::data::DataError;
use crate::data::files::{glob, split_word};
use serde_json::Value;
use smalti_contract::listed;

/// The paths of a dataset's data files: those that its only or default configuration names; else the Parquet files in `data/`,
/// in folders of splits or in no folder; else all files but those that describe the dataset.
///
/// # Errors
/// [`DataError::Layout`] if there are several configurations and none is the default, and if no file matches.
pub(super) fn of(location: &str, listing: &Listing) -> Result<Vec<String>, DataError> {
    let files = listing.files.iter().map(String::as_str).filter(|path| !describes(path));
    let Some(config) = chosen(location, &listing.configs)? else {
        return Ok(inferred(&files.collect::<Vec<_>>()).into_iter().map(str::to_string).collect());
    };
    let folder = data_folder(config);
    let files: Vec<&str> = files.filter_map(|path| path.strip_prefix(folder.as_str())).collect();
    let patterns = patterns(&config["data_files"]);
    let mut found = vec![];
    for pattern in &patterns {
        found.extend(glob::select(pattern, &files)?);
    }
    if patterns.is_empty() {
        found = inferred(&files);
    }
    if found.is_empty() {
        let named = if patterns.is_empty() { format!("{folder}*") } else { listed(patterns, ", ") };
        let problem = format!("the header of README.md names the data files {named}; no file matches");
        return Err(DataError::layout(location, problem));
    }
    found.sort_unstable();
    found.dedup();
    Ok(found.into_iter().map(|path| format!("{folder}{path}")).collect())
}

/// Whether a file describes a dataset: README.md, a licence, a script, a hidden file.
fn describes(path: &str) -> bool {
    path == "README.md"
        || path.starts_with("LICENSE")
        || path.ends_with(".py")
        || path.split('/').any(|part| part.starts_with('.'))
}

/// The configuration to read: the default, or the only one; `None` if the dataset names none.
fn chosen<'a>(location: &str, configs: &'a Value) -> Result<Option<&'a Value>, DataError> {
    let configs: Vec<&Value> = configs.as_array().into_iter().flatten().collect();
    let is_default = |config: &&Value| config["default"] == true || config["config_name"] == "default";
    let chosen = match configs[..] {
        [only] => Some(only),
        _ => configs.iter().copied().find(is_default),
    };
    if chosen.is_some() {
        return Ok(chosen);
    }
    let Some(first) = configs.first() else { return Ok(None) };
    let names = listed(configs.iter().filter_map(|config| config["config_name"].as_str()), ", ");
    let example = match patterns(&first["data_files"]).first() {
        Some(pattern) => format!("{}{pattern}", data_folder(first)),
        None => format!("{}*.parquet", data_folder(first)),
    };
    let problem = format!(
        "expected one configuration or a default; found {names}; name the files of one, as in {location}:{example}"
    );
    Err(DataError::layout(location, problem))
}

/// `data_dir` of a configuration, with a slash at its end; empty if it has none.
fn data_folder(config: &Value) -> String {
    match config["data_dir"].as_str().map(|folder| folder.trim_start_matches("./").trim_matches('/')) {
        None | Some("") => String::new(),
        Some(folder) => format!("{folder}/"),
    }
}

/// The patterns of `data_files`: a text, a list of texts, or a list of `{ split, path }`.
fn patterns(data_files: &Value) -> Vec<&str> {
    match data_files {
        Value::String(pattern) => vec![pattern.trim_start_matches("./")],
        Value::Array(several) => several.iter().flat_map(patterns).collect(),
        Value::Object(split) => split.get("path").map(patterns).unwrap_or_default(),
        _ => vec![],
    }
}

fn folder(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(folder, _)| folder)
}

/// The data files of a dataset that does not name them.
fn inferred<'a>(files: &[&'a str]) -> Vec<&'a str> {
    let parquet = |is_place: fn(&str) -> bool| -> Vec<&'a str> {
        let files = files.iter().filter(|path| path.ends_with(".parquet") && is_place(folder(path)));
        files.copied().collect()
    };
    let places: [fn(&str) -> bool; 3] =
        [|folder| folder == "data", |folder| split_word(folder).is_some(), |folder| folder.is_empty()];
    let found = places.into_iter().map(parquet).find(|found| !found.is_empty());
    found.unwrap_or_else(|| files.to_vec())
}
