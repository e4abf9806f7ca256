//! The published head of classes, labels or numbers of a whole text or image.

use super::names::{Layout, NameMap, Tensors};
use super::sentence::SentenceEncoder;
use super::task::{ImportedTask, TaskBuilder};
use super::{Checkpoint, PretrainedError};
use crate::head::{Classify, HeadKind, Multilabel, Regress, SavedHead};
use crate::ops::Activation;
use crate::sample::{Composition, Pool, ReadSite};
use crate::task::Task;
use candle_core::{DType, Device, Tensor};
use serde_json::{Map, Value, json};

/// A head of classes, labels or numbers.
#[derive(Clone)]
pub(super) struct Classifier {
    /// The name of the output.
    pub output: String,
    pub predicts: Predicts,
    /// The names of the classes, labels or numbers.
    pub names: Vec<String>,
    /// What the head reads.
    pub pool: Pool,
    /// The activation of the hidden layer.
    pub hidden: Option<Activation>,
    /// The most tokens of a text of the sentence encoder that the head was added to.
    pub most_tokens: Option<usize>,
    /// The mean and the deviation of the numbers, which a run's head predicts normalized; empty without.
    pub scaling: [Vec<f64>; 2],
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
}

/// The model of transformers with a head on a kind of checkpoint.
struct Published {
    /// `model_type`.
    kind: &'static str,
    /// The name of its class in transformers.
    class: &'static str,
    /// The prefix of the transformer's tensors in it.
    prefix: &'static str,
    /// The name of the weights of its head, without which a checkpoint has none.
    weight: &'static str,
    /// What the head reads, and the activation of its hidden layer.
    pool: Pool,
    hidden: Option<Activation>,
}

/// The models that this build reads and writes; another kind is a row here, and the names of its head in its own file.
const PUBLISHED: &[Published] = &[
    Published {
        kind: "bert",
        class: "BertForSequenceClassification",
        prefix: "bert.",
        weight: "classifier.weight",
        pool: Pool::First,
        hidden: Some(Activation::Tanh),
    },
    Published {
        kind: "vit",
        class: "ViTForImageClassification",
        prefix: "vit.",
        weight: "classifier.weight",
        pool: Pool::ClassToken,
        hidden: None,
    },
    Published {
        kind: "deit",
        class: "DeiTForImageClassification",
        prefix: "deit.",
        weight: "classifier.weight",
        pool: Pool::ClassToken,
        hidden: None,
    },
    Published {
        kind: "dinov2",
        class: "Dinov2ForImageClassification",
        prefix: "dinov2.",
        weight: "classifier.weight",
        pool: Pool::ClassToken,
        hidden: None,
    },
    Published {
        kind: "dinov2_with_registers",
        class: "Dinov2WithRegistersForImageClassification",
        prefix: "dinov2_with_registers.",
        weight: "classifier.weight",
        pool: Pool::ClassToken,
        hidden: None,
    },
];

impl Published {
    fn of(kind: &str) -> Option<&'static Self> {
        PUBLISHED.iter().find(|published| published.kind == kind)
    }
}

impl Checkpoint {
    /// Whether the checkpoint, or the run that is exported, has a head of classes, labels or numbers.
    pub fn has_classifier(&self) -> bool {
        self.classifier.is_some() || self.publishes_classifier()
    }

    /// Whether the checkpoint has such a head.
    pub fn publishes_classifier(&self) -> bool {
        Published::of(self.kind()).is_some_and(|published| self.has(published.weight))
    }

    /// Remove the names of the published head.
    pub fn remove_classifier(&mut self) {
        let heads = Published::of(self.kind()).and_then(|published| published.weight.split('.').next());
        let Some(head) = heads.map(|head| format!("{head}.")) else { return };
        self.tensors.retain(|name| !name.starts_with(&head));
    }

