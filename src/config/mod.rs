//! `run.toml`: all settings of a run, from a preset or a file, with overrides.

mod bounds;
mod card;
mod error;
mod keys;
mod overrides;
mod presets;
mod resume;
mod schema;
mod sweep;
mod table;
#[cfg(test)]
mod tests;
mod types;

pub use card::CardSettings;
pub use error::SettingsError;
pub use keys::{SettingKey, keys_of, nearest, setting_keys, usual_name};
pub use overrides::is_set;
pub use presets::{PRESETS, preset};
pub use resume::{COST, Change, SCHEDULE};
pub use sweep::{SweepPoint, sweep_points};
pub use table::{read_table, table_of};

use crate::model::ModelConfig;
use crate::registry::Modalities;
use crate::sample::{
    Composition, DataSettings, InputSettings, OpenError, Opened, OutputSettings, Start, TaskSettings,
};
use crate::task::SavedTask;
use crate::train::TrainConfig;
use indexmap::IndexMap;
use keys::with_suggestion;
use overrides::{merge, sets};
use schema::Schema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::str::FromStr;
use types::{WrongType, wrong_type};

/// The version of run folders that this build reads and writes.
pub const VERSION: u32 = 3;

/// All settings of a run, with either `data` (one task) or `mix` (several tasks).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RunConfig {
    /// The version of the run folder.
    #[serde(default = "this_version")]
    pub version: u32,
    /// What only the user knows of the model, for its card.
    #[serde(default, skip_serializing_if = "CardSettings::is_empty")]
    pub card: CardSettings,
    /// Optimizer, schedule, evaluation and checkpoints.
    #[serde(default)]
    pub train: TrainConfig,
    /// The transformer.
    #[serde(default)]
    pub model: ModelConfig,
    /// The data of the task, in a run of one task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<DataSettings>,
    /// The inputs of its samples, by name.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub inputs: IndexMap<String, InputSettings>,
    /// Its outputs, by name.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub outputs: IndexMap<String, OutputSettings>,
    /// The tasks of a mix, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub mix: BTreeMap<String, MixEntry>,
}

/// One task of a mix.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MixEntry {
    /// Its share of a batch's documents, relative to the other tasks.
    #[serde(default = "one")]
    pub weight: f64,
    /// Weight of its mean loss in the sum over tasks.
    #[serde(default = "one")]
    pub loss_weight: f64,
    /// The data of the task.
    pub data: DataSettings,
    /// The inputs of its samples, by name.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub inputs: IndexMap<String, InputSettings>,
    /// Its outputs, by name.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub outputs: IndexMap<String, OutputSettings>,
}

/// One task of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct TaskEntry {
    /// Its name; empty for the only task of a run.
    pub name: String,
    /// Its data, inputs and outputs.
    pub settings: TaskSettings,
    /// Its share of a batch's documents, relative to the other tasks.
    pub weight: f64,
    /// Weight of its mean loss in the sum over tasks.
    pub loss_weight: f64,
}

impl TaskEntry {
    /// Opens the task with its data, and fits its tokenizers to the training rows or takes those of a run.
    ///
    /// # Errors
    /// [`OpenError`], which names the file or setting.
    pub fn open(&self, modalities: &Modalities, start: Start) -> Result<Opened, OpenError> {
        self.open_beside(modalities, start, &BTreeMap::new())
    }

    /// As [`open`](Self::open), with the other tasks of a mix, whose vocabularies it may share.
    ///
    /// # Errors
    /// As for [`open`](Self::open).
    pub fn open_beside(
        &self,
        modalities: &Modalities,
        start: Start,
        others: &BTreeMap<String, SavedTask>,
    ) -> Result<Opened, OpenError> {
        let named = (self.name.as_str(), self.loss_weight);
        let opened = Composition::open_beside(named, &self.settings, modalities, start, others);
        opened.map_err(|error| if self.name.is_empty() { error } else { error.in_mix(&self.name) })
    }

    /// Whether it shares the vocabulary of a task of the mix that is not open yet.
    fn waits_for(&self, tasks: &[TaskEntry], open: &[usize]) -> bool {
        let is_missing = |task: &str| {
            let place = tasks.iter().position(|entry| entry.name == task && task != self.name);
            place.is_some_and(|place| !open.contains(&place))
        };
        self.settings.shares().filter_map(|share| share.split_once('.')).any(|(task, _)| is_missing(task))
    }

    /// Restores the task of a run without its data, for prediction.
    ///
    /// # Errors
    /// [`OpenError`] if the saved state does not match the settings.
    pub fn restore(&self, modalities: &Modalities, saved: &SavedTask) -> Result<Composition, OpenError> {
        Composition::restore((&self.name, self.loss_weight), &self.settings, modalities, saved)
    }
}

