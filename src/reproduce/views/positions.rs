//! The similarity of learned positions.

use super::{View, problem};
use crate::inference::PredictError;
use crate::model::Model;
use crate::report::chart::Matrices;
use crate::reproduce::evaluation::ByOutput;
use crate::train::Metrics;
use candle_core::DType;

/// Most places whose positions are compared.
const MOST_PLACES: usize = 1024;

/// The cosine similarity of the learned positions of a kind, as a map for each place (Dosovitskiy et al. 2021).
///
/// The metric `near` is its mean over pairs of places that differ by one step on one axis, `far` its mean over pairs that differ by
/// more steps on one axis; pairs that differ on both axes do not count.
pub(in crate::reproduce) fn positions(model: &Model, kind: &str) -> Result<View, PredictError> {
    let kinds = model.kinds();
    let Some(number) = kinds.iter().position(|known| known.name == kind) else {
        let known: Vec<&str> = kinds.iter().map(|kind| kind.name.as_str()).collect();
        return problem(format!("positions: expected one of {}; found {kind:?}", known.join(", ")));
    };
    let Some(vectors) = model.positions(number)? else {
        return problem(format!("positions: expected a kind with learned positions; {kind:?} has none"));
    };
    let vectors = vectors.to_dtype(DType::F32)?.to_vec2::<f32>()?;
    if vectors.len() > MOST_PLACES {
        return problem(format!("positions: expected at most {MOST_PLACES} places; found {}", vectors.len()));
    }
    let columns = kinds[number].axes.last().map_or(1, |axis| axis.size.max(1));
    let matrices = Matrices::similarities(&vectors, columns);
    let [near, far] = near_and_far(&matrices.matrices, columns);
    let metrics = Metrics::from([("near".to_string(), near), ("far".into(), far)]);
    Ok(View { metrics: ByOutput::from([(kind.to_string(), metrics)]), matrices })
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
    fn neighbours_are_told_from_places_farther_apart() {
        // A row of three places, of which the first two have one direction.
        let maps = [vec![1.0, 1.0, 0.0], vec![1.0, 1.0, 0.0], vec![0.0, 0.0, 1.0]];
        assert_eq!(near_and_far(&maps, 3), [0.5, 0.0]);
        assert_eq!(near_and_far(&maps, 1), [0.5, 0.0], "a column as well");
        assert_eq!(near_and_far(&[], 1), [0.0, 0.0]);
    }
}
