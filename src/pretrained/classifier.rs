//! The published head of classes, labels or numbers of a whole text or image, or of a class for each token of a text.

use super::names::{Layout, NameMap, Tensors};
use super::sentence::SentenceEncoder;
use super::task::{ImportedTask, TaskBuilder};
use super::{Checkpoint, PretrainedError, ast};
use crate::head::{Classify, Dense, HeadKind, Hidden, Multilabel, Regress, SavedHead, Tag};
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
    /// What the head reads; `None` for every token.
    pub reads: Option<Pool>,
    /// The hidden layer.
    pub hidden: Option<Hidden>,
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
    /// One class of each token.
    Tags,
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
    /// What the head reads, `None` for every token, and the activation of its hidden layer.
    reads: Option<Pool>,
    hidden: Option<Activation>,
}

/// The models that this build reads and writes; another kind is a row here, and the names of its head in its own file. Of
/// those of a kind whose tensors a checkpoint has, its `architectures` name one, or it is the first.
const PUBLISHED: &[Published] = &[
    Published {
        kind: "bert",
        class: "BertForSequenceClassification",
        prefix: "bert.",
        weight: "classifier.weight",
        reads: Some(Pool::First),
        hidden: Some(Activation::Tanh),
    },
    Published {
        kind: "bert",
        class: "BertForTokenClassification",
        prefix: "bert.",
        weight: "classifier.weight",
        reads: None,
        hidden: None,
    },
    Published {
        kind: "roberta",
        class: "RobertaForSequenceClassification",
        prefix: "roberta.",
        weight: "classifier.out_proj.weight",
        reads: Some(Pool::First),
        hidden: Some(Activation::Tanh),
    },
    Published {
        kind: "roberta",
        class: "RobertaForTokenClassification",
        prefix: "roberta.",
        weight: "classifier.weight",
        reads: None,
        hidden: None,
    },
    Published {
        kind: "xlm-roberta",
        class: "XLMRobertaForSequenceClassification",
        prefix: "roberta.",
        weight: "classifier.out_proj.weight",
        reads: Some(Pool::First),
        hidden: Some(Activation::Tanh),
    },
    Published {
        kind: "xlm-roberta",
        class: "XLMRobertaForTokenClassification",
        prefix: "roberta.",
        weight: "classifier.weight",
        reads: None,
        hidden: None,
    },
    Published {
        kind: "distilbert",
        class: "DistilBertForSequenceClassification",
        prefix: "distilbert.",
        weight: "pre_classifier.weight",
        reads: Some(Pool::First),
        hidden: Some(Activation::Relu),
    },
    Published {
        kind: "distilbert",
        class: "DistilBertForTokenClassification",
        prefix: "distilbert.",
        weight: "classifier.weight",
        reads: None,
        hidden: None,
    },
    Published {
        kind: "gpt2",
        class: "GPT2ForSequenceClassification",
        prefix: "transformer.",
        weight: "score.weight",
        reads: Some(Pool::Last),
        hidden: None,
    },
    Published {
        kind: "gpt2",
        class: "GPT2ForTokenClassification",
        prefix: "transformer.",
        weight: "classifier.weight",
        reads: None,
        hidden: None,
    },
    Published {
        kind: "vit",
        class: "ViTForImageClassification",
        prefix: "vit.",
        weight: "classifier.weight",
        reads: Some(Pool::ClassToken),
        hidden: None,
    },
    Published {
        kind: "deit",
        class: "DeiTForImageClassificationWithTeacher",
        prefix: "deit.",
        weight: "distillation_classifier.weight",
        reads: Some(Pool::ClassTokenAndRegisters),
        hidden: None,
    },
    Published {
        kind: "deit",
        class: "DeiTForImageClassification",
        prefix: "deit.",
        weight: "classifier.weight",
        reads: Some(Pool::ClassToken),
        hidden: None,
    },
    Published {
        kind: "dinov2",
        class: "Dinov2ForImageClassification",
        prefix: "dinov2.",
        weight: "classifier.weight",
        reads: Some(Pool::ClassTokenAndMean),
        hidden: None,
    },
    Published {
        kind: "dinov2_with_registers",
        class: "Dinov2WithRegistersForImageClassification",
        prefix: "dinov2_with_registers.",
        weight: "classifier.weight",
        reads: Some(Pool::ClassTokenAndMean),
        hidden: None,
    },
    Published {
        kind: ast::KIND,
        class: "ASTForAudioClassification",
        prefix: ast::PREFIX,
        weight: "classifier.dense.weight",
        reads: Some(Pool::LearnedMean),
        hidden: None,
    },
    Published {
        kind: WHISPER,
        class: "WhisperForAudioClassification",
        prefix: "",
        weight: "projector.weight",
        reads: Some(Pool::Mean),
        hidden: None,
    },
];

/// The kind whose hidden layer has a width of its own.
const WHISPER: &str = "whisper";
/// The kinds whose head cannot be added to a checkpoint without it: its transformer differs.
const ONLY_PUBLISHED: [&str; 3] = ["gpt2", ast::KIND, WHISPER];
/// The classifier of DeiT's class token, and that of its distillation token: the class is predicted by their mean.
const TEACHER: [&str; 2] = ["cls_classifier", "distillation_classifier"];

