//! The settings of numbers that a user writes.

use crate::MuLaw;
use serde::{Deserialize, Serialize};

/// The settings of numbers: the keys of a part in `run.toml`. What is left out is fitted to the training values.
///
/// A value is a number, an array of numbers (its shape does not matter) or a text that is a number; all values have the
/// same number of numbers, the columns. A NaN is a missing number.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NumbersSettings {
    /// One token of all numbers (`"one"`, the default), or a token of one feature for each number (`"each"`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens: Option<TokensPer>,
    /// Subtract each column's mean and divide by its standard deviation. Left out, true unless there is a `scale`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub normalize: Option<bool>,
    /// The mean of each column, or of all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mean: Option<OneOrAll>,
    /// The standard deviation of each column, or of all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub std: Option<OneOrAll>,
    /// Divide by this number, and subtract nothing; 0 divides by the largest magnitude.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scale: Option<f64>,
    /// The numbers are ids: discrete actions, levels, codes.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub ids: bool,
    /// How many ids there are. Left out, the largest plus 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub n_ids: Option<usize>,
    /// Make each number an id by μ-law companding and uniform bins, as Gato does (Reed et al. 2022).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mu_law: Option<MuLaw>,
    /// Make each number an id by this many uniform bins from `low` to `high`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bins: Option<usize>,
    /// The lower end of the bins of each column, or of all; smaller numbers are clipped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub low: Option<OneOrAll>,
    /// The upper end of the bins of each column, or of all; larger numbers are clipped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub high: Option<OneOrAll>,
    /// Append to one token a feature for each column that is 1 if its number is missing. Left out, true if a training
    /// value has a missing number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub missing_indicators: Option<bool>,
    /// Standard deviation of the noise that training adds to each number, in units of what it is divided by.
    #[serde(skip_serializing_if = "is_zero")]
    pub noise: f64,
}

/// How many tokens a value becomes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TokensPer {
    /// One token of all numbers.
    #[default]
    One,
    /// A token for each number.
    Each,
}

/// A number for each column, or one for all columns.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum OneOrAll {
    /// One number for all columns.
    One(f64),
    /// A number for each column.
    All(Vec<f64>),
}

#[allow(clippy::trivially_copy_pass_by_ref)] // as serde wants it
fn is_zero(noise: &f64) -> bool {
    *noise == 0.0
}

/// What tokens hold, before anything is fitted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Form {
    Features(TokensPer),
    Ids,
    MuLaw(MuLaw),
    Bins(usize),
}

impl NumbersSettings {
    /// What tokens hold.
    ///
    /// # Errors
    /// Settings that exclude each other.
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
            _ if form == Form::Features(TokensPer::Each) && self.missing_indicators == Some(true) => Err(
                "expected no missing_indicators if tokens is \"each\", which leaves missing numbers out; \
                     found true"
                    .into(),
            ),
            _ => Ok(form),
        }
    }

    /// The names of the settings that are not left out.
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
    /// If there are numbers for another number of columns; `name` is the setting's.
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
