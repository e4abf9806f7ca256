//! `run.toml`: every setting of a run, from a preset or a file, with overrides.

use crate::data::{Cached, Dataset};
use crate::registry::Modalities;
use crate::sample::{
    Composition, DataSettings, InputSettings, Opened, OutputSettings, Samples, Start, TaskSettings,
};
use crate::task::{SavedTask, Task};
use crate::tasks::{Builtin, Splits, TaskConfig, TaskError};
use crate::train::{TrainConfig, TrainConfigError};
use crate::transformer::{ConfigError, ModelConfig};
use indexmap::IndexMap;
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// The version of run folders that this build writes and reads.
pub const VERSION: u32 = 1;

/// Every setting of a run. Either `data` (one task) or `mix` (several) is given.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunConfig {
    /// The version of the run folder.
    #[serde(default = "this_version")]
    pub version: u32,
    /// The optimizer, its schedule, and what is saved when.
    #[serde(default)]
    pub train: TrainConfig,
    /// The transformer.
    #[serde(default)]
    pub model: ModelConfig,
    /// The rows of the one task of a run that has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<DataConfig>,
    /// What its samples are made of, by name.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub inputs: IndexMap<String, InputSettings>,
    /// What it predicts, by name.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub outputs: IndexMap<String, OutputSettings>,
    /// The tasks of a mix, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub mix: BTreeMap<String, MixEntry>,
}

/// One task of a mix.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MixEntry {
    /// Its share of a batch's documents, relative to the other tasks'.
    #[serde(default = "one")]
    pub weight: f64,
    /// Weight of its mean loss in the sum over tasks.
    #[serde(default = "one")]
    pub loss_weight: f64,
    /// The rows of the task.
    pub data: DataConfig,
    /// What its samples are made of, by name.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub inputs: IndexMap<String, InputSettings>,
    /// What it predicts, by name.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub outputs: IndexMap<String, OutputSettings>,
}

/// `[data]`: rows for the parts beside it, or a task of one modality.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum DataConfig {
    /// A task of one modality, which `modality` names.
    Modality(Box<TaskConfig>),
    /// Rows, whose fields `[inputs]` and `[outputs]` name.
    Rows(Box<DataSettings>),
}

impl<'de> Deserialize<'de> for DataConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let table = serde_json::Value::deserialize(deserializer)?;
        let read = match table.get("modality") {
            Some(_) => serde_json::from_value(table).map(|task| DataConfig::Modality(Box::new(task))),
            None => serde_json::from_value(table).map(|rows| DataConfig::Rows(Box::new(rows))),
        };
        read.map_err(D::Error::custom)
    }
}

/// One task of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct TaskEntry {
    /// Its name; empty for the only task of a run if it is made of parts.
    pub name: String,
    /// Its data and settings.
    pub task: AnyTask,
    /// Its share of a batch's documents, relative to the other tasks'.
    pub weight: f64,
    /// Weight of its mean loss in the sum over tasks.
    pub loss_weight: f64,
}

/// The settings of a task of either form.
#[derive(Clone, Debug, PartialEq)]
pub enum AnyTask {
    /// A task of one modality.
    Modality(Box<TaskConfig>),
    /// A task made of parts.
    Parts(Box<TaskSettings>),
}

impl TaskEntry {
    /// The task and its data; its tokenizers fitted to the training rows, or as a run has them.
    ///
    /// # Errors
    /// [`TaskError`], which names the file or the setting.
    pub fn open(&self, modalities: &Modalities, start: Start) -> Result<(Builtin, Splits), TaskError> {
        let (name, loss_weight) = (self.name.as_str(), self.loss_weight);
        match (&self.task, start) {
            (AnyTask::Modality(task), Start::New) => task.open(name, loss_weight),
            (AnyTask::Modality(task), Start::From(saved) | Start::Run(saved)) => {
                task.reopen(name, loss_weight, saved)
            }
            (AnyTask::Parts(settings), start) => {
                let Opened { task, train, validation } =
                    Composition::open((name, loss_weight), settings, modalities, start)?;
                let Some(folder) = settings.data.cache.as_ref().filter(|folder| !folder.is_empty()) else {
                    return Ok((Builtin::Parts(task), Splits { train, valid: validation }));
                };
                // What tokens follow from, beside the row: the parts and their fitted state.
                let made_by = serde_json::json!([
                    settings.inputs,
                    settings.outputs,
                    settings.data.derived,
                    task.saved()?
                ]);
                let kept = |rows: Arc<Samples>| -> Arc<dyn Dataset> {
                    Arc::new(Cached::new(rows, Path::new(folder), &made_by.to_string()))
                };
                Ok((Builtin::Parts(task.clone()), Splits { train: kept(train), valid: kept(validation) }))
            }
        }
    }

