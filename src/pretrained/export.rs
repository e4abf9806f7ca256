//! Exporting a run as a checkpoint: an imported one in the layout of its own, a trained one in that of its kind.

use super::classifier::{self, Classifier};
use super::files::{CONFIG, WEIGHTS};
use super::fits::{self, Compared};
use super::names::Tensors;
use super::run::{IGNORED, NAMES, UNREAD, check_new, keep_files, whole, write_json};
use super::settings::Settings;
use super::trained::{self, Trained, TrainedKind};
use super::{Checkpoint, PretrainedError, Tower, image, towers};
use crate::model::Model;
use crate::registry::Modalities;
use crate::report::card::{self, CARD_FILE, Form};
use crate::run::{NamedTask, PUBLISHED_FOLDER, Run, Weights};
use crate::train::{Checks, SaveError, Storage, checkpoint, checksums};
use candle_core::Device;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// The checkpoint that a run was imported from, without its weights.
fn imported_checkpoint(run: &Path) -> Result<Checkpoint, PretrainedError> {
    let folder = run.join(PUBLISHED_FOLDER);
    let read = |name: &str| {
        let path = folder.join(name);
        std::fs::read(&path).map_err(|e| PretrainedError::Read { path, problem: e.to_string() })
    };
    let names = |name: &str, json: Vec<u8>| -> Result<BTreeSet<String>, PretrainedError> {
        serde_json::from_slice(&json).map_err(|e| PretrainedError::Format {
            file: folder.join(name).display().to_string(),
            problem: e.to_string(),
        })
    };
    let settings = Settings::parse(&folder.join(CONFIG).display().to_string(), &read(CONFIG)?)?;
    let tensors = names(NAMES, read(NAMES)?)?;
    let ignored = match folder.join(IGNORED).is_file() {
        true => names(IGNORED, read(IGNORED)?)?,
        false => BTreeSet::new(),
    };
    Ok(Checkpoint::new(folder, settings, tensors, ignored))
}

/// The published tensors that the model does not read.
fn unread(run: &Path) -> Result<Tensors, PretrainedError> {
    let (unread, _) = checkpoint::load(&run.join(PUBLISHED_FOLDER).join(UNREAD), &Device::Cpu)?;
    Ok(unread.into_iter().collect())
}

impl Checkpoint {
    /// Choose one of two models, if there are two.
    fn choose(&mut self, tower: Tower) {
        if towers::KINDS.contains(&self.kind()) {
            self.tower = Some(tower);
        }
    }
}

/// Write the run's current settings to `folder`, as settings of the checkpoint.
fn update_settings(
    mut published: Checkpoint,
    folder: &Path,
    tasks: &[NamedTask],
    storage: Storage,
) -> Result<Checkpoint, PretrainedError> {
    let mut config = published.settings.values().clone();
    let stored = match storage {
        Storage::F32 => "float32",
        Storage::Bf16 => "bfloat16",
        Storage::F16 => "float16",
    };
    for key in
        ["dtype", "torch_dtype"].into_iter().filter(|key| published.settings.values().contains_key(*key))
    {
        config.insert(key.into(), stored.into());
    }
    for named in tasks {
        let image = image::preparation(&named.task);
        published.choose(if image.is_some() { Tower::Image } else { Tower::Text });
        if let Some(image) = image {
            image::state(&image, &published, &mut config, folder)?;
        }
    }
    if let Some(classifier) = &published.classifier {
        classifier.state(&published, &mut config)?;
    } else if published.publishes_classifier() {
        published.remove_classifier();
        config.insert("architectures".into(), json!([classifier::class_without_head(published.kind())]));
    }
    if config != *published.settings.values() {
        write_json(&folder.join(CONFIG), &config)?;
    }
    let path = folder.join(CONFIG);
    let json = std::fs::read(&path)
        .map_err(|e| PretrainedError::Read { path: path.clone(), problem: e.to_string() })?;
    let settings = Settings::parse(&path.display().to_string(), &json)?;
    let mut written = Checkpoint { folder: folder.into(), settings, ..published };
    written.settings = written.without_ignored(written.settings.clone());
    Ok(written)
}

/// Export an imported run in the layout of its checkpoint, or a run that was trained here in that of the kind that follows from
/// its settings, with the run's weights in this storage.
///
/// # Errors
/// [`PretrainedError`], also if the run no longer has the shapes of its checkpoint, or has a setting that the kind does not have.
pub fn export(run: &Path, to: &Path, storage: Storage) -> Result<Tensors, PretrainedError> {
    export_checked(run, to, &ExportOptions { storage, ..ExportOptions::default() })
}

/// The choices of an export.
#[derive(Clone, Copy, Debug, Default)]
pub struct ExportOptions {
    /// The type of the stored weights.
    pub storage: Storage,
    /// The kind of a run that was trained here; by its settings if left out.
    pub kind: Option<TrainedKind>,
    /// The checks of the run's files.
    pub checks: Checks,
}

