//! `smalti rollout`

use super::{checks, device::DeviceChoice, predict, print};
use crate::cli::count::up_to;
use crate::env;
use crate::inference::{Rollout, RolloutSettings, random_policy, rollout};
use crate::registry::Modalities;
use crate::run::{NamedTask, Weights};
use crate::sample::Composition;
use anyhow::{Result, anyhow, bail};
use clap::{Args, value_parser};
use serde_json::json;
use smalti_contract::Row;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Most seconds of a time-out: a year.
const MOST_SECONDS: u64 = 365 * 24 * 3600;

/// Roll out a trained policy in an environment, for one or several target returns.
#[derive(Args)]
pub struct RolloutArgs {
    /// Folder of a run with a task that predicts actions.
    run: PathBuf,
    /// Environment: cartpole or key-to-door, which are built in, or a command that speaks line-JSON.
    ///
    /// Such a command is "python examples/gymnasium_bridge.py Hopper-v5".
    #[arg(long, default_value = "cartpole", value_name = "NAME|COMMAND")]
    env: String,
    /// Target return. May be repeated, or a list: 50,200,500.
    #[arg(long, value_delimiter = ',', default_value = "500")]
    target_return: Vec<f32>,
    /// Number of episodes for each target return.
    #[arg(long, default_value_t = 100, value_parser = up_to::<{ 1 << 20 }>)]
    episodes: usize,
    /// Values of inputs that are no series: task="open the drawer".
    ///
    /// A value is a text, a number, a JSON array or a file.
    #[arg(long, value_name = "FIELD=VALUE", num_args = 1..)]
    row: Vec<String>,
    /// Also play as many episodes with uniformly random actions, as a baseline.
    #[arg(long)]
    random: bool,
    /// Seed of the environments and of random actions.
    #[arg(long, default_value_t = 1337)]
    seed: u64,
    /// Time-out of an environment command, for its start and for each answer, in seconds.
    #[arg(long, default_value_t = 60, value_name = "SECONDS", value_parser = value_parser!(u64).range(1..=MOST_SECONDS))]
    env_timeout: u64,
    /// Task to run, for a run with several tasks.
    #[arg(long)]
    task: Option<String>,
    /// Device: auto, cpu, cuda or cuda:N.
    #[arg(long, default_value_t = DeviceChoice::Auto)]
    device: DeviceChoice,
    /// Print one JSON object: for each target return its return_mean, return_std, success_rate and returns.
    #[arg(long)]
    json: bool,
}

/// The maximal number of episodes, whose returns are kept.
const MAX_EPISODES: usize = 1 << 20;

/// Rolls out.
pub fn run(args: RolloutArgs, modalities: &Modalities) -> Result<()> {
    if !(1..=MAX_EPISODES).contains(&args.episodes) {
        bail!("--episodes: expected 1 to {MAX_EPISODES}; found {}", args.episodes);
    }
    let (model, tasks) = checks::open(&args.run, modalities)?.load(Weights::Best, &args.device.open()?)?;
    let Some((number, task)) = policy(&tasks, args.task.as_deref()) else {
        bail!("{}: expected a task with an output that is a series (actions); found none", args.run.display())
    };
    let whole: Vec<_> = task.parts().iter().filter(|part| !part.series).collect();
    let row = Row { fields: predict::by_hand(&args.row, &whole)? };
    let timeout = Duration::from_secs(args.env_timeout);
    let mut environments = env::open(&args.env, timeout).map_err(|e| anyhow!("--env {e}"))?;
    let environments = environments.as_mut();

    let mut rows = Vec::new();
    let mut result = |policy: String, played: &Rollout| {
        let (mean, std) = (print::number(played.return_mean()), print::number(played.return_std()));
        let mut row = vec![policy, played.returns.len().to_string(), mean, std, played.truncated.to_string()];
        row.extend(played.success_rate().map(print::number));
        rows.push(row);
        let mut result = json!({
            "episodes": played.returns.len(),
            "return_mean": played.return_mean(),
            "return_std": played.return_std(),
            "cut": played.truncated,
            "returns": played.returns,
        });
        if let Some(rate) = played.success_rate() {
            result["success_rate"] = rate.into();
        }
        result
    };
    let mut results = json!({ "env": args.env });
    if args.random {
        let played = random_policy(environments, task.max_steps(), args.episodes, args.seed)?;
        results["random"] = result("random".into(), &played);
    }
    let mut rollouts = Vec::new();
    for &target_return in &args.target_return {
        let (episodes, seed) = (args.episodes, args.seed);
        let settings = RolloutSettings { target_return, episodes, seed, row: row.clone() };
        let played = rollout(&task, &model, number, environments, &settings)?;
        let mut result = result(target_return.to_string(), &played);
        result["target_return"] = target_return.into();
        rollouts.push(result);
    }
    if args.json {
        results["rollouts"] = rollouts.into();
        return print::json(&results);
    }
    let columns = ["target return", "episodes", "return_mean", "return_std", "cut", "success_rate"];
    let n_columns = rows.first().map_or(0, Vec::len);
    print::table(&columns[..n_columns.min(columns.len())], &rows);
    Ok(())
}

/// The first task, of this name if there is one, that predicts a series, and its number.
fn policy(tasks: &[NamedTask], name: Option<&str>) -> Option<(usize, Arc<Composition>)> {
    let acts = |task: &Composition| task.outputs().iter().any(|output| output.is_series(task.parts()));
    let mut named = tasks.iter().enumerate().filter(|(_, named)| name.is_none_or(|name| *name == named.name));
    named.find(|(_, named)| acts(&named.task)).map(|(number, named)| (number, named.task.clone()))
}
