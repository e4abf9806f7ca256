//! A training sample as plain data: inputs, targets and an id.

use super::{DataError, OnCorruptSample};
use serde::{Deserialize, Serialize};
use smalti_contract::Tokens;

/// The transformer that reads a list of tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stream {
    /// The encoder, whose output the main transformer attends to by cross-attention.
    Encoder,
    /// The main transformer, which heads read; the only one in most models.
    Main,
}

/// A training sample.
#[derive(Clone, Debug)]
pub struct Sample {
    /// The tokens of each input, in the order of the task's inputs; of a sample of several documents, one document after
    /// another.
    pub inputs: Vec<(Stream, Tokens)>,
    /// The outputs of the sample, at most one for each head.
    pub outputs: Vec<Output>,
    /// Unique to the sample; the seed of its dropout depends on it.
    pub id: u64,
}

impl Sample {
    /// Appends the document of the rejected completions, whose outputs and those of the same heads in this sample become pairs.
    pub(crate) fn add_rejected(&mut self, rejected: Sample) {
        let mut is_pair = false;
        for other in rejected.outputs {
            if let Some(output) = self.outputs.iter_mut().find(|output| output.head == other.head)
                && let Some(pair) = output.target.clone().preferred_to(other.target)
            {
                (output.target, is_pair) = (pair, true);
            }
        }
        if is_pair {
            self.inputs.extend(rejected.inputs);
        }
    }

    /// The number of documents: 2 for a chosen and a rejected completion, else 1.
    pub(super) fn n_documents(&self) -> usize {
        let is_pair = |output: &Output| matches!(output.target, Target::Pair { .. });
        if self.outputs.iter().any(is_pair) { 2 } else { 1 }
    }
}

/// One output of a sample: the tokens that its head reads, and the target.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Output {
    /// The head's number in the task.
    pub head: usize,
    /// The tokens of the main stream that the head reads, by their order in the first document; `None` for all tokens of the
    /// kind that it reads: of both documents for a pair, else of the first.
    pub places: Option<Vec<u32>>,
    /// The target.
    pub target: Target,
}

impl From<Target> for Output {
    /// The target of a task's first head, which reads every token of its kind.
    fn from(target: Target) -> Self {
        Self { head: 0, places: None, target }
    }
}

/// The target of a head.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Target {
    /// An id for each token that the head reads. A token of weight 0 does not count.
    Ids {
        /// `[n]`.
        ids: Vec<u32>,
        /// `[n]`: the weight of each token in the loss.
        weights: Vec<f32>,
    },
    /// Several ids for the one token that the head reads, each with its share, such as the classes of two blended images.
    /// The shares add up to 1.
    Shared(Vec<(u32, f32)>),
    /// A vector for each token that the head reads.
    Features {
        /// `[n, dim]`, row-major.
        values: Vec<f32>,
        /// Size of a vector.
        dim: usize,
        /// `[n]`: the weight of each token in the loss.
        weights: Vec<f32>,
    },
    /// Labels in their order, not aligned with the tokens: the target of CTC.
    Labels(Vec<u32>),
    /// No target: the output is only to be predicted.
    Unknown,
    /// A chosen and a rejected completion of one prompt, which are two documents of the sample.
    Pair {
        /// `[n]`: an id for each token that the head reads, first those of the chosen completion.
        ids: Vec<u32>,
        /// `[n]`: 1 for the tokens of the completions, 0 for those before them.
        weights: Vec<f32>,
        /// The number of tokens of the chosen document.
        n_chosen: usize,
        /// The log-probabilities of the chosen and of the rejected completion under the reference model; not a number before
        /// they are known.
        reference: [f64; 2],
    },
}

impl Target {
    /// A class, for a head that reads one token.
    pub fn class(class: u32) -> Self {
        Target::ids(vec![class])
    }

    /// Classes of one token with their shares; the shares of the same class are added.
    pub fn classes(shares: impl IntoIterator<Item = (u32, f32)>) -> Self {
        let mut summed: Vec<(u32, f32)> = Vec::new();
        for (class, share) in shares {
            match summed.iter_mut().find(|(known, _)| *known == class) {
                Some((_, sum)) => *sum += share,
                None => summed.push((class, share)),
            }
        }
        Target::Shared(summed)
    }

    /// A pair of which this is the chosen completion, and its reference is not known; `None` for targets that are not ids.
    pub fn preferred_to(self, rejected: Target) -> Option<Self> {
        let Target::Ids { mut ids, mut weights } = self else { return None };
        let Target::Ids { ids: others, weights: of_others } = rejected else { return None };
        let n_chosen = ids.len();
        ids.extend(others);
        weights.extend(of_others);
        Some(Target::Pair { ids, weights, n_chosen, reference: [f64::NAN; 2] })
    }

