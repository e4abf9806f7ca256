//! The head of a run as that of a model of transformers.

use super::super::names::Tensors;
use super::super::sentence::SentenceEncoder;
use super::super::{Checkpoint, PretrainedError};
use super::published::PUBLISHED;
use super::{Classifier, Predicts, Published, names};
use crate::head::{Classify, HeadKind, HeadSpec, Hidden, Multilabel, OutputScale, Regress, SavedHead, Tag};
use crate::model::Model;
use crate::sample::{Composition, OutputPart, Pool, ReadSite};
use crate::task::Task;
use candle_core::{Device, Tensor};
use serde_json::{Map, Value, json};

/// What a head reads, `None` for every token; `None` if no published head reads it.
fn pool_of(site: ReadSite) -> Option<Option<Pool>> {
    Some(match site {
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
    })
}

/// What a run's head has that the published ones do not have.
struct Traits {
    /// Whether its numbers are bounded.
    bounded: bool,
    /// Whether its linear map has a bias.
    bias: bool,
}

impl Classifier {
    /// The first output of a run that predicts classes, labels or numbers of a whole sample, or a class of each token; `None` if
    /// it has none.
    ///
    /// # Errors
    /// [`PretrainedError`] if its kind of checkpoint has no such head in transformers.
    pub fn of_run(
        checkpoint: &Checkpoint,
        task: &Composition,
        model: &Model,
    ) -> Result<Option<Self>, PretrainedError> {
        let mut outputs = task.outputs().iter().zip(&task.spec().heads);
        let found = outputs.find_map(|(output, spec)| Self::of_output(task, output, spec));
        let Some((mut found, bounded)) = found else { return Ok(None) };
        let bias = format!("head.{}.bias", found.output);
        let bias = model.params().iter().any(|(name, _)| name == bias);
        found.check(checkpoint, &Traits { bounded, bias })?;
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

    /// An output of a run, and whether its numbers are bounded; `None` for one of another kind.
    fn of_output(task: &Composition, output: &OutputPart, spec: &HeadSpec) -> Option<(Self, bool)> {
        let reads = pool_of(output.site)?;
        let SavedHead { name, .. } = task.saved().heads.get(&output.name)?;
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
        let scaling = match output.head.output_scale() {
            OutputScale::Affine { mean, std } => [mean, std].map(<[f32]>::to_vec),
            OutputScale::Unscaled | OutputScale::UnitLength => Default::default(),
        };
        let bounded = output.head.activation().is_some();
        let (output, hidden) = (output.name.clone(), spec.hidden);
        Some((Self { output, predicts, names, reads, hidden, most_tokens: None, scaling }, bounded))
    }

    /// Fails if no model of transformers computes what this head does.
    fn check(&self, checkpoint: &Checkpoint, traits: &Traits) -> Result<(), PretrainedError> {
        let (kind, Self { output, reads, hidden, .. }) = (checkpoint.kind(), self);
        let refuse = |problem: String| {
            Err(PretrainedError::Format {
                file: format!("outputs.{output}"),
                problem: problem + ", to export it",
            })
        };
        let Some(published) = Published::with_head(kind, self) else {
            return refuse(format!("{}; found {kind}", self.expected_kinds()));
        };
        let class = published.class;
        if !published.can_be_added() && !checkpoint.publishes_classifier() {
            return refuse(format!("expected a {kind} checkpoint that is a {class}; found another"));
        }
        if !published.reads(*reads) {
            let (expected, found) = (json!(published.reads), json!(reads));
            return refuse(format!("pool: expected {expected}, as in {class}; found {found}"));
        }
        let said = |hidden: &Option<Hidden>| match hidden {
            Some(hidden) => json!(hidden).to_string(),
            None => "none".into(),
        };
        let expected = published.hidden(checkpoint)?;
        if *hidden != expected {
            let (expected, found) = (said(&expected), said(hidden));
            return refuse(format!("hidden: expected {expected}, as in {class}; found {found}"));
        }
        if traits.bias != published.bias {
            let (expected, found) = (published.bias, traits.bias);
            return refuse(format!("model.head.bias: expected {expected}, as in {class}; found {found}"));
        }
        if !published.bias && self.scaling[0].iter().any(|mean| *mean != 0.0) {
            let problem =
                format!("normalize: expected false, as {class} has no bias for the mean; found true");
            return refuse(problem);
        }
        match traits.bounded {
            true => refuse(format!("bounded: expected false, as in {class}; found true")),
            false => Ok(()),
        }
    }

    /// The kinds of checkpoint that have such a head in transformers, in the words of an error.
    fn expected_kinds(&self) -> String {
        let of_tokens = self.reads.is_none();
        let mut kinds: Vec<_> = PUBLISHED.iter().filter(|of| of.reads.is_none() == of_tokens).collect();
        kinds.dedup_by_key(|published| published.kind);
        let kinds = kinds.into_iter().map(|published| published.kind).collect::<Vec<_>>().join(", ");
        let what = if of_tokens { "classes of tokens" } else { "classes" };
        format!("expected a checkpoint of one of {kinds} for a head of {what}")
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
        let column = |numbers: &[f32]| Tensor::new(numbers, &Device::Cpu);
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
        self.state_class(published, config);
        Ok(())
    }

    /// State the class in transformers, unless the settings name it.
    fn state_class(&self, published: &Checkpoint, config: &mut Map<String, Value>) {
        let kind = published.kind();
        let own = Published::with_head(kind, self);
        let other = Published::of(kind).filter(|of| own.is_some_and(|own| own.class != of.class));
        let other: Vec<Value> = other.map(|published| json!([published.class])).collect();
        let is_other = config.get("architectures").is_some_and(|stated| other.contains(stated));
        if let Some(own) = own.filter(|_| !published.publishes_classifier() || is_other) {
            config.insert("architectures".into(), json!([own.class]));
        }
    }
}
