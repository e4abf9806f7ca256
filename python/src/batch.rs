//! Batches as NumPy arrays: packed, or padded with a mask.

use crate::array::{array, integers};
use crate::tokens::content;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use smalti::contract::KindSpec;
use smalti::data::{self, HeadBatch, KindBatch, Targets, TokenBatch};
use smalti::rules::MAX_AXES;
use smalti::task::TaskSpec;
use std::ops::Range;

/// The tokens of several samples, and the targets of each output.
///
/// Packed, the tokens of all documents follow one another, `[n_tokens]`. Padded, they are `[n_documents, max_seqlen]`. Either
/// way, `index` and `rows` count in the flattened tokens, so that one model reads both:
///
/// ```python
/// x = torch.zeros(batch.main.kinds.size, d_model)
/// for kind, content in batch.main.content.items():
///     x[content.index] = embed[kind](content)
/// ```
#[pyclass(frozen, module = "smalti", get_all)]
pub struct Batch {
    /// The tokens that heads read.
    main: Py<Stream>,
    /// The tokens of the encoder, which the main ones attend to by cross-attention; None without an encoder.
    encoder: Option<Py<Stream>>,
    /// The targets by the name of the output.
    targets: Py<PyDict>,
    /// The number of documents: samples, and two of each preference pair.
    n_documents: usize,
}

/// The tokens of one transformer.
#[pyclass(frozen, module = "smalti", get_all)]
pub struct Stream {
    /// int32 `[n_documents + 1]`: the first token of each packed document, and the number of tokens.
    cu_seqlens: Py<PyAny>,
    /// The length of the longest document.
    max_seqlen: usize,
    /// bool `[n_documents, max_seqlen]`: True for a token, False for padding; None if the batch is packed.
    mask: Option<Py<PyAny>>,
    /// int32 `[n_tokens]` or `[n_documents, max_seqlen]`: the number of each token's kind in `Loader.kinds`; -1 is padding.
    kinds: Py<PyAny>,
    /// int32, as `kinds`: the place in the document.
    order: Py<PyAny>,
    /// int32, as `kinds`: the time step.
    time: Py<PyAny>,
    /// int32 `[…, 2]`: the first two positions of each token, such as a patch's row and column.
    positions: Py<PyAny>,
    /// The content of the tokens, by the name of their kind.
    content: Py<PyDict>,
}

/// The tokens of one kind in a batch.
#[pyclass(frozen, module = "smalti", get_all)]
pub struct Content {
    /// int32 `[n]`: ids into the kind's vocabulary; None if the content is features.
    ids: Option<Py<PyAny>>,
    /// float32 `[n, dim]`: real features; None if the content is ids.
    features: Option<Py<PyAny>>,
    /// int32 `[n, axes]`: the place on each axis.
    positions: Py<PyAny>,
    /// int32 `[n]`: the time step.
    time: Py<PyAny>,
    /// int64 `[n]`: the places of the tokens among the flattened tokens of the batch.
    index: Py<PyAny>,
}

/// The tokens that an output's head reads, and its targets.
#[pyclass(frozen, module = "smalti", get_all)]
pub struct Target {
    /// int64 `[n_rows]`: the places of the read tokens among the flattened main tokens.
    rows: Py<PyAny>,
    /// int64 `[n, 2]`: the ranges of `rows` that a head pools, one or more for each target; None if each row has a target.
    pools: Option<Py<PyAny>>,
    /// int64 `[n_targets]`: classes or ids; None for other targets.
    ids: Option<Py<PyAny>>,
    /// float32 `[n_targets, dim]`: numbers; None for other targets.
    values: Option<Py<PyAny>>,
    /// float32: the weight of each target in the loss; of labels, that of each document.
    weights: Option<Py<PyAny>>,
    /// A list of int32 arrays: the labels of each document (CTC); None for other targets.
    labels: Option<Vec<Py<PyAny>>>,
    /// int64 `[n_pairs, 4]`: the first and last target of the chosen and of the rejected completion, ends exclusive; None
    /// without preferences.
    pairs: Option<Py<PyAny>>,
    /// int64 `[n]`: the numbers of the samples that have this output.
    samples: Py<PyAny>,
    /// int32 `[n + 1]`: the first target of each of these samples, and the number of targets.
    cu_seqlens: Py<PyAny>,
}