    /// This target followed by another of the same sort: the targets of a series, step by step.
    ///
    /// # Errors
    /// If the targets are of different sorts.
    pub fn then(self, next: Target) -> Result<Self, String> {
        match (self, next) {
            (Target::Ids { mut ids, mut weights }, Target::Ids { ids: more, weights: w }) => {
                ids.extend(more);
                weights.extend(w);
                Ok(Target::Ids { ids, weights })
            }
            (
                Target::Features { mut values, dim, mut weights },
                Target::Features { values: more, dim: same, weights: w },
            ) if dim == same => {
                values.extend(more);
                weights.extend(w);
                Ok(Target::Features { values, dim, weights })
            }
            _ => Err("the targets of its steps are of different sorts".into()),
        }
    }

    /// The target of an input that is blended with another: classes with shares `share` and 1 − `share`; of vectors, the
    /// weighted mean.
    ///
    /// # Errors
    /// If the targets cannot be blended.
    pub fn blended(self, other: Target, share: f32) -> Result<Self, String> {
        match (self, other) {
            (Target::Ids { ids, .. }, Target::Ids { ids: others, .. })
                if [ids.len(), others.len()] == [1, 1] =>
            {
                Ok(Target::classes([(ids[0], share), (others[0], 1.0 - share)]))
            }
            (Target::Features { mut values, dim, weights }, Target::Features { values: others, .. })
                if values.len() == others.len() =>
            {
                values.iter_mut().zip(others).for_each(|(x, other)| *x = share * *x + (1.0 - share) * other);
                Ok(Target::Features { values, dim, weights })
            }
            _ => {
                Err("its targets cannot be blended; blend is for classes and numbers of whole samples".into())
            }
        }
    }

    /// Multiplies the weight of each token by `by`, `[n]`.
    ///
    /// # Errors
    /// If the number of tokens differs, or the target has no weight for each token.
    pub fn weigh(&mut self, by: &[f32]) -> Result<(), String> {
        match self {
            Target::Ids { weights, .. } | Target::Features { weights, .. } if weights.len() == by.len() => {
                weights.iter_mut().zip(by).for_each(|(weight, by)| *weight *= by);
                Ok(())
            }
            Target::Ids { weights, .. } | Target::Features { weights, .. } => {
                Err(format!("expected {} weights, one for each target; found {}", weights.len(), by.len()))
            }
            Target::Shared(_) | Target::Labels(_) | Target::Unknown | Target::Pair { .. } => {
                Err("its targets have no weights of their own".into())
            }
        }
    }

    /// An id for each token, of equal weight.
    pub fn ids(ids: Vec<u32>) -> Self {
        Target::Ids { weights: vec![1.0; ids.len()], ids }
    }
}

/// A data set: samples by number.
pub trait Dataset: Send + Sync {
    /// The number of samples in an epoch.
    fn len(&self) -> usize;

    /// Whether there is no sample.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Sample `index`; with a seed, augmented for training.
    ///
    /// # Errors
    /// A [`DataError`] that names the file.
    fn sample(&self, index: usize, seed: Option<u64>) -> Result<Sample, DataError>;

    /// The number of versions of each sample that an evaluation averages, such as masks of several shares of the tokens.
    fn versions(&self) -> usize {
        1
    }

    /// Version `version` of sample `index` in evaluation; version 0 is `sample(index, None)`.
    ///
    /// # Errors
    /// As for [`sample`](Self::sample).
    fn version(&self, index: usize, _version: usize) -> Result<Sample, DataError> {
        self.sample(index, None)
    }

    /// The reaction to a corrupt sample.
    fn on_corrupt(&self) -> OnCorruptSample {
        OnCorruptSample::Fail
    }

    /// Whether a seed changes the sample; if not, the cached sample is used in training too.
    fn varies(&self) -> bool {
        true
    }

    /// A key of sample `index` that changes with its source: the source's location, size and time of change. `None` if that
    /// is not known; such a sample is never cached.
    fn origin(&self, _index: usize) -> Option<String> {
        None
    }

    /// Files of the source that are not used, each with the reason.
    fn skipped(&self) -> &[(String, &'static str)] {
        &[]
    }

    /// The consecutive ranges of samples that are shuffled separately: the number of samples, and their weight in the draws.
    fn lanes(&self) -> Vec<(usize, f64)> {
        vec![(self.len(), 1.0)]
    }
}
