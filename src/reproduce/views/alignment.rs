//! The alignment of an output with an input, as cross-attention has learned it.

use super::{View, problem};
use crate::config::TaskEntry;
use crate::data::{Dataset, HeadBatch, Stream, Targets, collate};
use crate::inference::PredictError;
use crate::model::Model;
use crate::random;
use crate::report::{chart::Matrices, tokens::text_of_id};
use crate::reproduce::evaluation::ByOutput;
use crate::reproduce::experiment::AlignmentSpec;
use crate::sample::{Composition, GetField, Opened, Part, Purpose, Role, Samples};
use crate::task::joined;
use crate::train::Metrics;
use candle_core::{DType, Tensor};
use std::ops::Range;

/// Cross-attention from a generated output to an input.
struct Alignment<'a> {
    model: &'a Model,
    /// The number of the task in the model.
    number: usize,
    /// The name of the task.
    name: &'a str,
    task: &'a Composition,
    rows: &'a Samples,
    /// The number of the generated output in its task.
    output: usize,
    /// The part of the generated output.
    generated: &'a Part,
    /// The input that the output reads by cross-attention.
    input: &'a Part,
    /// The field with the alignment.
    field: &'a str,
}

/// The attention of one row.
struct Attended {
    /// For each token of the output, the tokens of the input to which it is aligned.
    spans: Vec<Range<usize>>,
    /// The weights of each layer and head, `[output tokens, keys]`; after several heads of a layer, their mean.
    weights: Vec<Vec<Vec<Vec<f32>>>>,
    /// The keys that are tokens of the input.
    keys: Range<usize>,
    /// The texts of the tokens of output and input.
    texts: [Vec<String>; 2],
}

/// The share of output tokens whose highest weight of cross-attention is on an input token to which they are aligned.
///
/// The weights of an output token are those of the query that predicts it. The metric `alignment` is the share of the layer and
/// head, or mean of a layer's heads, with the largest share. It is computed on the rows of an evaluation of `limit` samples; tokens
/// without alignment do not count.
pub(in crate::reproduce) fn alignment(
    model: &Model,
    opened: &[(TaskEntry, Opened)],
    spec: &AlignmentSpec,
    limit: usize,
) -> Result<View, PredictError> {
    let of = Alignment::open(model, opened, spec)?;
    let n = of.rows.len();
    let n_rows = if limit == 0 { n } else { limit.min(n) };
    let (mut tally, mut first) = (Tally::default(), None);
    for i in 0..n_rows {
        let (get, steps, id) = of.rows.row(random::spread(i, n_rows, n));
        let Some(row) = of.row(&get, steps, id)? else { continue };
        tally.add(&row);
        first.get_or_insert(row);
    }
    let (Some(first), Some((layer, head, hits))) = (first, tally.best()) else {
        return problem(format!(
            "alignment.field: expected the alignment of a token in {:?}; the {n_rows} rows have none",
            spec.field
        ));
    };
    let name = joined(&[of.name, &of.task.outputs()[of.output].name]);
    let share = hits as f64 / tally.tokens as f64;
    let metrics =
        Metrics::from([("alignment".to_string(), share), ("aligned_tokens".into(), tally.tokens as f64)]);
    Ok(View { metrics: ByOutput::from([(name, metrics)]), matrices: first.matrix(layer, head) })
}

impl<'a> Alignment<'a> {
    /// The first task with a generated output, and the input that it reads.
    fn open(
        model: &'a Model,
        opened: &'a [(TaskEntry, Opened)],
        spec: &'a AlignmentSpec,
    ) -> Result<Self, PredictError> {
        let generated = opened.iter().enumerate().find_map(|(number, (entry, opened))| {
            let (output, part) = opened.task.parts().iter().find_map(|part| match part.role {
                Role::Generated(output) if !part.windows => Some((output, part)),
                _ => None,
            })?;
            Some((number, entry, opened, output, part))
        });
        let Some((number, entry, opened, output, generated)) = generated else {
            return problem("alignment: expected a task with a generated output; found none");
        };
        let is_read = |part: &&Part| {
            let is_named = spec.input.as_ref().is_none_or(|name| *name == part.name);
            part.role == Role::Input && part.stream == Stream::Encoder && is_named
        };
        let task = opened.task.as_ref();
        let Some(input) = task.parts().iter().find(is_read) else {
            let name = spec.input.as_deref().unwrap_or("any name");
            return problem(format!(
                "alignment.input: expected an input of {name} that the output reads by cross-attention; found none"
            ));
        };
        let (rows, field) = (opened.validation_rows.as_ref(), spec.field.as_str());
        Ok(Self { model, number, name: &entry.name, task, rows, output, generated, input, field })
    }
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
                "alignment: {field}: expected {tokens} pairs of start and end, one for each token; found {found}"
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
        let recorded = self.model.attention_weights(&batch, usize::MAX)?;
        for layer in recorded.of(Stream::Main, true) {
            let Some(Some(of_row)) = layer.documents.first() else { continue };
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
        let texts = [texts(self.generated, &targets), texts(self.input, &ids)];
        Ok(Some(Attended { spans, weights, keys: start..start + ids.len(), texts }))
    }

    /// The rows that predict the tokens of the output, and these tokens; without the end of the text.
    fn predicted(&self, read: &HeadBatch) -> (Vec<u32>, Vec<u32>) {
        let Targets::Ids { ids, weights } = &read.targets else { return Default::default() };
        let end = self.generated.special_ids.end.len().min(1);
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

/// The ranges of pairs of start and end.
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

/// The number of aligned tokens, and of those whose highest weight is on a token to which they are aligned.
#[derive(Default)]
struct Tally {
    tokens: usize,
    /// By layer and head.
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

    /// The layer and head with the most hits, and the number of these; the first of equals.
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
}