fn this_version() -> u32 {
    VERSION
}

fn one() -> f64 {
    1.0
}

/// The settings in a TOML text, as [`RunConfig::parse`] reads them.
impl FromStr for RunConfig {
    type Err = SettingsError;

    fn from_str(text: &str) -> Result<Self, SettingsError> {
        Self::parse("settings", text, &[])
    }
}

impl RunConfig {
    /// The settings of a preset or a TOML file, with overrides such as `train.max_steps=500`.
    ///
    /// # Errors
    /// [`SettingsError`], also for an unknown setting.
    pub fn of_preset_or_file(name: &str, overrides: &[String]) -> Result<Self, SettingsError> {
        Self::of_preset_or_file_with(name, overrides, &Modalities::builtin())
    }

    /// As [`of_preset_or_file`](Self::of_preset_or_file), in a program with these modalities.
    ///
    /// # Errors
    /// As for [`of_preset_or_file`](Self::of_preset_or_file).
    pub fn of_preset_or_file_with(
        name: &str,
        overrides: &[String],
        modalities: &Modalities,
    ) -> Result<Self, SettingsError> {
        if let Some(text) = preset(name) {
            return Self::read(&format!("preset {name}"), text, overrides, Some(modalities));
        }
        let text = std::fs::read_to_string(name).map_err(|problem| SettingsError::NoSuchPreset {
            name: name.into(),
            presets: PRESETS.map(|(preset, _)| preset).join(", "),
            problem,
        })?;
        Self::read(name, &text, overrides, Some(modalities))
    }

    /// The settings in a TOML text, with overrides; `origin` names it in errors.
    ///
    /// # Errors
    /// [`SettingsError`], also for an unknown setting.
    pub fn parse(origin: &str, text: &str, overrides: &[String]) -> Result<Self, SettingsError> {
        Self::read(origin, text, overrides, None)
    }

    /// The settings of a run with overrides.
    ///
    /// # Errors
    /// [`SettingsError`], also for an unknown setting.
    pub fn with(&self, overrides: &[String]) -> Result<Self, SettingsError> {
        Self::parse("the run's settings", &self.to_toml()?, overrides)
    }

    fn read(
        origin: &str,
        text: &str,
        overrides: &[String],
        modalities: Option<&Modalities>,
    ) -> Result<Self, SettingsError> {
        let unreadable = |problem: String| SettingsError::Unreadable { origin: origin.into(), problem };
        let mut table: toml::Table = text.parse().map_err(|e: toml::de::Error| unreadable(e.to_string()))?;
        // Check the version first: settings of another version may be unknown.
        if let Some(found) = table.get("version").and_then(toml::Value::as_integer)
            && found != i64::from(VERSION)
        {
            return Err(SettingsError::Version { origin: origin.into(), found });
        }
        merge(&mut table, overrides)?;
        let table = toml::Value::Table(table);
        if let Some((key, found)) = bounds::too_large(&table) {
            return Err(SettingsError::TooLarge { key, most: bounds::MOST, found });
        }
        let wrong = |WrongType { key, expected, found }| {
            let origin = if sets(overrides, &key) { "--set" } else { origin };
            SettingsError::Type { key, expected, found, origin: origin.into() }
        };
        let config = Self::deserialize(table.clone()).map_err(|error| {
            let schema: serde_json::Value = schemars::schema_for!(Self).into();
            match wrong_type(Schema::new(&schema), &table, "") {
                Some(found) => wrong(found),
                None => unreadable(with_suggestion(error.to_string().trim_end())),
            }
        })?;
        if let Some(found) = modalities.and_then(|modalities| config.wrong_type_in_part(&table, modalities)) {
            return Err(wrong(found));
        }
        config.validate(origin)?;
        Ok(config)
    }

    /// The first wrong type among the settings of modalities and heads, which are not fields of this type.
    fn wrong_type_in_part(&self, table: &toml::Value, modalities: &Modalities) -> Option<WrongType> {
        let tokenizers: BTreeMap<_, _> = modalities.tokenizers().settings_schemas().collect();
        let heads: BTreeMap<_, _> = modalities.heads().settings_schemas().collect();
        let check = |schema: Option<&serde_json::Value>, path: &[&str]| {
            let value = path.iter().try_fold(table, |table, key| table.get(*key))?;
            wrong_type(Schema::new(schema?), value, &path.join("."))
        };
        self.tasks().iter().find_map(|TaskEntry { name, settings, .. }| {
            let task: &[&str] = if name.is_empty() { &[] } else { &["mix", name.as_str()] };
            let mut inputs = settings.inputs.iter();
            let input = inputs.find_map(|(part, input)| {
                check(tokenizers.get(input.modality.as_str()), &[task, &["inputs", part.as_str()]].concat())
            });
            input.or_else(|| {
                settings.outputs.iter().find_map(|(part, output)| {
                    let path = [task, &["outputs", part.as_str()]].concat();
                    let modality = output.modality.as_deref().and_then(|name| tokenizers.get(name));
                    check(heads.get(output.head.as_str()), &path).or_else(|| check(modality, &path))
                })
            })
        })
    }

