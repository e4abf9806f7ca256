//! The task of a trajectory checkpoint: the sizes of states and actions, and the scaling of numbers.

use super::settings::Settings;
use super::task::{ImportedTask, TaskBuilder};
use super::{Checkpoint, PretrainedError};
use crate::head::Regress;
use crate::modalities::numbers::{NumberContent, NumbersConfig, NumbersSettings, NumbersTokenizer};
use crate::registry::Modalities;
use crate::table::{self, Derivation, Source, Table};
use indexmap::IndexMap;
use serde_json::json;
use smalti_contract::{Tokenizer, Value};

/// The names of the inputs and outputs of a decision transformer.
pub(super) const RETURN_TO_GO: &str = "return_to_go";
pub(super) const OBSERVATIONS: &str = "observations";
pub(super) const ACTIONS: &str = "actions";
pub(super) const NEXT_STATE: &str = "next_state";
pub(super) const NEXT_RETURN: &str = "next_return";

/// The source of episodes, unless a user sets another.
const SOURCE: &str = "builtin:cartpole-mixed.npz";

/// The scaling of a trajectory checkpoint's numbers, which is not part of the checkpoint.
#[derive(Clone, Debug, Default)]
pub struct Scales {
    /// A log of episodes, for the mean and standard deviation of states.
    pub log: Option<String>,
    /// The number that returns are divided by; left out, 1.
    pub return_scale: Option<f32>,
}

/// Actions from returns-to-go and states, without scaling.
pub(super) fn task(checkpoint: &Checkpoint) -> Result<ImportedTask, PretrainedError> {
    with_states(checkpoint, 1.0, None)
}

/// As [`task`], with scaling.
///
/// # Errors
/// If the checkpoint is of another kind, the log cannot be read, or its states or actions have another size.
pub(super) fn scaled(checkpoint: &Checkpoint, scales: &Scales) -> Result<ImportedTask, PretrainedError> {
    if checkpoint.kind() != "decision_transformer" {
        let problem = format!(
            "expected a decision_transformer for scales of trajectories; found {:?}",
            checkpoint.kind()
        );
        return Err(PretrainedError::Read { path: checkpoint.folder.clone(), problem });
    }
    let return_scale = f64::from(scales.return_scale.unwrap_or(1.0));
    if !(return_scale > 0.0 && return_scale.is_finite()) {
        let problem = format!("expected a positive number; found {return_scale}");
        return Err(PretrainedError::Format { file: "--return-scale".into(), problem });
    }
    let Some(log) = &scales.log else { return with_states(checkpoint, return_scale, None) };
    let failed = |problem: String| PretrainedError::Format { file: log.clone(), problem };
    let episodes = table::open_all(&[Source::new(log)], Modalities::builtin().sources())?;
    let fitted = |field: &str| -> Result<(NumbersConfig, Vec<Value>), PretrainedError> {
        let mut steps = vec![];
        for row in 0..episodes.len() {
            match episodes.value(row, field)? {
                Value::Series(values) => steps.extend(values),
                value => steps.push(value),
            }
        }
        let settings = NumbersSettings { missing_indicators: Some(false), ..NumbersSettings::default() };
        let config = NumbersTokenizer::fit(settings, None, &steps);
        Ok((config.map_err(|e| failed(format!("{field}: {e}")))?, steps))
    };
    let ((mut states, steps), (actions, _)) = (fitted(OBSERVATIONS)?, fitted(ACTIONS)?);
    states.std = published_std(&states.mean, steps)?;
    let expected = dims(&checkpoint.settings)?;
    let found = (states.dim(), actions.dim());
    if found != expected {
        let sizes = |(states, actions)| format!("states of {states} numbers and actions of {actions}");
        return Err(failed(format!("expected {}; found {}", sizes(expected), sizes(found))));
    }
    with_states(checkpoint, return_scale, Some((log, states)))
}

