//! Attention through all layers.

/// A square matrix of weights by query and key.
pub(super) type Weights = Vec<Vec<f32>>;

/// Attention rollout (Abnar and Zuidema 2020) from some tokens: how much of what the last layer has at these tokens comes from
/// each input token, if a layer carries on as much by its residual stream as by attention.
///
/// `layers` has the mean weights over the heads of each layer, the first layer first; `start` the shares of the tokens from which
/// attention is followed. The product of all layers is never built: each layer takes one product of a vector and a matrix.
pub(super) fn rollout(layers: &[Weights], start: &[f32]) -> Vec<f32> {
    let through = |shares: Vec<f32>, layer: &Weights| {
        let mut before = vec![0.0; shares.len()];
        for (query, (share, weights)) in shares.iter().zip(layer).enumerate() {
            // The rows of weights plus identity, each divided by its sum.
            let total = 1.0 + weights.iter().sum::<f32>();
            before[query] += share / total;
            before.iter_mut().zip(weights).for_each(|(key, weight)| *key += share * weight / total);
        }
        before
    };
    layers.iter().rev().fold(start.to_vec(), through)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of A = [[1, 0], [0.5, 0.5]] and B = [[0.5, 0.5], [0, 1]], with identity and divided: A' = [[1, 0], [0.25, 0.75]] and
    /// B' = [[0.75, 0.25], [0, 1]]. B'·A' = [[0.8125, 0.1875], [0.25, 0.75]].
    #[test]
    fn rollout_is_the_product_of_the_layers_with_identity() {
        let first = vec![vec![1.0, 0.0], vec![0.5, 0.5]];
        let second = vec![vec![0.5, 0.5], vec![0.0, 1.0]];
        let layers = [first, second];
        assert_eq!(rollout(&layers, &[1.0, 0.0]), [0.8125, 0.1875]);
        assert_eq!(rollout(&layers, &[0.0, 1.0]), [0.25, 0.75]);
        assert_eq!(rollout(&layers, &[0.5, 0.5]), [0.53125, 0.46875], "from the mean of both");
    }

    #[test]
    fn a_query_without_keys_keeps_its_share() {
        assert_eq!(rollout(&[vec![vec![0.0, 0.0], vec![1.0, 0.0]]], &[1.0, 0.0]), [1.0, 0.0]);
        assert_eq!(rollout(&[], &[0.25, 0.75]), [0.25, 0.75]);
    }
}