/// The places of tokens in the arrays of a batch.
struct Places {
    shape: Vec<usize>,
    /// For each token; `None` if tokens are where they are in the packed list.
    padded: Option<Vec<usize>>,
}

impl Places {
    fn new(documents: &[Range<usize>], n_tokens: usize, padded: bool) -> Self {
        if !padded {
            return Self { shape: vec![n_tokens], padded: None };
        }
        let length = longest(documents);
        let row = |(number, document): (usize, &Range<usize>)| {
            (0..document.len()).map(move |at| number * length + at)
        };
        let places = documents.iter().enumerate().flat_map(row).collect();
        Self { shape: vec![documents.len(), length], padded: Some(places) }
    }

    fn of(&self, token: usize) -> i64 {
        self.padded.as_ref().map_or(token, |places| places[token]) as i64
    }

    /// The values of tokens, `[n_tokens, each]`, at their places, with `fill` elsewhere.
    fn place(
        &self,
        py: Python<'_>,
        values: impl Iterator<Item = i32>,
        each: usize,
        fill: i32,
    ) -> PyResult<Py<PyAny>> {
        let shape = if each == 1 { self.shape.clone() } else { [&self.shape[..], &[each]].concat() };
        let Some(places) = &self.padded else { return array(py, values.collect(), &shape) };
        let mut all = vec![fill; shape.iter().product()];
        let cells = places.iter().flat_map(|place| place * each..(place + 1) * each);
        cells.zip(values).for_each(|(cell, value)| all[cell] = value);
        array(py, all, &shape)
    }
}

impl Batch {
    /// The arrays of a batch of the tasks `specs`, whose kinds are `kinds`.
    pub fn new(
        py: Python<'_>,
        batch: data::Batch,
        (kinds, specs): (&[KindSpec], &[TaskSpec]),
        padded: bool,
    ) -> PyResult<Self> {
        let n_documents = batch.n_documents();
        let (main, places) = Stream::new(py, batch.main, kinds, padded)?;
        let encoder = batch.encoder.map(|encoder| Stream::new(py, encoder, kinds, padded)).transpose()?;
        let targets = PyDict::new(py);
        for head in batch.heads {
            targets.set_item(specs[head.task].output_name(head.head), Target::new(py, head, &places)?)?;
        }
        let encoder = encoder.map(|(encoder, _)| Py::new(py, encoder)).transpose()?;
        Ok(Self { main: Py::new(py, main)?, encoder, targets: targets.unbind(), n_documents })
    }
}

#[pymethods]
impl Batch {
    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let shape = self.main.get().kinds.bind(py).getattr("shape")?.str()?;
        Ok(format!("<smalti.Batch: {} documents, tokens {shape}>", self.n_documents))
    }
}

impl Stream {
    fn new(py: Python<'_>, tokens: TokenBatch, kinds: &[KindSpec], padded: bool) -> PyResult<(Self, Places)> {
        let meta = &tokens.meta;
        let places = Places::new(&meta.documents, meta.len(), padded);
        let mut index = vec![0; meta.len()];
        for (token, &row) in tokens.rows.iter().enumerate() {
            index[row as usize] = places.of(token);
        }
        let content = PyDict::new(py);
        let mut index = index.into_iter();
        for group in tokens.groups {
            let own = index.by_ref().take(group.time.len()).collect();
            content.set_item(&kinds[group.kind].name, Content::new(py, group, own)?)?;
        }
        let mask = places.padded.as_ref().map(|known| {
            let mut mask = vec![false; places.shape.iter().product()];
            known.iter().for_each(|&place| mask[place] = true);
            array(py, mask, &places.shape)
        });
        let numbers =
            |values: &[u32], fill| places.place(py, values.iter().map(|&value| value as i32), 1, fill);
        let positions = meta.positions.iter().flatten().map(|&position| position as i32);
        let stream = Self {
            cu_seqlens: cumulative(py, &meta.documents)?,
            max_seqlen: longest(&meta.documents),
            mask: mask.transpose()?,
            kinds: numbers(&meta.kind, -1)?,
            order: numbers(&meta.order, 0)?,
            time: numbers(&meta.time, 0)?,
            positions: places.place(py, positions, MAX_AXES, 0)?,
            content: content.unbind(),
        };
        Ok((stream, places))
    }
}