/// The divisors of states as in the published code (Chen et al. 2021): the standard deviation plus 1e-6, so that a number
/// that never changes is divided by 1e-6.
fn published_std(mean: &[f64], steps: Vec<Value>) -> Result<Vec<f64>, PretrainedError> {
    let (mut count, mut squares) = (vec![0.0; mean.len()], vec![0.0; mean.len()]);
    for step in steps.into_iter().filter(|step| !step.is_missing()) {
        for (column, number) in step.into_numbers()?.into_iter().enumerate().filter(|(_, x)| !x.is_nan()) {
            count[column] += 1.0;
            squares[column] += (f64::from(number) - mean[column]).powi(2);
        }
    }
    let std = |(squares, count): (f64, f64)| (squares / count.max(1.0)).sqrt() + 1e-6;
    Ok(squares.into_iter().zip(count).map(std).collect())
}

/// The task with returns divided by `return_scale`, and states standardized as fitted to a log, if there is one.
fn with_states(
    checkpoint: &Checkpoint,
    return_scale: f64,
    fitted: Option<(&str, NumbersConfig)>,
) -> Result<ImportedTask, PretrainedError> {
    let settings = &checkpoint.settings;
    let (state_dim, action_dim) = dims(settings)?;
    let max_steps = settings.count("max_ep_len")?.unwrap_or(4096);
    let bounded = settings.flag("action_tanh", true)?;
    let normalize = fitted.is_some();
    let (source, states) = fitted.unwrap_or_else(|| (SOURCE, numbers(state_dim, 1.0)));
    let returns = numbers(1, return_scale);
    // Predictions are in the units of the data.
    let next = |config: &NumbersConfig| {
        let single = |numbers: &[f64]| numbers.iter().map(|&number| number as f32).collect();
        Regress::new(config.dim(), false).scaled(single(&config.mean), single(&config.std))
    };
    let (next_state, next_return) = (next(&states), next(&returns));
    let (states, returns) = (NumbersTokenizer::new(states)?, NumbersTokenizer::new(returns)?);
    let actions = NumbersTokenizer::new(numbers(action_dim, 1.0))?;
    let untrained = json!({ "weight": 0.0, "feedback": false });
    let series = [RETURN_TO_GO, OBSERVATIONS, ACTIONS, NEXT_STATE, NEXT_RETURN];
    let mut builder = TaskBuilder::new(source).series(&series, max_steps);
    builder.settings.data.max_steps = max_steps;
    builder.settings.data.derived = IndexMap::from([
        (RETURN_TO_GO.into(), Derivation::ReturnToGo { field: "rewards".into(), discount: 1.0 }),
        (NEXT_STATE.into(), Derivation::Next { field: OBSERVATIONS.into() }),
        (NEXT_RETURN.into(), Derivation::Next { field: RETURN_TO_GO.into() }),
    ]);
    builder
        .input(RETURN_TO_GO, json!({ "modality": "numbers", "scale": return_scale }), &returns)?
        .input(OBSERVATIONS, json!({ "modality": "numbers", "normalize": normalize }), &states)?
        .output(
            ACTIONS,
            json!({ "bounded": bounded, "normalize": false }),
            &Regress::new(action_dim, bounded),
            Some(&actions),
        )?
        .output(NEXT_STATE, untrained.clone(), &next_state, Some(&states))?
        .output(NEXT_RETURN, untrained, &next_return, Some(&returns))?
        .finish()
}

/// The numbers of a state and of an action. The task has a mean and a scale of each, before shapes are compared.
fn dims(settings: &Settings) -> Result<(usize, usize), PretrainedError> {
    const MOST: usize = 1 << 16;
    Ok((settings.size_up_to("state_dim", MOST)?, settings.size_up_to("act_dim", MOST)?))
}

/// One token of `dim` numbers, each divided by `scale`.
fn numbers(dim: usize, scale: f64) -> NumbersConfig {
    let (mean, std) = (vec![0.0; dim], vec![scale; dim]);
    NumbersConfig { content: NumberContent::One, mean, std, missing_indicators: false, noise: 0.0 }
}
