//! Settings and fitted state of the tokenizer.

use crate::MuLaw;
use crate::mu_law::check_bins;
use serde::{Deserialize, Serialize};

/// Settings and fitted state, from [`fit`](smalti_contract::Tokenizer::fit).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NumbersConfig {
    /// The content of tokens.
    pub content: NumberContent,
    /// `[dim]`: subtracted from each number. For bins, the midpoint of their ends.
    pub mean: Vec<f64>,
    /// `[dim]`: the divisor of each number after that. For bins, half the distance between their ends.
    pub std: Vec<f64>,
    /// Whether indicators follow the numbers of one token: for each number 1 if it is missing, otherwise 0.
    pub missing_indicators: bool,
    /// Standard deviation of the noise added in training, in units of `std`.
    pub noise: f64,
}

/// The content of tokens.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum NumberContent {
    /// One token with all numbers.
    One,
    /// One token for each number, with one feature.
    Each,
    /// Each number is an id.
    Ids {
        /// The number of ids.
        n_ids: usize,
    },
    /// Each number becomes the id of its bin after companding.
    MuLaw(MuLaw),
    /// Each number becomes the id of its bin, of this many over -1..=1.
    Bins(usize),
}

impl NumbersConfig {
    /// Numbers in a value.
    pub fn dim(&self) -> usize {
        self.mean.len()
    }

    /// Check the settings.
    pub(crate) fn check(&self) -> Result<(), String> {
        let (mean, std) = (&self.mean, &self.std);
        if mean.is_empty() || mean.len() != std.len() || mean.len() > u32::MAX as usize {
            let (mean, std) = (mean.len(), std.len());
            return Err(format!(
                "expected as many numbers in mean as in std, and at least 1; found {mean} and {std}"
            ));
        }
        if let Some(found) = mean.iter().find(|mean| !mean.is_finite()) {
            return Err(format!("mean: expected finite numbers; found {found}"));
        }
        if let Some(found) = std.iter().find(|&&std| !(std.is_finite() && std > 0.0)) {
            return Err(format!("std: expected positive, finite numbers; found {found}"));
        }
        if !(self.noise.is_finite() && self.noise >= 0.0) {
            return Err(format!("noise: expected a finite number of 0 or more; found {}", self.noise));
        }
        if self.missing_indicators && self.content != NumberContent::One {
            return Err("missing_indicators: expected false unless a value is one token; found true".into());
        }
        match self.content {
            NumberContent::Ids { n_ids } if n_ids == 0 || n_ids > u32::MAX as usize => {
                Err(format!("n_ids: expected 1 to {}; found {n_ids}", u32::MAX))
            }
            NumberContent::MuLaw(law) => law.check().map_err(|e| format!("mu_law.{e}")),
            NumberContent::Bins(bins) => check_bins(bins),
            NumberContent::One | NumberContent::Each | NumberContent::Ids { .. } => Ok(()),
        }
    }
}
