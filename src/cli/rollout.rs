//! `smalti rollout`

use super::device::DeviceChoice;
use crate::registry::Modalities;
use anyhow::{Result, bail};
use clap::{Args, value_parser};
use std::path::PathBuf;

/// Let a trained policy act in an environment, for the return you ask for.
#[derive(Args)]
pub struct RolloutArgs {
    /// The folder of a run with a trajectory task.
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
    /// Plays as many episodes with actions drawn evenly, too: the return to beat.
    #[arg(long)]
    random: bool,
    /// The same seed starts the same episodes.
    #[arg(long, default_value_t = 1337)]
    seed: u64,
    /// Seconds that a command may take to start, and for each answer.
    #[arg(long, default_value_t = 60, value_name = "SECONDS", value_parser = value_parser!(u64).range(1..))]
    env_timeout: u64,
    /// Computes on auto, cpu, cuda or cuda:N.
    #[arg(long, default_value_t = DeviceChoice::Auto)]
    device: DeviceChoice,
    /// Prints one JSON object: for each target return_mean, return_std and returns.
    #[arg(long)]
    json: bool,
}

/// Rolls out.
#[cfg(feature = "trajectory")]
pub fn run(args: RolloutArgs, modalities: &Modalities) -> Result<()> {
    use super::print;
    use crate::env;
    use crate::run::{Run, Weights};
    use crate::tasks::{Builtin, trajectory};
    use anyhow::anyhow;
    use serde_json::json;
    use smalti_contract::Tokenizer;
    use std::time::Duration;

    if args.episodes == 0 {
        bail!("--episodes must be at least 1");
    }
    let (model, tasks) = Run::open_with(&args.run, modalities)?.load(Weights::Best, &args.device.open()?)?;
    let found = tasks.iter().enumerate().find_map(|(number, named)| match &named.task {
        Builtin::Trajectory(task) => Some((number, task.clone())),
        #[allow(unreachable_patterns)] // the only pattern where trajectory is the only modality
        _ => None,
    });
    let Some((number, task)) = found else { bail!("{} has no trajectory task", args.run.display()) };
    let timeout = Duration::from_secs(args.env_timeout);
    let mut environments = env::open(&args.env, timeout).map_err(|e| anyhow!("--env {e}"))?;
    let environments = environments.as_mut();

    let mut rows = Vec::new();
    let mut row = |policy: String, played: &trajectory::Rollout| {
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
    let mut random = None;
    if args.random {
        let most = Tokenizer::config(task.tokenizer()).max_steps;
        let played = trajectory::random_policy(environments, most, args.episodes, args.seed)?;
        random = Some(row("random".into(), &played));
    }
    let mut rollouts = Vec::new();
    for &target in &args.target_return {
        let played =
            trajectory::rollout(&task, &model, number, environments, target, args.episodes, args.seed)?;
        let mut result = row(target.to_string(), &played);
        result["target_return"] = target.into();
        rollouts.push(result);
    }
    if args.json {
        let mut results = json!({ "env": args.env, "rollouts": rollouts });
        if let Some(random) = random {
            results["random"] = random;
        }
        return print::json(&results);
    }
    print::table(&["target return", "episodes", "return_mean", "return_std", "cut"], &rows);
    Ok(())
}

/// Says that this build cannot.
#[cfg(not(feature = "trajectory"))]
pub fn run(_: RolloutArgs, _: &Modalities) -> Result<()> {
    bail!("this smalti is built without the feature `trajectory`")
}
