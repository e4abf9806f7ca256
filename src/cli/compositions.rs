//! A run's model and tasks, for the commands that predict.

use super::dtype::LoadArgs;
use super::{checks, print};
use crate::config::preset;
use crate::data::Files;
use crate::model::Model;
use crate::registry::Modalities;
use crate::run::{CONFIG_FILE, NamedTask, Weights};
use crate::sample::{Composition, Part};
use crate::table::Modality;
use anyhow::{Context, Result, anyhow, bail};
use clap::ValueEnum;
use serde_json::{Map, Value as Json, json};
use smalti_contract::Tokens;
use std::path::Path;

/// The file or preset with the settings of a task: a TOML file, that of a run folder, or a preset whose name no file has.
/// `None` for data.
pub fn settings_file(path: &str) -> Option<String> {
    let of_run = Path::new(path).join(CONFIG_FILE);
    match path.ends_with(".toml") || preset(path).is_some() && !Path::new(path).exists() {
        true => Some(path.into()),
        false => of_run.is_file().then(|| of_run.display().to_string()),
    }
}

/// A run's model and tasks.
pub struct Loaded<'a> {
    run: &'a Path,
    /// The model, with its best weights.
    pub model: Model,
    tasks: Vec<NamedTask>,
}

impl<'a> Loaded<'a> {
    /// Opens a run.
    pub fn open(run: &'a Path, load: LoadArgs, modalities: &Modalities) -> Result<Self> {
        let opened = checks::open(run, modalities)?;
        let (device, dtype) = load.open()?;
        let (model, tasks) = opened.load_in(Weights::Best, &device, dtype)?;
        Ok(Self { run, model, tasks })
    }

    /// The task of this name and its number; without a name, the only task.
    pub fn task(&self, name: Option<&str>) -> Result<(usize, &Composition)> {
        NamedTask::choose(&self.tasks, name).ok_or_else(|| {
            let run = self.run.display();
            let names = self.tasks.iter().map(|named| named.name.as_str()).collect::<Vec<_>>().join(", ");
            match name {
                Some(name) => anyhow!("{run}: --task: expected one of {names}; found {name:?}"),
                None => anyhow!("{run} has several tasks; choose one with --task: {names}"),
            }
        })
    }

    /// The tasks, by number.
    pub fn tasks(&self) -> Vec<&Composition> {
        self.tasks.iter().map(|named| named.task.as_ref()).collect()
    }

    /// The result of `find` for the first task that has one; fails with the noun `expected` if no task has one.
    pub fn find<'b, T>(
        &'b self,
        expected: &str,
        find: impl Fn(usize, &'b Composition) -> Option<T>,
    ) -> Result<T> {
        let mut tasks = self.tasks.iter().enumerate();
        self.require(expected, tasks.find_map(|(number, named)| find(number, &named.task)))
    }

    /// What was found in the tasks; fails with the noun `expected` if it is `None`.
    pub fn require<T>(&self, expected: &str, found: Option<T>) -> Result<T> {
        let all = || {
            let all = self.tasks.iter().map(|NamedTask { name, task }| match name.as_str() {
                "" => task.listed(),
                name => format!("{name} ({})", task.listed()),
            });
            all.collect::<Vec<_>>().join("; ")
        };
        found.ok_or_else(|| anyhow!("{}: expected {expected}; the run has {}", self.run.display(), all()))
    }
}

/// The files at locations: of a folder or tar archive all files of the part's modality, in order of name. Prints how many
/// others there are.
///
/// # Errors
/// If a folder or archive has none, or cannot be read.
pub fn files(part: &Part, locations: &[String]) -> Result<Vec<String>> {
    let modality = part.tokenizer.name();
    // A modality without usual endings of its files reads any file.
    let has_endings = Modality::value_variants().iter().any(|known| known.name() == modality);
    let is_read = |path: &&String| {
        let is_hidden = path.rsplit('/').next().is_some_and(|name| name.starts_with('.'));
        !is_hidden && (!has_endings || Modality::by_name(path).is_some_and(|of| of.name() == modality))
    };
    let mut files = vec![];
    for location in locations {
        let tree = match Files::open(location) {
            Ok(tree) => tree,
            Err(error) if location.ends_with(".tar") || Path::new(location).is_dir() => {
                return Err(error.into());
            }
            Err(_) => {
                files.push(location.clone()); // a file, or none: reading it tells
                continue;
            }
        };
        let (n, before) = (tree.list().len(), files.len());
        files.extend(tree.list().iter().filter(is_read).map(|path| tree.location(path)));
        match files.len() - before {
            0 => bail!(
                "{location}: expected files of modality {modality}, by their endings; found none among {n}"
            ),
            read if read < n => {
                print::note(&format!("{location}: {} of {n} files are not of modality {modality}", n - read));
            }
            _ => {}
        }
    }
    Ok(files)
}

/// The files of a list that could not be answered; the others are.
pub struct Unanswered {
    /// The number of files of the list.
    asked: usize,
    /// The errors, by file.
    errors: Vec<(String, String)>,
}

impl Unanswered {
    /// None of a list of this many files.
    pub fn of(asked: usize) -> Self {
        Self { asked, errors: vec![] }
    }

    /// The answer for a file; without one, prints the error and returns `None`.
    ///
    /// # Errors
    /// The file's error, if it is the only file.
    pub fn keep<T>(&mut self, file: &str, answer: Result<T>) -> Result<Option<T>> {
        let error = match answer {
            Ok(answer) => return Ok(Some(answer)),
            Err(error) if self.asked == 1 => return Err(error),
            Err(error) => print::message(&error),
        };
        // The error of a file that cannot be read names the file.
        let named = if error.contains(file) { error.clone() } else { format!("{file}: {error}") };
        print::note(&format!("error: {named}"));
        self.errors.push((file.to_string(), error));
        Ok(None)
    }

    /// An object of JSON for each of the files, with the file under this key and the `error`.
    pub fn json(&self, key: &str) -> impl Iterator<Item = Json> {
        self.errors.iter().map(move |(file, error)| {
            let about = [(key.to_string(), json!(file)), ("error".to_string(), json!(error))];
            Json::Object(Map::from_iter(about))
        })
    }

    /// Fails if there are such files.
    pub fn check(&self) -> Result<()> {
        match self.errors.len() {
            0 => Ok(()),
            n => bail!("{n} of {} files have no answer; their errors are above", self.asked),
        }
    }
}

/// Passes the tokens of a file's rows to `take`, `batch` rows at a time, with the number of the first.
pub fn batches(
    part: &Part,
    (file, bytes): (&str, &[u8]),
    batch: usize,
    mut take: impl FnMut(usize, Vec<Tokens>) -> Result<()>,
) -> Result<()> {
    let mut rows = part.tokenizer.encode_file(bytes, None);
    let mut first = 0;
    loop {
        let tokens = rows.by_ref().take(batch.max(1)).collect::<Result<Vec<_>, _>>();
        let tokens = tokens.map_err(|error| part.error(error)).with_context(|| file.to_string())?;
        let n = tokens.len();
        if n == 0 {
            return Ok(());
        }
        take(first, tokens).with_context(|| file.to_string())?;
        first += n;
    }
}
