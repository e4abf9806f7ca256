//! The trainings and measures of an experiment, with the values of swept settings, and their names.

use super::data::runs_in;
use super::experiment::{Experiment, Measure, Need};
use super::forms::Sweep;
use super::texts::TextSpec;
use indexmap::IndexMap;
use std::fmt;
use toml::{Table, Value};

/// A path and a value.
pub(super) type Setting = (String, Value);

/// One training.
#[derive(Clone, Debug)]
pub(super) struct RunPoint {
    /// The run, with the swept values.
    pub name: Swept,
    /// Its preset.
    pub preset: Option<String>,
    /// Its settings: paths and values, later ones over earlier ones.
    pub settings: Vec<Setting>,
    /// The run that it starts from.
    pub from: Option<String>,
    /// What may be missing.
    pub needs: Vec<Need>,
    /// What is measured.
    pub measures: Vec<MeasurePoint>,
    /// The texts that it writes.
    pub texts: Vec<TextSpec>,
}

/// One number of a training.
#[derive(Clone, Debug)]
pub(super) struct MeasurePoint {
    /// The measure, with the swept values.
    pub name: Swept,
    /// The settings of its evaluation: paths and values.
    pub settings: Vec<Setting>,
    /// The measure as in the file.
    pub measure: Measure,
}

/// A name and the values that are swept: `pre`, `pre(8)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Swept {
    pub name: String,
    pub values: Vec<String>,
}

impl fmt::Display for Swept {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self.values.is_empty() {
            true => f.write_str(&self.name),
            false => write!(f, "{}({})", self.name, self.values.join(", ")),
        }
    }
}

/// The name of a measure: `pre(8).loss`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct MeasureId {
    pub run: Swept,
    pub measure: Swept,
}

impl fmt::Display for MeasureId {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}.{}", self.run, self.measure)
    }
}

impl MeasureId {
    /// Whether `name` is this measure, or stands for it and others by leaving out swept values.
    pub fn is(&self, name: &str) -> bool {
        let names = [
            format!("{}.{}", self.run, self.measure),
            format!("{}.{}", self.run.name, self.measure),
            format!("{}.{}", self.run, self.measure.name),
            format!("{}.{}", self.run.name, self.measure.name),
        ];
        names.iter().any(|own| own == name)
    }

    /// The last swept value.
    pub fn swept(&self) -> Option<&str> {
        self.measure.values.last().or(self.run.values.last()).map(String::as_str)
    }
}

impl MeasurePoint {
    /// Whether its settings are of the data alone, among them the fields of targets and of their weights.
    pub fn is_of_data(&self) -> bool {
        let is_of_data = |path: &str| {
            let mut keys = path.split('.').peekable();
            if keys.next_if_eq(&"mix").is_some() {
                keys.next(); // the name of the task
            }
            match keys.next() {
                Some("data") => true,
                Some("outputs") => matches!(keys.nth(1), Some("field" | "weight_field")),
                _ => false,
            }
        };
        self.settings.iter().all(|(path, _)| is_of_data(path))
    }
}

impl RunPoint {
    /// The runs that are trained before it: those that its settings name, and the one that it starts from.
    pub fn depends_on(&self) -> Vec<String> {
        let mut names = vec![];
        let named = self.settings.iter().flat_map(|(_, value)| runs_in(value));
        for name in self.from.iter().cloned().chain(named) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names
    }

    /// The names of its measures.
    pub fn ids(&self) -> impl Iterator<Item = MeasureId> {
        self.measures.iter().map(|point| MeasureId { run: self.name.clone(), measure: point.name.clone() })
    }
}

/// The trainings of a run: one for each combination of its swept values.
pub(super) fn of_run(experiment: &Experiment, name: &str) -> Result<Vec<RunPoint>, String> {
    let mut line = vec![];
    let mut next = Some(name);
    while let Some(name) = next {
        let run = experiment.runs.get(name).ok_or_else(|| unknown(experiment, name))?;
        if line.iter().any(|(known, _)| *known == name) {
            return Err(format!("runs.{name}.like: it is like itself; remove one `like` of the circle"));
        }
        line.push((name, run));
        next = run.like.as_deref();
    }
    let (mut preset, mut from, mut sweep) = (None, None, IndexMap::new());
    let (mut settings, mut measures, mut needs, mut texts) = (vec![], IndexMap::new(), vec![], &vec![]);
    for (_, run) in line.iter().rev() {
        preset = run.preset.clone().or(preset);
        from = run.from.clone().or(from);
        flatten(&run.settings, "", &mut settings);
        sweep.extend(run.sweep.clone());
        measures.extend(run.measures.clone());
        needs.extend(&run.needs);
        texts = if run.texts.is_empty() { texts } else { &run.texts };
    }
    let measures: Vec<MeasurePoint> =
        measures.iter().flat_map(|(name, measure)| of_measure(name, measure)).collect();
    let point = |(values, swept): Combination| RunPoint {
        name: Swept { name: name.into(), values },
        preset: preset.clone(),
        settings: settings.iter().cloned().chain(swept).collect(),
        from: from.clone(),
        needs: needs.clone(),
        measures: measures.clone(),
        texts: texts.clone(),
    };
    Ok(combinations(&sweep).into_iter().map(point).collect())
}

fn unknown(experiment: &Experiment, name: &str) -> String {
    let known: Vec<&str> = experiment.runs.keys().map(String::as_str).collect();
    format!("like: expected one of the runs {}; found {name:?}", known.join(", "))
}

fn of_measure(name: &str, measure: &Measure) -> Vec<MeasurePoint> {
    let mut settings = vec![];
    flatten(&measure.settings, "", &mut settings);
    let point = |(values, swept): Combination| MeasurePoint {
        name: Swept { name: name.into(), values },
        settings: settings.iter().cloned().chain(swept).collect(),
        measure: measure.clone(),
    };
    combinations(&measure.sweep).into_iter().map(point).collect()
}

/// The names of the values of swept settings, and the settings.
type Combination = (Vec<String>, Vec<Setting>);

/// Each combination of the values of swept settings.
fn combinations(sweep: &Sweep) -> Vec<Combination> {
    let mut all = vec![(vec![], vec![])];
    for (key, values) in sweep {
        let extended = all.iter().flat_map(|(texts, settings)| {
            values.iter().map(move |(name, value)| {
                let (mut texts, mut settings) = (texts.clone(), settings.clone());
                texts.push(name.clone());
                settings.push((key.clone(), value.clone()));
                (texts, settings)
            })
        });
        all = extended.collect();
    }
    all
}

/// The paths and values of a table, in its order. A later value of a path replaces an earlier one in its place.
pub(super) fn flatten(table: &Table, prefix: &str, found: &mut Vec<Setting>) {
    for (key, value) in table {
        let path = format!("{prefix}{key}");
        match value {
            Value::Table(inner) => flatten(inner, &format!("{path}."), found),
            value => match found.iter_mut().find(|(known, _)| *known == path) {
                Some((_, known)) => *known = value.clone(),
                None => found.push((path, value.clone())),
            },
        }
    }
}

/// A setting as `--set` takes it.
pub(super) fn overrides(settings: &[Setting]) -> Vec<String> {
    settings.iter().map(|(path, value)| format!("{path}={value}")).collect()
}
