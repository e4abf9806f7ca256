//! The files of a run folder before its first checkpoint: settings, tokenizers, and the start from another run.

use super::{
    CONFIG_FILE, PUBLISHED_FOLDER, REFERENCE_FILE, Run, RunError, START_FILE, Start, TOKENIZERS_FILE,
};
use crate::config::RunConfig;
use crate::registry::Modalities;
use crate::task::SavedTask;
use crate::train::checksums::{self, CHECKSUMS_FILE, Checksum};
use crate::train::{
    Checks, LOCK_FILE, METRICS_FILE, MODEL_FILE, References, STATE_FILE, SaveError, Writer, check_vacant,
};
use std::collections::BTreeMap;
use std::path::Path;

/// Locks a folder that has been locked before, so that a training in it is noticed before the data are read.
pub(super) fn lock_existing(folder: &Path, writes: bool) -> Result<Option<Writer>, RunError> {
    let is_locked = writes && folder.join(LOCK_FILE).exists();
    Ok(if is_locked { Some(Writer::lock(folder)?) } else { None })
}

/// The files of a run before its first step, apart from its lock and its empty metrics. The settings are the first, as a folder
/// without them is no run.
const BEGUN: [&str; 5] = [CONFIG_FILE, TOKENIZERS_FILE, REFERENCE_FILE, CHECKSUMS_FILE, START_FILE];

/// Fails unless the folder is missing, or holds only what a run in which no step was made has left.
pub(super) fn check_unused(folder: &Path) -> Result<(), RunError> {
    let has = |name: &str| folder.join(name).exists();
    let has_steps = std::fs::metadata(folder.join(METRICS_FILE)).is_ok_and(|file| file.len() > 0);
    if has(CONFIG_FILE) && (has_steps || has(STATE_FILE) || has(MODEL_FILE)) {
        return Err(RunError::Exists(folder.into()));
    }
    // A run has its lock before its other files: without it, they are not those of a run that began here.
    let has_begun = has(LOCK_FILE);
    let is_replaced = |name: &str| match name {
        LOCK_FILE => true,
        METRICS_FILE => !has_steps,
        PUBLISHED_FOLDER => has(START_FILE), // without it, the folder is that of an import
        name => BEGUN.contains(&name),
    };
    Ok(check_vacant(folder, |name| has_begun && is_replaced(name))?)
}

/// Removes what a run in which no step was made has left.
fn remove_begun(folder: &Path) -> Result<(), SaveError> {
    let failed = |source| SaveError::Write { path: folder.into(), source };
    for name in BEGUN.iter().filter(|name| folder.join(name).exists()) {
        // The copy of published files is removed before the file without which it counts as an import.
        let published = folder.join(PUBLISHED_FOLDER);
        if *name == START_FILE && published.is_dir() {
            std::fs::remove_dir_all(&published).map_err(failed)?;
        }
        std::fs::remove_file(folder.join(name)).map_err(failed)?;
    }
    Ok(())
}

/// Writes the folder of a new run, which starts from the run `other` if there is one.
pub(super) fn write(
    run: &Run,
    start: Option<&Start>,
    references: Option<&References>,
    other: Option<&Run>,
) -> Result<(), RunError> {
    let Run { folder, config, saved, .. } = run;
    std::fs::create_dir_all(folder).map_err(|source| SaveError::Write { path: folder.into(), source })?;
    remove_begun(folder)?;
    let json = serde_json::to_string(saved).map_err(|e| RunError::NoRun {
        folder: folder.into(),
        problem: format!("cannot write its tokenizers: {e}"),
    })?;
    checksums::write(folder, TOKENIZERS_FILE, json.as_bytes())?;
    if let Some(start) = start {
        let json = serde_json::to_string_pretty(start).unwrap_or_default(); // lists of names
        checksums::write(folder, START_FILE, json.as_bytes())?;
    }
    if let Some(other) = other {
        copy(&other.folder.join(PUBLISHED_FOLDER), &folder.join(PUBLISHED_FOLDER))?;
        checksums::inherit(&other.folder, folder, PUBLISHED_FOLDER)?;
    }
    if let Some(references) = references {
        let bytes = postcard::to_stdvec(references).map_err(|e| SaveError::Write {
            path: folder.join(REFERENCE_FILE),
            source: std::io::Error::other(e),
        })?;
        checksums::write(folder, REFERENCE_FILE, &bytes)?;
    }
    // The settings come last, because a folder counts as a run once it has them.
    write_settings(folder, config)
}

/// Writes the settings of a run folder.
pub(super) fn write_settings(folder: &Path, config: &RunConfig) -> Result<(), RunError> {
    Ok(checksums::write(folder, CONFIG_FILE, config.to_toml()?.as_bytes())?)
}

