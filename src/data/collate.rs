//! Samples into one flat list of tokens for each stack, documents back to back, without padding.

use super::{DataError, Sample, Sent, Stream, Target};
use crate::random::mix;
use crate::rules::{MAX_AXES, TokenMeta};
use smalti_contract::{Content, KindSpec, Tokens};
use std::{collections::BTreeMap, ops::Range, sync::Arc};

/// Where a task's tokens go: their numbers among the model's kinds, and what its head reads.
#[derive(Clone, Debug)]
pub struct Layout {
    /// The task's name, for errors.
    pub task: String,
    /// For each input: its stream, and for each of its groups the number of its kind and the bounds it keeps.
    pub inputs: Vec<(Stream, Vec<(usize, KindSpec)>)>,
    /// The number of the kind that the head reads, in the main stream.
    pub reads: usize,
}

/// A batch: what each stack reads and what each head should say.
#[derive(Clone, Debug)]
pub struct Batch {
    /// The main stream.
    pub main: TokenBatch,
    /// What the main stack looks at, where a sample has it.
    pub encoder: Option<TokenBatch>,
    /// One for each task that has samples in the batch, in the order of tasks.
    pub heads: Vec<HeadBatch>,
}

/// One stream's tokens as a flat list.
#[derive(Clone, Debug, Default)]
pub struct TokenBatch {
    /// Document, kind, order, time and positions, `[n_tokens]` each.
    pub meta: Arc<TokenMeta>,
    /// The content by kind, in the order of kinds.
    pub groups: Vec<KindBatch>,
    /// `[n_tokens]`: the row of each token in the groups' content, one group behind the other.
    pub rows: Vec<u32>,
    /// `[n_tokens]`: what dropout is keyed by.
    pub keys: Arc<Vec<u64>>,
}

/// The tokens of one kind over all documents.
#[derive(Clone, Debug)]
pub struct KindBatch {
    /// The kind's number in the model.
    pub kind: usize,
    /// `[n]` or `[n, dim]`.
    pub content: Content,
    /// For each position axis, `[n]`.
    pub positions: Vec<Vec<u32>>,
    /// `[n]`.
    pub time: Vec<u32>,
    /// The tokens of each document that has some.
    pub documents: Vec<Range<usize>>,
    /// The content, where it has gone ahead to the device.
    pub sent: Sent,
}

/// What one task's head reads in a batch, and what it should say.
#[derive(Clone, Debug)]
pub struct HeadBatch {
    /// The task's number.
    pub task: usize,
    /// Rows of the main stream; one is there several times where several classes share its input.
    pub rows: Vec<u32>,
    /// For each of the task's documents, its range in `rows`.
    pub documents: Vec<Range<usize>>,
    /// For each of the task's documents, its place in the batch.
    pub places: Vec<usize>,
    /// The targets of all documents.
    pub targets: Targets,
}

/// The targets of one head over all documents of a batch.
#[derive(Clone, Debug)]
pub enum Targets {
    /// An id and a weight for each row.
    Ids {
        /// `[rows]`.
        ids: Vec<u32>,
        /// `[rows]`.
        weights: Vec<f32>,
    },
    /// Real numbers and a weight for each row.
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
    /// Several things at a time.
    Parts(Vec<Targets>),
    /// Nothing is known.
    Unknown,
}

impl Targets {
    /// The sum of all weights: what the sum of losses is divided by. Labels count one each, so that the loss of
    /// a long transcript is no larger than that of other tasks in a mix. Parts are one thing, and their losses add up.
    pub fn weight(&self) -> f64 {
        match self {
            Targets::Ids { weights, .. } | Targets::Features { weights, .. } => {
                weights.iter().map(|&w| f64::from(w)).sum()
            }
            Targets::Labels { labels, weights } => {
                weights.iter().zip(labels).map(|(&w, labels)| f64::from(w) * labels.len().max(1) as f64).sum()
            }
            Targets::Parts(parts) => parts.first().map_or(0.0, Targets::weight),
            Targets::Unknown => 0.0,
        }
    }

    fn like(target: &Target) -> Self {
        match target {
            Target::Ids { .. } | Target::Shared(_) => Targets::Ids { ids: vec![], weights: vec![] },
            Target::Features { dim, .. } => Targets::Features { values: vec![], dim: *dim, weights: vec![] },
            Target::Labels(_) => Targets::Labels { labels: vec![], weights: vec![] },
            Target::Parts(parts) => Targets::Parts(parts.iter().map(Targets::like).collect()),
            Target::Unknown => Targets::Unknown,
        }
    }

