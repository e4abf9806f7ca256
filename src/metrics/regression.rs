//! Errors of predicted numbers.

/// Mean absolute error, root mean squared error and R² of vectors of numbers, in the units of the targets.
///
/// Each score is computed for each dimension and averaged with equal weights, as scikit-learn does by default
/// (`multioutput="uniform_average"`). Only sums in `f64` are kept.
#[derive(Clone, Debug, PartialEq)]
pub struct Regression {
    count: u64,
    dimensions: Vec<Dimension>,
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Dimension {
    absolute_error: f64,
    squared_error: f64,
    mean: f64,
    /// Sum of the targets' squared deviations from their mean.
    squared_deviation: f64,
}

impl Regression {
    /// An empty accumulator of vectors `[n_dimensions]`.
    pub fn new(dimensions: usize) -> Self {
        Self { count: 0, dimensions: vec![Dimension::default(); dimensions] }
    }

    /// Add a target and its prediction, both `[n_dimensions]`, of `f32` or `f64`.
    ///
    /// # Panics
    /// If a length is not the number of dimensions.
    pub fn add<T: Copy + Into<f64>>(&mut self, target: &[T], prediction: &[T]) {
        let lengths = (target.len(), prediction.len());
        assert_eq!(
            lengths,
            (self.dimensions.len(), self.dimensions.len()),
            "lengths of target and prediction"
        );
        self.count += 1;
        for (dimension, (&target, &prediction)) in
            self.dimensions.iter_mut().zip(target.iter().zip(prediction))
        {
            dimension.add(target.into(), prediction.into(), self.count as f64);
        }
    }

    /// The number of vectors.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Mean absolute error; `None` before the first number.
    pub fn mae(&self) -> Option<f64> {
        self.mean(1, |dimension| dimension.absolute_error / self.count as f64)
    }

    /// Mean over the dimensions of the root mean squared error; `None` before the first number.
    pub fn rmse(&self) -> Option<f64> {
        self.mean(1, |dimension| (dimension.squared_error / self.count as f64).sqrt())
    }

    /// Coefficient of determination, 1 at best; `None` for fewer than two vectors. A dimension whose targets are all
    /// equal counts 1 if its predictions are exact and 0 if not.
    pub fn r2(&self) -> Option<f64> {
        self.mean(2, |dimension| match (dimension.squared_error, dimension.squared_deviation) {
            (0.0, 0.0) => 1.0,
            (_, 0.0) => 0.0,
            (error, deviation) => 1.0 - error / deviation,
        })
    }

    fn mean(&self, min_count: u64, score: impl Fn(&Dimension) -> f64) -> Option<f64> {
        let dimensions = self.dimensions.len();
        let mean = || self.dimensions.iter().map(score).sum::<f64>() / dimensions as f64;
        (self.count >= min_count && dimensions > 0).then(mean)
    }
}

impl Dimension {
    /// Adds number `count`, counted from 1.
    fn add(&mut self, target: f64, prediction: f64, count: f64) {
        let error = prediction - target;
        self.absolute_error += error.abs();
        self.squared_error += error * error;
        // Welford 1962: the difference of a sum of squares and a squared sum would cancel if the mean is large.
        let deviation = target - self.mean;
        self.mean += deviation / count;
        self.squared_deviation += deviation * (target - self.mean);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scores<const N: usize>(targets: &[[f64; N]], predictions: &[[f64; N]]) -> [Option<f64>; 3] {
        let mut regression = Regression::new(N);
        targets.iter().zip(predictions).for_each(|(target, prediction)| regression.add(target, prediction));
        [regression.mae(), regression.rmse(), regression.r2()]
    }

    fn assert_close(found: [Option<f64>; 3], expected: [f64; 3]) {
        for (found, expected) in found.into_iter().zip(expected) {
            assert!((found.unwrap() - expected).abs() < 1e-9, "found {found:?}, expected {expected}");
        }
    }

    /// Expected: `mean_absolute_error(t, p)`, `root_mean_squared_error(t, p)` and `r2_score(t, p)` of scikit-learn
    /// 1.9.1. The last dimension has equal targets: its R² is 0.
    #[test]
    fn scores_are_those_of_scikit_learn() {
        let t = [[0.5, -10.0, 3.0], [1.5, 20.0, 3.0], [-2.0, 7.25, 3.0], [4.0, 1000.5, 3.0]];
        let p = [[0.75, -9.0, 3.0], [1.0, 18.5, 3.5], [-2.0, 7.0, 3.0], [3.0, 990.0, 3.0]];
        assert_close(scores(&t, &p), [1.2916666666666667, 2.0503691111187528, 0.6429670427752865]);
        let t = [1e6 + 1.0, 1e6 + 2.0, 1e6 + 3.0, 1e6 + 4.0].map(|x| [x]);
        let p = [1e6 + 1.5, 1e6 + 2.0, 1e6 + 2.0, 1e6 + 4.0].map(|x| [x]);
        assert_close(scores(&t, &p), [0.375, 0.5590169943749475, 0.75]);
        // r2_score([2, 2, 2], [2, 2, 2]) is 1.0; r2_score([2, 2, 2], [2, 2, 3]) is 0.0
        assert_eq!(scores(&[[2.0]; 3], &[[2.0]; 3])[2], Some(1.0));
        assert_eq!(scores(&[[2.0]; 3], &[[2.0], [2.0], [3.0]])[2], Some(0.0));
    }

    #[test]
    fn scores_need_enough_numbers() {
        assert_eq!(scores::<2>(&[], &[]), [None; 3]);
        assert_eq!(scores(&[[1.0]], &[[3.0]]), [Some(2.0), Some(2.0), None]);
        let mut of_f32 = Regression::new(1);
        of_f32.add(&[1.5_f32], &[1.0]);
        assert_eq!((of_f32.mae(), of_f32.count()), (Some(0.5), 1));
    }
}
