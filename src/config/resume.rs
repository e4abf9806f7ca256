//! The settings that may change when a run resumes.

use super::{RunConfig, SettingsError};
use std::collections::{BTreeMap, BTreeSet};

/// The settings of the schedule, which may change when a run resumes: it trains for longer or shorter, at another learning
/// rate, or with another patience.
pub const SCHEDULE: [&str; 7] = [
    "train.max_steps",
    "train.epochs",
    "train.learning_rate",
    "train.min_learning_rate",
    "train.warmup_steps",
    "train.resume_schedule",
    "train.patience",
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
    /// These settings for a run that resumes, with overrides of [`SCHEDULE`], [`COST`] and `[card]`.
    ///
    /// # Errors
    /// [`SettingsError::Fixed`] if an override changes another setting.
    pub fn resumed_with(&self, overrides: &[String]) -> Result<Self, SettingsError> {
        let resumed = self.with(overrides)?;
        match self.changes(&resumed)?.into_iter().find(|change| !may_change(&change.key)) {
            Some(Change { key, before, now }) => Err(SettingsError::Fixed { key, before, now }),
            None => Ok(resumed),
        }
    }

    /// The settings that a resumed run must have, as JSON: all but [`SCHEDULE`], [`COST`], `[card]` and the
    /// places of data.
    ///
    /// # Errors
    /// As for [`to_toml`](Self::to_toml).
    pub(crate) fn fixed(&self) -> Result<String, SettingsError> {
        Ok(serde_json::json!(self.values_of(is_fixed)?).to_string())
    }

    /// The settings of what the model computes, as JSON: those of the model, the inputs and the outputs.
    ///
    /// # Errors
    /// As for [`to_toml`](Self::to_toml).
    pub(crate) fn computation(&self) -> Result<String, SettingsError> {
        Ok(serde_json::json!(self.values_of(is_computation)?).to_string())
    }

    /// Checks that these settings are those of a run as [`fixed`](Self::fixed) gave them: `run.toml` may have been edited.
    ///
    /// # Errors
    /// [`SettingsError::Fixed`], which names the first that differs.
    pub(crate) fn check_fixed(&self, saved: &str) -> Result<(), SettingsError> {
        match self.edited("the settings in the run's state", saved, is_fixed)? {
            Some(Change { key, before, now }) => Err(SettingsError::Fixed { key, before, now }),
            None => Ok(()),
        }
    }

    /// Checks that these settings, of the file `origin`, compute as those of [`computation`](Self::computation) or
    /// [`fixed`](Self::fixed) that the weights keep; an empty text has none.
    ///
    /// # Errors
    /// [`SettingsError::Edited`], which names the first that differs.
    pub(crate) fn check_computation(&self, origin: &str, saved: &str) -> Result<(), SettingsError> {
        if saved.is_empty() {
            return Ok(());
        }
        match self.edited("the settings in the run's weights", saved, is_computation)? {
            Some(Change { key, before, now }) => {
                Err(SettingsError::Edited { origin: origin.into(), key, before, now })
            }
            None => Ok(()),
        }
    }

    /// The first setting that differs from its value in a text, of those that `counts` chooses. A setting that the text does not
    /// have may be newer than the run: it must have its default.
    fn edited(
        &self,
        origin: &str,
        saved: &str,
        counts: fn(&str) -> bool,
    ) -> Result<Option<Change>, SettingsError> {
        let mut before: BTreeMap<String, String> = serde_json::from_str(saved)
            .map_err(|e| SettingsError::Unreadable { origin: origin.into(), problem: e.to_string() })?;
        before.retain(|key, _| counts(key));
        // Older runs have all digits.
        before.values_mut().for_each(|value| *value = shortest(value));
        let now = self.values_of(counts)?;
        let defaults = self.without(&|key| counts(key) && !before.contains_key(key));
        let is_edited = |key: &String| before.contains_key(key) || defaults.get(key) != now.get(key);
        Ok(differences(&before, &now).find(|change| is_edited(&change.key)))
    }

    /// The values with some settings at their defaults; none if they have no defaults.
    fn without(&self, is_removed: &dyn Fn(&str) -> bool) -> BTreeMap<String, String> {
        fn remove(key: &str, table: &mut toml::Table, is_removed: &dyn Fn(&str) -> bool) {
            table.retain(|name, value| {
                let key = below(key, name);
                match value.as_table_mut() {
                    Some(table) => {
                        remove(&key, table, is_removed);
                        !table.is_empty()
                    }
                    None => !is_removed(&key),
                }
            });
        }
        let defaults = toml::Table::try_from(self).ok().and_then(|mut table| {
            remove("", &mut table, is_removed);
            table.try_into::<Self>().ok()?.values().ok()
        });
        defaults.unwrap_or_default()
    }

    /// The settings that have other values in `now`.
    ///
    /// # Errors
    /// As for [`to_toml`](Self::to_toml).
    pub fn changes(&self, now: &Self) -> Result<Vec<Change>, SettingsError> {
        Ok(differences(&self.values()?, &now.values()?).collect())
    }

    /// The value of each setting that `counts` chooses.
    fn values_of(&self, counts: fn(&str) -> bool) -> Result<BTreeMap<String, String>, SettingsError> {
        let mut values = self.values()?;
        values.retain(|key, _| counts(key));
        Ok(values)
    }

    /// The value of each setting, as TOML.
    ///
    /// # Errors
    /// As for [`to_toml`](Self::to_toml).
    pub fn values(&self) -> Result<BTreeMap<String, String>, SettingsError> {
        fn add(key: &str, value: &toml::Value, values: &mut BTreeMap<String, String>) {
            match value.as_table() {
                Some(table) => {
                    table.iter().for_each(|(name, value)| add(&below(key, name), value, values));
                }
                None => drop(values.insert(key.into(), shortest(&value.to_string()))),
            }
        }
        let table = toml::Value::try_from(self)
            .map_err(|e| SettingsError::Unreadable { origin: "run.toml".into(), problem: e.to_string() })?;
        let mut values = BTreeMap::new();
        add("", &table, &mut values);
        Ok(values)
    }
}

