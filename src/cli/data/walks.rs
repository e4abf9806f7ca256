//! `smalti data make` for an environment: logs of random walks.

use crate::cli::print;
use crate::config::{keys_of, read_table};
use crate::env::{self, write_random_walks};
use crate::train::{check_target, checkpoint};
use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use serde_json::json;
use std::io::BufWriter;
use std::path::Path;

/// Most episodes of a log.
const MOST_EPISODES: usize = 1 << 20;

/// The name of a log in a folder.
const FILE: &str = "episodes.jsonl";

/// Settings of a log.
#[derive(Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Walks {
    /// Number of episodes.
    #[schemars(range(min = 1, max = MOST_EPISODES))]
    episodes: usize,
    /// Seed of the environment and of the actions.
    seed: u64,
}

impl Default for Walks {
    fn default() -> Self {
        Self { episodes: 1000, seed: 0 }
    }
}

/// Whether this is the name of a built-in environment.
pub fn is_environment(kind: &str) -> bool {
    env::NAMES.contains(&kind)
}

/// Shows the settings of a log.
pub fn describe(as_json: bool) -> Result<()> {
    let schema: serde_json::Value = schemars::schema_for!(Walks).into();
    crate::cli::settings::show(&keys_of(&schema).iter().collect::<Vec<_>>(), as_json)
}

/// Writes a log of random walks to a file, or to `episodes.jsonl` in a folder, which is a name without an ending.
pub fn write(name: &str, settings: toml::Table, out: &Path, as_json: bool) -> Result<()> {
    let Walks { episodes, seed } = read_table(name, settings)?;
    ensure!(
        (1..=MOST_EPISODES).contains(&episodes),
        "episodes: expected 1 to {MOST_EPISODES}; found {episodes}"
    );
    let in_folder = out.join(FILE);
    let out = match out.extension() {
        Some(_) => out,
        None => {
            std::fs::create_dir_all(out).with_context(|| out.display().to_string())?;
            &in_folder
        }
    };
    check_target(out)?;
    let place = || out.display().to_string();
    // The log gets its name once it is complete.
    let mut file = checkpoint::unfinished(out).with_context(place)?;
    let share = write_random_walks(name, episodes, seed, BufWriter::new(&mut file)).with_context(place)?;
    checkpoint::finish(file, out).with_context(place)?;
    if as_json {
        let mut made = json!({ "kind": name, "out": out, "episodes": episodes });
        if let Some(share) = share {
            made["success_rate"] = share.into();
        }
        return print::json(&made);
    }
    let successes =
        share.map_or(String::new(), |share| format!(", {:.1}% of them successful", 100.0 * share));
    println!("{} has {episodes} episodes{successes}", out.display());
    Ok(())
}
