//! Fitting settings to the values of the training rows.

use crate::columns::Column;
use crate::settings::{Form, NumbersSettings, TokensPer};
use crate::tokenizer::{read_id, read_numbers};
use crate::{NumberContent, NumbersConfig, NumbersTokenizer};
use smalti_contract::{TokenizeError, Tokenizer, Value, Values};

/// The maximal number of values that a configuration is fitted to; ids are counted over all values.
const FIT_ON: usize = 100_000;

/// The exclusive bound of fitted ids, because one large number would need a huge embedding table. `n_ids` may be
/// larger.
pub const MAX_FITTED_IDS: usize = 65_536;

impl NumbersSettings {
    /// See [`NumbersTokenizer::fit`](Tokenizer::fit).
    pub(crate) fn fit(
        &self,
        before: Option<NumbersConfig>,
        values: &dyn Values,
    ) -> Result<NumbersConfig, TokenizeError> {
        let form = self.form().map_err(config_error)?;
        let before = before.filter(|before| form.of(before.content));
        let known_ids = self.n_ids.or(before.as_ref().and_then(|before| before.content.n_ids()));
        let most = if form == Form::Ids && known_ids.is_none() { usize::MAX } else { FIT_ON };
        let found = Found::of(values, most, form == Form::Ids)?;
        let before = before.filter(|before| before.dim() == found.columns.len());
        let content = match form {
            Form::Features(TokensPer::One) => NumberContent::One,
            Form::Features(TokensPer::Each) => NumberContent::Each,
            Form::Ids => NumberContent::Ids { n_ids: found.n_ids(known_ids)? },
            Form::MuLaw(law) => NumberContent::MuLaw(law),
            Form::Bins(bins) => NumberContent::Bins(bins),
        };
        let (mean, std) = self.statistics(form, before.as_ref(), &found.columns).map_err(config_error)?;
        let fitted = before.map_or(found.missing, |before| before.missing_indicators);
        let missing_indicators = content == NumberContent::One && self.missing_indicators.unwrap_or(fitted);
        let config = NumbersConfig { content, mean, std, missing_indicators, noise: self.noise };
        config.check().map_err(config_error)?;
        Ok(config)
    }

    /// The offset and the divisor of each column.
    fn statistics(
        &self,
        form: Form,
        before: Option<&NumbersConfig>,
        columns: &[Column],
    ) -> Result<(Vec<f64>, Vec<f64>), String> {
        let dim = columns.len();
        let of = |statistic: fn(&Column) -> f64| columns.iter().map(statistic).collect::<Vec<f64>>();
        match (form, self.scale) {
            (Form::Ids, _) => Ok((vec![0.0; dim], vec![1.0; dim])),
            (Form::Bins(_), _) => self.ends(before, columns),
            (_, Some(0.0)) => {
                let largest = columns.iter().map(Column::magnitude).fold(0.0, f64::max);
                let fitted = vec![if largest > 0.0 { largest } else { 1.0 }; dim];
                let scaled = before.filter(|before| before.mean.iter().all(|&mean| mean == 0.0));
                Ok((vec![0.0; dim], scaled.map_or(fitted, |before| before.std.clone())))
            }
            (_, Some(scale)) => Ok((vec![0.0; dim], vec![scale; dim])),
            _ if self.normalize == Some(false) => Ok((vec![0.0; dim], vec![1.0; dim])),
            _ => {
                let (mean, std) = match before {
                    Some(before) => (before.mean.clone(), before.std.clone()),
                    None => (of(Column::mean), of(Column::std)),
                };
                let mean = self.mean.as_ref().map_or(Ok(mean), |given| given.columns("mean", dim))?;
                let std = self.std.as_ref().map_or(Ok(std), |given| given.columns("std", dim))?;
                Ok((mean, std))
            }
        }
    }

    /// The midpoint of the ends of the bins, and half their distance.
    fn ends(
        &self,
        before: Option<&NumbersConfig>,
        columns: &[Column],
    ) -> Result<(Vec<f64>, Vec<f64>), String> {
        let (middle, half): (Vec<f64>, Vec<f64>) = match before {
            Some(before) => (before.mean.clone(), before.std.clone()),
            None => columns.iter().map(|column| (column.middle(), column.half_range())).unzip(),
        };
        if self.low.is_none() && self.high.is_none() {
            return Ok((middle, half));
        }
        let end = |name, given: &Option<crate::OneOrAll>, sign: f64| match given {
            Some(given) => given.columns(name, columns.len()),
            None => Ok(middle.iter().zip(&half).map(|(middle, half)| middle + sign * half).collect()),
        };
        let (low, high) = (end("low", &self.low, -1.0)?, end("high", &self.high, 1.0)?);
        if let Some((low, high)) = low.iter().zip(&high).find(|(low, high)| low >= high) {
            return Err(format!("expected low below high in each column; found {low} and {high}"));
        }
        Ok(low.iter().zip(&high).map(|(low, high)| (low / 2.0 + high / 2.0, high / 2.0 - low / 2.0)).unzip())
    }
}

