//! The trajectory side of a checkpoint: the sizes of states and actions.

use super::{Checkpoint, ImportedTask, PretrainedError};
use crate::tasks::modalities::trajectory::{ActionSpec, TrajectoryConfig, TrajectoryTokenizer};
use crate::tasks::trajectory::{PicturedTokenizer, TrajectoryTask, TrajectoryTaskConfig};
use crate::tasks::{Builtin, TaskConfig};
use smalti_contract::Tokenizer;
use std::sync::Arc;

/// A task of actions. What states are centred and scaled by, and returns divided by, is not published with the weights:
/// they are taken as they are.
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
