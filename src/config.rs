//! `run.toml`: every setting of a run, from a preset or a file, with overrides.

use crate::tasks::TaskConfig;
use crate::train::{TrainConfig, TrainConfigError};
use crate::transformer::{ConfigError, ModelConfig};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

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
    /// The one task of a run that has one; it is named after its modality.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<TaskConfig>,
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
    /// The task.
    pub data: TaskConfig,
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

    /// The tasks: name, data, weight and loss weight.
    pub fn tasks(&self) -> Vec<(&str, &TaskConfig, f64, f64)> {
        match &self.data {
            Some(data) => vec![(data.modality(), data, 1.0, 1.0)],
            None => self.mix.iter().map(|(n, e)| (n.as_str(), &e.data, e.weight, e.loss_weight)).collect(),
        }
    }

    fn validate(&self, origin: &str) -> Result<(), SettingsError> {
        if self.version != VERSION {
            return Err(SettingsError::Version { origin: origin.into(), found: self.version.into() });
        }
        if self.data.is_some() != self.mix.is_empty() {
            return Err(SettingsError::Tasks(origin.into()));
        }
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
        let Some(TaskConfig::Audio(audio)) = &config.data else { panic!("{:?}", config.data) };
        assert_eq!(audio.audio, AudioConfig::whisper(128));
        let written = config.to_toml().unwrap();
        assert!(written.contains("n_mels = 128") && !written.contains("whisper128"), "{written}");
        assert_eq!(RunConfig::parse("run.toml", &written, &[]).unwrap(), config);
        let changed = "[data]\nmodality = \"audio\"\n[data.audio]\npreset = \"ast\"\nframes_per_slice = 8\nslice_hop = 8\n";
        let changed = RunConfig::parse("my.toml", changed, &[]).unwrap();
        let Some(TaskConfig::Audio(audio)) = &changed.data else { panic!("{:?}", changed.data) };
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
                Some(TaskConfig::Image(config)) => Ok(config),
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
