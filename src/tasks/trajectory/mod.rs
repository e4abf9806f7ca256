//! Trajectories: which action leads to the return that is asked for.

mod rollout;
mod source;
#[cfg(test)]
mod tests;

pub use rollout::{Rollout, random_policy, rollout};
pub use source::{Log, is_log, lines, read};

use super::{More, SavedTask, Splits, TaskError, holdout::hold_out, saved};
use crate::data::{DataError, Dataset, Sample, Stream, Target};
use crate::head::{HeadSpec, Says};
use crate::random;
use crate::rules::Rule;
use crate::task::{Task, TaskSpec};
use serde::{Deserialize, Serialize};
use smalti_contract::{AnyTokenizer, Tokenizer};
use smalti_trajectory::{ActionSpec, Actions, Episode, FitOptions, MuLaw, TrajectoryTokenizer, Window, fit};
use std::sync::Arc;

/// `[data]` of a trajectory task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TrajectoryTaskConfig {
    /// Logged episodes: a file (`.npz`, JSON lines, CSV, Parquet; HDF5 with the feature `hdf5`), a folder or tar archive
    /// of such files, or a data set in LeRobot's layout.
    pub path: String,
    /// More data of the same sort, each with its weight: `more = [{ path = "b.tar", weight = 0.5 }]`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub more: Vec<More>,
    /// The most time steps that the model sees at once.
    pub context: usize,
    /// The most time steps of an episode; 0 for those of the longest in the data.
    pub max_steps: usize,
    /// What a reward loses with each step that it lies ahead.
    pub discount: f32,
    /// What returns-to-go are divided by; 0 for the largest magnitude among them.
    pub return_scale: f32,
    /// Share of episodes that validates.
    pub holdout: f64,
    /// Share of the episodes, those of the highest return, that is kept: 0.1 for best-10% cloning.
    pub best: f64,
    /// Whether the model is told the return to reach; without it, it clones behaviour.
    pub condition: bool,
    /// Whether real actions are kept in −1..1 by a hyperbolic tangent.
    pub bounded: bool,
    /// Whether there are heads for the next state and return too, as in the published decision transformer. They are
    /// not trained.
    pub further_heads: bool,
    /// Where given, numbers become ids (Gato).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub discretise: Option<MuLaw>,
}

impl Default for TrajectoryTaskConfig {
    fn default() -> Self {
        Self {
            path: "builtin:cartpole-mixed.npz".into(),
            more: vec![],
            context: 20,
            max_steps: 0,
            discount: 1.0,
            return_scale: 0.0,
            holdout: 0.1,
            best: 1.0,
            condition: true,
            bounded: false,
            further_heads: false,
            discretise: None,
        }
    }
}

/// A trajectory task: its tokenizer, and whether it is told the return.
pub struct TrajectoryTask {
    spec: TaskSpec,
    tokenizer: TrajectoryTokenizer,
    condition: bool,
    /// Tokens of one state: its numbers where they are discretised, else one.
    state_tokens: usize,
    skipped: Vec<(String, &'static str)>,
}

/// What the tokenizer is for, in the run folder.
const ROLE: &str = "trajectory";
/// What further heads say.
pub const NEXT_STATE: &str = "next_state";
/// What further heads say.
pub const NEXT_RETURN: &str = "next_return";

impl TrajectoryTask {
    pub(super) fn open(
        name: &str,
        loss_weight: f64,
        config: &TrajectoryTaskConfig,
        saved: Option<&SavedTask>,
    ) -> Result<(Arc<Self>, Splits), TaskError> {
        let mut log = read(&config.path)?;
        let skipped = std::mem::take(&mut log.skipped);
        let all = log.all()?;
        let kept = best(all, config.best)?;
        let (rest, held) = hold_out(kept.len(), config.holdout)?;
        let pick = |indices: Vec<u32>| -> Vec<Episode> {
            indices.into_iter().map(|i| kept[i as usize].clone()).collect()
        };
        let (train, valid) = (pick(rest), pick(held));
        let task = match saved {
            Some(saved) => Self::restore(name, loss_weight, config, saved)?,
            None => {
                let longest = kept.iter().map(Episode::len).max().unwrap_or(0);
                let options = FitOptions {
                    context: config.context,
                    max_steps: if config.max_steps == 0 { longest } else { config.max_steps },
                    discretise: config.discretise,
                    discount: config.discount,
                    return_scale: (config.return_scale != 0.0).then_some(config.return_scale),
                };
                let fitted = fit(&train, options).map_err(|e| DataError::tokenize(&config.path, e))?;
                Self::with(name, loss_weight, config, TrajectoryTokenizer::new(fitted)?)
            }
        };
        let task = Arc::new(Self { skipped, ..task });
        let windows = |episodes: Vec<Episode>| -> Arc<dyn Dataset> {
            Arc::new(Windows::new(episodes, config, task.clone()))
        };
        let splits = Splits { train: windows(train), valid: windows(valid) };
        Ok((task, splits))
    }

