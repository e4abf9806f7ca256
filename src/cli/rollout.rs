//! `smalti rollout`

use super::device::DeviceChoice;
use anyhow::{Result, bail};
use clap::Args;
use std::path::PathBuf;

/// Let a trained policy act in an environment, for the return you ask for.
#[derive(Args)]
pub struct RolloutArgs {
    /// The folder of a run with a trajectory task.
    run: PathBuf,
    /// The environment; cartpole is built in.
    #[arg(long, default_value = "cartpole")]
    env: String,
    /// The return to reach. May be repeated, or a list: 50,200,500.
    #[arg(allow_negative_numbers = true, long, value_delimiter = ',', default_value = "500")]
    target_return: Vec<f32>,
    /// Episodes for each target.
    #[arg(long, default_value_t = 100)]
    episodes: usize,
    /// The same seed starts the same episodes.
    #[arg(long, default_value_t = 1337)]
    seed: u64,
    /// Computes on auto, cpu, cuda or cuda:N.
    #[arg(long, default_value_t = DeviceChoice::Auto)]
    device: DeviceChoice,
    /// Prints one JSON object: for each target return_mean, return_std and returns.
    #[arg(long)]
    json: bool,
}

/// Rolls out.
#[cfg(feature = "trajectory")]
pub fn run(args: RolloutArgs) -> Result<()> {
    use super::print;
    use smalti::run::{Run, Weights};
    use smalti::tasks::{Builtin, trajectory};

    if args.episodes == 0 {
        bail!("--episodes must be at least 1");
    }
    let (model, tasks) = Run::open(&args.run)?.load(Weights::Best, &args.device.open()?)?;
    let found = tasks.iter().enumerate().find_map(|(number, named)| match &named.task {
        Builtin::Trajectory(task) => Some((number, task.clone())),
        #[allow(unreachable_patterns)] // the only pattern where trajectory is the only modality
        _ => None,
    });
    let Some((number, task)) = found else { bail!("{} has no trajectory task", args.run.display()) };
    let mut results = Vec::new();
    let mut rows = Vec::new();
    for &target in &args.target_return {
        let played = trajectory::rollout(&task, &model, number, &args.env, target, args.episodes, args.seed)?;
        let (mean, std) = (played.return_mean(), played.return_std());
        rows.push(vec![
            target.to_string(),
            args.episodes.to_string(),
            print::number(mean),
            print::number(std),
            played.cut.to_string(),
        ]);
        results.push(serde_json::json!({
            "target_return": target,
            "episodes": args.episodes,
            "return_mean": mean,
            "return_std": std,
            "cut": played.cut,
            "returns": played.returns,
        }));
    }
    if args.json {
        return print::json(&serde_json::json!({ "env": args.env, "rollouts": results }));
    }
    print::table(&["target return", "episodes", "return_mean", "return_std", "cut"], &rows);
    Ok(())
}

/// Says that this build cannot.
#[cfg(not(feature = "trajectory"))]
pub fn run(_: RolloutArgs) -> Result<()> {
    bail!("this smalti is built without the feature `trajectory`")
}
