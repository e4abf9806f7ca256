//! The TOML file of an experiment.

use super::bounds::Bound;
use super::forms::{self, FigureSpec, Sweep};
use super::points::{self, RunPoint};
use super::texts::TextSpec;
use super::{EXPERIMENTS, ReproduceError};
use fancy_regex::Regex;
use indexmap::IndexMap;
use serde::Deserialize;
use toml::{Table, Value};

/// An experiment.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Experiment {
    /// Its name: that of its file.
    #[serde(skip)]
    pub name: String,
    /// Its title.
    pub title: String,
    /// What it shows, in the words of a teacher.
    pub text: String,
    /// The papers.
    #[serde(default)]
    pub papers: Vec<String>,
    /// The number of seeds.
    #[serde(default = "three")]
    pub seeds: usize,
    /// The published numbers.
    pub reference: Option<Reference>,
    /// Generated data.
    #[serde(default)]
    pub data: Data,
    /// The runs, by name.
    pub runs: IndexMap<String, RunSpec>,
    /// Numbers to compare with, by name.
    #[serde(default)]
    pub baselines: IndexMap<String, BaselineSpec>,
    /// What must hold.
    #[serde(default)]
    pub bounds: Vec<Bound>,
    /// The figures: `[figure]`, or `[[figure]]` for each of several.
    #[serde(default, rename = "figure", deserialize_with = "forms::figures")]
    pub figures: Vec<FigureSpec>,
    /// What a quick check changes.
    #[serde(default)]
    pub quick: Quick,
}

fn three() -> usize {
    3
}

/// `[reference]`: published numbers.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reference {
    /// The number of each measure, by its name, or of something else, by a name of its own.
    #[serde(default)]
    pub values: IndexMap<String, f64>,
    /// Where they are published.
    pub source: String,
    /// Whether they were looked up there.
    #[serde(default)]
    pub checked: bool,
}

/// `[data]`: data that are generated once.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Data {
    /// The arguments of `smalti data make`, by the name that sources use: `{NAME}/…`.
    #[serde(default)]
    pub make: IndexMap<String, Vec<String>>,
}

/// `[runs.NAME]`: a training, or several.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunSpec {
    /// The run whose preset, settings, start and measures this one has too.
    pub like: Option<String>,
    /// A preset.
    pub preset: Option<String>,
    /// Settings, over those of the preset. An empty text removes a table.
    #[serde(default)]
    pub settings: Table,
    /// The values of settings, by path: a run for each, and for each pair of two.
    #[serde(default, deserialize_with = "forms::sweep")]
    pub sweep: Sweep,
    /// The run whose best weights this one starts from.
    pub from: Option<String>,
    /// What may be missing: without it, the run is left out and its measures are reported as not measured.
    #[serde(default)]
    pub needs: Vec<Need>,
    /// What is measured, by name. A run without measures is trained only if another needs it.
    #[serde(default)]
    pub measures: IndexMap<String, Measure>,
    /// Texts that it writes, in place of those of the run that it is like.
    #[serde(default)]
    pub texts: Vec<TextSpec>,
}

/// What a run needs, and what may be missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Need {
    /// A GPU.
    Cuda,
    /// Its data.
    Data,
    /// The environments in which it acts.
    Environment,
}

/// `[runs.NAME.measures.NAME]`: a number of a trained run.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Measure {
    /// A metric of the evaluation, as `smalti eval` names it; `return_mean`, `return_std` or `success_rate` of a rollout; or
    /// `seconds`, `seconds_per_step`, `first_loss`, `parameters`, `peak_memory` or `load_balance` of the training.
    pub metric: String,
    /// The output, `TASK.OUTPUT` in a mix, or the task of a rollout. A run with only one of them needs no name.
    pub output: Option<String>,
    /// The field of a row that is scored instead of the model's prediction: the numbers of another method.
    pub prediction: Option<String>,
    /// The weights.
    #[serde(default)]
    pub weights: WhichWeights,
    /// Settings of the evaluation that differ from those of the run. If they are not of the data alone, the model is built anew
    /// with the learned weights.
    #[serde(default)]
    pub settings: Table,
    /// The values of such settings: a number for each.
    #[serde(default, deserialize_with = "forms::sweep")]
    pub sweep: Sweep,
    /// Maximum number of samples; 0 for all.
    #[serde(default)]
    pub samples: usize,
    /// Number of rows to generate values for; 0 for none.
    #[serde(default)]
    pub generate: usize,
    /// Temperature of generation; 0 is greedy.
    #[serde(default)]
    pub temperature: f64,
    /// A regular expression. The metric `matches` is the share of generated texts in which it is found.
    pub matches: Option<String>,
    /// A run that judges generated values; the metric is one of its evaluation.
    pub judge: Option<JudgeSpec>,
    /// The environment to act in.
    pub rollout: Option<RolloutSpec>,
    /// A known alignment, with which cross-attention is compared on `samples` rows. The metric `alignment` is the share of output
    /// tokens whose highest attention weight is on a token to which they are aligned, in the layer and head, or mean of heads, with
    /// the largest share.
    pub alignment: Option<AlignmentSpec>,
    /// The kind of token whose learned positions are compared. The metrics are `near` and `far`: the mean cosine similarity of
    /// positions that differ by one step on one axis, and by more.
    pub positions: Option<String>,
}

impl Measure {
    /// Whether a figure of kind `matrix` can draw it.
    pub(super) fn is_view(&self) -> bool {
        self.alignment.is_some() || self.positions.is_some()
    }

