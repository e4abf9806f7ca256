//! The scale of a head's predictions.

/// How a row of a head's output, after the activation, becomes the predicted numbers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum OutputScale<'a> {
    /// As it is.
    Unscaled,
    /// Divided by its length (L2 norm).
    UnitLength,
    /// `x * std + mean`, with a number of each for each of the row: numbers in the units of the data.
    Affine {
        /// `[width]`.
        mean: &'a [f32],
        /// `[width]`.
        std: &'a [f32],
    },
}

impl OutputScale<'_> {
    /// The least length that a row is divided by.
    pub const LEAST_LENGTH: f64 = 1e-12;

    /// The predicted numbers of a row.
    pub fn apply(self, row: &[f32]) -> Vec<f64> {
        match self {
            Self::Unscaled => row.iter().map(|&x| f64::from(x)).collect(),
            Self::UnitLength => {
                let squares = row.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>();
                let length = squares.sqrt().max(Self::LEAST_LENGTH) as f32;
                row.iter().map(|x| f64::from(x / length)).collect()
            }
            Self::Affine { mean, std } => {
                let scaling = mean.iter().zip(std).map(|(&mean, &std)| (f64::from(mean), f64::from(std)));
                row.iter().zip(scaling).map(|(&x, (mean, std))| f64::from(x) * std + mean).collect()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_scaled_to_predictions() {
        let row = [3.0, -4.0];
        assert_eq!(OutputScale::Unscaled.apply(&row), [3.0, -4.0]);
        assert_eq!(OutputScale::UnitLength.apply(&row), [0.6_f32, -0.8].map(f64::from));
        assert_eq!(OutputScale::UnitLength.apply(&[0.0]), [0.0]);
        let affine = OutputScale::Affine { mean: &[10.0, 20.0], std: &[2.0, 0.5] };
        assert_eq!(affine.apply(&row), [16.0, 18.0]);
    }
}
