//! Attention between the kinds of token of a stream.

use super::maps::places;
use super::{Weights, known, means};
use crate::data::{Batch, Stream};
use crate::model::AttentionWeights;
use crate::report::html::Html;
use crate::report::inside::{InsideError, Rows, add_shaded};

/// Adds a table of the mean weight from each kind to each kind, if the stream has several: over all layers, and for each layer.
pub(super) fn add(
    rows: &Rows,
    stream: Stream,
    (weights, batch): (&AttentionWeights, &Batch),
    html: &mut Html,
) -> Result<(), InsideError> {
    let kinds = rows.task.kinds(stream).iter().enumerate();
    let kinds: Vec<(String, Vec<usize>)> = kinds
        .map(|(number, kind)| (kind.name.clone(), places(rows, stream, batch, number)))
        .filter(|(_, places)| !places.is_empty())
        .collect();
    let layers = known(weights, stream, false);
    if kinds.len() < 2 || layers.is_empty() {
        return Ok(());
    }
    let (names, places): (Vec<String>, Vec<Vec<usize>>) = kinds.into_iter().unzip();
    let tables: Vec<Weights> = means(&layers)?.iter().map(|weights| between(weights, &places)).collect();
    let all: Weights = (0..names.len())
        .map(|from| super::mean(&tables.iter().map(|table| table[from].clone()).collect::<Vec<_>>()))
        .collect();
    let table = |html: &mut Html, caption: &str, shares: &Weights| {
        let percent =
            |from: usize, to: usize| (shares[from][to], format!("{:.1}%", 100.0 * shares[from][to]));
        add_shaded(html, caption, [&names, &names], percent);
    };
    let caption =
        "Mean weight of the tokens of each kind (down) on those of each kind (across), all layers and heads";
    table(html, caption, &all);
    let mut inside = Html::new();
    inside.element("summary", "", "By layer");
    for (layer, shares) in layers.iter().zip(&tables) {
        table(&mut inside, &format!("Layer {}", layer.place.layer), shares);
    }
    html.nested("details", "", &inside);
    Ok(())
}

/// The sum of weights on the tokens of each kind, mean over the queries of each kind.
fn between(weights: &[Vec<f32>], kinds: &[Vec<usize>]) -> Weights {
    let to = |query: &usize, keys: &[usize]| keys.iter().map(|key| weights[*query][*key]).sum::<f32>();
    let from = |queries: &Vec<usize>| {
        let share = |keys: &Vec<usize>| {
            queries.iter().map(|query| to(query, keys)).sum::<f32>() / queries.len() as f32
        };
        kinds.iter().map(share).collect()
    };
    kinds.iter().map(from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_weights_between_kinds_are_sums_over_keys_and_means_over_queries() {
        let weights = vec![vec![0.5, 0.25, 0.25], vec![0.0, 0.5, 0.5], vec![1.0, 0.0, 0.0]];
        assert_eq!(between(&weights, &[vec![0, 1], vec![2]]), [[0.625, 0.375], [1.0, 0.0]]);
    }
}
