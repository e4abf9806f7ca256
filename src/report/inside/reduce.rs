//! Vectors in two dimensions: principal components and t-SNE.

use crate::random;
use bhtsne::{Neighbor, tSNE};

/// Products with the covariance in the search for a component.
const PRODUCTS: usize = 100;
/// Steps of t-SNE, its perplexity, and its θ: how coarsely distant points are summed.
const STEPS: usize = 500;
const PERPLEXITY: usize = 20;
const THETA: f64 = 0.5;
/// The fewest points of which t-SNE shows more than principal components.
const FEWEST: usize = 16;

/// The two principal components of vectors of one length, and the share of the variance along each.
///
/// By power iteration, from a start that depends on the seed alone: two components of a few thousand vectors do not need the
/// singular values of a linear-algebra library.
pub(super) fn principal(vectors: &[Vec<f32>], seed: u64) -> (Vec<[f32; 2]>, [f64; 2]) {
    let d = vectors.first().map_or(0, Vec::len);
    let n = vectors.len().max(1) as f64;
    let mean = (0..d).map(|i| vectors.iter().map(|x| f64::from(x[i])).sum::<f64>() / n);
    let mean: Vec<f64> = mean.collect();
    let mut rest: Vec<Vec<f64>> =
        vectors.iter().map(|x| x.iter().zip(&mean).map(|(x, mean)| f64::from(*x) - mean).collect()).collect();
    let variance = |rows: &[Vec<f64>]| rows.iter().map(|x| dot(x, x)).sum::<f64>();
    let total = variance(&rest);
    let (mut places, mut shares) = (vec![[0.0; 2]; vectors.len()], [0.0; 2]);
    for axis in 0..2 {
        let component = component(&rest, d, random::mix(seed, axis as u64));
        let before = variance(&rest);
        for (x, place) in rest.iter_mut().zip(&mut places) {
            let along = dot(x, &component);
            place[axis] = along as f32;
            x.iter_mut().zip(&component).for_each(|(x, c)| *x -= along * c);
        }
        shares[axis] = if total > 0.0 { (before - variance(&rest)) / total } else { 0.0 };
    }
    (places, shares)
}

