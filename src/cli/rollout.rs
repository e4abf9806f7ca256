//! `smalti rollout`

use super::{device::DeviceChoice, predict, print};
use crate::env;
use crate::inference::{Rollout, RolloutSettings, random_policy, rollout};
use crate::registry::Modalities;
use crate::run::{NamedTask, Run, Weights};
use crate::sample::Composition;
use anyhow::{Result, anyhow, bail};
use clap::{Args, value_parser};
use serde_json::json;
use smalti_contract::Row;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Let a trained policy act in an environment, for the return you ask for.
#[derive(Args)]
pub struct RolloutArgs {
    /// The folder of a run with a task that predicts actions.
    run: PathBuf,
    /// The environment: cartpole, which is built in, or a command that speaks line-JSON, such as
    /// "python examples/gymnasium_bridge.py Hopper-v5".
    #[arg(long, default_value = "cartpole", value_name = "NAME|COMMAND")]
    env: String,
    /// The return to reach. May be repeated, or a list: 50,200,500.
    #[arg(allow_negative_numbers = true, long, value_delimiter = ',', default_value = "500")]
    target_return: Vec<f32>,
    /// Episodes for each target.
    #[arg(long, default_value_t = 100)]
    episodes: usize,
    /// The values of inputs without a clock: task="open the drawer". Text, numbers, JSON arrays or files.
    #[arg(long, value_name = "FIELD=VALUE", num_args = 1..)]
    row: Vec<String>,
    /// Also play as many episodes with uniformly random actions: the return to beat.
    #[arg(long)]
    random: bool,
    /// The same seed starts the same episodes.
    #[arg(long, default_value_t = 1337)]
    seed: u64,
    /// Seconds that a command may take to start, and for each answer.
    #[arg(long, default_value_t = 60, value_name = "SECONDS", value_parser = value_parser!(u64).range(1..))]
    env_timeout: u64,
    /// The task, for a run of several.
    #[arg(long)]
    task: Option<String>,
    /// Device: auto, cpu, cuda or cuda:N.
    #[arg(long, default_value_t = DeviceChoice::Auto)]
    device: DeviceChoice,
    /// Print one JSON object: for each target return_mean, return_std and returns.
    #[arg(long)]
    json: bool,
}

/// Rolls out.
pub fn run(args: RolloutArgs, modalities: &Modalities) -> Result<()> {
    if args.episodes == 0 {
        bail!("--episodes must be at least 1");
    }
    let (model, tasks) = Run::open_with(&args.run, modalities)?.load(Weights::Best, &args.device.open()?)?;
    let Some((number, task)) = policy(&tasks, args.task.as_deref()) else {
        bail!(
            "{} has no such task that predicts actions; expected an output that is a series",
            args.run.display()
        )
    };
    let whole: Vec<_> = task.parts().iter().filter(|part| !part.series).collect();
    let row = Row { fields: predict::by_hand(&args.row, &whole)? };
    let timeout = Duration::from_secs(args.env_timeout);
    let mut environments = env::open(&args.env, timeout).map_err(|e| anyhow!("--env {e}"))?;
    let environments = environments.as_mut();

    let mut rows = Vec::new();
    let mut result = |policy: String, played: &Rollout| {
        let (mean, std) = (print::number(played.return_mean()), print::number(played.return_std()));
        rows.push(vec![policy, played.returns.len().to_string(), mean, std, played.cut.to_string()]);
        json!({
            "episodes": played.returns.len(),
            "return_mean": played.return_mean(),
            "return_std": played.return_std(),
            "cut": played.cut,
            "returns": played.returns,
        })
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
    print::table(&["target return", "episodes", "return_mean", "return_std", "cut"], &rows);
    Ok(())
}

/// The first task that predicts a series, or the named one, with its number.
fn policy(tasks: &[NamedTask], name: Option<&str>) -> Option<(usize, Arc<Composition>)> {
    let acts = |task: &Composition| task.outputs().iter().any(|output| output.is_series(task.parts()));
    let mut named = tasks.iter().enumerate().filter(|(_, named)| name.is_none_or(|name| *name == named.name));
    named.find(|(_, named)| acts(&named.task)).map(|(number, named)| (number, named.task.clone()))
}