impl Content {
    fn new(py: Python<'_>, group: KindBatch, index: Vec<i64>) -> PyResult<Self> {
        let (n, axes) = (group.time.len(), group.positions.len());
        let of_token = |token: usize| group.positions.iter().map(move |axis| axis[token]);
        let positions = integers(py, (0..n).flat_map(of_token).collect(), &[n, axes])?;
        let (ids, features) = content(py, group.content)?;
        let time = integers(py, group.time, &[n])?;
        Ok(Self { ids, features, positions, time, index: array(py, index, &[n])? })
    }
}

impl Target {
    fn new(py: Python<'_>, head: HeadBatch, places: &Places) -> PyResult<Self> {
        let rows: Vec<i64> = head.rows.iter().map(|&row| places.of(row as usize)).collect();
        let pools = head.pools.map(|pools| {
            let bounds = pools.iter().flat_map(|pool| [pool.start as i64, pool.end as i64]).collect();
            array(py, bounds, &[pools.len(), 2])
        });
        let samples: Vec<i64> = head.places.iter().map(|&place| place as i64).collect();
        let (n_rows, n_samples) = (rows.len(), samples.len());
        let mut target = Self {
            rows: array(py, rows, &[n_rows])?,
            pools: pools.transpose()?,
            ids: None,
            values: None,
            weights: None,
            labels: None,
            pairs: None,
            samples: array(py, samples, &[n_samples])?,
            cu_seqlens: cumulative(py, &head.documents)?,
        };
        target.set(py, head.targets)?;
        Ok(target)
    }

    fn set(&mut self, py: Python<'_>, targets: Targets) -> PyResult<()> {
        let wide = |ids: Vec<u32>| {
            let n = ids.len();
            array(py, ids.into_iter().map(i64::from).collect(), &[n])
        };
        let (weights, pairs) = match targets {
            Targets::Ids { ids, weights } => {
                self.ids = Some(wide(ids)?);
                (weights, None)
            }
            Targets::Features { values, dim, weights } => {
                self.values = Some(array(py, values, &[weights.len(), dim])?);
                (weights, None)
            }
            Targets::Labels { labels, weights } => {
                let labels = labels.into_iter().map(|labels| {
                    let n = labels.len();
                    integers(py, labels, &[n])
                });
                self.labels = Some(labels.collect::<PyResult<_>>()?);
                (weights, None)
            }
            Targets::Pairs { ids, weights, pairs } => {
                self.ids = Some(wide(ids)?);
                (weights, Some(pairs))
            }
            Targets::Unknown => return Ok(()),
        };
        if let Some(pairs) = pairs {
            let bounds = |range: &Range<usize>| [range.start as i64, range.end as i64];
            let all = pairs.iter().flat_map(|pair| [bounds(&pair.chosen), bounds(&pair.rejected)].concat());
            self.pairs = Some(array(py, all.collect(), &[pairs.len(), 4])?);
        }
        let n = weights.len();
        self.weights = Some(array(py, weights, &[n])?);
        Ok(())
    }
}

/// The start of each of several consecutive ranges, and the end of the last.
fn cumulative(py: Python<'_>, ranges: &[Range<usize>]) -> PyResult<Py<PyAny>> {
    let ends = std::iter::once(0).chain(ranges.iter().map(|range| range.end as i32));
    array(py, ends.collect(), &[ranges.len() + 1])
}

fn longest(documents: &[Range<usize>]) -> usize {
    documents.iter().map(Range::len).max().unwrap_or(0)
}