/// The settings of a run folder, and the tokenizers of each task. Settings may have been edited by hand: they have no check.
pub(super) fn read(
    folder: &Path,
    checks: Checks,
) -> Result<(RunConfig, BTreeMap<String, SavedTask>), RunError> {
    let no_run = |name: &str, problem: String| RunError::NoRun {
        folder: folder.into(),
        problem: format!("{name}: {problem}"),
    };
    let read = |name: &str| std::fs::read(folder.join(name)).map_err(|e| no_run(name, e.to_string()));
    let origin = folder.join(CONFIG_FILE).display().to_string();
    let settings = String::from_utf8(read(CONFIG_FILE)?).map_err(|e| no_run(CONFIG_FILE, e.to_string()))?;
    let config = RunConfig::parse(&origin, &settings, &[])?;
    let tokenizers = read(TOKENIZERS_FILE)?;
    let saved = serde_json::from_slice(&tokenizers).map_err(|e| SaveError::Format {
        path: folder.join(TOKENIZERS_FILE),
        expected: "file of saved tokenizers",
        problem: format!("{e}; restore it from a copy"),
    })?;
    if checks.checksums {
        checksums::check(folder, TOKENIZERS_FILE, || Ok(Checksum::of_bytes(&tokenizers)))?;
    }
    Ok((config, saved))
}

/// The log-probabilities of a run's preference pairs under its reference model.
pub(super) fn references(folder: &Path, checks: Checks) -> Result<References, RunError> {
    let path = folder.join(REFERENCE_FILE);
    let bytes = std::fs::read(&path).map_err(|source| SaveError::Read { path: path.clone(), source })?;
    if checks.checksums {
        checksums::check(folder, REFERENCE_FILE, || Ok(Checksum::of_bytes(&bytes)))?;
    }
    let references = postcard::from_bytes(&bytes).map_err(|e| SaveError::Format {
        path,
        expected: "file of log-probabilities",
        problem: format!("{e}; restore it from a copy"),
    })?;
    Ok(references)
}

/// Fails if a saved tokenizer belongs to none of these modalities.
pub(super) fn check_modalities(
    folder: &Path,
    config: &RunConfig,
    saved: &BTreeMap<String, SavedTask>,
    modalities: &Modalities,
) -> Result<(), RunError> {
    let known: Vec<&str> = modalities.tokenizers().names().collect();
    let entries = config.tasks();
    for (task, saved) in entries.iter().filter_map(|entry| saved.get_key_value(&entry.name)) {
        let mut names = saved.tokenizers.values().map(|saved| saved.tokenizer.as_str());
        if let Some(unknown) = names.find(|name| !known.contains(name)) {
            let known = known.join(", ");
            let problem = format!(
                "{}no modality is named {unknown:?}; this program has {known}",
                crate::data::of_task(task)
            );
            return Err(RunError::Modality { file: folder.join(TOKENIZERS_FILE), problem });
        }
    }
    Ok(())
}

/// Copies a folder with its contents, if it exists.
fn copy(from: &Path, to: &Path) -> Result<(), SaveError> {
    let unreadable = |source| SaveError::Read { path: from.into(), source };
    if !from.is_dir() {
        return Ok(());
    }
    std::fs::create_dir_all(to).map_err(|source| SaveError::Write { path: to.into(), source })?;
    for entry in std::fs::read_dir(from).map_err(unreadable)? {
        let (path, to) = {
            let entry = entry.map_err(unreadable)?;
            (entry.path(), to.join(entry.file_name()))
        };
        match path.is_dir() {
            true => copy(&path, &to)?,
            false => {
                std::fs::copy(&path, &to).map_err(|source| SaveError::Write { path: to, source })?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::SavedTokenizer;

    #[test]
    fn an_error_names_an_unknown_modality() {
        let gene = SavedTokenizer { tokenizer: "gene".into(), config: serde_json::Value::Null.into() };
        let task = SavedTask { tokenizers: BTreeMap::from([("gene".into(), gene)]), ..SavedTask::default() };
        let saved = BTreeMap::from([("genome".to_string(), task)]);
        let settings = "[mix.genome.data]\nsource = \"a.csv\"\n[mix.genome.inputs.gene]\nmodality = \"gene\"\n\
                        [mix.genome.outputs.stops]\nhead = \"classify\"\n";
        let config = RunConfig::parse("run.toml", settings, &[]).unwrap();
        let error =
            check_modalities(Path::new("runs/genes"), &config, &saved, &Modalities::builtin()).unwrap_err();
        let expected = "tokenizers.json: task genome: no modality is named \"gene\"; this program has ";
        assert!(error.to_string().contains(expected), "{error}");
    }
}
