//! The number settings that a user writes.

use crate::MuLaw;
use serde::{Deserialize, Serialize};

/// The settings of numbers: the keys of an input or output in `run.toml`. Missing settings are fitted to the training
/// values.
///
/// A value is a number, an array of numbers (of any shape) or a text that contains a number; all values have the same
/// number of elements, the columns. NaN is a missing number.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct NumbersSettings {
    /// One token with all numbers (`"one"`, the default), or one token with one feature for each number (`"each"`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens: Option<TokensPer>,
    /// Subtract each column's mean and divide by its standard deviation, by 1 if the column never changes but for rounding.
    /// Default: true without a `scale`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub normalize: Option<bool>,
    /// The mean of each column, or one number for all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mean: Option<OneOrAll>,
    /// The standard deviation of each column, or one number for all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub std: Option<OneOrAll>,
    /// Divide by this number, without subtracting a mean; 0 divides by the maximal magnitude.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scale: Option<f64>,
    /// The numbers are ids: discrete actions, levels, codes.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub ids: bool,
    /// The number of ids. Default: the largest id plus 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub n_ids: Option<usize>,
    /// Discretise each number by μ-law companding and uniform bins, as in Gato (Reed et al. 2022).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mu_law: Option<MuLaw>,
    /// Discretise each number by this many uniform bins from `low` to `high`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bins: Option<usize>,
    /// The lower end of the bins of each column, or one number for all; smaller numbers are clipped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub low: Option<OneOrAll>,
    /// The upper end of the bins of each column, or one number for all; larger numbers are clipped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub high: Option<OneOrAll>,
    /// Append to the token a feature for each column that is 1 if its number is missing. Default: true if a training
    /// value has a missing number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub missing_indicators: Option<bool>,
    /// Standard deviation of the noise added to each number in training, in units of its divisor.
    #[serde(skip_serializing_if = "is_zero")]
    pub noise: f64,
}

/// The tokens of a value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TokensPer {
    /// One token with all numbers.
    #[default]
    One,
    /// One token for each number.
    Each,
}

/// One number for all columns, or one for each column.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(untagged)]
pub enum OneOrAll {
    /// One number for all columns.
    One(f64),
    /// A number for each column.
    All(Vec<f64>),
}

#[allow(clippy::trivially_copy_pass_by_ref)] // the signature that serde requires
fn is_zero(noise: &f64) -> bool {
    *noise == 0.0
}

/// The content of tokens, before the fit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Form {
    Features(TokensPer),
    Ids,
    MuLaw(MuLaw),
    Bins(usize),
}

impl NumbersSettings {
    /// The content of tokens.
    ///
    /// # Errors
    /// If settings exclude each other.
    pub(crate) fn form(&self) -> Result<Form, String> {
        let (form, name, allowed): (_, _, &[&str]) = match (self.ids, self.mu_law, self.bins) {
            (true, _, _) => (Form::Ids, "ids", &["ids", "n_ids"]),
            (_, Some(law), _) => {
                (Form::MuLaw(law), "mu_law", &["mu_law", "normalize", "mean", "std", "scale", "noise"])
            }
            (_, _, Some(bins)) => (Form::Bins(bins), "bins", &["bins", "low", "high", "noise"]),
            _ => (
                Form::Features(self.tokens.unwrap_or_default()),
                "features",
                &["tokens", "normalize", "mean", "std", "scale", "missing_indicators", "noise"],
            ),
        };
        let given = self.given();
        if let Some(other) = given.iter().find(|given| !allowed.contains(given)) {
            let allowed = allowed.join(", ");
            return Err(format!("numbers as {name} take the settings {allowed}; found {other}"));
        }
        let statistic = given.iter().find(|given| ["mean", "std"].contains(given));
        match (self.scale, self.normalize, statistic) {
            (Some(_), Some(_), _) => Err("expected scale or normalize; found both".into()),
            (Some(_), _, Some(statistic)) => Err(format!("expected scale or {statistic}; found both")),
            (_, Some(false), Some(statistic)) => {
                Err(format!("expected no {statistic} if normalize is false; found one"))
            }
            _ if form == Form::Features(TokensPer::Each) && self.missing_indicators == Some(true) => {
                Err("expected no missing_indicators if tokens is \"each\", which drops missing numbers; \
                     found true"
                    .into())
            }
            _ => Ok(form),
        }
    }

    /// The names of the settings that are set.
    fn given(&self) -> Vec<&'static str> {
        [
            ("tokens", self.tokens.is_some()),
            ("normalize", self.normalize.is_some()),
            ("mean", self.mean.is_some()),
            ("std", self.std.is_some()),
            ("scale", self.scale.is_some()),
            ("ids", self.ids),
            ("n_ids", self.n_ids.is_some()),
            ("mu_law", self.mu_law.is_some()),
            ("bins", self.bins.is_some()),
            ("low", self.low.is_some()),
            ("high", self.high.is_some()),
            ("missing_indicators", self.missing_indicators.is_some()),
            ("noise", self.noise != 0.0),
        ]
        .into_iter()
        .filter_map(|(name, given)| given.then_some(name))
        .collect()
    }
}

impl OneOrAll {
    /// A number for each of `dim` columns.
    ///
    /// # Errors
    /// If the setting `name` has numbers for another number of columns.
    pub(crate) fn columns(&self, name: &str, dim: usize) -> Result<Vec<f64>, String> {
        match self {
            Self::One(number) => Ok(vec![*number; dim]),
            Self::All(numbers) if numbers.len() == dim => Ok(numbers.clone()),
            Self::All(numbers) => Err(format!(
                "{name}: expected {dim} numbers, as many as a value has, or a single one; found {}",
                numbers.len()
            )),
        }
    }
}