    /// The task of a run without its data, for prediction.
    ///
    /// # Errors
    /// [`TaskError`] if the saved state is not that of the settings.
    pub fn restore(&self, modalities: &Modalities, saved: &SavedTask) -> Result<Builtin, TaskError> {
        let (name, loss_weight) = (self.name.as_str(), self.loss_weight);
        Ok(match &self.task {
            AnyTask::Modality(task) => task.restore(name, loss_weight, saved)?,
            AnyTask::Parts(settings) => Builtin::Parts(Arc::new(Composition::restore(
                (name, loss_weight),
                settings,
                modalities,
                saved,
            )?)),
        })
    }
}

impl AnyTask {
    /// The modality, or those of all parts.
    pub fn modality(&self) -> String {
        match self {
            AnyTask::Modality(task) => task.modality().into(),
            AnyTask::Parts(task) => {
                let inputs = task.inputs.values().map(|input| Some(input.modality.as_str()));
                let outputs = task.outputs.values().map(|output| output.modality.as_deref());
                let mut names: Vec<&str> = vec![];
                for name in inputs.chain(outputs).flatten() {
                    if !names.contains(&name) {
                        names.push(name);
                    }
                }
                names.join(", ")
            }
        }
    }
}

/// Settings that a run may go on with others of: what a step costs depends on them, and no bit of what it computes.
pub const SET_ON_RESUME: [&str; 2] = ["train.recompute", "train.workers"];

fn this_version() -> u32 {
    VERSION
}

fn one() -> f64 {
    1.0
}