    /// Tensors that are not read, with the names that they have beside a head that the checkpoint did not have: transformers
    /// reads no other. Those outside the transformer, and its pooler, belong to no such model.
    pub fn beside_classifier(&self, unread: Tensors) -> Tensors {
        let added = self.classifier.is_some() && !self.publishes_classifier();
        let Some(published) = Published::of(self.kind()).filter(|_| added) else { return unread };
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
        let published = Published::of(checkpoint.kind());
        let names = names(checkpoint)?;
        let single = if names.len() == 1 { "regression" } else { "single_label_classification" };
        let predicts = match checkpoint.settings.text("problem_type", single)?.as_str() {
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
        let output = if predicts == Predicts::Numbers { "score" } else { "class" };
        let (pool, hidden) =
            published.map_or((Pool::First, None), |published| (published.pool, published.hidden));
        Ok(Self {
            output: output.into(),
            predicts,
            names,
            pool,
            hidden,
            most_tokens: None,
            scaling: Default::default(),
        })
    }

    /// The first output of a run that predicts classes, labels or numbers of a whole sample; `None` if it has none.
    ///
    /// # Errors
    /// [`PretrainedError`] if its kind of checkpoint has no such head in transformers.
    pub fn of_run(checkpoint: &Checkpoint, task: &Composition) -> Result<Option<Self>, PretrainedError> {
        let saved = task.saved();
        let found = task.outputs().iter().zip(&task.spec().heads).find_map(|(output, spec)| {
            let pool = match output.site {
                ReadSite::ClassToken { .. } => Pool::ClassToken,
                ReadSite::Mean => Pool::Mean,
                ReadSite::FirstToken => Pool::First,
                ReadSite::InputTokens { .. } | ReadSite::OwnTokens { .. } | ReadSite::Codes { .. } => {
                    return None;
                }
            };
            let SavedHead { name, state } = saved.heads.get(&output.name)?;
            let predicts = match name.as_str() {
                Classify::NAME => Predicts::Class,
                Multilabel::NAME => Predicts::Labels,
                Regress::NAME => Predicts::Numbers,
                _ => return None,
            };
            let names = match output.head.labels() {
                [] => (0..output.head.width()).map(|i| format!("LABEL_{i}")).collect(),
                labels => labels.to_vec(),
            };
            let numbers = |key: &str| serde_json::from_value(state.get(key)?.clone()).ok();
            let scaling = ["mean", "std"].map(|key| numbers(key).unwrap_or_default());
            let bounded = state.get("bounded") == Some(&Value::Bool(true));
            let output = output.name.clone();
            Some((
                Self { output, predicts, names, pool, hidden: spec.hidden, most_tokens: None, scaling },
                bounded,
            ))
        });
        let Some((mut found, bounded)) = found else { return Ok(None) };
        found.check(checkpoint, bounded)?;
        if !checkpoint.publishes_classifier()
            && let Some(encoder) = SentenceEncoder::read(checkpoint)?
        {
            if encoder.lowercase {
                let problem = "expected texts as they are, to export a head of classes; the sentence encoder has do_lower_case";
                return Err(PretrainedError::Format {
                    file: format!("outputs.{}", found.output),
                    problem: problem.into(),
                });
            }
            found.most_tokens = encoder.most_tokens;
        }
        Ok(Some(found))
    }

    /// Fails if no model of transformers computes what this head does.
    fn check(&self, checkpoint: &Checkpoint, bounded: bool) -> Result<(), PretrainedError> {
        let (kind, Self { output, pool, hidden, .. }) = (checkpoint.kind(), self);
        let refuse = |problem: String| {
            Err(PretrainedError::Format {
                file: format!("outputs.{output}"),
                problem: problem + ", to export it",
            })
        };
        let said = |hidden: &Option<Activation>| match hidden {
            Some(activation) => json!(activation).to_string(),
            None => "none".into(),
        };
        let Some(published) = Published::of(kind) else {
            let kinds = PUBLISHED.iter().map(|published| published.kind).collect::<Vec<_>>().join(", ");
            return refuse(format!(
                "expected a checkpoint of one of {kinds} for a head of classes; found {kind}"
            ));
        };
        if published.pool != *pool {
            let (expected, found) = (json!(published.pool), json!(pool));
            return refuse(format!("pool: expected {expected}, as in {}; found {found}", published.class));
        }
        if *hidden != published.hidden {
            let (expected, found) = (said(&published.hidden), said(hidden));
            return refuse(format!("hidden: expected {expected}, as in {}; found {found}", published.class));
        }
        match bounded {
            true => refuse(format!("bounded: expected false, as in {}; found true", published.class)),
            false => Ok(()),
        }
    }

    /// Scale the weights of a head of normalized numbers, so that it predicts them as they are.
    ///
    /// # Errors
    /// If an operation fails.
    pub fn denormalize(&self, parameters: &mut Tensors) -> candle_core::Result<()> {
        let [mean, std] = &self.scaling;
        if mean.is_empty() {
            return Ok(());
        }
        let column = |numbers: &[f64]| Tensor::new(numbers, &Device::Cpu)?.to_dtype(DType::F32);
        let (mean, std) = (column(mean)?, column(std)?);
        for (name, tensor) in parameters.iter_mut() {
            match name.strip_prefix(&format!("head.{}.", self.output)) {
                Some("weight") => *tensor = tensor.broadcast_mul(&std.unsqueeze(1)?)?,
                Some("bias") => *tensor = ((&*tensor * &std)? + &mean)?,
                _ => {}
            }
        }
        Ok(())
    }

    /// Add the output to a task. `settings` are those of the output but its field, pooling and hidden layer.
    ///
    /// # Errors
    /// As of [`TaskBuilder::output`].
    pub fn add(&self, builder: TaskBuilder, mut settings: Value) -> Result<ImportedTask, PretrainedError> {
        settings["field"] = "label".into();
        if self.pool != Pool::ClassToken {
            settings["pool"] = json!(self.pool);
        }
        if let Some(activation) = self.hidden {
            settings["hidden"] = json!(activation);
        }
        let (name, names) = (&self.output, self.names.clone());
        match self.predicts {
            Predicts::Class => builder.output(name, settings, &Classify::new(names), None)?,
            Predicts::Labels => builder.output(name, settings, &Multilabel::new(names), None)?,
            Predicts::Numbers => {
                settings["normalize"] = false.into();
                builder.output(name, settings, &Regress::new(names.len(), false), None)?
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

    /// Map the linear map of the class token to one that reads the mean of all patches beside it, as DINOv2's does.
    pub fn names_beside(&self, names: &mut NameMap, theirs: &str) {
        let at = |name: &str, end: &str| format!("{name}.{end}");
        let ours = format!("head.{}", self.output);
        names.rows(&[&at(&ours, "weight")], &[&at(theirs, "weight")], Layout::FirstHalf);
        names.one(&at(&ours, "bias"), &at(theirs, "bias"));
    }

    /// State the head in published settings. Settings that say the same stay as they are.
    ///
    /// # Errors
    /// If the published settings name no classes.
    pub fn state(
        &self,
        published: &Checkpoint,
        config: &mut Map<String, Value>,
    ) -> Result<(), PretrainedError> {
        let had_head = published.publishes_classifier();
        let stays = had_head && names(published)? == self.names;
        if !stays {
            let numbered = || self.names.iter().enumerate();
            config.insert(
                "id2label".into(),
                numbered().map(|(i, name)| (i.to_string(), json!(name))).collect(),
            );
            config.insert("label2id".into(), numbered().map(|(i, name)| (name.clone(), json!(i))).collect());
            // transformers counts the names.
            config.remove("num_labels");
            config.remove("_num_labels");
        }
        let problem = match self.predicts {
            Predicts::Class => "single_label_classification",
            Predicts::Labels => "multi_label_classification",
            Predicts::Numbers => "regression",
        };
        let is_stated = config.get("problem_type").is_some_and(|stated| !stated.is_null());
        if is_stated || !stays && self.predicts != Predicts::Class {
            config.insert("problem_type".into(), problem.into());
        }
        if let Some(published) = Published::of(published.kind()).filter(|_| !had_head) {
            config.insert("architectures".into(), json!([published.class]));
        }
        Ok(())
    }
}

/// The class in transformers of a kind of checkpoint without a head; `None` for a kind that never has one here.
pub(super) fn class_without_head(kind: &str) -> Option<String> {
    Some(format!("{}Model", Published::of(kind)?.class.split("For").next()?))
}

/// The names of the classes, by number.
fn names(checkpoint: &Checkpoint) -> Result<Vec<String>, PretrainedError> {
    let settings = &checkpoint.settings;
    let refuse =
        |found: &Value| settings.refuse("id2label", format!("expected names for 0, 1, …; found {found}"));
    let Some(value) = settings.get("id2label") else {
        // The default names of transformers.
        let n = settings.count("num_labels")?.unwrap_or(2);
        return Ok((0..n).map(|i| format!("LABEL_{i}")).collect());
    };
    let names = value.as_object().ok_or_else(|| refuse(value))?;
    let name = |i: usize| names.get(&i.to_string()).and_then(Value::as_str).map(String::from);
    (0..names.len()).map(|i| name(i).ok_or_else(|| refuse(value))).collect()
}
