//! The settings that may change when a run resumes.

use super::{RunConfig, SettingsError};
use std::collections::{BTreeMap, BTreeSet};

/// The settings of the schedule, which may change when a run resumes: it trains for longer or shorter, or at another
/// learning rate.
pub const SCHEDULE: [&str; 5] = [
    "train.max_steps",
    "train.epochs",
    "train.learning_rate",
    "train.min_learning_rate",
    "train.warmup_steps",
];

/// The settings of the time and memory of a step, which change no result and may change when a run resumes.
pub const COST: [&str; 2] = ["train.checkpoint_activations", "train.workers"];

/// A setting with two values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The setting: `train.max_steps`.
    pub key: String,
    /// Its value before, as in TOML; `nothing` if it was not set.
    pub before: String,
    /// Its value now.
    pub now: String,
}

impl RunConfig {
    /// These settings for a run that resumes, with overrides of [`SCHEDULE`] and [`COST`].
    ///
    /// # Errors
    /// [`SettingsError::Fixed`] if an override changes another setting.
    pub fn resumed_with(&self, overrides: &[String]) -> Result<Self, SettingsError> {
        let resumed = Self::parse("the run's settings", &self.to_toml()?, overrides)?;
        let may_change = |key: &str| SCHEDULE.contains(&key) || COST.contains(&key);
        match self.changes(&resumed)?.into_iter().find(|change| !may_change(&change.key)) {
            Some(Change { key, before, now }) => Err(SettingsError::Fixed { key, before, now }),
            None => Ok(resumed),
        }
    }

    /// The settings that have other values in `now`.
    ///
    /// # Errors
    /// As for [`to_toml`](Self::to_toml).
    pub fn changes(&self, now: &Self) -> Result<Vec<Change>, SettingsError> {
        let (before, now) = (self.values()?, now.values()?);
        let keys: BTreeSet<&String> = before.keys().chain(now.keys()).collect();
        let text = |value: Option<&String>| value.map_or_else(|| "nothing".into(), Clone::clone);
        let change = |key: &String| Change {
            key: key.clone(),
            before: text(before.get(key)),
            now: text(now.get(key)),
        };
        Ok(keys.into_iter().filter(|key| before.get(*key) != now.get(*key)).map(change).collect())
    }

    /// The value of each setting, as TOML.
    fn values(&self) -> Result<BTreeMap<String, String>, SettingsError> {
        fn add(key: &str, value: &toml::Value, values: &mut BTreeMap<String, String>) {
            match value.as_table() {
                Some(table) => {
                    let dot = if key.is_empty() { "" } else { "." };
                    table.iter().for_each(|(name, value)| add(&format!("{key}{dot}{name}"), value, values));
                }
                None => drop(values.insert(key.into(), value.to_string())),
            }
        }
        let table = toml::Value::try_from(self)
            .map_err(|e| SettingsError::Unreadable { origin: "run.toml".into(), problem: e.to_string() })?;
        let mut values = BTreeMap::new();
        add("", &table, &mut values);
        Ok(values)
    }
}