    /// The regular expression of its generated texts.
    pub(super) fn pattern(&self) -> Result<Option<Regex>, String> {
        let pattern = self.matches.as_deref().map(Regex::new).transpose();
        pattern.map_err(|error| format!("matches: expected a regular expression; {error}"))
    }
}

/// Where the alignment of a generated output with an input is known.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AlignmentSpec {
    /// The field: for each token of the output, start and end of the input tokens to which it is aligned, which are equal if there
    /// are none.
    pub field: String,
    /// The input; the first that the output reads by cross-attention if left out.
    pub input: Option<String>,
}

/// Which weights are measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WhichWeights {
    /// The best by validation loss.
    #[default]
    Best,
    /// Those of the last step.
    Last,
}

/// The run that judges the generated values of a measure: it is evaluated on the rows with these values in place of their own.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JudgeSpec {
    /// The run.
    pub run: String,
    /// Its output. A run with only one output needs no name.
    pub output: Option<String>,
}

/// The environment of a measure, and how the policy acts in it.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RolloutSpec {
    /// The name of a built-in environment, or a command that speaks line-JSON ([`crate::env::bridge`]).
    pub env: String,
    /// The target return.
    #[serde(default)]
    pub target_return: f32,
    /// The number of episodes.
    pub episodes: usize,
}

/// `[baselines.NAME]`: a number to compare a measure with, from a source or computed: the metric of a model that always predicts
/// the most frequent target (the unigram). Bars show it beside its measure.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BaselineSpec {
    /// The measure.
    pub of: String,
    /// The number; computed if left out.
    pub value: Option<f64>,
    /// Where the number is from.
    pub source: Option<String>,
}

/// `[quick]`: what a check in seconds changes.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Quick {
    /// Settings of every run.
    #[serde(default)]
    pub settings: Table,
    /// Settings of some runs, by name.
    #[serde(default)]
    pub runs: IndexMap<String, Table>,
    /// Other values of swept settings, by path.
    #[serde(default, deserialize_with = "forms::sweep")]
    pub sweep: Sweep,
    /// Other arguments of `smalti data make`.
    #[serde(default)]
    pub make: IndexMap<String, Vec<String>>,
}

/// Most generated texts, and most episodes, of each measure in a quick check; most tokens of a text.
const QUICK: usize = 4;

impl Experiment {
    /// The experiment of a name that ships, or of a TOML file.
    ///
    /// # Errors
    /// [`ReproduceError`] for an unknown name and for a malformed file.
    pub fn named(name: &str) -> Result<Self, ReproduceError> {
        if let Some((name, text)) = EXPERIMENTS.iter().find(|(shipped, _)| *shipped == name) {
            return Self::parse(name, text);
        }
        let text = std::fs::read_to_string(name).map_err(|problem| ReproduceError::Unknown {
            name: name.into(),
            known: EXPERIMENTS.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", "),
            problem,
        })?;
        let stem = std::path::Path::new(name).file_stem().map(|stem| stem.to_string_lossy().into_owned());
        Self::parse(&stem.unwrap_or_else(|| name.into()), &text)
    }

    /// The experiment of a TOML text.
    ///
    /// # Errors
    /// [`ReproduceError::Malformed`], with the place.
    pub fn parse(name: &str, text: &str) -> Result<Self, ReproduceError> {
        let malformed = |problem| ReproduceError::Malformed { origin: name.into(), problem };
        let read: Result<Self, _> = toml::from_str(text);
        let mut experiment = read.map_err(|error| malformed(error.to_string().trim_end().into()))?;
        experiment.name = name.into();
        experiment.check().map_err(malformed)?;
        Ok(experiment)
    }

    /// The experiment with what a quick check changes, for one seed, few generated texts and few episodes.
    pub fn quick(mut self) -> Self {
        self.seeds = 1;
        for (name, run) in &mut self.runs {
            for settings in [Some(&self.quick.settings), self.quick.runs.get(name)].into_iter().flatten() {
                merge(&mut run.settings, settings);
            }
            run.texts.iter_mut().for_each(|text| text.shorten(QUICK));
            for measure in run.measures.values_mut() {
                measure.generate = measure.generate.min(QUICK);
                measure.rollout.iter_mut().for_each(|rollout| rollout.episodes = rollout.episodes.min(QUICK));
            }
            let measures = run.measures.values_mut().map(|measure| &mut measure.sweep);
            for sweep in measures.chain([&mut run.sweep]) {
                let shorter =
                    sweep.iter_mut().filter_map(|(key, values)| Some((values, self.quick.sweep.get(key)?)));
                shorter.for_each(|(values, few)| values.clone_from(few));
            }
        }
        self.data.make.extend(std::mem::take(&mut self.quick.make));
        self
    }

    /// All trainings: of each run with `like` and `sweep` resolved.
    pub(super) fn points(&self) -> Result<Vec<RunPoint>, String> {
        let of_run = self.runs.keys().map(|name| points::of_run(self, name));
        Ok(of_run.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect())
    }
}

/// Sets the values of `over` in `table`, inner tables key by key.
fn merge(table: &mut Table, over: &Table) {
    for (key, value) in over {
        match (table.get_mut(key), value) {
            (Some(Value::Table(inner)), Value::Table(over)) => merge(inner, over),
            _ => drop(table.insert(key.clone(), value.clone())),
        }
    }
}