/// The direction of unit length along which centred vectors vary most.
fn component(rows: &[Vec<f64>], d: usize, seed: u64) -> Vec<f64> {
    let start = random::normal(&mut random::generator(seed), d);
    let mut direction: Vec<f64> = start.into_iter().map(f64::from).collect();
    for _ in 0..PRODUCTS {
        let mut next = vec![0.0; d];
        for row in rows {
            let along = dot(row, &direction);
            next.iter_mut().zip(row).for_each(|(next, x)| *next += along * x);
        }
        let length = dot(&next, &next).sqrt();
        if length == 0.0 {
            break; // no variance is left
        }
        direction = next.into_iter().map(|x| x / length).collect();
    }
    let length = dot(&direction, &direction).sqrt().max(f64::MIN_POSITIVE);
    direction.into_iter().map(|x| x / length).collect()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// t-SNE (van der Maaten and Hinton 2008) from the principal components; `None` for few vectors.
///
/// In one thread, from given neighbours and a given start, so that the result has the same bits each time.
pub(super) fn neighbourhoods(vectors: &[Vec<f32>], start: &[[f32; 2]]) -> Option<Vec<[f32; 2]>> {
    let n = vectors.len();
    if n < FEWEST || start.len() != n {
        return None;
    }
    let perplexity = PERPLEXITY.min((n - 1) / 3);
    let neighbours: Vec<_> = (0..n).map(|i| nearest(vectors, i, 3 * perplexity)).collect();
    // Of a small extent, as published, so that the first steps can rearrange the points.
    let widest = start.iter().flatten().fold(f32::MIN_POSITIVE, |most, x| most.max(x.abs()));
    let start: Vec<f64> = start.iter().flatten().map(|x| f64::from(x / widest) * 1e-2).collect();
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().ok()?;
    let embedding = pool.install(|| {
        let mut tsne: tSNE<f64, Vec<f32>> = tSNE::new(vectors);
        tsne.perplexity(perplexity as f64).epochs(STEPS).initial_embedding(start);
        tsne.barnes_hut_with_neighbors(THETA, &neighbours).embedding()
    });
    Some(embedding.chunks_exact(2).map(|at| [at[0] as f32, at[1] as f32]).collect())
}

/// The `k` vectors nearest to vector `of`, nearest first.
fn nearest(vectors: &[Vec<f32>], of: usize, k: usize) -> Vec<Neighbor<f64>> {
    let distance = |other: &[f32]| {
        let squares = vectors[of].iter().zip(other).map(|(a, b)| f64::from(a - b).powi(2));
        squares.sum::<f64>().sqrt()
    };
    let others = vectors.iter().enumerate().filter(|(index, _)| *index != of);
    let mut all: Vec<Neighbor<f64>> =
        others.map(|(index, other)| Neighbor { index, distance: distance(other) }).collect();
    all.sort_by(|a, b| a.distance.total_cmp(&b.distance));
    all.truncate(k);
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A cloud that is long along [0.6, 0.8, 0] and flat along the last axis.
    fn stretched(n: usize) -> Vec<Vec<f32>> {
        let noise = random::normal(&mut random::generator(3), 2 * n);
        let point = |pair: &[f32]| {
            let (long, short) = (10.0 * pair[0], pair[1]);
            vec![5.0 + 0.6 * long - 0.8 * short, 0.8 * long + 0.6 * short, 1.0]
        };
        noise.chunks_exact(2).map(point).collect()
    }

    #[test]
    fn the_first_component_is_the_axis_of_a_stretched_cloud() {
        let cloud = stretched(200);
        let (places, shares) = principal(&cloud, 7);
        assert!(shares[0] > 0.95 && shares[0] + shares[1] > 0.999, "{shares:?}");
        // Along the first component, the places differ as the points do along the long axis.
        let along = |x: &Vec<f32>| 0.6 * x[0] + 0.8 * x[1];
        for pair in [[0, 1], [5, 100], [7, 199]] {
            let expected = (along(&cloud[pair[0]]) - along(&cloud[pair[1]])).abs();
            let found = (places[pair[0]][0] - places[pair[1]][0]).abs();
            assert!((expected - found).abs() < 0.5, "{expected} {found}");
        }
        assert_eq!(principal(&cloud, 7), principal(&cloud, 7));
    }

    #[test]
    fn equal_vectors_and_no_vectors_have_places() {
        assert_eq!(principal(&[vec![1.0, 2.0], vec![1.0, 2.0]], 1).0, [[0.0; 2]; 2]);
        assert!(principal(&[], 1).0.is_empty());
        assert!(neighbourhoods(&[vec![1.0]], &[[0.0; 2]]).is_none());
    }

    #[test]
    fn tsne_keeps_two_groups_apart_and_has_the_same_bits_each_time() {
        let group = |at: f32| move |i: usize| vec![at + (i % 5) as f32 * 0.01, (i / 5) as f32 * 0.01];
        let vectors: Vec<Vec<f32>> = (0..20).map(group(0.0)).chain((0..20).map(group(9.0))).collect();
        let start = principal(&vectors, 1).0;
        let places = neighbourhoods(&vectors, &start).unwrap();
        assert_eq!(places, neighbourhoods(&vectors, &start).unwrap());
        let mean = |group: &[[f32; 2]]| {
            [0, 1].map(|axis| group.iter().map(|at| at[axis]).sum::<f32>() / group.len() as f32)
        };
        let distance = |a: [f32; 2], b: [f32; 2]| (a[0] - b[0]).hypot(a[1] - b[1]);
        let (first, second) = places.split_at(20);
        let apart = distance(mean(first), mean(second));
        let within = first.iter().map(|at| distance(*at, mean(first))).fold(0.0, f32::max);
        assert!(apart > within, "{apart} {within}");
    }
}