    /// Puts the target of a document behind the others, whose head reads `n` tokens of it.
    fn push(&mut self, n: usize, target: &Target) -> Result<(), String> {
        let aligned = |what: &str, found: usize| match found == n {
            true => Ok(()),
            false => Err(format!("has {found} target {what}; its head reads {n} tokens")),
        };
        match (self, target) {
            (Targets::Ids { ids, weights }, Target::Ids { ids: more, weights: w }) => {
                aligned("ids", more.len())?;
                aligned("weights", w.len())?;
                ids.extend(more);
                weights.extend(w);
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
            (Targets::Parts(parts), Target::Parts(more)) if parts.len() == more.len() => {
                parts.iter_mut().zip(more).try_for_each(|(part, more)| part.push(n, more))?;
            }
            (Targets::Unknown, Target::Unknown) => {}
            _ => return Err("has a target of another sort than others of its task".into()),
        }
        Ok(())
    }
}

impl Batch {
    /// Tokens over all streams.
    pub fn n_tokens(&self) -> usize {
        self.main.meta.len() + self.encoder.as_ref().map_or(0, |encoder| encoder.meta.len())
    }

    /// Which rows of the main stream heads read.
    pub fn read_rows(&self) -> ReadRows {
        let mut rows: Vec<u32> = self.heads.iter().flat_map(|head| head.rows.iter().copied()).collect();
        rows.sort_unstable();
        rows.dedup();
        ReadRows { rows, of: self.main.meta.len() }
    }

    /// Documents in the batch.
    pub fn n_documents(&self) -> usize {
        self.main.meta.documents.len()
    }
}

/// The rows of the main stream that heads read: of a last block, no other need be computed.
#[derive(Clone, Debug)]
pub struct ReadRows {
    /// Ascending.
    rows: Vec<u32>,
    /// How many rows there are in all.
    of: usize,
}

impl ReadRows {
    /// The rows, ascending.
    pub fn rows(&self) -> &[u32] {
        &self.rows
    }

    /// The rows, where they are not all there are.
    pub fn some(&self) -> Option<&[u32]> {
        (self.rows.len() < self.of).then_some(&self.rows)
    }

    /// Where these rows, each of which is read, are among those read.
    pub fn places(&self, rows: &[u32]) -> Vec<u32> {
        rows.iter().map(|row| self.rows.partition_point(|read| read < row) as u32).collect()
    }
}

/// Puts samples, each with the number of its task, into one batch. Documents keep the order of samples.
///
/// # Errors
/// [`DataError::Sample`] where tokens break their kinds' bounds or targets do not match the tokens.
pub fn collate(layouts: &[Layout], samples: &[(usize, Sample)]) -> Result<Batch, DataError> {
    let mut main = StreamBuilder::default();
    let mut encoder = StreamBuilder::default();
    let mut heads: BTreeMap<usize, HeadBatch> = BTreeMap::new();
    for (place, (task, sample)) in samples.iter().enumerate() {
        let layout = &layouts[*task];
        let refuse =
            |problem: String| DataError::Sample { task: layout.task.clone(), id: sample.id, problem };
        if sample.inputs.len() != layout.inputs.len() {
            return Err(refuse(format!(
                "has {} inputs; the task has {}",
                sample.inputs.len(),
                layout.inputs.len()
            )));
        }
        for ((stream, tokens), (expected, kinds)) in sample.inputs.iter().zip(&layout.inputs) {
            if stream != expected {
                return Err(refuse(format!(
                    "has an input for {stream:?}; the task has one for {expected:?}"
                )));
            }
            check(tokens, kinds).map_err(refuse)?;
            match stream {
                Stream::Main => main.push(tokens, kinds, sample.id),
                Stream::Encoder => encoder.push(tokens, kinds, sample.id),
            }
        }
        let (rows, _) = (main.end_document(), encoder.end_document());
        let head = heads.entry(*task).or_insert_with(|| HeadBatch::empty(*task, &sample.target));
        head.push(place, main.rows_of(rows, layout.reads), &sample.target).map_err(refuse)?;
    }
    let encoder = (!encoder.meta.is_empty()).then(|| encoder.finish());
    Ok(Batch { main: main.finish(), encoder, heads: heads.into_values().collect() })
}

fn check(tokens: &Tokens, kinds: &[(usize, KindSpec)]) -> Result<(), String> {
    if tokens.groups.len() != kinds.len() {
        return Err(format!("has {} groups; the input has {} kinds", tokens.groups.len(), kinds.len()));
    }
    let mut checks = tokens.groups.iter().zip(kinds).map(|(group, (_, spec))| spec.check(group));
    checks.try_for_each(|check| check.map_err(|e| e.to_string()))
}

impl HeadBatch {
    fn empty(task: usize, like: &Target) -> Self {
        let targets = Targets::like(like);
        Self { task, rows: vec![], documents: vec![], places: vec![], targets }
    }

