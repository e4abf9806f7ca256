//! Biases of scores that depend on how far a key is from its query (Raffel et al. 2020).

use crate::ops::Value;
use crate::rules::AttentionMask;
use std::{ops::Range, sync::Arc};

/// A bias for each distance and each head.
#[derive(Clone, Copy)]
pub struct RelativeBias<'a> {
    /// The learned biases, `[buckets, n_heads]`; `None` for slopes.
    pub table: Option<&'a Value>,
    /// How the bias depends on the distance.
    pub distances: &'a Distances,
}

/// How a bias depends on the distance of query and key, whatever the length of a document.
#[derive(Clone, Debug)]
pub enum Distances {
    /// A row of a table for each bucket of distances.
    Buckets(Arc<Buckets>),
    /// −slope·|distance|, with the slope of each head: ALiBi (Press et al. 2022), for both directions.
    Slopes(Arc<[f32]>),
}

/// The slopes of ALiBi for `n_heads` heads: 2^(−8i/n_heads) for head i, counted from 1. If `n_heads` is no power of two, those
/// of the next lower power, and then every other one of the next higher power, as published.
pub fn slopes(n_heads: usize) -> Arc<[f32]> {
    let of_power = |n: usize| (1..=n).map(move |i| libm::exp2(-8.0 * i as f64 / n as f64) as f32);
    let lower = (n_heads + 1).next_power_of_two() / 2;
    of_power(lower).chain(of_power(2 * lower).step_by(2).take(n_heads - lower)).collect()
}

impl RelativeBias<'_> {
    /// The problem of a table or of slopes that do not fit `n_heads` heads; `None` if they fit.
    pub(super) fn misfit(&self, n_heads: usize) -> Option<String> {
        let found = self.table.map(|table| table.dims().to_vec());
        let (expected, fits) = match self.distances {
            Distances::Buckets(buckets) => {
                let shape = vec![buckets.len(), n_heads];
                (format!("a bias table of {shape:?}"), found.as_ref() == Some(&shape))
            }
            Distances::Slopes(slopes) => {
                (format!("{n_heads} slopes and no table"), found.is_none() && slopes.len() == n_heads)
            }
        };
        (!fits).then(|| match (self.distances, found) {
            (Distances::Slopes(slopes), None) => {
                format!("expected {expected}; found {} slopes", slopes.len())
            }
            (_, Some(found)) => format!("expected {expected}; found a table of {found:?}"),
            (_, None) => format!("expected {expected}; found none"),
        })
    }
}

/// Buckets of distances, key's place minus query's. Each small distance has its own bucket, greater ones share
/// logarithmically wider buckets, and all from `max_distance` on share the last.
#[derive(Clone, Debug)]
pub struct Buckets {
    len: usize,
    /// The bucket of each distance −max_distance..=max_distance.
    by_distance: Vec<u16>,
    /// A copy on the GPU, after the first use.
    #[cfg(feature = "cuda")]
    pub(super) on_device: std::sync::OnceLock<candle_core::Tensor>,
}

impl Buckets {
    /// `len` buckets. With `both_ways`, as in T5's encoder, half of them are for keys after the query; otherwise, as in
    /// its decoder, those keys share the bucket of distance 0.
    pub fn new(len: usize, max_distance: usize, both_ways: bool) -> Self {
        let each = if both_ways { len / 2 } else { len };
        let exact = each / 2;
        let bucket = |distance: i64| {
            let (first, steps) = match both_ways {
                true => (if distance > 0 { each } else { 0 }, distance.unsigned_abs() as usize),
                false => (0, (-distance).max(0) as usize),
            };
            if steps < exact {
                return (first + steps) as u16;
            }
            // In f32 and in this order, as published: other rounding moves distances at the borders to other buckets.
            let share = (steps as f32 / exact as f32).ln() / (max_distance as f64 / exact as f64).ln() as f32;
            let far = exact + (share * (each - exact) as f32) as usize;
            (first + far.min(each - 1)) as u16
        };
        let furthest = max_distance as i64;
        Self {
            len,
            by_distance: (-furthest..=furthest).map(bucket).collect(),
            #[cfg(feature = "cuda")]
            on_device: Default::default(),
        }
    }

    /// Number of buckets.
    #[allow(clippy::len_without_is_empty)] // never empty
    pub fn len(&self) -> usize {
        self.len
    }

    /// The bucket of each distance −max_distance..=max_distance.
    pub(super) fn by_distance(&self) -> &[u16] {
        &self.by_distance
    }

    /// The place of a distance in [`by_distance`](Self::by_distance).
    pub(super) fn distance(&self, query: u32, key: u32) -> usize {
        let furthest = (self.by_distance.len() / 2) as i64;
        ((i64::from(key) - i64::from(query)).clamp(-furthest, furthest) + furthest) as usize
    }

    /// The bucket of each pair, `[n, m]`.
    pub(super) fn dense(
        &self,
        mask: &AttentionMask,
        queries: &Range<usize>,
        keys: &Range<usize>,
    ) -> Vec<u32> {
        let (query_orders, key_orders) = mask.orders();
        let pairs = queries.clone().flat_map(|q| keys.clone().map(move |k| (q, k)));
        pairs
            .map(|(q, k)| u32::from(self.by_distance[self.distance(query_orders[q], key_orders[k])]))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values of `get_slopes` in the paper's code (github.com/ofirpress/attention_with_linear_biases).
    #[test]
    fn slopes_are_the_published_ones() {
        let of = |n_heads| slopes(n_heads).to_vec();
        assert_eq!(of(1), [0.003_906_25]);
        assert_eq!(of(2), [0.062_5, 0.003_906_25]);
        assert_eq!(of(8), [0.5, 0.25, 0.125, 0.0625, 0.031_25, 0.015_625, 0.007_812_5, 0.003_906_25]);
        assert_eq!(of(3), [0.062_5, 0.003_906_25, 0.25]);
        assert_eq!(of(6), [0.25, 0.0625, 0.015_625, 0.003_906_25, 0.5, 0.125]);
        let twelve = of(12);
        assert_eq!(twelve[..8], of(8)[..]);
        let rest = [0.707_106_77, 0.353_553_39, 0.176_776_7, 0.088_388_346];
        assert!(twelve[8..].iter().zip(rest).all(|(a, b)| (a - b).abs() < 1e-7), "{twelve:?}");
    }

    /// Values of `T5Attention._relative_position_bucket` in transformers 5.23.
    #[test]
    fn buckets_are_the_published_ones() {
        let both = Buckets::new(32, 128, true);
        let buckets = |b: &Buckets, distances: &[i64]| -> Vec<u16> {
            distances.iter().map(|d| b.by_distance[(d.clamp(&-128, &128) + 128) as usize]).collect()
        };
        let distances = [-200, -128, -64, -32, -16, -8, -7, -1, 0, 1, 7, 8, 16, 32, 64, 128, 200];
        assert_eq!(
            buckets(&both, &distances),
            [15, 15, 14, 12, 10, 8, 7, 1, 0, 17, 23, 24, 26, 28, 30, 31, 31]
        );
        let back = Buckets::new(32, 128, false);
        assert_eq!(buckets(&back, &distances), [31, 31, 26, 21, 16, 8, 7, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    }
}