/// Settings that cannot be read or cannot work together.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SettingsError {
    /// Neither a shipped preset nor a file.
    #[error("{name:?} is neither a preset ({presets}) nor a TOML file: {problem}")]
    NoSuchPreset {
        /// What was asked for.
        name: String,
        /// The presets there are.
        presets: String,
        /// Why the file cannot be read.
        problem: std::io::Error,
    },
    /// Not TOML, or a setting that is unknown or of the wrong type.
    #[error("{origin}: {problem}")]
    Unreadable {
        /// The file or preset, with the overrides.
        origin: String,
        /// What is wrong, and where.
        problem: String,
    },
    /// An override that is not `key=value`.
    #[error("--set {text:?}: {problem}")]
    Override {
        /// The override.
        text: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A run of another version.
    #[error("{origin}: version {found} of a run; this build reads version {VERSION}")]
    Version {
        /// The file.
        origin: String,
        /// Its version.
        found: i64,
    },
    /// Not exactly one of `data` and `mix`.
    #[error("{0}: say either [data], one task, or [mix.NAME.data], several")]
    Tasks(String),
    /// A weight that is no positive number.
    #[error("mix.{task}.{setting} must be a positive number; found {found}")]
    Weight {
        /// The task.
        task: String,
        /// `weight` or `loss_weight`.
        setting: &'static str,
        /// What was found.
        found: f64,
    },
    /// The transformer's settings.
    #[error(transparent)]
    Model(#[from] ConfigError),
    /// The training's settings.
    #[error(transparent)]
    Train(#[from] TrainConfigError),
}

/// The presets that ship, by name.
pub const PRESETS: [(&str, &str); 5] = [
    ("text", include_str!("../presets/text.toml")),
    ("image", include_str!("../presets/image.toml")),
    ("audio", include_str!("../presets/audio.toml")),
    ("trajectory", include_str!("../presets/trajectory.toml")),
    ("mix", include_str!("../presets/mix.toml")),
];

/// The text of a preset, by its name.
pub fn preset(name: &str) -> Option<&'static str> {
    PRESETS.iter().find(|(preset, _)| *preset == name).map(|(_, text)| *text)
}

impl RunConfig {
    /// The settings of a preset or a TOML file, with overrides such as `train.steps=500`.
    ///
    /// # Errors
    /// [`SettingsError`]; an unknown setting is one.
    pub fn of_preset_or_file(name: &str, overrides: &[String]) -> Result<Self, SettingsError> {
        if let Some(text) = preset(name) {
            return Self::parse(&format!("preset {name}"), text, overrides);
        }
        let text = std::fs::read_to_string(name).map_err(|problem| SettingsError::NoSuchPreset {
            name: name.into(),
            presets: PRESETS.map(|(preset, _)| preset).join(", "),
            problem,
        })?;
        Self::parse(name, &text, overrides)
    }

    /// These settings, with others of [`SET_ON_RESUME`].
    ///
    /// # Errors
    /// [`SettingsError::Override`] for any other setting.
    pub fn resumed_with(&self, overrides: &[String]) -> Result<Self, SettingsError> {
        let may_be_set =
            |text: &str| SET_ON_RESUME.contains(&text.split('=').next().unwrap_or_default().trim());
        match overrides.iter().find(|text| !may_be_set(text)) {
            None => Self::parse("the run's settings", &self.to_toml()?, overrides),
            Some(text) => Err(SettingsError::Override {
                text: text.clone(),
                problem: format!(
                    "a run goes on with its own settings, but for {}",
                    SET_ON_RESUME.join(" and ")
                ),
            }),
        }
    }

    /// The settings in a TOML text, with overrides; `origin` names it in errors.
    ///
    /// # Errors
    /// [`SettingsError`]; an unknown setting is one.
    pub fn parse(origin: &str, text: &str, overrides: &[String]) -> Result<Self, SettingsError> {
        let unreadable = |problem: String| SettingsError::Unreadable { origin: origin.into(), problem };
        let mut table: toml::Table = text.parse().map_err(|e: toml::de::Error| unreadable(e.to_string()))?;
        // A run of another version is refused as such before its settings are found unknown.
        if let Some(found) = table.get("version").and_then(toml::Value::as_integer)
            && found != i64::from(VERSION)
        {
            return Err(SettingsError::Version { origin: origin.into(), found });
        }
        overrides.iter().try_for_each(|text| set(&mut table, text))?;
        // A length in steps replaces a preset's length in epochs, and the other way round.
        let given = |key: &str| overrides.iter().any(|text| text.starts_with(&format!("train.{key}=")));
        for (length, other) in [("steps", "epochs=0.0"), ("epochs", "steps=0")] {
            let zero = overrides.iter().any(|text| *text == format!("train.{length}=0"));
            if given(length) && !zero && !given(other.split('=').next().unwrap_or_default()) {
                set(&mut table, &format!("train.{other}"))?;
            }
        }
        let config: Self = toml::Value::Table(table)
            .try_into()
            .map_err(|e: toml::de::Error| unreadable(e.to_string().trim_end().to_string()))?;
        config.validate(origin)?;
        Ok(config)
    }

    /// Every setting as TOML, defaults written out.
    ///
    /// # Errors
    /// [`SettingsError::Unreadable`] where a setting has no TOML form.
    pub fn to_toml(&self) -> Result<String, SettingsError> {
        toml::to_string_pretty(self)
            .map_err(|e| SettingsError::Unreadable { origin: "run.toml".into(), problem: e.to_string() })
    }

    /// The tasks.
    pub fn tasks(&self) -> Vec<TaskEntry> {
        let entry = |name: &str, data: &DataConfig, parts: (&_, &_), weight, loss_weight| {
            let (inputs, outputs): (&IndexMap<_, _>, &IndexMap<_, _>) = parts;
            let task = match data {
                DataConfig::Modality(task) => AnyTask::Modality(task.clone()),
                DataConfig::Rows(data) => AnyTask::Parts(Box::new(TaskSettings {
                    data: data.as_ref().clone(),
                    inputs: inputs.clone(),
                    outputs: outputs.clone(),
                })),
            };
            TaskEntry { name: name.into(), task, weight, loss_weight }
        };
        match &self.data {
            Some(data) => {
                let name = if let DataConfig::Modality(task) = data { task.modality() } else { "" };
                vec![entry(name, data, (&self.inputs, &self.outputs), 1.0, 1.0)]
            }
            None => self
                .mix
                .iter()
                .map(|(name, it)| entry(name, &it.data, (&it.inputs, &it.outputs), it.weight, it.loss_weight))
                .collect(),
        }
    }

    /// The task of one modality, for a run of only that.
    pub fn task_config(&self) -> Option<&TaskConfig> {
        match &self.data {
            Some(DataConfig::Modality(task)) => Some(task),
            _ => None,
        }
    }

    fn validate(&self, origin: &str) -> Result<(), SettingsError> {
        if self.version != VERSION {
            return Err(SettingsError::Version { origin: origin.into(), found: self.version.into() });
        }
        if self.data.is_some() != self.mix.is_empty() {
            return Err(SettingsError::Tasks(origin.into()));
        }
        self.check_parts(origin)?;
        for (task, entry) in &self.mix {
            for (setting, found) in [("weight", entry.weight), ("loss_weight", entry.loss_weight)] {
                if !(found > 0.0 && found.is_finite()) {
                    return Err(SettingsError::Weight { task: task.clone(), setting, found });
                }
            }
        }
        self.model.validate()?;
        Ok(self.train.validate()?)
    }
}

impl RunConfig {
    /// A task of parts has outputs, and a task of one modality has no parts.
    fn check_parts(&self, origin: &str) -> Result<(), SettingsError> {
        let tasks = self
            .mix
            .iter()
            .map(|(name, it)| (format!("mix.{name}."), Some(&it.data), &it.inputs, &it.outputs));
        let one = (String::new(), self.data.as_ref(), &self.inputs, &self.outputs);
        for (prefix, data, inputs, outputs) in tasks.chain([one]) {
            let problem = match data {
                Some(DataConfig::Rows(_)) if outputs.is_empty() => {
                    format!("{prefix}outputs: a task predicts something; add a table [{prefix}outputs.NAME]")
                }
                Some(DataConfig::Modality(_)) | None if !(inputs.is_empty() && outputs.is_empty()) => {
                    format!(
                        "{prefix}inputs and {prefix}outputs name fields of rows; say where those come from in [{prefix}data], without `modality`"
                    )
                }
                _ => continue,
            };
            return Err(SettingsError::Unreadable { origin: origin.into(), problem });
        }
        Ok(())
    }
}

/// Sets `a.b.c=value` in a table. The value is read as TOML, and where it is none, taken as a text.
fn set(table: &mut toml::Table, text: &str) -> Result<(), SettingsError> {
    let refuse = |problem: String| SettingsError::Override { text: text.into(), problem };
    let (path, value) = text.split_once('=').ok_or_else(|| refuse("expected key=value".into()))?;
    let (path, value) = (path.trim(), value.trim());
    let value = match format!("value = {value}").parse::<toml::Table>() {
        Ok(mut parsed) if parsed.len() == 1 => parsed.remove("value"),
        _ => None,
    }
    .unwrap_or_else(|| toml::Value::String(value.into()));
    let (parents, key) = path.rsplit_once('.').unwrap_or(("", path));
    let mut table = table;
    for parent in parents.split('.').filter(|parent| !parent.is_empty()) {
        let entry = table.entry(parent).or_insert_with(|| toml::Value::Table(toml::Table::new()));
        table = entry.as_table_mut().ok_or_else(|| refuse(format!("{parent} is a setting, not a table")))?;
    }
    table.insert(key.into(), value);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_keep_their_order_and_what_they_say() {
        let text = "[data]\nsource = \"a.csv\"\n[inputs.z]\nmodality = \"image\"\npatch_size = 4\n[inputs.a]\n\
                    modality = \"numbers\"\nfield = [\"x\", \"y\"]\n[outputs.m]\nhead = \"classify\"\n";
        let config = RunConfig::parse("my.toml", text, &["inputs.z.drop=0.5".into()]).unwrap();
        assert_eq!(config.inputs.keys().collect::<Vec<_>>(), ["z", "a"]);
        assert_eq!((config.inputs["z"].drop, &config.inputs["z"].settings["patch_size"]), (0.5, &4.into()));
        assert_eq!(RunConfig::parse("again", &config.to_toml().unwrap(), &[]).unwrap(), config);
        let message = |text: &str| RunConfig::parse("my.toml", text, &[]).unwrap_err().to_string();
        assert!(message("[data]\nsource = \"a.csv\"\n").contains("add a table [outputs.NAME]"));
        assert!(message("[inputs.a]\nmodality = \"text\"\n").contains("[data]"));
        assert!(message("[data]\nsuorce = \"a.csv\"\n[outputs.m]\nhead = \"classify\"\n").contains("suorce"));
    }

    #[test]
    fn every_preset_is_read_and_written() {
        for (name, _) in PRESETS {
            let config = RunConfig::of_preset_or_file(name, &[]).unwrap();
            let written = config.to_toml().unwrap();
            assert_eq!(RunConfig::parse("again", &written, &[]).unwrap(), config, "{name}");
        }
    }

    #[test]
    fn overrides_are_typed_as_toml() {
        let overrides = ["train.steps=7", "data.path=a b.txt", "model.dropout = 0.25", "model.bias=false"];
        let config = RunConfig::of_preset_or_file("text", &overrides.map(String::from)).unwrap();
        assert_eq!((config.train.steps, config.model.dropout, config.model.bias), (7, 0.25, false));
        assert!(config.to_toml().unwrap().contains("path = \"a b.txt\""));
    }

    #[test]
    fn a_length_in_steps_replaces_one_in_epochs() {
        let length = |overrides: &[&str]| {
            let overrides: Vec<String> = overrides.iter().map(|text| text.to_string()).collect();
            RunConfig::of_preset_or_file("image", &overrides).map(|c| (c.train.steps, c.train.epochs))
        };
        assert_eq!(length(&["train.steps=7"]).unwrap(), (7, 0.0));
        assert_eq!(length(&["train.epochs=2.5"]).unwrap(), (0, 2.5));
        assert_eq!(length(&["train.epochs=3.0", "train.steps=0"]).unwrap(), (0, 3.0));
        assert!(length(&["train.epochs=3.0", "train.steps=5"]).is_err(), "one of both");
    }

    #[test]
    fn a_run_goes_on_with_its_own_settings_but_for_what_changes_no_result() {
        let run = RunConfig::of_preset_or_file("text", &[]).unwrap();
        let set = ["train.recompute=true", "train.workers = 1"].map(String::from);
        let mut other = run.resumed_with(&set).unwrap();
        assert!(other.train.recompute && other.train.workers == 1);
        (other.train.recompute, other.train.workers) = (run.train.recompute, run.train.workers);
        assert_eq!(other.to_toml().unwrap(), run.to_toml().unwrap());
        let error = run.resumed_with(&["train.steps=9".into()]).unwrap_err().to_string();
        assert!(error.contains("\"train.steps=9\"") && error.contains("but for train.recompute"), "{error}");
    }

    #[test]
    fn what_is_wrong_is_named() {
        let message = |overrides: &[&str]| {
            let overrides: Vec<String> = overrides.iter().map(|s| s.to_string()).collect();
            RunConfig::of_preset_or_file("text", &overrides).unwrap_err().to_string()
        };
        assert!(message(&["train.stesp=7"]).contains("stesp"));
        assert!(message(&["train.steps"]).contains("expected key=value"));
        assert!(message(&["train.steps=many"]).contains("steps"));
        assert!(message(&["train.steps.x=1"]).contains("steps is a setting"));
        assert!(message(&["model.n_heads=3"]).contains("d_model 128 must be a multiple of n_heads 3"));
        assert!(message(&["version=9"]).contains("9"));
        let unknown = RunConfig::of_preset_or_file("texts", &[]).unwrap_err().to_string();
        assert!(unknown.contains("neither a preset (text, image"), "{unknown}");
        let old = RunConfig::parse("run.toml", "version = 0", &[]).unwrap_err().to_string();
        assert_eq!(old, "run.toml: version 0 of a run; this build reads version 1");
        assert!(matches!(RunConfig::parse("x", "", &[]), Err(SettingsError::Tasks(_))));
    }

    #[test]
    #[cfg(feature = "audio")]
    fn a_published_front_end_is_named_and_written_out() {
        use crate::tasks::TaskConfig;
        use crate::tasks::modalities::audio::AudioConfig;
        let overrides = ["data.audio=whisper128", "data.normalize=false"].map(String::from);
        let config = RunConfig::of_preset_or_file("audio", &overrides).unwrap();
        let Some(TaskConfig::Audio(audio)) = config.task_config() else { panic!("{:?}", config.data) };
        assert_eq!(audio.audio, AudioConfig::whisper(128));
        let written = config.to_toml().unwrap();
        assert!(written.contains("n_mels = 128") && !written.contains("whisper128"), "{written}");
        assert_eq!(RunConfig::parse("run.toml", &written, &[]).unwrap(), config);
        let changed = "[data]\nmodality = \"audio\"\n[data.audio]\npreset = \"ast\"\nframes_per_slice = 8\nslice_hop = 8\n";
        let changed = RunConfig::parse("my.toml", changed, &[]).unwrap();
        let Some(TaskConfig::Audio(audio)) = changed.task_config() else { panic!("{:?}", changed.data) };
        assert_eq!(audio.audio.mel, AudioConfig::ast().mel);
        assert_eq!((audio.audio.frames_per_slice, audio.audio.slice_hop), (8, Some(8)));
        let unknown =
            RunConfig::of_preset_or_file("audio", &["data.audio=wisper".into()]).unwrap_err().to_string();
        assert!(
            unknown.contains("there is no preset \"wisper\"; there are whisper, whisper128"),
            "{unknown}"
        );
    }

    #[test]
    #[cfg(feature = "image")]
    fn settings_of_a_preset_can_be_set_one_by_one() {
        use crate::tasks::{TaskConfig, modalities::image::Resize};
        let set = |overrides: &[&str]| {
            let overrides: Vec<String> = overrides.iter().map(|text| text.to_string()).collect();
            match RunConfig::of_preset_or_file("image", &overrides).map_err(|e| e.to_string())?.data {
                Some(DataConfig::Modality(task)) => match *task {
                    TaskConfig::Image(config) => Ok(config),
                    other => Err(format!("{other:?}")),
                },
                other => Err(format!("{other:?}")),
            }
        };
        let config = set(&[
            "data.preset=imagenet",
            "data.resize.crop.shortest_edge=300",
            "data.augment.crop.area=[0.25, 1.0]",
            "data.augment.jitter.hue=0.1",
            "data.blend.mixup=0.2",
        ])
        .unwrap();
        assert_eq!(config.resize, Resize::Crop { shortest_edge: 300 });
        assert_eq!(config.augment.crop.unwrap().area, [0.25, 1.0]);
        assert_eq!((config.augment.jitter.unwrap().hue, config.blend.mixup), (0.1, 0.2));
        assert!(set(&["data.preset=resnet"]).unwrap_err().contains("preset: unknown variant `resnet`"));
        for wrong in [
            "data.pacth=4",
            "data.preset=clip\ndata.pacth=4",
            "data.augment.crop.aera=1",
            "data.filter=cubic",
        ] {
            let overrides: Vec<&str> = wrong.split('\n').collect();
            let error = set(&overrides).unwrap_err();
            let named = ["pacth", "aera", "cubic"].iter().any(|name| error.contains(name));
            assert!(named && error.contains("expected"), "{error}");
        }
    }
}
