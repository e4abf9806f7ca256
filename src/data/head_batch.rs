//! The rows that a head reads in a batch, and its targets.

use super::{Output, Target};
use crate::ops::preference::Pair;
use std::ops::Range;

/// How a head reads the tokens of a document.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pooling {
    /// Each token by itself: one output row for each.
    #[default]
    None,
    /// The mean of all: one output row for each document.
    Mean,
    /// The first token and the mean of the others, concatenated: one output row for each document.
    FirstAndMean,
    /// What a learned query reads of all by attention: one output row for each document.
    Attention,
}

impl Pooling {
    /// The number of vectors of width `d_model` in an output row's input.
    pub fn n_vectors(self) -> usize {
        if self == Pooling::FirstAndMean { 2 } else { 1 }
    }
}

/// The rows that one head reads in a batch, and its targets.
#[derive(Clone, Debug)]
pub struct HeadBatch {
    /// The task's number.
    pub task: usize,
    /// The head's number in the task.
    pub head: usize,
    /// The rows of the main stream that it reads; a row is repeated for each of several classes that share it.
    pub rows: Vec<u32>,
    /// For each output row of a head that pools, the ranges of `rows` that it pools, one or more, whose vectors it concatenates;
    /// `None` for a head that reads each row by itself.
    pub pools: Option<Vec<Range<usize>>>,
    /// For each document that has the output, its range of output rows.
    pub documents: Vec<Range<usize>>,
    /// For each document that has the output, its place in the batch.
    pub places: Vec<usize>,
    /// The targets of all documents.
    pub targets: Targets,
}

/// The targets of one head over all documents of a batch.
#[derive(Clone, Debug)]
pub enum Targets {
    /// An id and a weight for each output row.
    Ids {
        /// `[rows]`.
        ids: Vec<u32>,
        /// `[rows]`.
        weights: Vec<f32>,
    },
    /// Numbers and a weight for each output row.
    Features {
        /// `[rows, dim]`.
        values: Vec<f32>,
        /// Numbers in a row.
        dim: usize,
        /// `[rows]`.
        weights: Vec<f32>,
    },
    /// Labels and a weight for each document; one that cannot fit has weight 0.
    Labels {
        /// For each document.
        labels: Vec<Vec<u32>>,
        /// For each document.
        weights: Vec<f32>,
    },
    /// No targets.
    Unknown,
    /// Chosen and rejected completions.
    Pairs {
        /// `[rows]`.
        ids: Vec<u32>,
        /// `[rows]`: 0 for the tokens before the completions.
        weights: Vec<f32>,
        /// For each sample, the rows of both completions and their log-probabilities under the reference model.
        pairs: Vec<Pair>,
    },
}

impl Targets {
    /// The divisor of the summed loss: the sum of all weights. Each label counts 1, so that the loss of a long transcript is
    /// not larger than the loss of other tasks in a mix.
    pub fn weight(&self) -> f64 {
        match self {
            Targets::Ids { weights, .. } | Targets::Features { weights, .. } => {
                weights.iter().map(|&w| f64::from(w)).sum()
            }
            Targets::Labels { labels, weights } => {
                weights.iter().zip(labels).map(|(&w, labels)| f64::from(w) * labels.len().max(1) as f64).sum()
            }
            Targets::Pairs { pairs, .. } => pairs.len() as f64,
            Targets::Unknown => 0.0,
        }
    }

    fn like(target: &Target) -> Self {
        match target {
            Target::Ids { .. } | Target::Shared(_) => Targets::Ids { ids: vec![], weights: vec![] },
            Target::Features { dim, .. } => Targets::Features { values: vec![], dim: *dim, weights: vec![] },
            Target::Labels(_) => Targets::Labels { labels: vec![], weights: vec![] },
            Target::Unknown => Targets::Unknown,
            Target::Pair { .. } => Targets::Pairs { ids: vec![], weights: vec![], pairs: vec![] },
        }
    }

