//! Collates samples into one packed list of tokens for each stream: documents back to back, without padding.

use super::{DataError, HeadBatch, OnDevice, Output, Pooling, Sample, Stream, Target};
use crate::random::mix;
use crate::rules::{MAX_AXES, TokenMeta};
use smalti_contract::{Content, KindSpec, Tokens};
use std::{collections::BTreeMap, ops::Range, sync::Arc};

/// The kinds of a task's tokens in the model, and the kinds that its heads read.
#[derive(Clone, Debug)]
pub struct Layout {
    /// The task's name, for errors.
    pub task: String,
    /// For each input: its stream, and for each of its groups the number and the bounds of its kind.
    pub inputs: Vec<(Stream, Vec<(usize, KindSpec)>)>,
    /// The heads.
    pub heads: Vec<HeadLayout>,
}

/// The tokens that a head reads.
#[derive(Clone, Debug)]
pub struct HeadLayout {
    /// The head's name, for errors.
    pub name: String,
    /// The number of the kind that it reads, in the main stream.
    pub reads: usize,
    /// How it reads the tokens of a document.
    pub pool: Pooling,
}

impl HeadLayout {
    /// The head's name in error messages.
    fn called(&self) -> String {
        if self.name.is_empty() { "its head".into() } else { format!("its head {}", self.name) }
    }
}

/// A batch: the tokens of each stream, and the targets of each head.
#[derive(Clone, Debug)]
pub struct Batch {
    /// The main stream.
    pub main: TokenBatch,
    /// The encoder's stream, if a sample has one.
    pub encoder: Option<TokenBatch>,
    /// One for each head that has an output in the batch, in the order of tasks and of their heads.
    pub heads: Vec<HeadBatch>,
}

/// One stream's tokens as a flat list.
#[derive(Clone, Debug, Default)]
pub struct TokenBatch {
    /// Document, kind, order, time and positions of each token, `[n_tokens]` each.
    pub meta: Arc<TokenMeta>,
    /// The content by kind, in the order of kinds.
    pub groups: Vec<KindBatch>,
    /// `[n_tokens]`: the row of each token in the concatenated content of the groups.
    pub rows: Vec<u32>,
    /// `[n_tokens]`: the dropout key of each token.
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
    /// The content on the device, if it is already copied there.
    pub on_device: OnDevice,
}

impl Batch {
    /// Tokens in all streams.
    pub fn n_tokens(&self) -> usize {
        self.main.meta.len() + self.encoder.as_ref().map_or(0, |encoder| encoder.meta.len())
    }

    /// The rows of the main stream that the heads of the batch read.
    pub fn read_rows(&self) -> ReadRows {
        self.rows_of(&self.heads.iter().collect::<Vec<_>>())
    }

    /// The rows of the main stream that some of the batch's heads read.
    pub fn rows_of(&self, heads: &[&HeadBatch]) -> ReadRows {
        let mut rows: Vec<u32> = heads.iter().flat_map(|head| head.rows.iter().copied()).collect();
        rows.sort_unstable();
        rows.dedup();
        ReadRows { rows, n_rows: self.main.meta.len() }
    }

    /// Documents in the batch.
    pub fn n_documents(&self) -> usize {
        self.main.meta.documents.len()
    }
}

/// The rows of the main stream that heads read; the last block computes no other.
#[derive(Clone, Debug)]
pub struct ReadRows {
    /// Ascending.
    rows: Vec<u32>,
    /// Rows of the stream.
    n_rows: usize,
}

impl ReadRows {
    /// The rows, ascending.
    pub fn rows(&self) -> &[u32] {
        &self.rows
    }

    /// The rows; `None` if they are all rows of the stream.
    pub fn some(&self) -> Option<&[u32]> {
        (self.rows.len() < self.n_rows).then_some(&self.rows)
    }

    /// The positions of `rows`, all of which are read, among the read rows.
    pub fn places(&self, rows: &[u32]) -> Vec<u32> {
        rows.iter().map(|row| self.rows.partition_point(|read| read < row) as u32).collect()
    }
}

