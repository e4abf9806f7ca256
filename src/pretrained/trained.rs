//! A run that was trained here, as a checkpoint of the kind that has its layout.

mod settings;

use super::audio::feature_extractor;
use super::files::CONFIG;
use super::fits::{self, Renaming};
use super::preprocessor;
use super::run::write_json;
use super::settings::Settings;
use super::{Checkpoint, Description, PretrainedError, tokenizer};
use crate::head::{Classify, HeadKind, Masked, Multilabel, Regress, Tag};
use crate::modalities::audio::{AudioConfig, AudioTokenizer};
use crate::modalities::image::ImageTokenizer;
use crate::modalities::text::{TextConfig, TextTokenizer, published};
use crate::model::{Model, NormKind};
use crate::run::{CONFIG_FILE, NamedTask, PUBLISHED_FOLDER};
use crate::sample::{Composition, Part, Role};
use serde_json::json;
use smalti_contract::Tokenizer;
use std::collections::{BTreeSet, HashSet};
use std::path::Path;

/// A kind of checkpoint as which a run that was trained here can be exported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrainedKind {
    /// ViT: an encoder of images.
    Vit,
    /// BERT: an encoder of texts.
    Bert,
    /// GPT-2: a decoder of texts with layer norm.
    Gpt2,
    /// Llama: a decoder of texts with RMS norm.
    Llama,
    /// T5: an encoder and a decoder of texts.
    T5,
    /// Whisper: an encoder of clips and a decoder of texts.
    Whisper,
}

impl TrainedKind {
    /// All kinds.
    pub const ALL: [Self; 6] = [Self::Vit, Self::Bert, Self::Gpt2, Self::Llama, Self::T5, Self::Whisper];

    /// `model_type` in `config.json`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Vit => "vit",
            Self::Bert => "bert",
            Self::Gpt2 => "gpt2",
            Self::Llama => "llama",
            Self::T5 => "t5",
            Self::Whisper => "whisper",
        }
    }

    fn listed() -> String {
        Self::ALL.map(Self::name).join(", ")
    }
}

impl std::str::FromStr for TrainedKind {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|kind| kind.name() == name);
        found.ok_or_else(|| format!("expected one of {}; found {name:?}", Self::listed()))
    }
}

/// A run, for its export.
pub(super) struct Trained<'a> {
    folder: &'a Path,
    pub model: &'a Model,
    pub task: &'a Composition,
    kind: TrainedKind,
}

/// Whether a run was imported: its export has the kind of its checkpoint.
pub(super) fn is_imported(run: &Path) -> bool {
    run.join(PUBLISHED_FOLDER).is_dir()
}

impl<'a> Trained<'a> {
    /// A run with one task, as a checkpoint of this kind, or of the kind that follows from its parts and its norm.
    ///
    /// # Errors
    /// [`PretrainedError`] if it has several tasks, or its parts are those of no kind.
    pub fn new(
        folder: &'a Path,
        model: &'a Model,
        tasks: &'a [NamedTask],
        kind: Option<TrainedKind>,
    ) -> Result<Self, PretrainedError> {
        let refuse = |problem: String| refused(folder, "export", problem);
        let [NamedTask { task, .. }] = tasks else {
            return Err(refuse(format!("expected a run of one task; found a mix of {}", tasks.len())));
        };
        let kind = kind.or_else(|| kind_of(model, task)).ok_or_else(|| {
            refuse(format!(
                "expected a run with the inputs and outputs of one of {}; found {}; see the guide on exports",
                TrainedKind::listed(),
                task.listed()
            ))
        })?;
        Ok(Self { folder, model, task, kind })
    }

    /// Write the settings and the tokenizer of the checkpoint to a folder, and read it as an imported one, without its weights.
    ///
    /// # Errors
    /// [`PretrainedError`] if the kind lacks a part of the run, or a file cannot be written.
    pub fn write(&self, to: &Path) -> Result<Checkpoint, PretrainedError> {
        let (config, names) = settings::of(self)?;
        write_json(&to.join(CONFIG), &config)?;
        for part in self.task.parts() {
            match part.tokenizer.name() {
                TextTokenizer::NAME => self.write_tokenizer(part, to)?,
                AudioTokenizer::NAME => {
                    let clips = audio(part)?;
                    let settings = feature_extractor(clips.mel.n_mels, clips.max_slices);
                    write_json(&to.join(preprocessor::FILE), &settings)?;
                }
                _ => {}
            }
        }
        let settings = Settings::parse(CONFIG, config.to_string().as_bytes())?;
        let tensors = names.into_iter().map(String::from).collect();
        Ok(Checkpoint::new(to.into(), settings, tensors, BTreeSet::new()))
    }

