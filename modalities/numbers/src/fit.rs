//! Mean, deviation, scale and number of ids, from the values of the training rows.

use crate::{NumbersConfig, NumbersSettings, OneOrAll};
use smalti_contract::{TokenizeError, Value, Values};

/// The most values that are read.
const FIT_ON: usize = 100_000;

/// Sums over a column, in `f64` around its first number, so that a large offset costs no precision.
#[derive(Clone, Copy, Default)]
struct Column {
    first: f64,
    n: f64,
    sum: f64,
    squares: f64,
    largest: f64,
}

impl Column {
    fn add(&mut self, number: f32) {
        let number = f64::from(number);
        if self.n == 0.0 {
            self.first = number;
        }
        let apart = number - self.first;
        (self.n, self.sum, self.squares) = (self.n + 1.0, self.sum + apart, self.squares + apart * apart);
        self.largest = self.largest.max(number.abs());
    }

    /// Mean and deviation. A column that never changes, but for rounding, has a deviation of 1.
    fn moments(&self) -> (f32, f32) {
        if self.n == 0.0 {
            return (0.0, 1.0);
        }
        let apart = self.sum / self.n;
        let std = (self.squares / self.n - apart * apart).max(0.0).sqrt();
        let constant = std <= 1e-6 * self.largest || (std as f32) == 0.0;
        ((self.first + apart) as f32, if constant { 1.0 } else { std as f32 })
    }
}

/// The configuration that settings become on these values.
pub(crate) fn fit(settings: NumbersSettings, values: &dyn Values) -> Result<NumbersConfig, TokenizeError> {
    let refuse = |problem: String| TokenizeError::Config { tokenizer: "numbers", problem };
    let (mut columns, mut missing): (Vec<Column>, bool) = (vec![], false);
    for value in values.spread(FIT_ON) {
        let value = value?;
        if value == Value::Missing {
            continue;
        }
        let numbers = value.into_numbers()?;
        if columns.is_empty() {
            columns = vec![Column::default(); numbers.len()];
        }
        if numbers.len() != columns.len() {
            let (first, found) = (columns.len(), numbers.len());
            return Err(refuse(format!("expected {first} numbers, as in the first value; found {found}")));
        }
        for (column, &number) in columns.iter_mut().zip(&numbers) {
            match number {
                number if number.is_nan() => missing = true,
                number if number.is_infinite() => {
                    return Err(TokenizeError::Input(format!("expected finite numbers; found {number}")));
                }
                number => column.add(number),
            }
        }
    }
    if columns.iter().all(|column| column.n == 0.0) {
        return Err(refuse("expected numbers to fit to; every row's value is missing".into()));
    }
    let (mean, std) = scaling(&settings, &columns).map_err(refuse)?;
    let largest = columns.iter().map(|column| column.largest).fold(0.0, f64::max);
    let n_ids = settings.ids.then(|| if settings.n_ids > 0 { settings.n_ids } else { largest as usize + 1 });
    let NumbersSettings { tokens, mu_law, noise, .. } = settings;
    Ok(NumbersConfig { tokens, mean, std, missing, n_ids, mu_law, noise })
}

/// The mean and the deviation of each column: as they are set, or as they are measured.
fn scaling(settings: &NumbersSettings, columns: &[Column]) -> Result<(Vec<f32>, Vec<f32>), String> {
    let n = columns.len();
    let given = |name: &str, value: &Option<OneOrAll>, otherwise: Vec<f32>| match value {
        None => Ok(otherwise),
        Some(OneOrAll::One(number)) => Ok(vec![*number; n]),
        Some(OneOrAll::All(numbers)) if numbers.len() == n => Ok(numbers.clone()),
        Some(OneOrAll::All(numbers)) => Err(format!("{name} has {} numbers; a value has {n}", numbers.len())),
    };
    if let Some(scale) = settings.scale {
        if settings.mean.is_some() || settings.std.is_some() {
            return Err("scale stands in place of mean and std; leave either out".into());
        }
        let largest = columns.iter().map(|column| column.largest).fold(0.0, f64::max) as f32;
        let by = if scale == 0.0 { if largest > 0.0 { largest } else { 1.0 } } else { scale };
        if !(by > 0.0 && by.is_finite()) {
            return Err(format!("scale is {scale}; it must be positive, or 0 for the largest magnitude"));
        }
        return Ok((vec![0.0; n], vec![by; n]));
    }
    let (mean, std) = match settings.normalize && !settings.ids {
        true => columns.iter().map(Column::moments).unzip(),
        false => (vec![0.0; n], vec![1.0; n]),
    };
    Ok((given("mean", &settings.mean, mean)?, given("std", &settings.std, std)?))
}
