//! The numbers tokenizer.

use crate::config::{NumbersConfig, NumbersSettings, TokensPer};
use crate::fit::fit;
use rand::SeedableRng;
use rand_distr::{Distribution, StandardNormal};
use rand_pcg::Pcg64Mcg;
use smalti_contract::{
    Axis, Content, ContentSpec, Group, KindSpec, TokenSpec, TokenizeError, Tokenizer, Tokens, Value, Values,
};

/// Turns vectors of numbers into tokens of kind `number`: one for the whole vector, or one for each number with its place on
/// the axis `element`.
///
/// | settings | a token holds |
/// | --- | --- |
/// | `tokens = "one"` | `dim` features `(x - mean) / std`; if training rows had missing numbers, `dim` more: 1 where one is missing |
/// | `tokens = "each"` | one feature; a missing number has no token |
/// | `ids` | the number itself as an id, a token for each |
/// | `mu_law` | the bin of `(x - mean) / std` as an id, a token for each |
///
/// [`decode`](Tokenizer::decode) is the inverse up to rounding in single precision; what was discretised comes back as the
/// centre of its bin, a missing number as NaN.
pub struct NumbersTokenizer {
    config: NumbersConfig,
    spec: TokenSpec,
}

impl NumbersTokenizer {
    /// Whether each number is a token.
    fn each(&self) -> bool {
        self.config.tokens == TokensPer::Each || self.vocabulary().is_some()
    }

    fn vocabulary(&self) -> Option<usize> {
        self.config.n_ids.or(self.config.mu_law.map(|law| law.bins))
    }

    fn normalised(&self, raw: &[f32]) -> Vec<f32> {
        let scales = self.config.mean.iter().zip(&self.config.std);
        raw.iter().zip(scales).map(|(x, (mean, std))| (x - mean) / std).collect()
    }

    fn original(&self, normalised: f32, element: usize) -> f32 {
        normalised * self.config.std[element] + self.config.mean[element]
    }

    /// The id of a number: itself, or its bin.
    fn id(&self, raw: f32, normalised: f32) -> Result<u32, TokenizeError> {
        match (self.config.n_ids, &self.config.mu_law) {
            (Some(n), _) if raw.fract() == 0.0 && raw >= 0.0 && (raw as usize) < n => Ok(raw as u32),
            (Some(n), _) => {
                Err(TokenizeError::Input(format!("expected a whole number from 0 to {}; found {raw}", n - 1)))
            }
            (None, Some(law)) => Ok(law.bin(law.compand(normalised))),
            (None, None) => Ok(0), // asked only for numbers that become ids
        }
    }

    /// One token for each number that is there.
    fn encode_each(&self, raw: &[f32]) -> Result<Group, TokenizeError> {
        let present: Vec<usize> = (0..raw.len()).filter(|&i| !raw[i].is_nan()).collect();
        let normalised = self.normalised(raw);
        let content = match self.vocabulary() {
            Some(_) => Content::Ids(
                present.iter().map(|&i| self.id(raw[i], normalised[i])).collect::<Result<_, _>>()?,
            ),
            None => Content::Features { values: present.iter().map(|&i| normalised[i]).collect(), dim: 1 },
        };
        let mut group = Group::sequence(content);
        group.positions = match self.spec.kinds[0].axes.is_empty() {
            true => vec![],
            false => present.iter().map(|&i| i as u32).collect(),
        };
        Ok(group)
    }

    fn encode_one(&self, raw: &[f32]) -> Group {
        let mut values: Vec<f32> =
            self.normalised(raw).iter().map(|x| if x.is_nan() { 0.0 } else { *x }).collect();
        if self.config.missing {
            values.extend(raw.iter().map(|x| f32::from(u8::from(x.is_nan()))));
        }
        let dim = values.len();
        let mut group = Group::sequence(Content::Features { values, dim });
        group.positions.clear();
        group
    }

