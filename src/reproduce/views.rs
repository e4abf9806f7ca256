//! Measures that are also seen: the alignment of cross-attention, and the similarity of learned positions.

use super::evaluation::ByOutput;
use super::experiment::AlignmentSpec;
use crate::data::{Dataset, HeadBatch, Stream, Targets, collate};
use crate::inference::PredictError;
use crate::model::Model;
use crate::random;
use crate::report::{chart::Matrices, tokens::text_of_id};
use crate::sample::{Composition, GetField, Part, Purpose, Role, Samples};
use crate::task::joined;
use crate::train::Metrics;
use candle_core::{DType, Tensor};
use serde::{Deserialize, Serialize};
use smalti_contract::TokenizeError;
use std::ops::Range;

/// Metrics, and the matrices from which they follow, or an example of them.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct View {
    pub metrics: ByOutput,
    pub matrices: Matrices,
}

fn problem<T>(text: impl Into<String>) -> Result<T, PredictError> {
    Err(TokenizeError::Input(text.into()).into())
}

/// Cross-attention from a generated output to an input.
struct Alignment<'a> {
    model: &'a Model,
    /// The number of the task in the model.
    number: usize,
    task: &'a Composition,
    /// The number of the output, and its part.
    output: usize,
    words: &'a Part,
    input: &'a Part,
    field: &'a str,
}

/// The attention of one row.
struct Attended {
    /// The tokens of the input that each token of the output is aligned to.
    spans: Vec<Range<usize>>,
    /// By layer and head, and of several heads their mean as the last: weights `[output tokens, keys]`.
    weights: Vec<Vec<Vec<Vec<f32>>>>,
    /// The keys that are tokens of the input.
    keys: Range<usize>,
    /// The texts of the tokens of output and input.
    texts: [Vec<String>; 2],
}

/// The share of output tokens whose highest weight of cross-attention, as they are predicted from those before them, is on a
/// token of the input to which they are aligned: `alignment`, that of the layer and head, or mean of a layer's heads, with the
/// largest share. Rows as in an evaluation of `limit` samples; tokens without alignment do not count.
pub(super) fn alignment(
    model: &Model,
    (number, name): (usize, &str),
    task: &Composition,
    rows: &Samples,
    (spec, limit): (&AlignmentSpec, usize),
) -> Result<View, PredictError> {
    let generated = task.parts().iter().find_map(|part| match part.role {
        Role::Generated(output) if !part.windows => Some((output, part)),
        _ => None,
    });
    let Some((output, words)) = generated else {
        return problem("alignment: expected a task with a generated output; found none");
    };
    let reads = |part: &&Part| {
        let is_named = spec.input.as_ref().is_none_or(|name| *name == part.name);
        part.role == Role::Input && part.stream == Stream::Encoder && is_named
    };
    let Some(input) = task.parts().iter().find(reads) else {
        return problem("alignment: expected an input that the output reads by cross-attention; found none");
    };
    let of = Alignment { model, number, task, output, words, input, field: &spec.field };
    let n = rows.len();
    let n_rows = if limit == 0 { n } else { limit.min(n) };
    let (mut tally, mut first) = (Tally::default(), None);
    for i in 0..n_rows {
        let (get, steps, id) = rows.row(random::spread(i, n_rows, n));
        let Some(row) = of.row(&get, steps, id)? else { continue };
        tally.add(&row);
        first.get_or_insert(row);
    }
    let (Some(first), Some((layer, head, hits))) = (first, tally.best()) else {
        return problem(format!("alignment: no token of the {n_rows} rows is aligned by {:?}", spec.field));
    };
    let name = joined(&[name, &task.outputs()[output].name]);
    let share = hits as f64 / tally.tokens as f64;
    let metrics =
        Metrics::from([("alignment".to_string(), share), ("aligned_tokens".into(), tally.tokens as f64)]);
    Ok(View { metrics: ByOutput::from([(name, metrics)]), matrices: first.matrix(layer, head) })
}