impl Published {
    /// The models of a kind of checkpoint.
    fn of(kind: &str) -> impl Iterator<Item = &'static Self> {
        PUBLISHED.iter().filter(move |published| published.kind == kind)
    }

    /// The model of a kind with a head that reads the same as this one, or the last with one that reads every token, or one
    /// vector, as this one does.
    fn with_head(kind: &str, head: &Classifier) -> Option<&'static Self> {
        let similar = || Self::of(kind).filter(|published| published.reads.is_none() == head.reads.is_none());
        similar().find(|published| published.reads == head.reads).or(similar().last())
    }

    /// Whether its head can do what one with this pooling does: DINOv2's also reads the mean of the patches, with weights that
    /// may be 0.
    fn reads(&self, pool: Option<Pool>) -> bool {
        self.reads == pool || (self.reads, pool) == (Some(Pool::ClassTokenAndMean), Some(Pool::ClassToken))
    }

    /// The hidden layer of its head.
    fn hidden(&self, checkpoint: &Checkpoint) -> Result<Option<Hidden>, PretrainedError> {
        if self.kind != WHISPER {
            return Ok(self.hidden.map(Hidden::Activation));
        }
        let width = checkpoint.settings.count("classifier_proj_size")?.unwrap_or(256);
        Ok(Some(Hidden::Layer(Dense { width, activation: None })))
    }

    /// The model of a checkpoint with a head.
    fn of_checkpoint(checkpoint: &Checkpoint) -> Option<&'static Self> {
        let has_head = |published: &&Self| checkpoint.has(published.weight);
        let found: Vec<&Self> = Self::of(checkpoint.kind()).filter(has_head).collect();
        let classes = architectures(checkpoint);
        let named = found.iter().find(|published| classes.contains(&published.class));
        named.or(found.first()).copied()
    }
}

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

    /// The first output of a run that predicts classes, labels or numbers of a whole sample, or a class of each token; `None` if
    /// it has none.
    ///
    /// # Errors
    /// [`PretrainedError`] if its kind of checkpoint has no such head in transformers.
    pub fn of_run(checkpoint: &Checkpoint, task: &Composition) -> Result<Option<Self>, PretrainedError> {
        let saved = task.saved();
        let found = task.outputs().iter().zip(&task.spec().heads).find_map(|(output, spec)| {
            let reads = match output.site {
                ReadSite::ClassToken { .. } => Some(Pool::ClassToken),
                ReadSite::ClassTokenAndMean { .. } => Some(Pool::ClassTokenAndMean),
                ReadSite::ClassTokenAndRegisters { .. } => Some(Pool::ClassTokenAndRegisters),
                ReadSite::LearnedMean { .. } => Some(Pool::LearnedMean),
                ReadSite::Mean => Some(Pool::Mean),
                ReadSite::Attention => Some(Pool::Attention),
                ReadSite::FirstToken => Some(Pool::First),
                ReadSite::LastToken => Some(Pool::Last),
                ReadSite::InputTokens { .. } => None,
                ReadSite::OwnTokens { .. } | ReadSite::Codes { .. } => return None,
            };
            let SavedHead { name, state } = saved.heads.get(&output.name)?;
            let predicts = match name.as_str() {
                Classify::NAME => Predicts::Class,
                Multilabel::NAME => Predicts::Labels,
                Regress::NAME => Predicts::Numbers,
                Tag::NAME => Predicts::Tags,
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
                Self { output, predicts, names, reads, hidden: spec.hidden, most_tokens: None, scaling },
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
        let (kind, Self { output, reads, hidden, .. }) = (checkpoint.kind(), self);
        let refuse = |problem: String| {
            Err(PretrainedError::Format {
                file: format!("outputs.{output}"),
                problem: problem + ", to export it",
            })
        };
        let said = |hidden: &Option<Hidden>| match hidden {
            Some(hidden) => json!(hidden).to_string(),
            None => "none".into(),
        };
        let Some(published) = Published::with_head(kind, self) else {
            let of_tokens = reads.is_none();
            let kinds = PUBLISHED.iter().filter(|published| published.reads.is_none() == of_tokens);
            let kinds = kinds.map(|published| published.kind).collect::<Vec<_>>().join(", ");
            let what = if of_tokens { "classes of tokens" } else { "classes" };
            return refuse(format!(
                "expected a checkpoint of one of {kinds} for a head of {what}; found {kind}"
            ));
        };
        if ONLY_PUBLISHED.contains(&kind) && !checkpoint.publishes_classifier() {
            // In the run, every token may attend to every other.
            return refuse(format!(
                "expected a {kind} checkpoint that is a {}; found another",
                published.class
            ));
        }
        if !published.reads(*reads) {
            let (expected, found) = (json!(published.reads), json!(reads));
            return refuse(format!("pool: expected {expected}, as in {}; found {found}", published.class));
        }
        let expected = published.hidden(checkpoint)?;
        if *hidden != expected {
            let (expected, found) = (said(&expected), said(hidden));
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
            Predicts::Class => Some("single_label_classification"),
            Predicts::Labels => Some("multi_label_classification"),
            Predicts::Numbers => Some("regression"),
            Predicts::Tags => None,
        };
        let is_stated = config.get("problem_type").is_some_and(|stated| !stated.is_null());
        let must = !stays && self.predicts != Predicts::Class;
        if let Some(problem) = problem.filter(|_| is_stated || must) {
            config.insert("problem_type".into(), problem.into());
        }
        let kind = published.kind();
        let own = Published::with_head(kind, self);
        let other = Published::of(kind).filter(|of| own.is_some_and(|own| own.class != of.class));
        let other: Vec<Value> = other.map(|published| json!([published.class])).collect();
        let is_other = config.get("architectures").is_some_and(|stated| other.contains(stated));
        if let Some(published) = own.filter(|_| !had_head || is_other) {
            config.insert("architectures".into(), json!([published.class]));
        }
        Ok(())
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
