//! Linear functions to learn in context: points of a function that is drawn anew for each row.

use super::estimators::{Moments, Ridge, nearest, one_step};
use super::kind::{Distinct, Draw, Kind, Rows};
use super::{Sizes, SyntheticError, setting};
use crate::random::{normal, uniform};
use serde::Deserialize;
use smalti_contract::Value;

/// Points of a linear function y = w·x + noise, in which w is drawn anew for each row, and the predictions of estimators from the
/// points before each point.
#[derive(Clone, Debug, PartialEq, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Regression {
    /// Number of points of a row.
    #[schemars(range(min = 1, max = 4096))]
    points: usize,
    /// Number of dimensions of x.
    #[schemars(range(min = 1, max = 1024))]
    dims: usize,
    /// Standard deviation of the noise of y, 0 or more.
    noise: f64,
    /// Distribution of x; w is always normal.
    inputs: Inputs,
    /// Penalty of ridge regression, 0 or more. Default: noise², with which it is the Bayes estimate.
    ridge: Option<f64>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Inputs {
    /// Normal, of mean 0 and standard deviation 1 (Garg et al.).
    #[default]
    Normal,
    /// Uniform in −1..1 (von Oswald et al.).
    Uniform,
}

impl Inputs {
    fn moments(self, dims: usize) -> Moments {
        let (second, fourth) = match self {
            Inputs::Normal => (1.0, 3.0),
            Inputs::Uniform => (1.0 / 3.0, 0.2),
        };
        Moments { dims, second, fourth }
    }
}

impl Default for Regression {
    fn default() -> Self {
        Self { points: 11, dims: 5, noise: 0.0, inputs: Inputs::Normal, ridge: None }
    }
}

impl Kind for Regression {
    const NAME: &'static str = "regression";
    const ABOUT: &'static str =
        "points of a linear function that is drawn anew for each row, to learn in context";
    const PAPER: &'static str =
        "Garg et al. 2022; von Oswald et al. 2022 for `pairs`, `target` and `one_step`";
    const FIELDS: &'static [&'static str] =
        &["x", "y", "weights", "pairs", "target", "least_squares", "ridge", "nearest", "one_step"];

    fn open(self, _: &Sizes) -> Result<Box<dyn Rows>, SyntheticError> {
        if !(0.0..=1e6).contains(&self.noise) {
            return Err(setting(Self::NAME, "noise", "a number from 0 to 1000000", self.noise));
        }
        if let Some(found) = self.ridge.filter(|penalty| !(0.0..=1e6).contains(penalty)) {
            return Err(setting(Self::NAME, "ridge", "a number from 0 to 1000000", found));
        }
        if self.points * self.dims > MOST {
            let expected = format!("at most {MOST}");
            return Err(setting(Self::NAME, "points * dims", expected, self.points * self.dims));
        }
        Ok(Box::new(self))
    }
}

/// The most numbers in the x of a row.
const MOST: usize = 1 << 18;
/// The number of points whose mean is `nearest`.
const NEAREST: usize = 3;

impl Rows for Regression {
    fn distinct(&self) -> Distinct {
        Distinct::ByDraw
    }

    fn row(&self, draw: &mut Draw) -> Option<Vec<Value>> {
        let weights = normal(&mut draw.generator, self.dims);
        let points: Vec<(Vec<f32>, f32)> = (0..self.points).map(|_| self.point(&weights, draw)).collect();
        let target = points.last().map(|(_, y)| f64::from(*y));
        let pair = |(place, (x, y)): (usize, &(Vec<f32>, f32))| {
            // The last y is the one to predict.
            let known = if place + 1 < self.points { *y } else { 0.0 };
            Value::vector(x.iter().copied().chain([known]).collect::<Vec<_>>())
        };
        let mut row = vec![
            Value::Series(points.iter().map(|(x, _)| Value::vector(x.clone())).collect()),
            Value::Series(points.iter().map(|(_, y)| Value::Number(f64::from(*y))).collect()),
            Value::vector(weights),
            Value::Series(points.iter().enumerate().map(pair).collect()),
            target.map_or(Value::Missing, Value::Number),
        ];
        row.extend(self.estimates(&points));
        Some(row)
    }

    fn steps(&self) -> usize {
        self.points
    }
}

impl Regression {
    /// The predictions of least squares, ridge regression and the nearest points at each step, and of one step of gradient
    /// descent at the last.
    fn estimates(&self, points: &[(Vec<f32>, f32)]) -> [Value; 4] {
        let wide = |(x, y): &(Vec<f32>, f32)| (x.iter().copied().map(f64::from).collect(), f64::from(*y));
        let points: Vec<(Vec<f64>, f64)> = points.iter().map(wide).collect();
        let by_steps = |penalty: f64| {
            let mut estimate = Ridge::new(self.dims, penalty);
            let predict = |(x, y): &(Vec<f64>, f64)| {
                let predicted = estimate.predict(x);
                estimate.add(x, *y);
                Value::Number(predicted)
            };
            Value::Series(points.iter().map(predict).collect())
        };
        let nearest_mean =
            |(place, (x, _)): (usize, &(Vec<f64>, f64))| Value::Number(nearest(&points[..place], x, NEAREST));
        let last = points.split_last().map_or(0.0, |((x, _), before)| {
            one_step(before, x, self.inputs.moments(self.dims).best_rate(before.len(), self.noise))
        });
        [
            by_steps(0.0),
            by_steps(self.ridge.unwrap_or(self.noise * self.noise)),
            Value::Series(points.iter().enumerate().map(nearest_mean).collect()),
            Value::Number(last),
        ]
    }

    fn point(&self, weights: &[f32], draw: &mut Draw) -> (Vec<f32>, f32) {
        let x = match self.inputs {
            Inputs::Normal => normal(&mut draw.generator, self.dims),
            Inputs::Uniform => {
                (0..self.dims).map(|_| (2.0 * uniform(&mut draw.generator) - 1.0) as f32).collect()
            }
        };
        let product = x.iter().zip(weights).fold(0.0, |sum, (x, w)| sum + f64::from(*x) * f64::from(*w));
        let noise = if self.noise > 0.0 { f64::from(normal(&mut draw.generator, 1)[0]) } else { 0.0 };
        (x, (product + self.noise * noise) as f32)
    }
}
