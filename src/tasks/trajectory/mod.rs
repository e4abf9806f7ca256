//! Trajectories: which action leads to the return that is asked for.

mod pictured;
mod pictures;
mod rollout;
mod story;
#[cfg(test)]
mod tests;
mod windows;

pub use crate::table::episodes::{Log, Logged, is_log, read};
pub use pictured::{Pictured, PicturedConfig, PicturedTokenizer};
pub use pictures::{PictureConfig, read_picture};
pub use rollout::{Rollout, random_policy, rollout};

use self::windows::Windows;
use super::{More, SavedTask, Splits, TaskError, holdout::hold_out, saved};
use crate::data::{DataError, Dataset, Output, Stream, Target};
use crate::head::{Classify, HeadSpec, Regress};
use crate::rules::Rule;
use crate::task::{Task, TaskSpec};
use serde::{Deserialize, Serialize};
use smalti_contract::{AnyTokenizer, KindSpec, Tokenizer, Tokens};
use smalti_trajectory::{ActionSpec, Actions, FitOptions, MuLaw, TrajectoryTokenizer, fit};
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
    /// How pictures become tokens, where the log has any.
    pub pictures: PictureConfig,
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
            pictures: PictureConfig::default(),
        }
    }
}

/// A trajectory task: its tokenizer, and whether it is told the return.
pub struct TrajectoryTask {
    spec: TaskSpec,
    tokenizer: PicturedTokenizer,
    condition: bool,
    /// In a step, the tokens of the kind that is asked for an action; the last of them is.
    asked_tokens: usize,
    skipped: Vec<(String, &'static str)>,
}

/// What the tokenizer is for, in the run folder.
const ROLE: &str = "trajectory";
/// The head that predicts the next state.
pub const NEXT_STATE: &str = "next_state";
/// The head that predicts the next return.
pub const NEXT_RETURN: &str = "next_return";

impl TrajectoryTask {
    pub(super) fn open(
        name: &str,
        loss_weight: f64,
        config: &TrajectoryTaskConfig,
        saved: Option<&SavedTask>,
    ) -> Result<(Arc<Self>, Splits), TaskError> {
        let mut log = read(&config.path)?;
        let (skipped, files) = (std::mem::take(&mut log.skipped), log.files.take());
        let all = log.all()?;
        let kept = best(all, config.best)?;
        let (rest, held) = hold_out(kept.len(), config.holdout)?;
        let pick = |indices: Vec<u32>| -> Vec<Logged> {
            indices.into_iter().map(|i| kept[i as usize].clone()).collect()
        };
        let (train, valid) = (pick(rest), pick(held));
        let task = match saved {
            Some(saved) => Self::restore(name, loss_weight, config, saved)?,
            None => {
                let longest = kept.iter().map(|logged| logged.episode.len()).max().unwrap_or(0);
                let options = FitOptions {
                    context: config.context,
                    max_steps: if config.max_steps == 0 { longest } else { config.max_steps },
                    discretise: config.discretise,
                    discount: config.discount,
                    return_scale: (config.return_scale != 0.0).then_some(config.return_scale),
                };
                let fitted = fit(train.iter().map(|logged| &logged.episode), options);
                let trajectory = fitted.map_err(|e| DataError::tokenize(&config.path, e))?;
                let cameras = config.pictures.fit(&train, files.as_deref(), &skipped)?;
                let none_wanted = config.pictures.cameras.as_ref().is_some_and(Vec::is_empty);
                if cameras.is_empty() && !none_wanted && config.pictures != PictureConfig::default() {
                    let problem = format!("is set, and the episodes of {} have no pictures", config.path);
                    return Err(TaskError::Setting { setting: "pictures", problem });
                }
                let tokenizer = PicturedTokenizer::new(PicturedConfig { trajectory, cameras })?;
                Self::with(name, loss_weight, config, tokenizer)
            }
        };
        let task = Arc::new(Self { skipped, ..task });
        let windows = |episodes: Vec<Logged>| -> Arc<dyn Dataset> {
            Arc::new(Windows::new(episodes, files.clone(), config, task.clone()))
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
        let pictured = saved.tokenizers.get(ROLE).is_some_and(|it| it.tokenizer == PicturedTokenizer::NAME);
        let tokenizer = match pictured {
            true => saved::restore(name, ROLE, saved)?,
            false => PicturedTokenizer::blind(saved::restore(name, ROLE, saved)?),
        };
        Ok(Self::with(name, loss_weight, config, tokenizer))
    }

    /// The task of this tokenizer.
    pub fn with(
        name: &str,
        loss_weight: f64,
        config: &TrajectoryTaskConfig,
        tokenizer: PicturedTokenizer,
    ) -> Self {
        let kinds = Tokenizer::spec(&tokenizer).kinds.clone();
        let is_patch = |kind: &KindSpec| tokenizer.patch_kinds().contains(kind);
        let rule = |query: &KindSpec, key: &KindSpec| match is_patch(query) && is_patch(key) {
            // The patches of a step's pictures see each other.
            true => Rule::past(),
            // Causal, not past: under `past` a state would see the action that it is asked for.
            false => Rule::causal(),
        };
        let pairs = kinds.iter().flat_map(|q| kinds.iter().map(move |k| (q, k)));
        let (asked, asked_tokens) = tokenizer.asked();
        let fitted = Tokenizer::config(tokenizer.trajectory());
        let untrained = |name: &str, dim| {
            let reads = &kinds[kinds.len() - 1].name; // what comes next follows an action
            HeadSpec { weight: 0.0, ..HeadSpec::new(name, reads, Regress::new(dim, false)) }
        };
        let mut heads = heads(&fitted.actions, &asked.name, config.bounded);
        if config.further_heads {
            heads.extend((fitted.state_dim() > 0).then(|| untrained(NEXT_STATE, fitted.state_dim())));
            heads.push(untrained(NEXT_RETURN, 1));
        }
        let spec = TaskSpec {
            name: name.into(),
            rules: pairs.map(|(q, k)| (q.name.clone(), k.name.clone(), rule(q, k))).collect(),
            heads,
            inputs: vec![(Stream::Main, kinds.clone())],
            loss_weight,
            shares: vec![],
        };
        Self { spec, tokenizer, condition: config.condition, asked_tokens, skipped: vec![] }
    }

    /// The tokenizer of returns, states and actions.
    pub fn tokenizer(&self) -> &TrajectoryTokenizer {
        self.tokenizer.trajectory()
    }

    /// The tokenizer of these and of pictures.
    pub fn pictured(&self) -> &PicturedTokenizer {
        &self.tokenizer
    }

    /// A window as the model reads it. A model that is not told the return reads 0.
    fn inputs(&self, mut seen: Pictured) -> Result<Vec<(Stream, Tokens)>, TaskError> {
        if !self.condition {
            seen.window.returns_to_go.fill(0.0);
        }
        Ok(vec![(Stream::Main, self.tokenizer.encode(&seen)?)])
    }

    /// The outputs of a window: its actions, each part by a head of its own.
    fn outputs(&self, actions: &Actions) -> Vec<Output> {
        let targets = match actions {
            Actions::Parts(parts) => parts.values().map(|part| self.target(part)).collect(),
            single => vec![self.target(single)],
        };
        targets.into_iter().enumerate().map(|(head, target)| Output { head, ..target.into() }).collect()
    }

    /// The outputs of a window whose actions are not known.
    fn unknown_outputs(&self) -> Vec<Output> {
        let actions = self.spec.heads.iter().take_while(|head| head.is_trained());
        actions.enumerate().map(|(head, _)| Output { head, ..Target::Unknown.into() }).collect()
    }

    /// The actions of a window, asked for at the last token before each.
    fn target(&self, actions: &Actions) -> Target {
        let last_only = |value: f32| {
            (1..=self.asked_tokens).map(move |i| if i == self.asked_tokens { value } else { 0.0 })
        };
        let weights: Vec<f32> = (0..actions.len()).flat_map(|_| last_only(1.0)).collect();
        let repeat = self.asked_tokens;
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
            Actions::Parts(_) => Target::Unknown, // a part has no parts
        }
    }
}

/// A head for such actions, or one for each of their parts.
fn heads(actions: &ActionSpec, reads: &str, bounded: bool) -> Vec<HeadSpec> {
    let head = |name: &str, action: &ActionSpec| match action {
        ActionSpec::Discrete { n } => vec![HeadSpec::new(name, reads, Classify::numbered(*n))],
        ActionSpec::Continuous { dim, .. } => vec![HeadSpec::new(name, reads, Regress::new(*dim, bounded))],
        ActionSpec::Parts(_) => vec![], // a part has no parts
    };
    match actions {
        ActionSpec::Parts(parts) => parts.iter().flat_map(|(name, part)| head(name, part)).collect(),
        single => head("", single),
    }
}

/// The share of episodes with the highest return, at least one.
fn best(mut episodes: Vec<Logged>, share: f64) -> Result<Vec<Logged>, TaskError> {
    if !(share > 0.0 && share <= 1.0) {
        let problem = format!("must be above 0 and at most 1; found {share}");
        return Err(TaskError::Setting { setting: "best", problem });
    }
    if share < 1.0 {
        episodes.sort_by(|a, b| b.episode.total_return().total_cmp(&a.episode.total_return()));
        episodes.truncate(((episodes.len() as f64 * share).ceil() as usize).max(1));
    }
    Ok(episodes)
}

impl Task for TrajectoryTask {
    fn spec(&self) -> &TaskSpec {
        &self.spec
    }

    fn tokenizers(&self) -> Vec<(&'static str, &dyn AnyTokenizer)> {
        match self.tokenizer.cameras().next() {
            Some(_) => vec![(ROLE, &self.tokenizer)],
            None => vec![(ROLE, self.tokenizer.trajectory())],
        }
    }

    fn skipped(&self) -> &[(String, &'static str)] {
        &self.skipped
    }
}
