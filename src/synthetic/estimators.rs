//! Estimators of a linear function from its points, with which a model that learns in context is compared.

/// Ridge regression, updated point by point. With a penalty of 0 it is least squares, and of all weights that fit equally well it
/// has the smallest (Greville 1960).
pub(super) struct Ridge {
    weights: Vec<f64>,
    /// `[dims, dims]`: the inverse of XᵀX + penalty, or the pseudo-inverse of XᵀX.
    inverse: Vec<f64>,
    /// `[dims, dims]`: the projection on the directions in which no point lies; 0 with a penalty.
    unseen: Vec<f64>,
}

/// A point adds a new direction if a larger share of its square than this lies outside the directions of the points before.
const ROUNDING: f64 = 1e-10;

impl Ridge {
    pub fn new(dims: usize, penalty: f64) -> Self {
        let diagonal = |value: f64| {
            (0..dims * dims).map(|place| if place % (dims + 1) == 0 { value } else { 0.0 }).collect()
        };
        let (inverse, unseen) = if penalty > 0.0 { (1.0 / penalty, 0.0) } else { (0.0, 1.0) };
        Self { weights: vec![0.0; dims], inverse: diagonal(inverse), unseen: diagonal(unseen) }
    }

    pub fn predict(&self, x: &[f64]) -> f64 {
        dot(&self.weights, x)
    }

    pub fn add(&mut self, x: &[f64], y: f64) {
        let error = y - self.predict(x);
        let (seen, new) = (times(&self.inverse, x), times(&self.unseen, x));
        let (spread, square) = (1.0 + dot(&seen, x), dot(&new, x));
        if square > ROUNDING * dot(x, x) {
            add_outer(&mut self.inverse, spread / (square * square), &new, &new);
            add_outer(&mut self.inverse, -1.0 / square, &seen, &new);
            add_outer(&mut self.inverse, -1.0 / square, &new, &seen);
            add_outer(&mut self.unseen, -1.0 / square, &new, &new);
            self.move_weights(error / square, &new);
        } else {
            add_outer(&mut self.inverse, -1.0 / spread, &seen, &seen);
            self.move_weights(error / spread, &seen);
        }
    }

    fn move_weights(&mut self, by: f64, direction: &[f64]) {
        self.weights.iter_mut().zip(direction).for_each(|(weight, part)| *weight += by * part);
    }
}

/// The mean y of the `most` points nearest to `x`, or of all if there are fewer; 0 without points.
pub(super) fn nearest(points: &[(Vec<f64>, f64)], x: &[f64], most: usize) -> f64 {
    let distance = |of: &[f64]| of.iter().zip(x).map(|(a, b)| (a - b).powi(2)).sum::<f64>();
    let mut near: Vec<(f64, f64)> = points.iter().map(|(of, y)| (distance(of), *y)).collect();
    near.sort_by(|a, b| a.0.total_cmp(&b.0));
    near.truncate(most);
    near.iter().map(|(_, y)| y).sum::<f64>() / near.len().max(1) as f64
}

/// The moments of a distribution of points around 0 that is the same in all dimensions.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moments {
    pub dims: usize,
    /// Mean square of a coordinate.
    pub second: f64,
    /// Mean fourth power of a coordinate.
    pub fourth: f64,
}

impl Moments {
    /// The best learning rate of one step of gradient descent from weights 0 on half the sum of squared errors of `n` points: the
    /// rate with the least expected error at another point, if the true weights are normal with variance 1.
    ///
    /// It is tr E[S] / (tr E[S²] + noise²·tr E[S]) with S = XᵀX.
    pub fn best_rate(self, n: usize, noise: f64) -> f64 {
        let (n, d) = (n as f64, self.dims as f64);
        let first = n * d * self.second;
        let of_one = d * self.fourth + d * (d - 1.0) * self.second.powi(2);
        let square = n * of_one + n * (n - 1.0) * d * self.second.powi(2);
        if n > 0.0 { first / (square + noise * noise * first) } else { 0.0 }
    }
}

