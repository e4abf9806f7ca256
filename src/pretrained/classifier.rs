//! The published head of classes, labels or numbers of a whole text or image, or of a class for each token of a text.

mod export;
mod published;

use super::names::{Layout, NameMap, Tensors};
use super::task::{ImportedTask, TaskBuilder};
use super::{Checkpoint, PretrainedError};
use crate::head::{Classify, Hidden, Multilabel, Regress, Tag};
use crate::sample::Pool;
use published::Published;
use serde_json::{Value, json};

/// A head of classes, labels or numbers.
#[derive(Clone)]
pub(super) struct Classifier {
    /// The name of the output.
    pub output: String,
    pub predicts: Predicts,
    /// The names of the classes, labels or numbers.
    pub names: Vec<String>,
    /// What the head reads; `None` for every token.
    pub reads: Option<Pool>,
    /// The hidden layer.
    pub hidden: Option<Hidden>,
    /// The most tokens of a text of the sentence encoder that the head was added to.
    pub most_tokens: Option<usize>,
    /// The mean and the deviation of the numbers, which a run's head predicts normalized; empty without.
    pub scaling: [Vec<f32>; 2],
}

/// What a head predicts: `problem_type`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Predicts {
    /// One class.
    Class,
    /// Any of several labels.
    Labels,
    /// A number for each name.
    Numbers,
    /// One class of each token.
    Tags,
}

/// The classifier of DeiT's class token, and that of its distillation token: the class is predicted by their mean.
const TEACHER: [&str; 2] = ["cls_classifier", "distillation_classifier"];

impl Checkpoint {
    /// Whether the checkpoint, or the run that is exported, has a head of classes, labels or numbers.
    pub fn has_classifier(&self) -> bool {
        self.classifier.is_some() || self.publishes_classifier()
    }

    /// Whether the checkpoint has such a head.
    pub fn publishes_classifier(&self) -> bool {
        Published::of_checkpoint(self).is_some()
    }

    /// Remove the names of the published head.
    pub fn remove_classifier(&mut self) {
        let kind = self.kind().to_string();
        let is_of_head = |name: &String| {
            let first = |name: &str| name.split('.').next().map(String::from);
            Published::of(&kind).any(|published| first(published.weight) == first(name))
        };
        self.tensors.retain(|name| !is_of_head(name));
    }

    /// Whether a head of classes is added, and transformers has the transformer below this prefix beside such a head.
    pub fn is_below_head(&self, prefix: &str) -> bool {
        self.classifier.is_some() && Published::of(self.kind()).any(|published| published.prefix == prefix)
    }

    /// Tensors that are not read, with the names that they have beside a head that the checkpoint did not have: transformers
    /// reads no other. Those outside the transformer, and its pooler, belong to no such model.
    pub fn beside_classifier(&self, unread: Tensors) -> Tensors {
        let added = self.classifier.is_some() && !self.publishes_classifier();
        let Some(published) = Published::of(self.kind()).next().filter(|_| added) else { return unread };
        let has_prefix = self.tensors.iter().any(|name| name.starts_with(published.prefix));
        let renamed = unread.into_iter().map(|(name, tensor)| match has_prefix {
            true => (name, tensor),
            false => (format!("{}{name}", published.prefix), tensor),
        });
        let inside = |name: &str| {
            name.strip_prefix(published.prefix).is_some_and(|name| name.starts_with("embeddings."))
        };
        renamed.filter(|(name, _)| inside(name)).collect()
    }
}

impl Classifier {
    /// The published head, or for an export, the run's.
    ///
    /// # Errors
    /// [`PretrainedError::Setting`] for names that are not those of 0, 1, …, or an unknown `problem_type`.
    pub fn read(checkpoint: &Checkpoint) -> Result<Self, PretrainedError> {
        if let Some(of_run) = &checkpoint.classifier {
            return Ok(of_run.clone());
        }
        let published = Published::of_checkpoint(checkpoint);
        let reads = published.map_or(Some(Pool::First), |published| published.reads);
        let hidden = published.map(|published| published.hidden(checkpoint)).transpose()?.flatten();
        let names = names(checkpoint)?;
        let single = if names.len() == 1 { "regression" } else { "single_label_classification" };
        let predicts = match checkpoint.settings.text("problem_type", single)?.as_str() {
            _ if reads.is_none() => Predicts::Tags,
            // The softmax of one number is 1, whatever it is.
            "single_label_classification" if names.len() > 1 => Predicts::Class,
            "multi_label_classification" => Predicts::Labels,
            "single_label_classification" | "regression" => Predicts::Numbers,
            other => {
                let problem = format!(
                    "expected single_label_classification, multi_label_classification or regression; found {other:?}"
                );
                return Err(checkpoint.refuse("problem_type", problem));
            }
        };
        let output = match predicts {
            Predicts::Class | Predicts::Labels => "class",
            Predicts::Numbers => "score",
            Predicts::Tags => "tags",
        };
        Ok(Self {
            output: output.into(),
            predicts,
            names,
            reads,
            hidden,
            most_tokens: None,
            scaling: Default::default(),
        })
    }