    fn push(&mut self, place: usize, rows: impl Iterator<Item = u32>, target: &Target) -> Result<(), String> {
        let start = self.rows.len();
        self.rows.extend(rows);
        let n = self.rows.len() - start;
        self.places.push(place);
        let read_as = match target {
            // The head reads its token once for each class: the loss is that of the shares, and nothing else need know
            // of them.
            Target::Shared(shares) if n == 1 => {
                let row = self.rows[start];
                self.rows.resize(start + shares.len(), row);
                let (ids, weights) = shares.iter().copied().unzip();
                &Target::Ids { ids, weights }
            }
            Target::Shared(_) => {
                return Err(format!("has classes that share one token; its head reads {n} tokens"));
            }
            other => other,
        };
        self.documents.push(start..self.rows.len());
        self.targets.push(self.rows.len() - start, read_as)
    }
}

/// Collects one stream, document by document.
#[derive(Default)]
struct StreamBuilder {
    meta: TokenMeta,
    keys: Vec<u64>,
    groups: BTreeMap<usize, KindBatch>,
    /// `[n_tokens]`: for each token its kind and its row in that kind's group.
    sources: Vec<(usize, u32)>,
    document_start: usize,
}

impl StreamBuilder {
    /// Adds one input to the document under way.
    fn push(&mut self, tokens: &Tokens, kinds: &[(usize, KindSpec)], id: u64) {
        let mut placed: Vec<(u32, usize, usize)> = Vec::with_capacity(tokens.len()); // (order, group, token)
        for (g, group) in tokens.groups.iter().enumerate() {
            placed.extend(group.order.iter().enumerate().map(|(i, &order)| (order, g, i)));
        }
        placed.sort_unstable();
        let firsts: Vec<u32> =
            tokens.groups.iter().zip(kinds).map(|(g, (k, _))| self.append(*k, g)).collect();
        let document = self.meta.documents.len() as u32;
        for (order, g, i) in placed {
            let group = &tokens.groups[g];
            let axes = group.positions.len() / group.len();
            let mut positions = [0; MAX_AXES];
            for (axis, position) in positions.iter_mut().enumerate().take(axes) {
                *position = group.positions[i * axes + axis];
            }
            self.keys.push(mix(id, u64::from(order)));
            self.sources.push((kinds[g].0, firsts[g] + i as u32));
            self.meta.document.push(document);
            self.meta.kind.push(kinds[g].0 as u32);
            self.meta.order.push(order);
            self.meta.time.push(group.time[i]);
            self.meta.positions.push(positions);
        }
    }

    /// Adds a group's content to its kind's; returns the row of its first token there.
    fn append(&mut self, kind: usize, group: &smalti_contract::Group) -> u32 {
        let axes = group.positions.len().checked_div(group.len()).unwrap_or(0);
        let batch = self.groups.entry(kind).or_insert_with(|| KindBatch {
            kind,
            content: match &group.content {
                Content::Ids(_) => Content::Ids(vec![]),
                Content::Features { dim, .. } => Content::Features { values: vec![], dim: *dim },
            },
            positions: vec![],
            time: vec![],
            documents: vec![],
            sent: Sent::default(),
        });
        let first = batch.time.len() as u32;
        match (&mut batch.content, &group.content) {
            (Content::Ids(all), Content::Ids(ids)) => all.extend(ids),
            (Content::Features { values: all, .. }, Content::Features { values, .. }) => all.extend(values),
            // `check` has compared both with one spec.
            _ => unreachable!("one kind has one sort of content"),
        }
        batch.positions.resize(batch.positions.len().max(axes), vec![]);
        for (axis, all) in batch.positions.iter_mut().enumerate().take(axes) {
            all.extend(group.positions.iter().skip(axis).step_by(axes));
        }
        batch.time.extend(&group.time);
        if !group.is_empty() {
            batch.documents.push(first as usize..batch.time.len());
        }
        first
    }

    fn end_document(&mut self) -> Range<usize> {
        let rows = self.document_start..self.meta.len();
        self.document_start = rows.end;
        self.meta.documents.push(rows.clone());
        rows
    }

    /// The rows in this range that are of this kind.
    fn rows_of(&self, rows: Range<usize>, kind: usize) -> impl Iterator<Item = u32> + '_ {
        rows.filter(move |&row| self.meta.kind[row] == kind as u32).map(|row| row as u32)
    }

    fn finish(mut self) -> TokenBatch {
        self.groups.retain(|_, group| !group.time.is_empty());
        let mut first = 0;
        let mut firsts = BTreeMap::new();
        for (&kind, group) in &self.groups {
            firsts.insert(kind, first);
            first += group.time.len() as u32;
        }
        let rows = self.sources.iter().map(|(kind, row)| firsts[kind] + row).collect();
        TokenBatch {
            meta: Arc::new(self.meta),
            groups: self.groups.into_values().collect(),
            rows,
            keys: Arc::new(self.keys),
        }
    }
}