    fn decode_each(&self, group: &Group) -> Vec<f32> {
        let mut raw = vec![f32::NAN; self.config.dim()];
        for token in 0..group.len() {
            let element = group.positions.get(token).map_or(0, |&place| place as usize);
            raw[element] = match &group.content {
                Content::Ids(ids) => match &self.config.mu_law {
                    Some(law) => self.original(law.expand(law.centre(ids[token])), element),
                    None => ids[token] as f32,
                },
                Content::Features { values, .. } => self.original(values[token], element),
            };
        }
        raw
    }
}

impl Tokenizer for NumbersTokenizer {
    const NAME: &'static str = "numbers";
    type Settings = NumbersSettings;
    type Config = NumbersConfig;
    type Raw = Vec<f32>;

    fn fit(
        settings: NumbersSettings,
        _before: Option<NumbersConfig>,
        values: &dyn Values,
    ) -> Result<NumbersConfig, TokenizeError> {
        fit(settings, values)
    }

    fn new(config: NumbersConfig) -> Result<Self, TokenizeError> {
        config.check().map_err(|problem| TokenizeError::Config { tokenizer: Self::NAME, problem })?;
        let mut tokenizer = Self { config, spec: TokenSpec { kinds: vec![] } };
        let config = &tokenizer.config;
        let each = tokenizer.each();
        let content = match (tokenizer.vocabulary(), each) {
            (Some(vocabulary), _) => ContentSpec::Ids { vocabulary },
            (None, true) => ContentSpec::Features { dim: 1 },
            (None, false) => ContentSpec::Features { dim: config.dim() * (1 + usize::from(config.missing)) },
        };
        let axes = if each && config.dim() > 1 { vec![Axis::new("element", config.dim())] } else { vec![] };
        tokenizer.spec =
            TokenSpec::single(KindSpec { name: "number".into(), content, axes, time_steps: None });
        Ok(tokenizer)
    }

    fn config(&self) -> &NumbersConfig {
        &self.config
    }

    fn spec(&self) -> &TokenSpec {
        &self.spec
    }

    /// A number, a text that is one, or an array; NaN for a number that is missing.
    fn read(&self, value: Value) -> Result<Vec<f32>, TokenizeError> {
        value.into_numbers()
    }

    /// A number if there is one, else a vector.
    fn write(&self, raw: Vec<f32>) -> Result<Value, TokenizeError> {
        Ok(match raw[..] {
            [number] if number.is_nan() => Value::Missing,
            [number] => Value::Number(f64::from(number)),
            _ => Value::vector(raw),
        })
    }

    /// Adds noise, as the settings say; ids stay as they are.
    fn augment(&self, mut raw: Vec<f32>, seed: u64) -> Vec<f32> {
        if self.config.noise > 0.0 && self.config.n_ids.is_none() {
            let mut generator = Pcg64Mcg::seed_from_u64(seed);
            for (x, std) in raw.iter_mut().zip(&self.config.std) {
                let noise: f32 = StandardNormal.sample(&mut generator);
                *x += self.config.noise * std * noise;
            }
        }
        raw
    }

    fn encode(&self, raw: &Vec<f32>) -> Result<Tokens, TokenizeError> {
        if raw.len() != self.config.dim() {
            let (expected, found) = (self.config.dim(), raw.len());
            return Err(TokenizeError::Input(format!(
                "expected {expected} numbers, as in training; found {found}"
            )));
        }
        if let Some(number) = raw.iter().find(|number| number.is_infinite()) {
            return Err(TokenizeError::Input(format!("expected finite numbers; found {number}")));
        }
        let group = if self.each() { self.encode_each(raw)? } else { self.encode_one(raw) };
        let tokens = Tokens::new(vec![group]);
        self.spec.check(&tokens)?;
        Ok(tokens)
    }

    fn decode(&self, tokens: &Tokens) -> Result<Vec<f32>, TokenizeError> {
        self.spec.check(tokens)?;
        let group = &tokens.groups[0];
        if self.each() {
            return Ok(self.decode_each(group));
        }
        let values = group.content.features().unwrap_or_default();
        let (numbers, missing) = values.split_at(self.config.dim().min(values.len()));
        let number = |(element, &x): (usize, &f32)| match missing.get(element) {
            Some(&missing) if missing > 0.5 => f32::NAN,
            _ => self.original(x, element),
        };
        Ok(numbers.iter().enumerate().map(number).collect())
    }
}