    /// The vocabulary of a text; parts that share one write the same file, the last with the ids of a generated text.
    fn write_tokenizer(&self, part: &Part, to: &Path) -> Result<(), PretrainedError> {
        let mut config: TextConfig = parsed(part)?;
        let context = self.positions(part).unwrap_or(config.context);
        let base = part.base_vocabulary as u32;
        let ids = &part.special_ids;
        let named =
            [("<begin>", ids.begin.first()), ("<end>", ids.end.first()), ("<mask>", ids.mask.as_ref())];
        let mut added: Vec<(u32, &str)> =
            named.into_iter().filter_map(|(name, id)| Some((*id.filter(|id| **id >= base)?, name))).collect();
        added.sort_unstable();
        config.specials.extend(added.into_iter().map(|(_, name)| name.to_string()));
        let Some(file) = published::to_tokenizer_json(&config) else { return Ok(()) };
        write_json(&to.join("tokenizer.json"), &file)?;
        let mut inputs = vec!["input_ids", "attention_mask"];
        if self.kind == TrainedKind::Bert {
            inputs.insert(1, "token_type_ids");
        }
        let beside = json!({
            "tokenizer_class": "PreTrainedTokenizerFast",
            "model_max_length": context,
            "model_input_names": inputs,
            "clean_up_tokenization_spaces": false,
        });
        write_json(&to.join(tokenizer::CONFIG), &beside)
    }

    /// The names of the run's kinds of token and outputs in the description of the checkpoint, in their order.
    ///
    /// # Errors
    /// [`PretrainedError`] if the run has another number of inputs or outputs.
    pub fn renaming(&self, published: &Description) -> Result<Renaming, PretrainedError> {
        let theirs = &published.task.task;
        let counts = |task: &Composition| (task.parts().len(), task.outputs().len());
        if counts(self.task) != counts(theirs) {
            let (expected, found) = (theirs.listed(), self.task.listed());
            let problem =
                format!("expected parts such as {expected}, as in {}; found {found}", self.kind.name());
            return Err(refused(self.folder, "inputs and outputs", problem));
        }
        let kinds = |task: &Composition| -> Vec<String> {
            task.parts().iter().flat_map(|part| &part.kinds).map(|kind| kind.name.clone()).collect()
        };
        let outputs = |task: &Composition| -> Vec<String> {
            task.outputs().iter().map(|output| output.name.clone()).collect()
        };
        for (ours, theirs) in self.task.parts().iter().zip(theirs.parts()) {
            self.check_part(ours, theirs)?;
        }
        Ok(Renaming {
            kinds: kinds(self.task).into_iter().zip(kinds(theirs)).collect(),
            outputs: outputs(self.task).into_iter().zip(outputs(theirs)).collect(),
        })
    }

    /// Check that a part of clips has the preparation of the kind.
    fn check_part(&self, ours: &Part, theirs: &Part) -> Result<(), PretrainedError> {
        if ours.tokenizer.name() != AudioTokenizer::NAME {
            return Ok(());
        }
        let [ours_json, theirs_json] = [ours, theirs].map(|part| part.tokenizer.config_json());
        let (mut ours_json, mut theirs_json) = (ours_json?, theirs_json?);
        for json in [&mut ours_json, &mut theirs_json] {
            json.as_object_mut().map(|json| json.remove("augment"));
        }
        let differing = fits::differences(&format!("inputs.{}", ours.name), &ours_json, &theirs_json);
        fits::check_same(self.folder, self.kind.name(), &differing, true)
    }

    /// The kind.
    pub fn kind(&self) -> TrainedKind {
        self.kind
    }

