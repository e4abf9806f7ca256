//! Bounds: what must hold of the measures.

use serde::{Deserialize, Serialize};

/// `[[bounds]]`: one of `measure`, `ratio`, `difference`, `order` and `slope`, and how large it may be.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bound {
    /// A measure.
    pub measure: Option<String>,
    /// The first measure divided by the second.
    pub ratio: Option<[String; 2]>,
    /// The first measure minus the second.
    pub difference: Option<[String; 2]>,
    /// Measures from the smallest to the largest.
    pub order: Option<Vec<String>>,
    /// The slope of the logarithm of a swept measure over the logarithm of the swept setting: 1 if it grows linearly.
    pub slope: Option<String>,
    /// The smallest value.
    pub at_least: Option<f64>,
    /// The largest value.
    pub at_most: Option<f64>,
    /// Whether it must hold for each seed, and not only for the means.
    #[serde(default)]
    pub each_seed: bool,
}

/// A bound and the values that were measured.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Judged {
    /// What is bounded: `cpu.loss`, `a.loss / b.loss`.
    pub what: String,
    /// How: `at most 1.8`.
    pub wanted: String,
    /// The values, one for each seed if it must hold for each; of an order, those of all its measures.
    pub found: Vec<f64>,
    /// Whether it holds; `None` if a measure is missing, and for a quick check, which claims nothing.
    pub passed: Option<bool>,
}

/// What a bound needs to know of the measures.
pub(super) trait Measured {
    /// The value of a measure, for a seed or as the mean over seeds.
    fn value(&self, name: &str, seed: Option<usize>) -> Option<f64>;
    /// The swept values of a setting with the values of the measure.
    fn series(&self, name: &str, seed: Option<usize>) -> Vec<(f64, f64)>;
    /// The number of seeds.
    fn seeds(&self) -> usize;
}

impl Bound {
    /// The measures that it names.
    pub(super) fn measures(&self) -> Vec<&String> {
        let pairs = self.ratio.iter().chain(&self.difference).flatten();
        let one = self.measure.iter().chain(&self.slope);
        one.chain(pairs).chain(self.order.iter().flatten()).collect()
    }

    /// The problem of the bound, if it has one.
    pub(super) fn check(&self) -> Result<(), String> {
        let pairs = usize::from(self.ratio.is_some()) + usize::from(self.difference.is_some());
        let kinds = [&self.measure, &self.slope].into_iter().flatten().count() + pairs;
        match (kinds, self.order.as_ref().map(Vec::len), self.at_least.or(self.at_most)) {
            (1, None, Some(_)) | (0, Some(2..), None) => Ok(()),
            (1, None, None) => Err("expected at_least or at_most; found neither".into()),
            (0, Some(0 | 1), _) => Err("order: expected two measures or more".into()),
            (0, Some(_), Some(_)) => Err("order: expected no at_least and no at_most".into()),
            _ => Err("expected one of measure, ratio, difference, order and slope".into()),
        }
    }

    /// The bound with the values that were measured.
    pub(super) fn judge(&self, measured: &dyn Measured) -> Judged {
        let seeds: Vec<Option<usize>> = match self.each_seed {
            true => (0..measured.seeds()).map(Some).collect(),
            false => vec![None],
        };
        let (mut found, mut passed) = (vec![], Some(true));
        for seed in seeds {
            let values = self.values(measured, seed);
            let holds = values.as_ref().map(|values| self.holds(values));
            passed = passed.zip(holds).map(|(all, one)| all && one);
            found.extend(values.unwrap_or_else(|| vec![f64::NAN]));
        }
        Judged { what: self.what(), wanted: self.wanted(), found, passed }
    }

    /// The bounded value, or the values of an order; `None` if a measure is missing.
    fn values(&self, measured: &dyn Measured, seed: Option<usize>) -> Option<Vec<f64>> {
        let value = |name: &String| measured.value(name, seed);
        let pair = |[a, b]: &[String; 2]| Some((value(a)?, value(b)?));
        if let Some(order) = &self.order {
            return order.iter().map(value).collect();
        }
        let one = match (&self.measure, &self.ratio, &self.difference, &self.slope) {
            (Some(name), ..) => value(name)?,
            (_, Some(names), ..) => pair(names).map(|(a, b)| a / b)?,
            (_, _, Some(names), _) => pair(names).map(|(a, b)| a - b)?,
            (_, _, _, Some(name)) => slope(&measured.series(name, seed))?,
            _ => return None,
        };
        Some(vec![one])
    }

    /// Not a number is in no order and within no bound.
    fn holds(&self, values: &[f64]) -> bool {
        match (&self.order, values) {
            (Some(_), values) => values.windows(2).all(|pair| pair[0] < pair[1]),
            (None, [value]) => {
                !value.is_nan()
                    && self.at_least.is_none_or(|least| *value >= least)
                    && self.at_most.is_none_or(|most| *value <= most)
            }
            (None, _) => false,
        }
    }

    fn what(&self) -> String {
        match (&self.measure, &self.ratio, &self.difference, &self.slope, &self.order) {
            (Some(name), ..) => name.clone(),
            (_, Some([a, b]), ..) => format!("{a} / {b}"),
            (_, _, Some([a, b]), ..) => format!("{a} − {b}"),
            (_, _, _, Some(name), _) => format!("log-log slope of {name}"),
            (.., Some(order)) => order.join(" < "),
            _ => String::new(),
        }
    }

    fn wanted(&self) -> String {
        let least = self.at_least.map(|least| format!("at least {least}"));
        let most = self.at_most.map(|most| format!("at most {most}"));
        let order = self.order.as_ref().map(|_| "in this order".to_string());
        let each = self.each_seed.then(|| "for each seed".to_string());
        least.into_iter().chain(most).chain(order).chain(each).collect::<Vec<_>>().join(", ")
    }
}

/// The slope of the line of least squares through the logarithms of points; `None` for fewer than two.
fn slope(points: &[(f64, f64)]) -> Option<f64> {
    let n = points.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(|point| of(point).ln()).sum::<f64>() / n;
    let (x, y) = (mean(|point| point.0), mean(|point| point.1));
    let products = points.iter().map(|(a, b)| ((a.ln() - x) * (b.ln() - y), (a.ln() - x).powi(2)));
    let (product, square) = products.fold((0.0, 0.0), |(p, s), (a, b)| (p + a, s + b));
    (points.len() > 1 && square > 0.0).then(|| product / square)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slope_is_the_exponent_of_growth() {
        let squares: Vec<(f64, f64)> = [1.0, 2.0, 4.0, 16.0].map(|x| (x, 3.0 * x * x)).to_vec();
        assert!((slope(&squares).unwrap() - 2.0).abs() < 1e-12);
        assert_eq!(slope(&squares[..1]), None);
    }

    #[test]
    fn a_bound_is_of_one_kind() {
        let bound = |text: &str| toml::from_str::<Bound>(text).unwrap().check();
        assert!(bound("measure = \"a.b\"\nat_most = 1.0").is_ok());
        assert!(bound("order = [\"a.b\", \"c.d\"]").is_ok());
        for text in ["at_most = 1.0", "measure = \"a.b\"", "order = [\"a.b\"]", "order = []\nslope = \"a.b\""]
        {
            assert!(bound(text).is_err(), "{text}");
        }
    }
}