    /// The published head of a text; see [`read`](Self::read).
    ///
    /// # Errors
    /// As of [`read`](Self::read), and if the tensors are those of another head, or a function follows the head.
    pub fn of_text(checkpoint: &Checkpoint) -> Result<Self, PretrainedError> {
        let known: Vec<&str> = Published::of(checkpoint.kind()).map(|published| published.class).collect();
        // Other heads, such as that of several choices, have the same tensors.
        let other = architectures(checkpoint).into_iter().find(|class| !known.contains(class));
        if let Some(other) = other.filter(|_| checkpoint.publishes_classifier()) {
            let known = known.join(" or ");
            let problem = format!("expected {known} for a checkpoint with a classifier; found {other}");
            return Err(checkpoint.refuse("architectures", problem));
        }
        // The settings of sentence-transformers' CrossEncoder, for the function after the head.
        if let Some(found) = checkpoint.settings.get("sentence_transformers") {
            let function = found.get("activation_fn").and_then(Value::as_str).unwrap_or_default();
            if !function.ends_with(".Identity") {
                let problem =
                    format!("expected the activation_fn torch.nn.modules.linear.Identity; found {found}");
                return Err(checkpoint.refuse("sentence_transformers", problem));
            }
        }
        Self::read(checkpoint)
    }

    /// Add the output to a task. `settings` are those of the output but its field, pooling and hidden layer.
    ///
    /// # Errors
    /// As of [`TaskBuilder::output`].
    pub fn add(&self, builder: TaskBuilder, mut settings: Value) -> Result<ImportedTask, PretrainedError> {
        settings["field"] = if self.predicts == Predicts::Tags { "tags" } else { "label" }.into();
        if let Some(pool) = self.reads.filter(|pool| *pool != Pool::ClassToken) {
            settings["pool"] = json!(pool);
        }
        if let Some(hidden) = self.hidden {
            settings["hidden"] = json!(hidden);
        }
        let (name, names) = (&self.output, self.names.clone());
        match self.predicts {
            Predicts::Class => builder.output(name, settings, &Classify::new(names), None)?,
            Predicts::Labels => builder.output(name, settings, &Multilabel::new(names), None)?,
            Predicts::Numbers => {
                settings["normalize"] = false.into();
                builder.output(name, settings, &Regress::new(names.len(), false), None)?
            }
            Predicts::Tags => {
                settings["separator"] = " ".into();
                builder.output(name, settings, &Tag::new(names), None)?
            }
        }
        .finish()
    }

    /// Map the linear map to the published one named `theirs`, and the hidden layer, if there is one, to `hidden`.
    pub fn names(&self, names: &mut NameMap, hidden: &str, theirs: &str) {
        let ours = format!("head.{}", self.output);
        if self.hidden.is_some() {
            names.map(&format!("{ours}.hidden"), hidden, true);
        }
        names.map(&ours, theirs, true);
    }

    /// Map the linear map of an image's class, which DINOv2 reads from the class token and the mean of all patches beside it.
    pub fn names_of_images(&self, names: &mut NameMap, dino: bool) {
        let ours = format!("head.{}", self.output);
        match self.reads {
            Some(Pool::ClassTokenAndRegisters) => names.mean_of_maps(&ours, &TEACHER),
            Some(Pool::ClassToken) if dino => names.maps(&[&ours], &["classifier"], true, Layout::FirstHalf),
            _ => names.map(&ours, "classifier", true),
        }
    }
}

/// The class in transformers of a kind of checkpoint without a head; `None` for a kind that never has one here.
pub(super) fn class_without_head(kind: &str) -> Option<String> {
    Some(format!("{}Model", Published::of(kind).next()?.class.split("For").next()?))
}

/// The classes of transformers that `architectures` names.
fn architectures(checkpoint: &Checkpoint) -> Vec<&str> {
    let named = checkpoint.settings.get("architectures").and_then(Value::as_array).into_iter().flatten();
    named.filter_map(Value::as_str).collect()
}

/// Most classes, labels or numbers.
const MOST_LABELS: usize = 1 << 16;

/// The names of the classes, by number.
fn names(checkpoint: &Checkpoint) -> Result<Vec<String>, PretrainedError> {
    let settings = &checkpoint.settings;
    let refuse =
        |found: &Value| settings.refuse("id2label", format!("expected names for 0, 1, …; found {found}"));
    let Some(value) = settings.get("id2label") else {
        // The default names of transformers.
        let n = settings.get("num_labels").map_or(Ok(2), |_| settings.size("num_labels"))?;
        if n > MOST_LABELS {
            return Err(settings.refuse("num_labels", format!("expected at most {MOST_LABELS}; found {n}")));
        }
        return Ok((0..n).map(|i| format!("LABEL_{i}")).collect());
    };
    let names = value.as_object().ok_or_else(|| refuse(value))?;
    if names.len() > MOST_LABELS {
        let problem = format!("expected at most {MOST_LABELS} names; found {}", names.len());
        return Err(settings.refuse("id2label", problem));
    }
    let name = |i: usize| names.get(&i.to_string()).and_then(Value::as_str).map(String::from);
    (0..names.len()).map(|i| name(i).ok_or_else(|| refuse(value))).collect()
}
