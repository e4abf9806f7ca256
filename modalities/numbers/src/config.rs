//! What is set, and what is fitted.

use crate::MuLaw;
use serde::{Deserialize, Serialize};

/// The keys of a part of modality `numbers`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NumbersSettings {
    /// Whether a value is one token, or a token for each number.
    pub tokens: TokensPer,
    /// Whether numbers are centred and scaled by the mean and deviation of the training rows.
    pub normalize: bool,
    /// The mean of each column, or of all, in place of the fitted one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mean: Option<OneOrAll>,
    /// The deviation of each column, or of all, in place of the fitted one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub std: Option<OneOrAll>,
    /// A number that all are divided by, in place of mean and deviation; 0 for the largest magnitude.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scale: Option<f32>,
    /// Whether numbers are ids themselves: 0, 1, 2 …
    pub ids: bool,
    /// How many ids there are; 0 for one more than the largest of the training rows.
    pub n_ids: usize,
    /// Turns normalised numbers into ids (Gato).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mu_law: Option<MuLaw>,
    /// Standard deviation of noise added in training, in units of the normalised numbers.
    pub noise: f32,
}

/// How many tokens a value becomes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TokensPer {
    /// One token for the whole value.
    #[default]
    One,
    /// One token for each number.
    Each,
}

/// One number for all columns, or one for each.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum OneOrAll {
    /// For all columns.
    One(f32),
    /// For each column.
    All(Vec<f32>),
}

impl Default for NumbersSettings {
    fn default() -> Self {
        Self {
            tokens: TokensPer::One,
            normalize: true,
            mean: None,
            std: None,
            scale: None,
            ids: false,
            n_ids: 0,
            mu_law: None,
            noise: 0.0,
        }
    }
}

/// Settings and fitted state of a [`NumbersTokenizer`](crate::NumbersTokenizer).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NumbersConfig {
    /// Whether a value is one token, or a token for each number.
    pub tokens: TokensPer,
    /// The mean of each column; as many as a value has numbers.
    pub mean: Vec<f32>,
    /// The deviation of each column.
    pub std: Vec<f32>,
    /// Whether some numbers of the training rows were missing: a value that is one token then says which.
    #[serde(default)]
    pub missing: bool,
    /// How many ids there are, if numbers are ids themselves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub n_ids: Option<usize>,
    /// Turns normalised numbers into ids.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mu_law: Option<MuLaw>,
    /// Standard deviation of noise added in training.
    #[serde(default)]
    pub noise: f32,
}

impl NumbersConfig {
    /// Numbers in a value.
    pub fn dim(&self) -> usize {
        self.mean.len()
    }

    /// What is wrong with the settings, if anything.
    pub(crate) fn check(&self) -> Result<(), String> {
        if self.mean.is_empty() || self.mean.len() != self.std.len() {
            let (means, stds) = (self.mean.len(), self.std.len());
            return Err(format!("expected a mean and a std for each number; found {means} and {stds}"));
        }
        if let Some(mean) = self.mean.iter().find(|mean| !mean.is_finite()) {
            return Err(format!("mean is {mean}; it must be finite"));
        }
        if let Some(std) = self.std.iter().find(|std| !(std.is_finite() && **std > 0.0)) {
            return Err(format!("std is {std}; it must be positive and finite"));
        }
        if !(self.noise >= 0.0 && self.noise.is_finite()) {
            return Err(format!("noise is {}; it must be 0 or more", self.noise));
        }
        if self.n_ids == Some(0) {
            return Err("n_ids is 0; there must be at least 1 id".into());
        }
        if self.n_ids.is_some() && self.mu_law.is_some() {
            return Err("ids and mu_law exclude each other: numbers that are ids are not discretised".into());
        }
        self.mu_law
            .as_ref()
            .map_or(Ok(()), |law| law.check().map_err(|e| e.replace("discretise.", "mu_law.")))
    }
}