/// [`export`], with these choices.
///
/// # Errors
/// As of [`export`], and if the kind is not one of a trained run, or the run was imported and has one already.
pub fn export_checked(run: &Path, to: &Path, options: &ExportOptions) -> Result<Tensors, PretrainedError> {
    check_new(to)?;
    whole(to, || Exported::prepare(run, to, options, |_| Ok(()))?.save(to, options.storage))
}

/// A run as a checkpoint whose weights are not written.
pub(super) struct Exported {
    /// The checkpoint; its settings and its tokenizer are in a folder.
    pub checkpoint: Checkpoint,
    /// The weights, by their published names.
    pub tensors: Tensors,
    run: Run,
}

impl Exported {
    /// Write the settings and the tokenizer of a run's checkpoint to `to`, and read its weights. `check` gets the kind.
    ///
    /// # Errors
    /// As of [`export_checked`], and that of `check`.
    pub fn prepare(
        run: &Path,
        to: &Path,
        options: &ExportOptions,
        check: impl FnOnce(&str) -> Result<(), PretrainedError>,
    ) -> Result<Self, PretrainedError> {
        let opened = Run::open_checked(run, &Modalities::builtin(), options.checks)?;
        let (model, tasks) = opened.load(Weights::Best, &Device::Cpu)?;
        let trained = match (trained::is_imported(run), options.kind) {
            (false, kind) => Some(Trained::new(run, &model, &tasks, kind)?),
            (true, None) => None,
            (true, Some(kind)) => {
                let problem = format!(
                    "expected none, as the run was imported and keeps the kind of its checkpoint; found {}",
                    kind.name()
                );
                return Err(trained::refused(run, "kind", problem));
            }
        };
        std::fs::create_dir_all(to).map_err(|source| SaveError::Write { path: to.into(), source })?;
        let (checkpoint, unread) = described(run, to, (&model, &tasks), trained.as_ref(), options)?;
        check(checkpoint.kind())?;
        let description = checkpoint.describe()?;
        let renaming =
            trained.as_ref().map(|trained| trained.renaming(&description)).transpose()?.unwrap_or_default();
        let compared = Compared {
            model: &model,
            renaming: &renaming,
            run,
            of: trained.as_ref().map_or("its checkpoint", |trained| trained.kind().name()),
            settings_first: trained.is_some(),
        };
        fits::check(&compared, &description)?;
        let mut parameters = model.params().tensors();
        if let Some(classifier) = &checkpoint.classifier {
            classifier.denormalize(&mut parameters)?;
        }
        let renamed = parameters.into_iter().map(|(name, tensor)| (renaming.parameter(&name), tensor));
        let tensors = description.names.export(&renamed.collect(), &unread)?;
        Ok(Self { checkpoint, tensors, run: opened })
    }

    /// Write the weights and the model card to the folder of the settings.
    fn save(self, to: &Path, storage: Storage) -> Result<Tensors, PretrainedError> {
        // transformers requires the framework of the tensors.
        let metadata = BTreeMap::from([("format".to_string(), "pt".to_string())]);
        // Those of a module after the transformer, named FOLDER/NAME, are in a file of its own.
        let mut files: BTreeMap<&str, Tensors> = BTreeMap::from([("", Tensors::new())]);
        for (name, tensor) in &self.tensors {
            let (module, name) = name.split_once('/').unwrap_or(("", name));
            files.entry(module).or_default().insert(name.into(), tensor.clone());
        }
        for (module, tensors) in files {
            checkpoint::save_published(&to.join(module).join(WEIGHTS), &tensors, &metadata, storage)?;
        }
        write_card(&self.run, to)?;
        Ok(self.tensors)
    }
}

/// The checkpoint of a run, whose settings and tokenizer are written to `to`, and the published tensors that the model does not
/// read.
fn described(
    run: &Path,
    to: &Path,
    (model, tasks): (&Model, &[NamedTask]),
    trained: Option<&Trained>,
    options: &ExportOptions,
) -> Result<(Checkpoint, Tensors), PretrainedError> {
    if trained.is_none() && options.checks.checksums {
        checksums::check_below(run, PUBLISHED_FOLDER)?;
    }
    let mut checkpoint = match trained {
        Some(trained) => trained.write(to)?,
        None => imported_checkpoint(run)?,
    };
    for named in tasks {
        if let Some(classifier) = Classifier::of_run(&checkpoint, &named.task, model)? {
            checkpoint.classifier = Some(classifier);
        }
    }
    let unread = match trained {
        Some(_) => Tensors::new(),
        None => {
            keep_files(&checkpoint, to)?;
            checkpoint.beside_classifier(unread(run)?)
        }
    };
    Ok((update_settings(checkpoint, to, tasks, options.storage)?, unread))
}

/// Writes the model card of an export, which replaces the published one if the run was trained: that describes other weights.
fn write_card(run: &Run, to: &Path) -> Result<(), PretrainedError> {
    let path = to.join(CARD_FILE);
    if card::is_trained(run)? && path.exists() {
        std::fs::remove_file(&path).map_err(|source| SaveError::Write { path, source })?;
    }
    card::write(run, to, Form::Export)?;
    Ok(())
}