impl Form {
    /// Whether a configuration of this form can keep the statistics of one with `content`.
    fn of(self, content: NumberContent) -> bool {
        match self {
            Form::Features(_) => matches!(content, NumberContent::One | NumberContent::Each),
            Form::Ids => content.n_ids().is_some(),
            Form::MuLaw(_) => matches!(content, NumberContent::MuLaw(_)),
            Form::Bins(_) => matches!(content, NumberContent::Bins(_)),
        }
    }
}

impl NumberContent {
    fn n_ids(self) -> Option<usize> {
        match self {
            NumberContent::Ids { n_ids } => Some(n_ids),
            _ => None,
        }
    }
}

/// The place in a stretch of values, another one in each: if rows have as many time steps as a stretch has values, the first of
/// each would always be the first step of a row, which may lack a value.
fn within(stretch: usize, length: usize) -> usize {
    // Multiplicative hashing (Knuth, The Art of Computer Programming, 6.4).
    ((stretch as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32) as usize % length
}

/// Statistics of the training values.
struct Found {
    columns: Vec<Column>,
    /// Whether a value has a missing number.
    missing: bool,
    /// The largest id and the index of its value.
    largest: Option<(u32, usize)>,
}

impl Found {
    /// Read at most `most` values, one from each of as many equal stretches.
    fn of(values: &dyn Values, most: usize, ids: bool) -> Result<Self, TokenizeError> {
        let every = values.len().div_ceil(most).max(1);
        let mut found: Option<(Self, usize)> = None;
        for start in (0..values.len()).step_by(every) {
            let place = (start + within(start / every, every)).min(values.len() - 1);
            let located = |e: TokenizeError| TokenizeError::Input(format!("value {place}: {e}"));
            let value = values.get(place)?;
            if value == Value::Missing {
                continue;
            }
            // Arrays are in single precision.
            let epsilon = if matches!(value, Value::Array(_)) { f32::EPSILON.into() } else { f64::EPSILON };
            let numbers = read_numbers(value).map_err(located)?;
            let (found, first) = found.get_or_insert_with(|| (Self::new(numbers.len()), place));
            let (expected, length) = (found.columns.len(), numbers.len());
            if expected != length {
                let problem = format!(
                    "expected {expected} numbers, as in value {first}; found {length}. Values of \
                             different lengths can be a series, or several fields"
                );
                return Err(located(TokenizeError::Input(problem)));
            }
            found.add(&numbers, epsilon);
            if ids {
                found.add_ids(&numbers, place).map_err(located)?;
            }
        }
        found.map(|(found, _)| found).ok_or_else(|| {
            TokenizeError::Input(format!(
                "expected numbers in at least one value; found nothing in {} values",
                values.len()
            ))
        })
    }

    fn new(dim: usize) -> Self {
        Self { columns: vec![Column::EMPTY; dim], missing: false, largest: None }
    }

    fn add(&mut self, numbers: &[f64], epsilon: f64) {
        for (column, &number) in self.columns.iter_mut().zip(numbers) {
            if number.is_nan() {
                self.missing = true;
            } else {
                column.add(number, epsilon);
            }
        }
    }

    fn add_ids(&mut self, numbers: &[f64], place: usize) -> Result<(), TokenizeError> {
        for (at, &number) in numbers.iter().enumerate().filter(|(_, number)| !number.is_nan()) {
            let id = read_id(at, number, u32::MAX as usize)?;
            if self.largest.is_none_or(|(largest, _)| largest < id) {
                self.largest = Some((id, place));
            }
        }
        Ok(())
    }

    /// The number of ids: the known one, or the largest id plus 1.
    fn n_ids(&self, known: Option<usize>) -> Result<usize, TokenizeError> {
        let (largest, place) = self.largest.map_or((0, 0), |(id, place)| (id as usize, place));
        match known {
            Some(n_ids) if largest < n_ids => Ok(n_ids),
            Some(n_ids) => Err(config_error(format!(
                "expected ids below n_ids = {n_ids}; found {largest} in value {place}"
            ))),
            None if largest < MAX_FITTED_IDS => Ok(largest + 1),
            None => Err(config_error(format!(
                "expected ids below {MAX_FITTED_IDS}; found {largest} in value {place}. If it is an id, set n_ids"
            ))),
        }
    }
}

pub(crate) fn config_error(problem: String) -> TokenizeError {
    TokenizeError::Config { tokenizer: NumbersTokenizer::NAME, problem }
}