    pub(super) fn restore(
        name: &str,
        loss_weight: f64,
        config: &TrajectoryTaskConfig,
        saved: &SavedTask,
    ) -> Result<Self, TaskError> {
        Ok(Self::with(name, loss_weight, config, saved::restore(name, ROLE, saved)?))
    }

    /// The task of this tokenizer.
    pub fn with(
        name: &str,
        loss_weight: f64,
        config: &TrajectoryTaskConfig,
        tokenizer: TrajectoryTokenizer,
    ) -> Self {
        let fitted = tokenizer.config();
        let kinds = Tokenizer::spec(&tokenizer).kinds.clone();
        let state_tokens = if fitted.discretise.is_some() { fitted.state_dim() } else { 1 };
        let says = says(&fitted.actions, config.bounded);
        let further = |name: &str, dim| {
            let reads = kinds[kinds.len() - 1].name.clone(); // what follows an action
            (name.to_string(), HeadSpec { reads, says: Says::Regress { dim, bounded: false } })
        };
        let auxiliary = match config.further_heads {
            true => vec![further(NEXT_STATE, fitted.state_dim()), further(NEXT_RETURN, 1)],
            false => vec![],
        };
        // Causal, not past: under `past` a state would see the action that it is asked for.
        let pairs = kinds.iter().flat_map(|q| kinds.iter().map(move |k| (q.name.clone(), k.name.clone())));
        let spec = TaskSpec {
            name: name.into(),
            rules: pairs.map(|(q, k)| (q, k, Rule::causal())).collect(),
            head: HeadSpec { reads: kinds[STATE].name.clone(), says },
            inputs: vec![(Stream::Main, kinds)],
            loss_weight,
            shares: vec![],
            auxiliary,
        };
        Self { spec, tokenizer, condition: config.condition, state_tokens, skipped: vec![] }
    }

    /// The tokenizer.
    pub fn tokenizer(&self) -> &TrajectoryTokenizer {
        &self.tokenizer
    }

    /// A window as the model reads it. A model that is not told the return reads 0.
    fn inputs(&self, window: &Window) -> Result<Vec<(Stream, smalti_contract::Tokens)>, TaskError> {
        if self.condition {
            return Ok(vec![(Stream::Main, self.tokenizer.encode(window)?)]);
        }
        let untold = Window { returns_to_go: vec![0.0; window.returns_to_go.len()], ..window.clone() };
        Ok(vec![(Stream::Main, self.tokenizer.encode(&untold)?)])
    }

