//! Which tokens of an input each generated token attends to, by cross-attention.

use super::maps::places;
use super::{known, mean};
use crate::data::{Batch, Stream, Targets};
use crate::model::AttentionWeights;
use crate::report::html::Html;
use crate::report::inside::{InsideError, Rows, add_shaded};
use crate::report::parts::{PartTokens, label_of};
use crate::sample::Role;
use candle_core::DType;

/// The most tokens of the output, and of the input.
const MOST: usize = 40;

/// Adds a table for each input of the encoder that an output of the main stream attends to; returns whether there is one.
pub(super) fn add(
    weights: &AttentionWeights,
    (batch, rows): (&Batch, &Rows),
    parts: &[PartTokens],
    html: &mut Html,
) -> Result<bool, InsideError> {
    let layers = known(weights, Stream::Main, true);
    let generated = rows.task.parts().iter().find_map(|part| match part.role {
        Role::Generated(output) => Some((part, output)),
        _ => None,
    });
    let (false, Some((part, output))) = (layers.is_empty(), generated) else { return Ok(false) };
    let read = batch.heads.iter().find(|read| read.head == output);
    let Some((read, Targets::Ids { ids, .. })) = read.map(|read| (read, &read.targets)) else {
        return Ok(false);
    };
    let queries: Vec<usize> = read.rows.iter().take(MOST).map(|row| *row as usize).collect();
    let targets: Vec<String> = ids.iter().take(MOST).map(|id| label_of(part, *id)).collect();
    // The mean over layers and heads for each query.
    let mut by_query: Vec<Vec<Vec<f32>>> = vec![vec![]; queries.len()];
    for layer in layers.iter().filter_map(|layer| super::document(layer)) {
        let heads = layer.to_dtype(DType::F32)?.mean(0)?.to_vec2::<f32>()?;
        for (of_query, query) in by_query.iter_mut().zip(&queries) {
            of_query.extend(heads.get(*query).cloned());
        }
    }
    let means: Vec<Vec<f32>> = by_query.iter().map(|of_query| mean(of_query)).collect();
    let mut has_some = false;
    for input in parts.iter().filter(|input| input.part.stream == Stream::Encoder) {
        let keys = places(rows, Stream::Encoder, batch, input.first_kind);
        let sources: Vec<String> = input.labels(0).into_iter().take(MOST).collect();
        let caption = format!(
            "Attention of each predicted token of {} (down) to the tokens of {} (across), mean of all layers and \
             heads{}",
            part.name,
            input.part.name,
            if ids.len().max(keys.len()) > MOST { "; the first tokens" } else { "" }
        );
        let weight = |row: usize, column: usize| {
            let of_row = means.get(row).zip(keys.get(column));
            let weight = of_row.and_then(|(row, key)| row.get(*key)).copied().unwrap_or(0.0);
            (weight, if weight >= 0.1 { format!("{weight:.1}") } else { String::new() })
        };
        add_shaded(html, &caption, [&targets, &sources], weight);
        has_some = true;
    }
    Ok(has_some)
}
