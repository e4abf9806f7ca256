//! The tokenizer: numbers to tokens and back.

use crate::fit::config_error;
use crate::mu_law::{bin, centre};
use crate::{NumberContent, NumbersConfig, NumbersSettings};
use rand::SeedableRng;
use rand_distr::{Distribution, StandardNormal};
use rand_pcg::Pcg64Mcg;
use smalti_contract::{
    Axis, Content, ContentSpec, Group, KindSpec, TokenSpec, TokenizeError, Tokenizer, Tokens, Value, Values,
};

/// Tokenizes the numbers of a value as tokens of the kind `number`.
///
/// | settings | tokens of a value of `dim` numbers | content |
/// | --- | --- | --- |
/// | – | 1 | `dim` features `(x - mean) / std`, then, with `missing_indicators`, `dim` of 0 or 1 |
/// | `tokens = "each"` | 1 for each number | one feature `(x - mean) / std` |
/// | `ids = true` | 1 for each number | the number itself as an id |
/// | `mu_law = {}` | 1 for each number | the bin of `(x - mean) / std` after μ-law companding: [`MuLaw`](crate::MuLaw) |
/// | `bins = 256` | 1 for each number | its bin, from `low` to `high` |
///
/// If a value has more than one number and each is a token, tokens have the axis `element`.
///
/// NaN is a missing number. In one token its feature is 0 (the mean, if numbers are normalised) and its indicator 1;
/// otherwise it has no token.
///
/// [`decode`](Tokenizer::decode) is the inverse up to rounding of features to single precision, with three exceptions:
/// a number in a bin is decoded as the bin's centre, a number beyond the bins as the centre of the last bin, and a
/// missing number of one token without indicators as the mean.
pub struct NumbersTokenizer {
    config: NumbersConfig,
    spec: TokenSpec,
}

impl Tokenizer for NumbersTokenizer {
    const NAME: &'static str = "numbers";
    type Settings = NumbersSettings;
    type Config = NumbersConfig;
    /// `[dim]` numbers; NaN for a missing one.
    type Raw = Vec<f64>;

    /// Fits the mean, standard deviation and ends of each column to at most 100,000 values, spread evenly, and the
    /// number of ids to all values. Keeps the statistics of `before` if the content of tokens and the number of columns
    /// are the same.
    ///
    /// # Errors
    /// If settings exclude each other, values have different lengths, a number is infinite, an id is not a whole number
    /// below `n_ids`, or all values are missing.
    fn fit(
        settings: NumbersSettings,
        before: Option<NumbersConfig>,
        values: &dyn Values,
    ) -> Result<NumbersConfig, TokenizeError> {
        settings.fit(before, values)
    }

    fn settings_schema() -> serde_json::Value {
        schemars::schema_for!(NumbersSettings).into()
    }

    fn new(config: NumbersConfig) -> Result<Self, TokenizeError> {
        config.check().map_err(config_error)?;
        let dim = config.dim();
        let content = match config.content {
            NumberContent::One if config.missing_indicators => ContentSpec::Features { dim: 2 * dim },
            NumberContent::One => ContentSpec::Features { dim },
            NumberContent::Each => ContentSpec::Features { dim: 1 },
            NumberContent::Ids { n_ids } => ContentSpec::Ids { vocabulary: n_ids },
            NumberContent::MuLaw(law) => ContentSpec::Ids { vocabulary: law.bins },
            NumberContent::Bins(bins) => ContentSpec::Ids { vocabulary: bins },
        };
        let several_positions = dim > 1 && config.content != NumberContent::One;
        let axes = if several_positions { vec![Axis::new("element", dim)] } else { vec![] };
        let spec = TokenSpec::single(KindSpec { name: "number".into(), content, axes, time_steps: None });
        Ok(Self { config, spec })
    }

    fn config(&self) -> &NumbersConfig {
        &self.config
    }

    fn spec(&self) -> &TokenSpec {
        &self.spec
    }

    fn width(&self) -> Option<usize> {
        Some(self.config.dim())
    }

    /// The numbers of a number, an array, or a text (or text file) that contains a number.
    fn read(&self, value: Value) -> Result<Vec<f64>, TokenizeError> {
        read_numbers(value)
    }

    /// A number, or an array `[dim]`; missing if every number is.
    fn write(&self, raw: Vec<f64>) -> Result<Value, TokenizeError> {
        Ok(match raw[..] {
            _ if raw.iter().all(|number| number.is_nan()) => Value::Missing,
            [number] => Value::Number(number),
            _ => Value::vector(raw.into_iter().map(|number| number as f32).collect::<Vec<_>>()),
        })
    }

    fn varies(&self) -> bool {
        self.config.noise > 0.0
    }

    /// Add noise of `noise` standard deviations to each number.
    fn augment(&self, mut raw: Vec<f64>, seed: u64) -> Vec<f64> {
        if self.config.noise > 0.0 {
            let mut rng = Pcg64Mcg::seed_from_u64(seed);
            for (number, std) in raw.iter_mut().zip(&self.config.std) {
                let noise: f64 = StandardNormal.sample(&mut rng);
                *number += noise * self.config.noise * std;
            }
        }
        raw
    }

    fn encode(&self, raw: &Vec<f64>) -> Result<Tokens, TokenizeError> {
        let dim = self.config.dim();
        if raw.len() != dim {
            return Err(TokenizeError::Input(format!("expected {dim} numbers; found {}", raw.len())));
        }
        check_finite(raw)?;
        let group = match self.config.content {
            NumberContent::One => self.one(raw),
            content => self.each(content, raw)?,
        };
        let tokens = Tokens::new(vec![group]);
        self.spec.check(&tokens)?;
        Ok(tokens)
    }