/// Collates samples, each with the number of its task, into one batch. Documents keep the order of samples.
///
/// # Errors
/// [`DataError::Sample`] if tokens break their kinds' bounds or targets do not match the tokens.
pub fn collate(layouts: &[Layout], samples: &[(usize, Sample)]) -> Result<Batch, DataError> {
    let mut main = StreamBuilder::default();
    let mut encoder = StreamBuilder::default();
    let mut heads: BTreeMap<(usize, usize), HeadBatch> = BTreeMap::new();
    for (place, (task, sample)) in samples.iter().enumerate() {
        let layout = &layouts[*task];
        let refuse =
            |problem: String| DataError::Sample { task: layout.task.clone(), id: sample.id, problem };
        let n_inputs = layout.inputs.len() * sample.n_documents();
        if sample.inputs.len() != n_inputs {
            return Err(refuse(format!("has {} inputs; the task has {n_inputs}", sample.inputs.len())));
        }
        let mut rows = vec![];
        for inputs in sample.inputs.chunks(layout.inputs.len().max(1)) {
            for ((stream, tokens), (expected, kinds)) in inputs.iter().zip(&layout.inputs) {
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
            rows.push(main.end_document());
            encoder.end_document();
        }
        let documents = Documents { task: *task, place, rows };
        documents.read(&sample.outputs, layout, &main, &mut heads).map_err(refuse)?;
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

/// The documents of a sample in the main stream: one, or a chosen and a rejected completion.
struct Documents {
    task: usize,
    /// The sample's number in the batch.
    place: usize,
    /// The rows of each document, at least one.
    rows: Vec<Range<usize>>,
}

impl Documents {
    /// Appends the rows that the heads read, and their targets.
    fn read(
        &self,
        outputs: &[Output],
        layout: &Layout,
        main: &StreamBuilder,
        heads: &mut BTreeMap<(usize, usize), HeadBatch>,
    ) -> Result<(), String> {
        for (number, output) in outputs.iter().enumerate() {
            let twice = outputs[..number].iter().any(|other| other.head == output.head);
            let Some(read) = layout.heads.get(output.head).filter(|_| !twice) else {
                let (head, n) = (output.head, layout.heads.len());
                return Err(format!(
                    "has an output of head {head}; expected at most one of each of {n} heads"
                ));
            };
            let is_pair = matches!(output.target, Target::Pair { .. });
            let documents = if is_pair { &self.rows[..] } else { self.rows.get(..1).unwrap_or_default() };
            let rows = main.rows_read(documents, read, output)?;
            let head = heads.entry((self.task, output.head));
            let head = head.or_insert_with(|| HeadBatch::new(self.task, read.pool, output));
            head.push(self.place, (rows.into_iter(), read.pool), &output.target, &read.called())?;
        }
        Ok(())
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
    /// Adds one input to the current document.
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

    /// Appends a group's content to that of its kind; returns the row of its first token there.
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
            on_device: OnDevice::default(),
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

    /// The rows of a sample's documents that a head reads.
    fn rows_read(
        &self,
        documents: &[Range<usize>],
        head: &HeadLayout,
        output: &Output,
    ) -> Result<Vec<u32>, String> {
        let Some(places) = &output.places else {
            let of_kind =
                documents.iter().cloned().flatten().filter(|&row| self.meta.kind[row] == head.reads as u32);
            return Ok(of_kind.map(|row| row as u32).collect());
        };
        let document = documents.first().cloned().unwrap_or_default();
        let order = &self.meta.order[document.clone()]; // ascending
        let row = |place: &u32| match order.binary_search(place) {
            Ok(found) => Ok((document.start + found) as u32),
            Err(_) => Err(format!(
                "has no token of order {place} in the main stream, which {} reads",
                head.called()
            )),
        };
        places.iter().map(row).collect()
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
