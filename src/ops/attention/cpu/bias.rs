//! Biases of scores by distance.

use crate::ops::attention::{Buckets, Distances};

/// The biases of one call.
pub(super) enum Biases<'a> {
    /// Learned.
    ByDistance(BiasByDistance<'a>),
    /// −slope·|distance|, with the slope of each head.
    Slopes(&'a [f32]),
}

impl<'a> Biases<'a> {
    /// `table` is `[buckets, n_heads]`, and empty for slopes.
    pub(super) fn new(distances: &'a Distances, table: &[f32], n_heads: usize) -> Self {
        match distances {
            Distances::Buckets(buckets) => Self::ByDistance(BiasByDistance::new(buckets, table, n_heads)),
            Distances::Slopes(slopes) => Self::Slopes(slopes),
        }
    }

    /// The learned biases, if they are learned.
    pub(super) fn learned(&self) -> Option<&BiasByDistance<'a>> {
        match self {
            Self::ByDistance(bias) => Some(bias),
            Self::Slopes(_) => None,
        }
    }
}

/// The table of biases laid out by distance, so that a pair of tokens needs one lookup and one addition.
pub(super) struct BiasByDistance<'a> {
    pub(super) buckets: &'a Buckets,
    n_heads: usize,
    /// `[n_heads, distances]`.
    pub(super) values: Vec<f32>,
}

impl<'a> BiasByDistance<'a> {
    /// `table` is `[buckets, n_heads]`.
    pub(super) fn new(buckets: &'a Buckets, table: &[f32], n_heads: usize) -> Self {
        let of_head = |head| {
            buckets.by_distance().iter().map(move |&bucket| table[usize::from(bucket) * n_heads + head])
        };
        Self { buckets, n_heads, values: (0..n_heads).flat_map(of_head).collect() }
    }

    /// The bias of a head for each distance.
    pub(super) fn of_head(&self, head: usize) -> &[f32] {
        &self.values[head * self.buckets.by_distance().len()..][..self.buckets.by_distance().len()]
    }

    /// From the gradient by distance, `[n_heads, distances]`, to that of the table.
    pub(super) fn table_gradient(&self, by_distance: &[f32]) -> Vec<f32> {
        let mut table = vec![0.0; self.buckets.len() * self.n_heads];
        for (head, row) in by_distance.chunks_exact(self.buckets.by_distance().len()).enumerate() {
            for (gradient, &bucket) in row.iter().zip(self.buckets.by_distance()) {
                table[usize::from(bucket) * self.n_heads + head] += gradient;
            }
        }
        table
    }
}