    fn decode(&self, tokens: &Tokens) -> Result<Vec<f64>, TokenizeError> {
        self.spec.check(tokens)?;
        let (group, dim) = (&tokens.groups[0], self.config.dim());
        let mut numbers = vec![f64::NAN; dim];
        if self.config.content == NumberContent::One {
            let (1, Some(features)) = (group.len(), group.content.features()) else {
                return Err(TokenizeError::Input(format!("expected 1 token; found {}", group.len())));
            };
            let (features, missing) = features.split_at(dim);
            for (column, &feature) in features.iter().enumerate() {
                if missing.get(column).is_none_or(|&missing| missing < 0.5) {
                    numbers[column] = self.scaled(column, f64::from(feature));
                }
            }
            return Ok(numbers);
        }
        for token in 0..group.len() {
            let column = group.positions.get(token).map_or(0, |&column| column as usize);
            if !numbers[column].is_nan() {
                return Err(TokenizeError::Input(format!("expected 1 token of number {column}; found 2")));
            }
            numbers[column] = self.number(column, token, &group.content);
        }
        Ok(numbers)
    }
}

impl NumbersTokenizer {
    /// Normalise a number of a column.
    fn unit(&self, column: usize, number: f64) -> f64 {
        (number - self.config.mean[column]) / self.config.std[column]
    }

    /// The inverse of [`unit`](Self::unit).
    fn scaled(&self, column: usize, unit: f64) -> f64 {
        unit * self.config.std[column] + self.config.mean[column]
    }

    /// One token with all numbers.
    fn one(&self, raw: &[f64]) -> Group {
        let unit = |(column, &number): (usize, &f64)| match number.is_nan() {
            true => 0.0,
            false => self.unit(column, number) as f32,
        };
        let mut values: Vec<f32> = raw.iter().enumerate().map(unit).collect();
        if self.config.missing_indicators {
            values.extend(raw.iter().map(|number| f32::from(u8::from(number.is_nan()))));
        }
        let dim = values.len();
        Group { content: Content::Features { values, dim }, positions: vec![], order: vec![0], time: vec![0] }
    }

    /// One token for each number that is not missing.
    fn each(&self, content: NumberContent, raw: &[f64]) -> Result<Group, TokenizeError> {
        let present = || (0..raw.len()).filter(|&column| !raw[column].is_nan());
        let unit = |column: usize| self.unit(column, raw[column]);
        let content = match content {
            NumberContent::One | NumberContent::Each => {
                Content::Features { values: present().map(|column| unit(column) as f32).collect(), dim: 1 }
            }
            NumberContent::Ids { n_ids } => Content::Ids(
                present().map(|column| read_id(column, raw[column], n_ids)).collect::<Result<_, _>>()?,
            ),
            NumberContent::MuLaw(law) => {
                Content::Ids(present().map(|column| law.bin(law.compand(unit(column) as f32))).collect())
            }
            NumberContent::Bins(bins) => {
                Content::Ids(present().map(|column| bin(unit(column), bins)).collect())
            }
        };
        let places: Vec<u32> = (0..content.len() as u32).collect();
        let axes = &self.spec.kinds[0].axes;
        let positions =
            if axes.is_empty() { vec![] } else { present().map(|column| column as u32).collect() };
        Ok(Group { content, positions, order: places.clone(), time: places })
    }

    /// Decode the number of a token.
    fn number(&self, column: usize, token: usize, content: &Content) -> f64 {
        match (content, self.config.content) {
            (Content::Features { values, .. }, _) => self.scaled(column, f64::from(values[token])),
            (Content::Ids(ids), NumberContent::MuLaw(law)) => {
                self.scaled(column, f64::from(law.expand(law.centre(ids[token]))))
            }
            (Content::Ids(ids), NumberContent::Bins(bins)) => self.scaled(column, centre(ids[token], bins)),
            (Content::Ids(ids), _) => f64::from(ids[token]),
        }
    }
}

/// The numbers of a value, in double precision, because times in seconds since 1970 do not fit single precision.
pub(crate) fn read_numbers(value: Value) -> Result<Vec<f64>, TokenizeError> {
    let numbers = match value {
        Value::Number(number) => vec![number],
        Value::Array(array) => array.to_f32().into_iter().map(f64::from).collect(),
        Value::Text(_) | Value::File(_) => {
            let text = value.into_text()?;
            let invalid = |_| TokenizeError::Input(format!("expected a number; found the text {text:?}"));
            vec![text.trim().parse().map_err(invalid)?]
        }
        other => return Err(other.unexpected("a number or an array of numbers")),
    };
    if numbers.is_empty() {
        return Err(TokenizeError::Input("expected at least 1 number; found an empty array".into()));
    }
    check_finite(&numbers)?;
    Ok(numbers)
}

fn check_finite(numbers: &[f64]) -> Result<(), TokenizeError> {
    match numbers.iter().position(|number| number.is_infinite()) {
        None => Ok(()),
        Some(at) => Err(TokenizeError::Input(format!(
            "number {at}: expected a finite number, or NaN for a missing one; found {}",
            numbers[at]
        ))),
    }
}

/// Number `at` of a value as an id.
pub(crate) fn read_id(at: usize, number: f64, n_ids: usize) -> Result<u32, TokenizeError> {
    if number >= 0.0 && number < n_ids as f64 && number.fract() == 0.0 {
        return Ok(number as u32);
    }
    Err(TokenizeError::Input(format!(
        "number {at}: expected an id, a whole number from 0 to {}; found {number}",
        n_ids - 1
    )))
}
