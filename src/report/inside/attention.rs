//! Attention over the inputs of some rows: by layer and head, and by rollout through the layers.

mod alignment;
mod kinds;
mod maps;

use super::rollout::{Weights, rollout};
use super::{InsideError, Rows};
use crate::data::{Batch, Sample, Stream, Target, collate};
use crate::model::{AttentionWeights, LayerWeights};
use crate::report::html::Html;
use crate::report::parts;
use crate::sample::Role;
use candle_core::{DType, Tensor};
use smalti_contract::Content;

/// Rows that are shown.
const ROWS: usize = 2;
/// The most tokens of a document whose attention is computed, and to which a window is cut.
const MOST_TOKENS: usize = 512;
const WINDOW: usize = 96;

/// The attention in one stream of a document, from the tokens that a head reads.
struct Attended {
    stream: Stream,
    /// The weights by layer and head, one for each token of the stream.
    layers: Vec<Vec<Vec<f32>>>,
    /// The numbers of these layers.
    numbers: Vec<usize>,
    /// The share of each token by rollout.
    rollout: Vec<f32>,
    /// How the rollout comes from the query to the stream.
    about: &'static str,
}

/// Attention in some rows; `None` for a model without attention.
pub(super) fn body(rows: &Rows) -> Result<Html, InsideError> {
    let mut body = Html::new();
    for index in rows.examples(ROWS) {
        let Some(sample) = rows.sample(index)? else { continue };
        let sample = if rows.has_windows() { cut(sample, WINDOW) } else { sample };
        let mut row = Html::new();
        row.element("h3", "", &format!("Validation: {}", rows.rows.location(index)));
        if add_row(rows, &sample, &mut row)? {
            body.nested("article", "", &row);
        }
    }
    Ok(body)
}

/// Adds the attention of a sample; returns whether there is some.
fn add_row(rows: &Rows, sample: &Sample, html: &mut Html) -> Result<bool, InsideError> {
    let batch = collate(rows.model.layouts(), &[(rows.number, sample.clone())])?;
    let weights = rows.model.attention_weights(&batch, MOST_TOKENS)?;
    let n_tokens = batch.n_tokens();
    if !weights.left_out.is_empty() {
        html.element("p", "", &format!("Layers without attention weights: {}.", weights.left_out.join(", ")));
    }
    if weights.layers.iter().any(|layer| !matches!(layer.documents.first(), Some(Some(_)))) {
        let text = format!(
            "This row has {n_tokens} tokens. Layers with more than {MOST_TOKENS}² pairs of query and key are left \
             out."
        );
        html.element("p", "", &text);
    }
    let (queries, from) = queries(rows, &batch);
    let parts = parts::of(rows.task, sample);
    let mut has_some = false;
    for attended in attended(&weights, &queries)? {
        has_some = true;
        let numbers: Vec<String> = attended.numbers.iter().map(ToString::to_string).collect();
        let text = format!("Attention from {from}{} Layers: {}.", attended.about, numbers.join(", "));
        html.element("p", "", &text);
        for part in parts.iter().filter(|part| part.part.stream == attended.stream) {
            maps::add(rows, part, (&attended, &batch), html)?;
        }
        kinds::add(rows, attended.stream, (&weights, &batch), html)?;
    }
    has_some |= alignment::add(&weights, (&batch, rows), &parts, html)?;
    Ok(has_some)
}

/// The rows of the main stream from which attention is shown, and what they are.
fn queries(rows: &Rows, batch: &Batch) -> (Vec<usize>, String) {
    let document = batch.main.meta.documents.first().cloned().unwrap_or_default();
    let last = document.end.saturating_sub(1);
    let is_generated = |head: usize| rows.task.parts().iter().any(|part| part.role == Role::Generated(head));
    let whole = batch.heads.iter().find(|read| rows.task.outputs()[read.head].site.is_whole());
    let Some(read) = whole.or_else(|| batch.heads.iter().find(|read| !is_generated(read.head))) else {
        return (vec![last], "the last token, which predicts the next".into());
    };
    let (output, places) = (&rows.task.outputs()[read.head], &read.rows);
    let mut found: Vec<usize> = places.iter().map(|&row| row as usize).collect();
    found.retain(|row| document.contains(row));
    found.dedup();
    if found.is_empty() {
        return (vec![last], "the last token".into());
    }
    let from = match (output.site.class_token(), found.len()) {
        (Some(_), _) => {
            found.truncate(1);
            format!("the class token of {}", output.name)
        }
        (None, 1) => format!("the token that the head of {} reads", output.name),
        (None, n) => format!("the {n} tokens that the head of {} reads, their mean", output.name),
    };
    (found, from)
}