    /// The part of this modality.
    ///
    /// # Errors
    /// If there is none.
    fn part(&self, modality: &'static str) -> Result<&'a Part, PretrainedError> {
        let found = self.task.parts().iter().rfind(|part| part.tokenizer.name() == modality);
        found.ok_or_else(|| {
            let kind = self.kind.name();
            let problem =
                format!("expected one with modality {modality}, to export it as {kind}; found none");
            refused(self.folder, "inputs or outputs", problem)
        })
    }

    /// The number of places of a sequence.
    fn positions(&self, part: &Part) -> Option<usize> {
        part.kinds.first()?.axes.iter().find(|axis| axis.name == "index").map(|axis| axis.size)
    }

    /// The number of rows of a text's embedding table.
    fn vocabulary(&self, part: &Part) -> usize {
        let table = part.kinds.first().map(|kind| format!("embed.{}.table", kind.name));
        let found = self.model.params().iter().find(|(name, _)| table.as_deref() == Some(*name));
        found.and_then(|(_, table)| table.dims().first().copied()).or(part.vocabulary()).unwrap_or_default()
    }

    /// The name of the first output's head.
    fn head(&self) -> &str {
        head(self.task)
    }

    /// Whether the first output is a head of classes, labels or numbers.
    fn has_classes(&self) -> bool {
        [Classify::NAME, Multilabel::NAME, Regress::NAME, Tag::NAME].contains(&self.head())
    }
}

/// The name of the first output's head.
fn head(task: &Composition) -> &str {
    let first = task.outputs().first();
    first.and_then(|output| task.saved().heads.get(&output.name)).map_or("", |head| &head.name)
}

/// The kind of checkpoint that has these parts; decoders of texts differ in their norm.
fn kind_of(model: &Model, task: &Composition) -> Option<TrainedKind> {
    let modalities: HashSet<&str> = task.parts().iter().map(|part| part.tokenizer.name()).collect();
    let generated = task.parts().iter().find(|part| matches!(part.role, Role::Generated(_)));
    let one_of = |names: &[&str]| modalities.iter().all(|name| names.contains(name));
    let encodes = model.config().n_encoder_layers > 0;
    match generated {
        _ if modalities.is_empty() => None,
        None if one_of(&[ImageTokenizer::NAME]) => Some(TrainedKind::Vit),
        None if one_of(&[TextTokenizer::NAME]) => Some(TrainedKind::Bert),
        Some(_) if encodes && one_of(&[TextTokenizer::NAME]) => Some(TrainedKind::T5),
        Some(_) if encodes && one_of(&[TextTokenizer::NAME, AudioTokenizer::NAME]) => {
            Some(TrainedKind::Whisper)
        }
        Some(_) if task.parts().len() == 1 && one_of(&[TextTokenizer::NAME]) => {
            let is_llama = model.config().norm == NormKind::Rms;
            Some(if is_llama { TrainedKind::Llama } else { TrainedKind::Gpt2 })
        }
        _ => None,
    }
}

/// The preparation of clips.
fn audio(part: &Part) -> Result<AudioConfig, PretrainedError> {
    parsed(part)
}

fn parsed<T: serde::de::DeserializeOwned>(part: &Part) -> Result<T, PretrainedError> {
    serde_json::from_value(part.tokenizer.config_json()?)
        .map_err(|e| PretrainedError::Format { file: format!("[{}]", part.name), problem: e.to_string() })
}

/// An error that names a setting of a run.
pub(super) fn refused(run: &Path, setting: &str, problem: String) -> PretrainedError {
    let file = run.join(CONFIG_FILE).display().to_string();
    PretrainedError::Setting { file, setting: setting.into(), problem }
}

/// The class in transformers of a head, for `architectures`; that of classes is stated with the head.
fn class(trained: &Trained) -> &'static str {
    match (trained.kind, trained.head()) {
        (TrainedKind::Vit, _) => "ViTModel",
        (TrainedKind::Bert, Masked::NAME) => "BertForMaskedLM",
        (TrainedKind::Bert, _) => "BertModel",
        (TrainedKind::Gpt2, _) => "GPT2LMHeadModel",
        (TrainedKind::Llama, _) => "LlamaForCausalLM",
        (TrainedKind::T5, _) => "T5ForConditionalGeneration",
        (TrainedKind::Whisper, _) => "WhisperForConditionalGeneration",
    }
}
