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

/// The last names of settings that say where data lie, which may be moved between two parts of a training.
const PLACES: [&str; 4] = ["source", "path", "file", "cache"];

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
        match self.changes(&resumed)?.into_iter().find(|change| !may_change(&change.key)) {
            Some(Change { key, before, now }) => Err(SettingsError::Fixed { key, before, now }),
            None => Ok(resumed),
        }
    }

    /// The settings that a resumed run must have, as JSON: all but [`SCHEDULE`], [`COST`] and the places of data.
    ///
    /// # Errors
    /// As for [`to_toml`](Self::to_toml).
    pub(crate) fn fixed(&self) -> Result<String, SettingsError> {
        let mut values = self.values()?;
        values.retain(|key, _| !may_change(key) && !is_place(key));
        Ok(serde_json::json!(values).to_string())
    }

    /// Checks that these settings are those of a run as [`fixed`](Self::fixed) gave them: `run.toml` may have been edited.
    ///
    /// # Errors
    /// [`SettingsError::Fixed`], which names the first that differs.
    pub(crate) fn check_fixed(&self, saved: &str) -> Result<(), SettingsError> {
        let unreadable = |e: serde_json::Error| SettingsError::Unreadable {
            origin: "the settings in the run's state".into(),
            problem: e.to_string(),
        };
        let read = |json: &str| serde_json::from_str::<BTreeMap<String, String>>(json).map_err(unreadable);
        match differences(&read(saved)?, &read(&self.fixed()?)?).next() {
            Some(Change { key, before, now }) => Err(SettingsError::Fixed { key, before, now }),
            None => Ok(()),
        }
    }

    /// The settings that have other values in `now`.
    ///
    /// # Errors
    /// As for [`to_toml`](Self::to_toml).
    pub fn changes(&self, now: &Self) -> Result<Vec<Change>, SettingsError> {
        Ok(differences(&self.values()?, &now.values()?).collect())
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

fn may_change(key: &str) -> bool {
    SCHEDULE.contains(&key) || COST.contains(&key)
}

fn is_place(key: &str) -> bool {
    key.rsplit('.').next().is_some_and(|last| PLACES.contains(&last))
}

/// The settings whose values differ, by name.
fn differences<'a>(
    before: &'a BTreeMap<String, String>,
    now: &'a BTreeMap<String, String>,
) -> impl Iterator<Item = Change> + 'a {
    let keys: BTreeSet<&String> = before.keys().chain(now.keys()).collect();
    let text = |value: Option<&String>| value.map_or_else(|| "nothing".into(), Clone::clone);
    let change = move |key: &String| Change {
        key: key.clone(),
        before: text(before.get(key)),
        now: text(now.get(key)),
    };
    keys.into_iter().filter(|key| before.get(*key) != now.get(*key)).map(change)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(more: &str) -> RunConfig {
        let task = "[data]\nsource = \"a.csv\"\n[outputs.class]\nhead = \"classify\"\n";
        RunConfig::parse("run.toml", &format!("{task}{more}"), &[]).unwrap()
    }

    #[test]
    fn a_fixed_setting_that_was_edited_is_named() {
        let fixed = settings("[model]\nd_model = 64\n").fixed().unwrap();
        settings("[model]\nd_model = 64\n").check_fixed(&fixed).unwrap();
        for (edited, key) in [
            ("[model]\nd_model = 128\n", "model.d_model: expected 64, the run's value; found 128"),
            (
                "[model]\nd_model = 64\n[train]\nseed = 2\n",
                "train.seed: expected 1337, the run's value; found 2",
            ),
            (
                "[model]\nd_model = 64\n[outputs.more]\nhead = \"classify\"\n",
                "outputs.more.head: expected nothing",
            ),
        ] {
            let message = settings(edited).check_fixed(&fixed).unwrap_err().to_string();
            assert!(message.contains(key), "{message}");
        }
        assert!(settings("").check_fixed("{").unwrap_err().to_string().contains("in the run's state"));
    }

    #[test]
    fn the_schedule_and_the_places_of_data_may_be_edited() {
        let edited = "[data]\nsource = \"b.csv\"\n[outputs.class]\nhead = \"classify\"\n[train]\nlearning_rate = 1.0\n\
                      max_steps = 7\nworkers = 1\n";
        let edited = RunConfig::parse("run.toml", edited, &[]).unwrap();
        edited.check_fixed(&settings("").fixed().unwrap()).unwrap();
    }
}
