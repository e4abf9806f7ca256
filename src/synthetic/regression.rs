//! Linear functions to learn in context: points of a function that is drawn anew for each row.

use super::kind::{Distinct, Draw, Kind, Rows};
use super::{Sizes, SyntheticError, setting};
use crate::random::{normal, uniform};
use serde::Deserialize;
use smalti_contract::Value;

/// Points of a linear function y = w·x + noise, in which w is drawn anew for each row.
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

impl Default for Regression {
    fn default() -> Self {
        Self { points: 11, dims: 5, noise: 0.0, inputs: Inputs::Normal }
    }
}

impl Kind for Regression {
    const NAME: &'static str = "regression";
    const ABOUT: &'static str =
        "points of a linear function that is drawn anew for each row, to learn in context";
    const PAPER: &'static str = "Garg et al. 2022; von Oswald et al. 2022 for `pairs` and `target`";
    const FIELDS: &'static [&'static str] = &["x", "y", "weights", "pairs", "target"];

    fn open(self, _: &Sizes) -> Result<Box<dyn Rows>, SyntheticError> {
        if !(0.0..=1e6).contains(&self.noise) {
            return Err(setting(Self::NAME, "noise", "a number from 0 to 1000000", self.noise));
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
        Some(vec![
            Value::Series(points.iter().map(|(x, _)| Value::vector(x.clone())).collect()),
            Value::Series(points.iter().map(|(_, y)| Value::Number(f64::from(*y))).collect()),
            Value::vector(weights),
            Value::Series(points.iter().enumerate().map(pair).collect()),
            target.map_or(Value::Missing, Value::Number),
        ])
    }

    fn steps(&self) -> usize {
        self.points
    }
}

impl Regression {
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
