//! The model card of a run: `README.md` with front matter as the Hugging Face Hub reads it (Mitchell et al. 2019).

mod front_matter;
mod places;
mod sections;
mod usage;
mod yaml;

use super::curves::Evaluation;
use super::summary::Summary;
use crate::config::TaskEntry;
use crate::model::SavedTensors;
use crate::run::{NamedTask, PUBLISHED_FOLDER, Run, RunError};
use crate::task::{Task, TaskSpec};
use crate::train::checksums::Checksum;
use crate::train::{MODEL_FILE, SAMPLE_COUNTS, SaveError, TensorFile, checkpoint};
use places::place;
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::Path;
use usage::Use;

/// The file of a model card.
pub const CARD_FILE: &str = "README.md";

/// The form of a model that a card describes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A run folder.
    Run,
    /// An export, which transformers reads.
    Export,
}

/// What a card states of a run.
struct Facts<'a> {
    run: &'a Run,
    form: Form,
    /// The name of the folder of the card.
    name: String,
    tasks: Vec<(TaskEntry, NamedTask)>,
    /// The number of elements of each parameter, by name.
    counts: BTreeMap<String, usize>,
    /// The numbers of training and validation samples, by task; empty for weights that were not trained here.
    samples: BTreeMap<String, [usize; 2]>,
    best: Option<Evaluation>,
}

/// Writes the card of a run into a folder, which is its own or that of an export. Returns whether it was written: a file of
/// this name that smalti did not write, or that was edited since, stays.
///
/// # Errors
/// [`RunError`] if the run's files cannot be read, it has no weights, or the card cannot be written.
pub fn write(run: &Run, folder: &Path, form: Form) -> Result<bool, RunError> {
    let path = folder.join(CARD_FILE);
    match std::fs::read(&path) {
        Ok(there) if !is_unedited(&there) => return Ok(false),
        Err(source) if source.kind() != ErrorKind::NotFound => {
            return Err(SaveError::Read { path, source }.into());
        }
        _ => {}
    }
    let card = signed(Facts::of(run, folder, form)?.card()?);
    checkpoint::write_atomically(&path, card.as_bytes())?;
    Ok(true)
}

/// Whether weights of the run were trained, and are not those of an import.
///
/// # Errors
/// [`RunError`] if its weights cannot be read.
pub fn is_trained(run: &Run) -> Result<bool, RunError> {
    Ok(!samples(&TensorFile::open(&run.folder().join(MODEL_FILE))?).is_empty())
}

/// The beginning of the last line of a card, which has the checksum of the lines above.
const SIGNATURE: &str = "<!-- Written by smalti, which replaces it until it is edited: ";

fn signed(card: String) -> String {
    let checksum = Checksum::of_bytes(card.as_bytes());
    format!("{card}{SIGNATURE}{checksum} -->\n")
}

/// Whether a card is as smalti wrote it.
fn is_unedited(card: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(card) else { return false };
    text.rfind(SIGNATURE).is_some_and(|end| signed(text[..end].into()) == text)
}

/// The numbers of training and validation samples that weights keep.
fn samples(weights: &TensorFile) -> BTreeMap<String, [usize; 2]> {
    let text = weights.texts().get(SAMPLE_COUNTS);
    text.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
}

impl<'a> Facts<'a> {
    fn of(run: &'a Run, folder: &Path, form: Form) -> Result<Self, RunError> {
        let path = run.folder().join(MODEL_FILE);
        if !path.exists() {
            return Err(RunError::NoWeights { folder: run.folder().into(), file: MODEL_FILE });
        }
        let weights = TensorFile::open(&path)?;
        let counts = weights.shapes().into_iter().map(|(name, shape)| (name, shape.iter().product()));
        let tasks: Vec<_> = run.config().tasks().into_iter().zip(run.tasks()?).collect();
        let specs = tasks.iter().map(|(_, named)| named.task.spec());
        let loss_weights: BTreeMap<String, f64> = specs.flat_map(TaskSpec::loss_weights).collect();
        let best = Summary::read(run.folder(), &loss_weights, |_| {})?.best;
        let whole = std::fs::canonicalize(folder).unwrap_or_else(|_| folder.into());
        let name = whole.file_name().map_or("model".into(), |name| name.to_string_lossy().into_owned());
        Ok(Self { run, form, name, tasks, counts: counts.collect(), samples: samples(&weights), best })
    }

    /// The uses of the tasks.
    fn uses(&self) -> impl Iterator<Item = Use<'_>> {
        self.tasks.iter().map(|(entry, named)| Use::of(entry, named))
    }

    /// The places of a task's sources.
    fn sources(entry: &TaskEntry) -> Vec<String> {
        let data = &entry.settings.data;
        let validation = data.validation_source.iter().flat_map(|sources| sources.as_slice());
        data.source.as_slice().iter().chain(validation).map(|source| place(&source.path)).collect()
    }

    /// The split of a task's validation rows, if its settings name one: `test` of `validation = "split = test"`.
    fn split(entry: &TaskEntry) -> Option<&str> {
        let (field, split) = entry.settings.data.validation.as_deref()?.split_once('=')?;
        let split = split.trim();
        let is_name = !split.is_empty() && split.chars().all(|character| character.is_alphanumeric());
        (is_name && matches!(field.trim(), "split" | "split?")).then_some(split)
    }

    /// The numbers of validation samples of a task that an evaluation is of, and of all, if `train.eval_samples` is fewer.
    fn evaluated(&self, entry: &TaskEntry) -> Option<[usize; 2]> {
        let limit = self.run.config().train.eval_samples;
        let [_, all] = *self.samples.get(&entry.name)?;
        (1..all).contains(&limit).then_some([limit, all])
    }

    /// Whether the weights are those of an import.
    fn is_published(&self) -> bool {
        self.samples.is_empty() && self.run.is_imported()
    }

    /// The licence of the weights: the user's, or that of the published weights that they started from.
    fn license(&self) -> Option<String> {
        let published = || {
            let card =
                std::fs::read_to_string(self.run.folder().join(PUBLISHED_FOLDER).join(CARD_FILE)).ok()?;
            front_matter::license(&card)
        };
        self.run.config().card.license.clone().or_else(published)
    }

    fn card(&self) -> Result<String, RunError> {
        let title = sections::cell(&self.name);
        let card = &self.run.config().card;
        let description = card.description.iter().map(|text| format!("{text}\n\n")).collect::<String>();
        let authors = card.authors.iter().map(|text| format!("Authors: {text}\n\n")).collect::<String>();
        let settings = self.settings()?;
        let sections = [self.model(), self.data(), self.metrics(), self.usage(), self.limits(), settings];
        Ok(format!("{}\n# {title}\n\n{description}{authors}{}", self.front_matter(), sections.concat()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_card_is_replaced_until_it_is_edited() {
        let card = signed("# A model\n\nText.\n".into());
        assert!(is_unedited(card.as_bytes()));
        assert!(!is_unedited(card.replace("Text", "My text").as_bytes()));
        assert!(!is_unedited(format!("{card}more\n").as_bytes()));
        assert!(!is_unedited(b"# Mine\n"));
        assert!(!is_unedited(b"\xff"));
    }
}
