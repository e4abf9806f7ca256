//! The trajectory side of a checkpoint: the sizes of states and actions.

use super::{Checkpoint, ImportedTask, PretrainedError};
use crate::tasks::modalities::trajectory::{
    ActionSpec, Episode, FitOptions, TrajectoryConfig, TrajectoryTokenizer, fit,
};
use crate::tasks::trajectory::{PicturedTokenizer, TrajectoryTask, TrajectoryTaskConfig, read};
use crate::tasks::{Builtin, TaskConfig};
use smalti_contract::Tokenizer;
use std::sync::Arc;

/// How the numbers of trajectories are scaled, which is not published with the weights.
#[derive(Clone, Debug, Default)]
pub struct Scales {
    /// A log whose states say what they are centred and scaled by, and whose actions say their bounds.
    pub log: Option<String>,
    /// What returns are divided by; left out, nothing.
    pub return_scale: Option<f32>,
}

/// A task of actions, its states and returns as they are.
pub(super) fn task(checkpoint: &Checkpoint) -> Result<ImportedTask, PretrainedError> {
    let settings = &checkpoint.settings;
    let (states, actions) = (settings.size("state_dim")?, settings.size("act_dim")?);
    let config = TrajectoryTaskConfig {
        max_steps: settings.count("max_ep_len")?.unwrap_or(4096),
        return_scale: 1.0,
        bounded: settings.flag("action_tanh", true)?,
        further_heads: true,
        ..TrajectoryTaskConfig::default()
    };
    let fitted = TrajectoryConfig {
        state_mean: vec![0.0; states],
        state_std: vec![1.0; states],
        state_names: vec![],
        return_scale: config.return_scale,
        discount: config.discount,
        actions: ActionSpec::Continuous { dim: actions, low: vec![-1.0; actions], high: vec![1.0; actions] },
        context: config.context,
        max_steps: config.max_steps,
        discretise: None,
    };
    let tokenizer = TrajectoryTokenizer::new(fitted).map_err(|e| checkpoint.refuse("state_dim", e))?;
    let task = TrajectoryTask::with("trajectory", 1.0, &config, PicturedTokenizer::blind(tokenizer));
    Ok(ImportedTask { config: TaskConfig::Trajectory(config), task: Builtin::Trajectory(Arc::new(task)) })
}

/// The same task with its numbers scaled.
///
/// # Errors
/// A log that cannot be read, or has states or actions of another size.
pub(super) fn scaled(
    config: &TrajectoryTaskConfig,
    task: &TrajectoryTask,
    scales: &Scales,
) -> Result<ImportedTask, PretrainedError> {
    let mut config = config.clone();
    config.return_scale = scales.return_scale.unwrap_or(config.return_scale);
    let before = task.tokenizer().config().clone();
    let mut fitted = TrajectoryConfig { return_scale: config.return_scale, ..before };
    if let Some(log) = &scales.log {
        let refuse = |problem: String| PretrainedError::Format { file: log.clone(), problem };
        let episodes: Vec<Episode> = read(log)?.all()?.into_iter().map(|logged| logged.episode).collect();
        let options = FitOptions {
            context: config.context,
            max_steps: config.max_steps,
            discretise: None,
            discount: config.discount,
            return_scale: Some(config.return_scale),
        };
        let of_log = fit(&episodes, options).map_err(|e| refuse(e.to_string()))?;
        let sizes = |config: &TrajectoryConfig| match config.actions {
            ActionSpec::Continuous { dim, .. } => Some((config.state_dim(), dim)),
            _ => None,
        };
        if sizes(&of_log) != sizes(&fitted) {
            let told = |sizes| match sizes {
                Some((states, actions)) => format!("states of {states} numbers and actions of {actions}"),
                None => "actions that are choices".into(),
            };
            return Err(refuse(format!("expected {}; found {}", told(sizes(&fitted)), told(sizes(&of_log)))));
        }
        fitted = of_log;
        config.path = log.clone();
    }
    let tokenizer = TrajectoryTokenizer::new(fitted)
        .map_err(|e| PretrainedError::Format { file: "return_scale".into(), problem: e.to_string() })?;
    let task = TrajectoryTask::with("trajectory", 1.0, &config, PicturedTokenizer::blind(tokenizer));
    Ok(ImportedTask { config: TaskConfig::Trajectory(config), task: Builtin::Trajectory(Arc::new(task)) })
}