/// A value of TOML, whose numbers have 64 bits, with the digits of run.toml: a number of 32 bits is 0.1, not
/// 0.10000000149011612.
fn shortest(value: &str) -> String {
    let number = value.parse::<f64>().ok().filter(|number| value.contains('.') && number.is_finite());
    let Some(short) = number.filter(|number| f64::from(*number as f32) == *number) else {
        return value.into();
    };
    let digits = (short as f32).to_string();
    if digits.contains('.') { digits } else { format!("{digits}.0") }
}

/// The name of a setting in a table of settings.
fn below(table: &str, name: &str) -> String {
    if table.is_empty() { name.into() } else { format!("{table}.{name}") }
}

fn is_fixed(key: &str) -> bool {
    !may_change(key) && !is_place(key)
}

/// Whether a setting decides what the model computes: one of the model, the inputs or the outputs, also of a task of a mix.
fn is_computation(key: &str) -> bool {
    let is_part = |key: &str| ["inputs.", "outputs."].iter().any(|part| key.starts_with(part));
    let is_of_mix = || key.starts_with("mix.") && (key.contains(".inputs.") || key.contains(".outputs."));
    (key.starts_with("model.") || is_part(key) || is_of_mix()) && !is_place(key)
}

fn may_change(key: &str) -> bool {
    SCHEDULE.contains(&key) || COST.contains(&key) || key.starts_with("card.")
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
    fn values_have_the_digits_of_run_toml_also_those_of_older_runs() {
        let [few, all] = ["0.1", "0.10000000149011612"];
        assert_eq!(
            [few, all, "1.0", "1e-8", "1337", "\"a.b\""].map(shortest),
            ["0.1", "0.1", "1.0", "1e-8", "1337", "\"a.b\""]
        );
        let config = settings("[model]\ndropout = 0.1\n");
        assert_eq!(config.values().unwrap()["model.dropout"], few);
        let fixed = config.fixed().unwrap();
        let older = fixed.replace("\"model.dropout\":\"0.1\"", &format!("\"model.dropout\":\"{all}\""));
        assert_ne!(fixed, older);
        config.check_fixed(&older).unwrap();
    }

    #[test]
    fn weights_are_used_with_the_settings_of_their_computation() {
        let saved = settings("").computation().unwrap();
        settings("[train]\nseed = 2\n").check_computation("run.toml", &saved).unwrap();
        settings("[model]\nnorm_eps = 0.1\n").check_computation("run.toml", "").unwrap();
        for (edited, message) in [
            ("[model]\nattention.n_heads = 1\n", "run.toml: model.attention.n_heads: expected "),
            (
                "[model]\nmlp.experts = 4\n",
                "model.mlp.experts: expected nothing, with which the weights were",
            ),
            ("[outputs.more]\nhead = \"classify\"\n", "outputs.more.head: expected nothing"),
        ] {
            for saved in [&saved, &settings("").fixed().unwrap()] {
                let found = settings(edited).check_computation("run.toml", saved).unwrap_err().to_string();
                assert!(found.contains(message) && found.contains("--no-verify"), "{found}");
            }
        }
    }

    #[test]
    fn a_setting_that_is_newer_than_the_run_has_its_default() {
        let mut older: BTreeMap<String, String> =
            serde_json::from_str(&settings("").fixed().unwrap()).unwrap();
        for newer in ["model.attention.n_heads", "model.d_model"] {
            older.remove(newer).unwrap();
        }
        let older = serde_json::json!(older).to_string();
        settings("").check_fixed(&older).unwrap();
        settings("").check_computation("run.toml", &older).unwrap();
        let edited = settings("[model]\nd_model = 32\n").check_fixed(&older).unwrap_err().to_string();
        assert!(edited.contains("model.d_model: expected nothing, the run's value; found 32"), "{edited}");
    }

    #[test]
    fn the_schedule_and_the_places_of_data_may_be_edited() {
        let edited = "[data]\nsource = \"b.csv\"\n[outputs.class]\nhead = \"classify\"\n[train]\nlearning_rate = 1.0\n\
                      max_steps = 7\nworkers = 1\n";
        let edited = RunConfig::parse("run.toml", edited, &[]).unwrap();
        edited.check_fixed(&settings("").fixed().unwrap()).unwrap();
    }
}
