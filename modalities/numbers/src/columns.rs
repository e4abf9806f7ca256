//! Statistics of columns.

/// Statistics of one column, without missing numbers.
#[derive(Clone, Debug)]
pub(crate) struct Column {
    count: f64,
    mean: f64,
    /// The sum of squared distances from the mean.
    squares: f64,
    /// The largest relative rounding error of a number.
    epsilon: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
}

impl Column {
    pub(crate) const EMPTY: Self = Self {
        count: 0.0,
        mean: 0.0,
        squares: 0.0,
        epsilon: 0.0,
        low: f64::INFINITY,
        high: f64::NEG_INFINITY,
    };

    /// Add a number that is not NaN and has a relative rounding error of `epsilon`, by Welford's method (1962), which keeps
    /// a small deviation around a large mean in one pass.
    pub(crate) fn add(&mut self, number: f64, epsilon: f64) {
        self.epsilon = self.epsilon.max(epsilon);
        self.count += 1.0;
        let before = number - self.mean;
        self.mean += before / self.count;
        self.squares += before * (number - self.mean);
        self.low = self.low.min(number);
        self.high = self.high.max(number);
    }

    /// The mean; 0 without numbers. For a constant column it is the constant, without rounding.
    pub(crate) fn mean(&self) -> f64 {
        if self.low == self.high { self.low } else { self.mean }
    }

    /// Whether all numbers are the same but for rounding: within 8 units in the last place of the largest magnitude, 1e-6
    /// of it in single precision. Also true without numbers.
    fn is_constant(&self) -> bool {
        self.low >= self.high || self.high - self.low <= 8.0 * self.epsilon * self.magnitude()
    }

    /// The (population) standard deviation; 1 for a constant column and one without numbers, because dividing by rounding
    /// errors would make millions of the first real change.
    pub(crate) fn std(&self) -> f64 {
        if self.is_constant() {
            return 1.0;
        }
        let std = (self.squares / self.count).sqrt();
        // Squares of numbers beyond 1e±154 overflow or underflow double precision.
        if std.is_normal() { std } else { self.half_range() }
    }

    /// The midpoint of the minimum and the maximum; 0 without numbers.
    pub(crate) fn middle(&self) -> f64 {
        if self.count == 0.0 { 0.0 } else { self.low / 2.0 + self.high / 2.0 }
    }

    /// Half the distance between the minimum and the maximum; 1 if it is 0.
    pub(crate) fn half_range(&self) -> f64 {
        if self.low >= self.high { 1.0 } else { (self.high / 2.0 - self.low / 2.0).max(f64::MIN_POSITIVE) }
    }

    /// The maximal magnitude; 0 without numbers.
    pub(crate) fn magnitude(&self) -> f64 {
        if self.count == 0.0 { 0.0 } else { self.high.max(-self.low) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(numbers: &[f64]) -> Column {
        let mut column = Column::EMPTY;
        numbers.iter().for_each(|&number| column.add(number, f64::EPSILON));
        column
    }

    #[test]
    fn huge_and_tiny_scales_keep_their_deviation() {
        let close = |found: f64, expected: f64| assert!((found / expected - 1.0).abs() < 1e-9, "{found}");
        for (scale, shift) in [(1.0, 0.0), (1e-30, 0.0), (1e30, 0.0), (1.0, 1.7e9), (1e-150, 0.0)] {
            let numbers = [1.0, 3.0, 5.0, 3.0].map(|x| x * scale + shift);
            let expected = ((numbers[2] - numbers[0]) / 2.0) / f64::sqrt(2.0);
            close(column(&numbers).std(), expected);
        }
        assert_eq!(column(&[-1e300, 1e300]).std(), 1e300);
        assert_eq!(column(&[0.0, 4e-320]).std(), f64::MIN_POSITIVE);
    }

    #[test]
    fn constant_and_empty_columns_have_a_deviation_of_1() {
        let constant = column(&[0.1; 7]);
        assert_eq!((constant.mean(), constant.std(), constant.half_range()), (0.1, 1.0, 1.0));
        let noise = column(&[0.1 + 0.2, 0.3, 0.3]);
        assert_eq!((noise.std(), column(&[0.3, 0.3 + 1e-9]).std() < 1e-8), (1.0, true));
        let empty = column(&[]);
        assert_eq!((empty.mean(), empty.std(), empty.middle(), empty.magnitude()), (0.0, 1.0, 0.0, 0.0));
    }
}