    /// Appends the target of a document that has `n` output rows; `head` names the head in messages.
    fn push(&mut self, n: usize, target: &Target, head: &str) -> Result<(), String> {
        let aligned = |what: &str, found: usize| match found == n {
            true => Ok(()),
            false => Err(format!("has {found} target {what}; {head} reads {n} tokens")),
        };
        match (self, target) {
            (Targets::Ids { ids, weights }, Target::Ids { ids: more, weights: w }) => {
                aligned("ids", more.len())?;
                aligned("weights", w.len())?;
                ids.extend(more);
                weights.extend(w);
            }
            (Targets::Ids { ids, weights }, Target::Shared(shares)) => {
                ids.extend(shares.iter().map(|(id, _)| id));
                weights.extend(shares.iter().map(|(_, share)| share));
            }
            (
                Targets::Features { values, dim, weights },
                Target::Features { values: more, dim: same, weights: w },
            ) => {
                aligned("rows", more.len() / (*same).max(1))?;
                aligned("weights", w.len())?;
                if dim != same {
                    return Err(format!("has targets of {same} numbers; others of its task have {dim}"));
                }
                values.extend(more);
                weights.extend(w);
            }
            (Targets::Labels { labels, weights }, Target::Labels(more)) => {
                weights.push(if crate::ops::ctc::fits(n, more) { 1.0 } else { 0.0 });
                labels.push(more.clone());
            }
            (
                Targets::Pairs { ids, weights, pairs },
                Target::Pair { ids: more, weights: w, n_chosen, reference },
            ) => {
                aligned("ids", more.len())?;
                aligned("weights", w.len())?;
                let (first, n_chosen) = (ids.len(), (*n_chosen).min(n));
                let (chosen, rejected) = (first..first + n_chosen, first + n_chosen..first + n);
                pairs.push(Pair { chosen, rejected, reference: *reference });
                ids.extend(more);
                weights.extend(w);
            }
            (Targets::Unknown, Target::Unknown) => {}
            _ => return Err("has a target of another sort than others of its task".into()),
        }
        Ok(())
    }
}

impl HeadBatch {
    /// An empty batch, for targets of the sort of `output`.
    pub(super) fn new(task: usize, pool: Pooling, output: &Output) -> Self {
        Self {
            task,
            head: output.head,
            rows: vec![],
            pools: (pool != Pooling::None).then(Vec::new),
            documents: vec![],
            places: vec![],
            targets: Targets::like(&output.target),
        }
    }

    /// Appends the document at `place`, whose `rows` the head reads by `pool`; `head` names the head in messages.
    ///
    /// # Errors
    /// If the target does not match the rows.
    pub(super) fn push(
        &mut self,
        place: usize,
        (rows, pool): (impl Iterator<Item = u32>, Pooling),
        target: &Target,
        head: &str,
    ) -> Result<(), String> {
        let first = self.rows.len();
        self.rows.extend(rows);
        let read = first..self.rows.len();
        let start = self.n_outputs_before(first, pool);
        let mut n = if self.pools.is_some() { 1 } else { read.len() };
        // The head reads its token once for each class: the classes are targets of their own, weighted by their shares.
        if let Target::Shared(shares) = target {
            if n != 1 {
                return Err(format!("has classes that share one token; {head} reads {n} tokens"));
            }
            n = shares.len();
            if self.pools.is_none() {
                let row = self.rows[first];
                self.rows.resize(first + n, row);
            }
        }
        if let Some(pools) = &mut self.pools {
            let ranges = match pool {
                Pooling::FirstAndMean => {
                    let second = read.end.min(first + 1);
                    vec![first..second, second..read.end]
                }
                Pooling::None | Pooling::Mean | Pooling::Attention => vec![read],
            };
            pools.extend(std::iter::repeat_n(ranges, n).flatten());
        }
        self.places.push(place);
        self.documents.push(start..start + n);
        self.targets.push(n, target, head)
    }

    /// Output rows of the documents so far, which have `rows` rows.
    fn n_outputs_before(&self, rows: usize, pool: Pooling) -> usize {
        self.pools.as_ref().map_or(rows, |pools| pools.len() / pool.n_vectors())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pools(pool: Pooling, target: Target) -> (Option<Vec<Range<usize>>>, Vec<Range<usize>>) {
        let output = Output { head: 0, places: None, target };
        let mut batch = HeadBatch::new(0, pool, &output);
        batch.push(0, ([7, 4, 5].into_iter(), pool), &output.target, "its head").unwrap();
        batch.push(1, ([9, 8].into_iter(), pool), &output.target, "its head").unwrap();
        (batch.pools, batch.documents)
    }

    #[test]
    fn the_first_token_and_the_mean_of_the_others_are_two_ranges_of_an_output_row() {
        let unknown = || Target::Unknown;
        assert_eq!(pools(Pooling::Mean, unknown()), (Some(vec![0..3, 3..5]), vec![0..1, 1..2]));
        let both = Some(vec![0..1, 1..3, 3..4, 4..5]);
        assert_eq!(pools(Pooling::FirstAndMean, unknown()), (both, vec![0..1, 1..2]));
        // Classes that share an image are output rows of their own.
        let shared = Target::Shared(vec![(0, 0.25), (1, 0.75)]);
        let (pools, documents) = pools(Pooling::FirstAndMean, shared);
        assert_eq!(pools.unwrap(), [0..1, 1..3, 0..1, 1..3, 3..4, 4..5, 3..4, 4..5]);
        assert_eq!(documents, [0..2, 2..4]);
    }
}