impl Alignment<'_> {
    /// The attention of a row; `None` if a value is missing.
    fn row(&self, get: GetField, steps: Range<usize>, id: u64) -> Result<Option<Attended>, PredictError> {
        let value = get(self.field)?;
        let Some(ids) = self.input.ids(Part::value(&self.input.fields, get)?)? else { return Ok(None) };
        if value.is_missing() {
            return Ok(None);
        }
        let spans = spans(&value.into_numbers()?);
        let sample = self.task.sample(get, steps, Purpose::Evaluate(0), id)?;
        let batch = collate(self.model.layouts(), &[(self.number, sample)])?;
        let Some(read) = batch.heads.iter().find(|read| read.head == self.output) else { return Ok(None) };
        let (rows, targets) = self.predicted(read);
        if rows.len() != spans.len() {
            let (field, tokens, found) = (self.field, rows.len(), spans.len());
            return problem(format!(
                "alignment: {field}: expected {tokens} pairs, one for each token; found {found}"
            ));
        }
        let meta = batch.encoder.as_ref().map(|encoder| encoder.meta.clone()).unwrap_or_default();
        let kind = self.kind();
        let start = meta.kind.iter().position(|known| Some(*known as usize) == kind).unwrap_or_default();
        if rows.is_empty() {
            return Ok(None);
        }
        let places = Tensor::new(&rows[..], self.model.device())?;
        let mut weights = vec![];
        for layer in self.model.cross_attention_weights(&batch)? {
            let Some(of_row) = layer.into_iter().next() else { continue };
            let of_row = of_row.to_dtype(DType::F32)?.index_select(&places, 1)?; // [heads, output tokens, keys]
            let mean = of_row.mean_keepdim(0)?;
            weights.push(match of_row.dim(0)? {
                1 => of_row.to_vec3()?,
                _ => Tensor::cat(&[&of_row, &mean], 0)?.to_vec3()?,
            });
        }
        let texts = |part: &Part, ids: &[u32]| -> Vec<String> {
            ids.iter()
                .map(|id| text_of_id(part.tokenizer.as_ref(), *id).unwrap_or_else(|| "·".into()))
                .collect()
        };
        let texts = [texts(self.words, &targets), texts(self.input, &ids)];
        Ok(Some(Attended { spans, weights, keys: start..start + ids.len(), texts }))
    }

    /// The rows that predict the tokens of the output, without the end, and these tokens.
    fn predicted(&self, read: &HeadBatch) -> (Vec<u32>, Vec<u32>) {
        let Targets::Ids { ids, weights } = &read.targets else { return Default::default() };
        let end = self.words.special_ids.end.len().min(1);
        let counted = read.rows.iter().zip(ids).zip(weights).filter(|(_, weight)| **weight > 0.0);
        let mut all: Vec<(u32, u32)> = counted.map(|((row, id), _)| (*row, *id)).collect();
        all.truncate(all.len().saturating_sub(end));
        all.into_iter().unzip()
    }

    /// The number of the input's kind in the model.
    fn kind(&self) -> Option<usize> {
        let inputs = self.model.layouts()[self.number].inputs.iter();
        let kinds = inputs.filter(|(stream, _)| *stream == Stream::Encoder).flat_map(|(_, kinds)| kinds);
        kinds.map(|(kind, _)| *kind).nth(self.task.first_kind(self.input))
    }
}

/// Pairs of start and end.
fn spans(numbers: &[f32]) -> Vec<Range<usize>> {
    numbers.chunks_exact(2).map(|pair| pair[0] as usize..pair[1] as usize).collect()
}

impl Attended {
    /// The weights of a layer and head on the tokens of the input.
    fn matrix(&self, layer: usize, head: usize) -> Matrices {
        let heads = &self.weights[layer];
        let of_keys = |row: &Vec<f32>| row.get(self.keys.clone()).unwrap_or_default().to_vec();
        let name = match (heads.len(), head + 1) {
            (1, _) => "the only head".into(),
            (n, last) if n == last => "mean of all heads".into(),
            _ => format!("head {head}"),
        };
        let [rows, columns] = self.texts.clone();
        Matrices {
            caption: format!("attention of each output token to the input, layer {layer}, {name}"),
            shape: [rows.len(), columns.len()],
            rows,
            columns,
            matrices: vec![heads[head].iter().flat_map(of_keys).collect()],
            across: 1,
        }
    }
}

/// The aligned tokens so far, and for each layer and head those whose highest weight is where they are aligned.
#[derive(Default)]
struct Tally {
    tokens: usize,
    hits: Vec<Vec<usize>>,
}

impl Tally {
    fn add(&mut self, row: &Attended) {
        let known = || row.spans.iter().enumerate().filter(|(_, span)| !span.is_empty());
        self.tokens += known().count();
        self.hits.resize(row.weights.len(), vec![]);
        for (hits, heads) in self.hits.iter_mut().zip(&row.weights) {
            hits.resize(heads.len(), 0);
            for (hits, weights) in hits.iter_mut().zip(heads) {
                let hit = |(token, span): &(usize, &Range<usize>)| {
                    let at = weights.get(*token).and_then(|weights| highest(weights));
                    at.and_then(|at| at.checked_sub(row.keys.start)).is_some_and(|at| span.contains(&at))
                };
                *hits += known().filter(hit).count();
            }
        }
    }

    /// Layer, head and hits of the most hits; the first of equals.
    fn best(&self) -> Option<(usize, usize, usize)> {
        let heads = self.hits.iter().enumerate();
        let all =
            heads.flat_map(|(layer, hits)| hits.iter().enumerate().map(move |(head, n)| (layer, head, *n)));
        all.filter(|_| self.tokens > 0).reduce(|best, other| if other.2 > best.2 { other } else { best })
    }
}

/// The place of the largest of some numbers, the first of equals.
fn highest(numbers: &[f32]) -> Option<usize> {
    let places = numbers.iter().enumerate();
    places.reduce(|best, other| if other.1 > best.1 { other } else { best }).map(|(place, _)| place)
}

/// Most places whose positions are compared.
const MOST_PLACES: usize = 1024;

