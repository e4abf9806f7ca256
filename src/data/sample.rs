//! One training example as plain data: inputs, outputs and an identity.

use super::{Bad, DataError};
use serde::{Deserialize, Serialize};
use smalti_contract::Tokens;

/// Which stack reads a list of tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stream {
    /// The stack that the main one looks at by cross-attention.
    Encoder,
    /// The main stack, which heads read; the only one in most models.
    Main,
}

/// One training example.
#[derive(Clone, Debug)]
pub struct Sample {
    /// What each stack reads, in the order of the task's inputs.
    pub inputs: Vec<(Stream, Tokens)>,
    /// The outputs that the sample has, each of another head.
    pub outputs: Vec<Output>,
    /// Tells the sample apart from every other; dropout is keyed by it.
    pub id: u64,
}

/// One output of a sample: where its head reads, and what it should predict.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Output {
    /// The head's number in the task.
    pub head: usize,
    /// The orders, in the main stream, of the tokens that the head reads; `None` for every token of the kind that it
    /// reads.
    pub places: Option<Vec<u32>>,
    /// The target.
    pub target: Target,
}

impl From<Target> for Output {
    /// The target of a task's first head, at every token of the kind that it reads.
    fn from(target: Target) -> Self {
        Self { head: 0, places: None, target }
    }
}

/// What a head should predict.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Target {
    /// An id for each token that the head reads. A token of weight 0 does not count.
    Ids {
        /// `[n]`.
        ids: Vec<u32>,
        /// `[n]`: the weight of each token in the loss.
        weights: Vec<f32>,
    },
    /// Several ids for the one token that the head reads, each with its share, such as the classes of two images that are
    /// blended. The shares add up to 1.
    Shared(Vec<(u32, f32)>),
    /// Numbers for each token that the head reads.
    Features {
        /// `[n, dim]`, row-major.
        values: Vec<f32>,
        /// Numbers for a token.
        dim: usize,
        /// `[n]`: the weight of each token in the loss.
        weights: Vec<f32>,
    },
    /// Labels in their order, not aligned with the tokens: what CTC learns.
    Labels(Vec<u32>),
    /// None is known: the output is there to be predicted.
    Unknown,
}

impl Target {
    /// A class, read at one token.
    pub fn class(class: u32) -> Self {
        Target::ids(vec![class])
    }

    /// Classes that share one input, with their shares; those of one class are one.
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

    /// This target and then another of the same sort: those of a series, step by step.
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

    /// The target of an input that is blended with another: classes in these shares, numbers in their weighted mean.
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

    /// Multiplies the weight of each token, `[n]`.
    ///
    /// # Errors
    /// If there is another number of tokens, or the target has no weight for each.
    pub fn weigh(&mut self, by: &[f32]) -> Result<(), String> {
        match self {
            Target::Ids { weights, .. } | Target::Features { weights, .. } if weights.len() == by.len() => {
                weights.iter_mut().zip(by).for_each(|(weight, by)| *weight *= by);
                Ok(())
            }
            Target::Ids { weights, .. } | Target::Features { weights, .. } => {
                Err(format!("expected {} weights, one for each target; found {}", weights.len(), by.len()))
            }
            Target::Shared(_) | Target::Labels(_) | Target::Unknown => {
                Err("its targets have no weights of their own".into())
            }
        }
    }

    /// An id for each token, of equal weight.
    pub fn ids(ids: Vec<u32>) -> Self {
        Target::Ids { weights: vec![1.0; ids.len()], ids }
    }
}

/// Samples by number.
pub trait Dataset: Send + Sync {
    /// Samples in one epoch.
    fn len(&self) -> usize;

    /// True when there is no sample.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Sample `index`. With a seed, a random variation of it for training; without, always the same.
    ///
    /// # Errors
    /// A [`DataError`] that names the file.
    fn sample(&self, index: usize, seed: Option<u64>) -> Result<Sample, DataError>;

    /// What becomes of a sample that cannot be had.
    fn bad(&self) -> Bad {
        Bad::Fail
    }

    /// Whether a seed makes another sample; where it does not, a sample can be kept for training too.
    fn varies(&self) -> bool {
        true
    }

    /// What tells sample `index` from every other, and from itself when its source has changed: the source's location,
    /// size and time of change. `None` where that is not known; such a sample is never kept.
    fn origin(&self, _index: usize) -> Option<String> {
        None
    }

    /// Files of its source that are not used, each with the reason.
    fn skipped(&self) -> &[(String, &'static str)] {
        &[]
    }

    /// The stretches of samples that training shuffles each by itself: how many samples, and their weight in the draws.
    fn lanes(&self) -> Vec<(usize, f64)> {
        vec![(self.len(), 1.0)]
    }
}