    /// All settings as TOML, including defaults.
    ///
    /// # Errors
    /// [`SettingsError::Unreadable`] if a setting has no TOML form.
    pub fn to_toml(&self) -> Result<String, SettingsError> {
        toml::to_string_pretty(self)
            .map_err(|e| SettingsError::Unreadable { origin: "run.toml".into(), problem: e.to_string() })
    }

    /// The tasks.
    pub fn tasks(&self) -> Vec<TaskEntry> {
        let entry = |name: &str, data: &DataSettings, inputs_and_outputs: (&_, &_), weight, loss_weight| {
            let (inputs, outputs): (&IndexMap<_, _>, &IndexMap<_, _>) = inputs_and_outputs;
            let settings =
                TaskSettings { data: data.clone(), inputs: inputs.clone(), outputs: outputs.clone() };
            TaskEntry { name: name.into(), settings, weight, loss_weight }
        };
        match &self.data {
            Some(data) => vec![entry("", data, (&self.inputs, &self.outputs), 1.0, 1.0)],
            None => self
                .mix
                .iter()
                .map(|(name, it)| entry(name, &it.data, (&it.inputs, &it.outputs), it.weight, it.loss_weight))
                .collect(),
        }
    }

    /// The order in which to open tasks: each after those whose vocabularies it shares.
    ///
    /// # Errors
    /// [`SettingsError::Share`] for tasks that share vocabularies in a cycle.
    pub fn opening_order(&self) -> Result<Vec<usize>, SettingsError> {
        let tasks = self.tasks();
        let mut order: Vec<usize> = vec![];
        while order.len() < tasks.len() {
            let next = (0..tasks.len()).find(|n| !order.contains(n) && !tasks[*n].waits_for(&tasks, &order));
            let waiting = |n: &usize| !order.contains(n);
            match next {
                Some(next) => order.push(next),
                None => {
                    let names: Vec<&str> =
                        (0..tasks.len()).filter(waiting).map(|n| tasks[n].name.as_str()).collect();
                    return Err(SettingsError::Share(names.join(", ")));
                }
            }
        }
        Ok(order)
    }

    fn validate(&self, origin: &str) -> Result<(), SettingsError> {
        if self.version != VERSION {
            return Err(SettingsError::Version { origin: origin.into(), found: self.version.into() });
        }
        if self.data.is_some() && !self.mix.is_empty() {
            return Err(SettingsError::Tasks(origin.into()));
        }
        self.check_inputs_and_outputs(origin)?;
        if self.data.is_none() && self.mix.is_empty() {
            return Err(SettingsError::Tasks(origin.into()));
        }
        for (task, entry) in &self.mix {
            for (setting, found) in [("weight", entry.weight), ("loss_weight", entry.loss_weight)] {
                if !(found > 0.0 && found.is_finite()) {
                    return Err(SettingsError::Weight { task: task.clone(), setting, found });
                }
            }
        }
        if let Some(problem) = self.card.problem() {
            return Err(SettingsError::Unreadable { origin: origin.into(), problem });
        }
        self.model.validate()?;
        Ok(self.train.validate()?)
    }
}

impl RunConfig {
    /// Checks that every task has outputs, and that inputs and outputs have data.
    fn check_inputs_and_outputs(&self, origin: &str) -> Result<(), SettingsError> {
        let fail = |problem| Err(SettingsError::Unreadable { origin: origin.into(), problem });
        let one = self.data.iter().map(|_| (String::new(), &self.outputs));
        let mix = self.mix.iter().map(|(name, task)| (format!("mix.{name}."), &task.outputs));
        if let Some((prefix, _)) = one.chain(mix).find(|(_, outputs)| outputs.is_empty()) {
            let problem =
                format!("{prefix}outputs: expected at least one output; add a table [{prefix}outputs.NAME]");
            return fail(problem);
        }
        if self.data.is_none() && !(self.inputs.is_empty() && self.outputs.is_empty()) {
            return fail(
                "inputs and outputs read fields of rows; add the source of the rows in [data]".into(),
            );
        }
        Ok(())
    }
}