    /// The actions of a window, asked for at the last token of each state.
    fn target(&self, actions: &Actions) -> Target {
        let last_only = |value: f32| {
            (1..=self.state_tokens).map(move |i| if i == self.state_tokens { value } else { 0.0 })
        };
        let weights: Vec<f32> = (0..actions.len()).flat_map(|_| last_only(1.0)).collect();
        let repeat = self.state_tokens;
        match actions {
            Actions::Discrete(ids) => Target::Ids {
                ids: ids.iter().flat_map(|&id| std::iter::repeat_n(id, repeat)).collect(),
                weights,
            },
            Actions::Continuous { values, dim } => {
                let rows = values.chunks_exact(*dim);
                let values =
                    rows.flat_map(|row| std::iter::repeat_n(row, repeat).flatten().copied()).collect();
                Target::Features { values, dim: *dim, weights }
            }
            Actions::Parts(parts) => Target::Parts(parts.values().map(|part| self.target(part)).collect()),
        }
    }
}

/// What a head says of such actions: their parts independently of each other, as they are done at the same time.
fn says(actions: &ActionSpec, bounded: bool) -> Says {
    match actions {
        ActionSpec::Discrete { n } => Says::Act { actions: *n },
        ActionSpec::Continuous { dim, .. } => Says::Regress { dim: *dim, bounded },
        ActionSpec::Parts(parts) => {
            Says::Parts(parts.iter().map(|(name, part)| (name.clone(), says(part, bounded))).collect())
        }
    }
}

/// The place of states among the kinds: return, state, action.
const STATE: usize = 1;

/// The share of episodes with the highest return, at least one.
fn best(mut episodes: Vec<Episode>, share: f64) -> Result<Vec<Episode>, TaskError> {
    if !(share > 0.0 && share <= 1.0) {
        let problem = format!("must be above 0 and at most 1; found {share}");
        return Err(TaskError::Setting { setting: "best", problem });
    }
    if share < 1.0 {
        episodes.sort_by(|a, b| b.total_return().total_cmp(&a.total_return()));
        episodes.truncate(((episodes.len() as f64 * share).ceil() as usize).max(1));
    }
    Ok(episodes)
}

impl Task for TrajectoryTask {
    fn spec(&self) -> &TaskSpec {
        &self.spec
    }

    fn tokenizers(&self) -> Vec<(&'static str, &dyn AnyTokenizer)> {
        vec![(ROLE, &self.tokenizer)]
    }

    fn skipped(&self) -> &[(String, &'static str)] {
        &self.skipped
    }
}

/// Windows of up to `context` steps of logged episodes.
struct Windows {
    /// Each with its returns-to-go.
    episodes: Vec<(Episode, Vec<f32>)>,
    /// For each episode, the number of steps before it.
    starts: Vec<usize>,
    steps: usize,
    /// The first steps of the windows that are measured: one window behind another, each within its episode.
    measured: Vec<usize>,
    context: usize,
    path: String,
    task: Arc<TrajectoryTask>,
}

impl Windows {
    fn new(episodes: Vec<Episode>, config: &TrajectoryTaskConfig, task: Arc<TrajectoryTask>) -> Self {
        let mut steps = 0;
        let (mut starts, mut measured) = (Vec::with_capacity(episodes.len()), Vec::new());
        let told = episodes.into_iter().map(|episode| {
            starts.push(steps);
            measured.extend(episode.window_starts(config.context).map(|start| steps + start));
            steps += episode.len();
            let returns_to_go = episode.returns_to_go(config.discount);
            (episode, returns_to_go)
        });
        let episodes = told.collect();
        Self { episodes, starts, steps, measured, context: config.context, path: config.path.clone(), task }
    }
}

impl Dataset for Windows {
    fn len(&self) -> usize {
        self.measured.len()
    }

    /// In training a window that begins at any step; otherwise those that cover each episode one after another.
    fn sample(&self, index: usize, seed: Option<u64>) -> Result<Sample, DataError> {
        let step = match seed {
            Some(seed) => random::below(&mut random::generator(seed), self.steps),
            None => self.measured[index],
        };
        let number = self.starts.partition_point(|&start| start <= step) - 1;
        let (episode, returns_to_go) = &self.episodes[number];
        let window = episode.window(step - self.starts[number], self.context, returns_to_go);
        let inputs = self.task.inputs(&window).map_err(|e| DataError::Sample {
            task: self.task.spec.name.clone(),
            id: step as u64,
            problem: format!("(episode {number} of {}): {e}", self.path),
        })?;
        Ok(Sample { inputs, target: self.task.target(&window.actions), id: step as u64 })
    }
}
