//! `smalti data make`: logs of random walks.

use crate::cli::count::up_to;
use crate::cli::print;
use crate::env::{self, write_random_walks};
use anyhow::{Context, Result, bail};
use clap::Args;
use serde_json::json;
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use tempfile::NamedTempFile;

/// Most episodes of a log.
const MOST_EPISODES: usize = 1 << 20;

#[derive(Args)]
pub struct MakeArgs {
    /// Built-in environment: cartpole or key-to-door.
    name: String,
    /// Number of episodes.
    #[arg(long, default_value_t = 1000, value_parser = up_to::<MOST_EPISODES>)]
    episodes: usize,
    /// Seed of the environment and of the actions.
    #[arg(long, default_value_t = 1337)]
    seed: u64,
    /// File to write [default: the name, with .jsonl].
    #[arg(long)]
    out: Option<PathBuf>,
    /// Print one JSON object: file, episodes and, for an environment with successes, success_rate.
    #[arg(long)]
    json: bool,
}

/// Writes a log of random walks.
pub fn run(args: MakeArgs) -> Result<()> {
    if !env::NAMES.contains(&args.name.as_str()) {
        bail!("data make: expected one of {}; found {:?}", env::NAMES.join(", "), args.name);
    }
    if args.episodes == 0 {
        bail!("--episodes: expected 1 to {MOST_EPISODES}; found 0");
    }
    let out = args.out.unwrap_or_else(|| PathBuf::from(format!("{}.jsonl", args.name)));
    let folder = out.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let place = || out.display().to_string();
    // The log gets its name once it is complete.
    let mut file = NamedTempFile::new_in(folder).with_context(place)?;
    let share = write_random_walks(&args.name, args.episodes, args.seed, BufWriter::new(&mut file));
    let share = share.with_context(place)?;
    file.persist(&out).with_context(place)?;
    if args.json {
        let mut made = json!({ "file": out, "episodes": args.episodes });
        if let Some(share) = share {
            made["success_rate"] = share.into();
        }
        return print::json(&made);
    }
    let successes =
        share.map_or(String::new(), |share| format!(", {:.1}% of them successful", 100.0 * share));
    println!("{} has {} episodes{successes}", out.display(), args.episodes);
    Ok(())
}