/// The cosine similarity of the learned positions of a kind: a map for each place, as in Dosovitskiy et al. 2021. `near` is its
/// mean over pairs of places that differ by one step on one axis, `far` that of pairs that differ by more on one axis.
pub(super) fn positions(model: &Model, kind: &str) -> Result<View, PredictError> {
    let kinds = model.kinds();
    let Some(number) = kinds.iter().position(|known| known.name == kind) else {
        let known: Vec<&str> = kinds.iter().map(|kind| kind.name.as_str()).collect();
        return problem(format!("positions: expected one of {}; found {kind:?}", known.join(", ")));
    };
    let Some(vectors) = model.positions(number)? else {
        return problem(format!("positions: expected learned positions of {kind:?}; it has none"));
    };
    let vectors = vectors.to_dtype(DType::F32)?.to_vec2::<f32>()?;
    if vectors.len() > MOST_PLACES {
        return problem(format!("positions: expected at most {MOST_PLACES} places; found {}", vectors.len()));
    }
    let columns = kinds[number].axes.last().map_or(1, |axis| axis.size.max(1));
    let shape = [vectors.len() / columns, columns];
    let maps = similarities(&vectors);
    let [near, far] = near_and_far(&maps, columns);
    let metrics = Metrics::from([("near".to_string(), near), ("far".into(), far)]);
    let caption = "cosine similarity of each place's position with those of all places".into();
    let matrices = Matrices { caption, shape, matrices: maps, across: columns, ..Matrices::default() };
    Ok(View { metrics: ByOutput::from([(kind.to_string(), metrics)]), matrices })
}

/// The cosine similarity of each vector with all.
fn similarities(vectors: &[Vec<f32>]) -> Vec<Vec<f32>> {
    let product =
        |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    let lengths: Vec<f64> = vectors.iter().map(|a| product(a, a).sqrt().max(1e-12)).collect();
    let row = |(a, length): (&Vec<f32>, &f64)| {
        let others = vectors.iter().zip(&lengths);
        others.map(|(b, other)| (product(a, b) / (length * other)) as f32).collect()
    };
    vectors.iter().zip(&lengths).map(row).collect()
}

/// The mean similarity of places in one row or one column, of neighbours and of others; 0 without such places.
fn near_and_far(maps: &[Vec<f32>], columns: usize) -> [f64; 2] {
    let mut sums = [(0.0, 0.0); 2];
    for (a, map) in maps.iter().enumerate() {
        for (b, similarity) in map.iter().enumerate().skip(a + 1) {
            let apart = [a / columns, a % columns].map(|x| x as isize);
            let apart = [apart[0] - (b / columns) as isize, apart[1] - (b % columns) as isize];
            if apart.contains(&0) {
                let (sum, n) = &mut sums[usize::from(apart[0].abs() + apart[1].abs() > 1)];
                (*sum, *n) = (*sum + f64::from(*similarity), *n + 1.0);
            }
        }
    }
    sums.map(|(sum, n): (f64, f64)| sum / n.max(1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_output_token_hits_if_its_highest_weight_is_on_an_aligned_token() {
        let row = Attended {
            spans: spans(&[0.0, 1.0, 0.0, 0.0, 1.0, 3.0]),
            // Two heads over a key of another input and three of this one; the second token has no alignment.
            weights: vec![vec![
                vec![vec![0.1, 0.7, 0.1, 0.1], vec![1.0, 0.0, 0.0, 0.0], vec![0.0, 0.0, 0.1, 0.9]],
                vec![vec![0.9, 0.1, 0.0, 0.0], vec![0.0, 1.0, 0.0, 0.0], vec![0.0, 0.0, 0.9, 0.1]],
            ]],
            keys: 1..4,
            texts: [["a", "b", "c"].map(String::from).into(), ["x", "y", "z"].map(String::from).into()],
        };
        let mut tally = Tally::default();
        tally.add(&row);
        tally.add(&row);
        assert_eq!((tally.tokens, &tally.hits[..]), (4, &[vec![4, 2]][..]));
        assert_eq!(tally.best(), Some((0, 0, 4)));
        let matrix = row.matrix(0, 0);
        assert_eq!(matrix.shape, [3, 3]);
        assert_eq!(matrix.matrices[0][..3], [0.7, 0.1, 0.1]);
        assert_eq!(Tally::default().best(), None);
    }

    #[test]
    fn neighbours_are_told_from_places_farther_apart() {
        // A row of three places, of which the first two have one direction.
        let maps = similarities(&[vec![1.0, 0.0], vec![2.0, 0.0], vec![0.0, 3.0]]);
        assert_eq!(maps, [[1.0, 1.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 1.0]]);
        assert_eq!(near_and_far(&maps, 3), [0.5, 0.0]);
        assert_eq!(near_and_far(&maps, 1), [0.5, 0.0], "a column as well");
        assert_eq!(near_and_far(&[], 1), [0.0, 0.0]);
        assert_eq!(similarities(&[vec![0.0]]), [[0.0]], "a position of zeros is like none");
    }
}