/// The attention in each stream from these rows of the main stream.
fn attended(weights: &AttentionWeights, queries: &[usize]) -> Result<Vec<Attended>, InsideError> {
    let own: Vec<&LayerWeights> = known(weights, Stream::Main, false);
    let share = 1.0 / queries.len().max(1) as f32;
    let mut all = vec![];
    if !own.is_empty() {
        let n = tokens(own[0])?;
        let mut start = vec![0.0; n];
        queries.iter().filter(|query| **query < n).for_each(|query| start[*query] += share);
        all.push(Attended {
            stream: Stream::Main,
            layers: own.iter().map(|layer| from_queries(layer, queries)).collect::<Result<_, _>>()?,
            numbers: own.iter().map(|layer| layer.place.layer).collect(),
            rollout: rollout(&means(&own)?, &start),
            about: ", by self-attention. Rollout (Abnar and Zuidema 2020) follows it through the layers listed here.",
        });
    }
    let cross: Vec<&LayerWeights> = known(weights, Stream::Main, true);
    if !cross.is_empty() {
        let layers: Vec<Vec<Vec<f32>>> =
            cross.iter().map(|layer| from_queries(layer, queries)).collect::<Result<_, _>>()?;
        let start = mean(&layers.concat());
        let encoder = known(weights, Stream::Encoder, false);
        all.push(Attended {
            stream: Stream::Encoder,
            rollout: rollout(&means(&encoder)?, &start),
            layers,
            numbers: cross.iter().map(|layer| layer.place.layer).collect(),
            about: ", by cross-attention. Rollout follows the mean of layers and heads through the encoder.",
        });
    }
    Ok(all)
}

/// The layers of one kind of attention that are recorded.
fn known(weights: &AttentionWeights, stream: Stream, cross: bool) -> Vec<&LayerWeights> {
    weights.of(stream, cross).filter(|layer| document(layer).is_some_and(|of| of.elem_count() > 0)).collect()
}

/// The weights of the first document, `[n_heads, queries, keys]`.
fn document(layer: &LayerWeights) -> Option<&Tensor> {
    layer.documents.first()?.as_ref()
}

/// The number of tokens of the first document of a layer of self-attention.
fn tokens(layer: &LayerWeights) -> Result<usize, InsideError> {
    Ok(document(layer).map_or(Ok(0), |weights| weights.dim(1))?)
}

/// The weights of each head, the mean over some queries.
fn from_queries(layer: &LayerWeights, queries: &[usize]) -> Result<Vec<Vec<f32>>, InsideError> {
    let Some(weights) = document(layer) else { return Ok(vec![]) };
    let n = weights.dim(1)?;
    let queries: Vec<u32> = queries.iter().filter(|query| **query < n).map(|query| *query as u32).collect();
    let places = Tensor::new(&queries[..], weights.device())?;
    Ok(weights.to_dtype(DType::F32)?.index_select(&places, 1)?.mean(1)?.to_vec2()?)
}

/// The mean over heads of each layer.
fn means(layers: &[&LayerWeights]) -> Result<Vec<Weights>, InsideError> {
    let mean = |weights: &Tensor| weights.to_dtype(DType::F32)?.mean(0)?.to_vec2::<f32>();
    Ok(layers.iter().filter_map(|layer| document(layer)).map(mean).collect::<candle_core::Result<_>>()?)
}

/// The mean of vectors of one length.
fn mean(vectors: &[Vec<f32>]) -> Vec<f32> {
    let mut sum = vec![0.0; vectors.first().map_or(0, Vec::len)];
    vectors.iter().for_each(|vector| sum.iter_mut().zip(vector).for_each(|(sum, x)| *sum += x));
    sum.into_iter().map(|x| x / vectors.len().max(1) as f32).collect()
}

/// The first `most` tokens of a window, without its targets.
fn cut(mut sample: Sample, most: usize) -> Sample {
    for (_, tokens) in &mut sample.inputs {
        for group in &mut tokens.groups {
            let axes = group.positions.len().checked_div(group.order.len()).unwrap_or(0);
            // The ids of a window are in the order of the sequence.
            let n = group.order.iter().take_while(|order| (**order as usize) < most).count();
            match &mut group.content {
                Content::Ids(ids) => ids.truncate(n),
                Content::Features { values, dim } => values.truncate(n * *dim),
            }
            group.positions.truncate(n * axes);
            group.order.truncate(n);
            group.time.truncate(n);
        }
    }
    // A target of masked tokens has one id for each token.
    sample.outputs.retain(|output| !matches!(output.target, Target::Ids { .. } | Target::Pair { .. }));
    sample
}

#[cfg(all(test, feature = "text"))]
mod tests;