/// The prediction at `x` after one step of gradient descent from weights 0.
pub(super) fn one_step(points: &[(Vec<f64>, f64)], x: &[f64], rate: f64) -> f64 {
    rate * points.iter().map(|(of, y)| y * dot(of, x)).sum::<f64>()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// M·x, of a square matrix.
fn times(matrix: &[f64], x: &[f64]) -> Vec<f64> {
    matrix.chunks_exact(x.len().max(1)).map(|row| dot(row, x)).collect()
}

/// M ← M + factor·a·bᵀ.
fn add_outer(matrix: &mut [f64], factor: f64, a: &[f64], b: &[f64]) {
    for (row, a) in matrix.chunks_exact_mut(b.len().max(1)).zip(a) {
        row.iter_mut().zip(b).for_each(|(entry, b)| *entry += factor * a * b);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fitted(penalty: f64, points: &[([f64; 2], f64)]) -> Vec<f64> {
        let mut ridge = Ridge::new(2, penalty);
        points.iter().for_each(|(x, y)| ridge.add(x, *y));
        ridge.weights
    }

    fn assert_near(found: &[f64], expected: &[f64]) {
        let near = |(a, b): (&f64, &f64)| (a - b).abs() < 1e-9;
        assert!(found.iter().zip(expected).all(near), "found {found:?}, expected {expected:?}");
    }

    #[test]
    fn least_squares_fits_with_the_smallest_weights_and_then_with_the_least_error() {
        assert_near(&fitted(0.0, &[([2.0, 0.0], 4.0)]), &[2.0, 0.0]);
        assert_near(&fitted(0.0, &[([1.0, 1.0], 2.0)]), &[1.0, 1.0]);
        assert_near(&fitted(0.0, &[([1.0, 1.0], 2.0), ([1.0, 0.0], 5.0)]), &[5.0, -3.0]);
        // A point that is repeated has the mean of both y.
        assert_near(&fitted(0.0, &[([1.0, 0.0], 2.0), ([1.0, 0.0], 4.0), ([0.0, 2.0], 2.0)]), &[3.0, 1.0]);
        // By hand: XᵀX = [[2, 1], [1, 2]], Xᵀy = [3, 5].
        let points = [([1.0, 0.0], 1.0), ([0.0, 1.0], 3.0), ([1.0, 1.0], 2.0)];
        assert_near(&fitted(0.0, &points), &[1.0 / 3.0, 7.0 / 3.0]);
    }

    #[test]
    fn ridge_shrinks_the_weights_by_its_penalty() {
        assert_near(&fitted(4.0, &[([2.0, 0.0], 4.0)]), &[1.0, 0.0]);
        // By hand: XᵀX + 1 = [[3, 1], [1, 3]], Xᵀy = [3, 5].
        let points = [([1.0, 0.0], 1.0), ([0.0, 1.0], 3.0), ([1.0, 1.0], 2.0)];
        assert_near(&fitted(1.0, &points), &[0.5, 1.5]);
    }

    #[test]
    fn the_nearest_points_are_averaged() {
        let points = [0.0, 1.0, 2.0, 9.0].map(|x| (vec![x], 10.0 * x));
        assert_eq!(nearest(&points, &[1.2], 3), 10.0);
        assert_eq!(nearest(&points[3..], &[1.2], 3), 90.0);
        assert_eq!(nearest(&[], &[1.2], 3), 0.0);
    }

    #[test]
    fn the_best_rate_is_that_of_the_least_expected_error() {
        // One point in one dimension: E[x²] / E[x⁴], with noise E[x²] / (E[x⁴] + noise²·E[x²]).
        let normal = Moments { dims: 1, second: 1.0, fourth: 3.0 };
        assert_eq!((normal.best_rate(1, 0.0), normal.best_rate(1, 2.0)), (1.0 / 3.0, 1.0 / 7.0));
        assert_eq!(normal.best_rate(0, 0.0), 0.0);
        // Ten points in −1..1 of ten dimensions: 100/3 by 220.
        let uniform = Moments { dims: 10, second: 1.0 / 3.0, fourth: 0.2 };
        assert!((uniform.best_rate(10, 0.0) - 100.0 / 660.0).abs() < 1e-12);
        assert_eq!(one_step(&[(vec![1.0, 2.0], 3.0), (vec![0.0, 1.0], 1.0)], &[1.0, 1.0], 0.5), 5.0);
    }
}
