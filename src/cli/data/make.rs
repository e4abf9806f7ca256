//! `smalti data make`

use super::convert::with_bar;
use super::walks;
use crate::cli::{print, settings};
use crate::config::table_of;
use crate::convert::{Format, Options, Outcome};
use crate::synthetic::{self, KindReport};
use crate::table::Table;
use anyhow::{Result, ensure};
use clap::Args;
use serde_json::json;
use std::path::{Path, PathBuf};

#[derive(Args)]
#[command(after_help = "Examples:\n  \
    smalti data make                                    # the kinds\n  \
    smalti data make addition                           # the settings of a kind\n  \
    smalti data make addition --set form=reversed --set train=5000 --out sums.parquet\n  \
    smalti data make recall --set pairs=8 --to webdataset --out recall/\n  \
    smalti data make key-to-door --set episodes=10000 --out door.jsonl")]
pub struct MakeArgs {
    /// Kind of data; or a built-in environment, cartpole or key-to-door, for a log of random episodes.
    ///
    /// Without it, the kinds are listed.
    kind: Option<String>,
    /// Parquet file, or folder for shards; of an environment a .jsonl file, or folder for episodes.jsonl.
    ///
    /// Without it, the settings of the kind are listed.
    #[arg(long, value_name = "FILE_OR_FOLDER", requires = "kind")]
    out: Option<PathBuf>,
    /// Setting of the kind, such as train=5000 or seed=1; may be repeated.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Format of the shards.
    #[arg(long, value_name = "FORMAT", default_value = "parquet")]
    to: Format,
    /// Replace an existing file, or shards of other settings.
    #[arg(long)]
    overwrite: bool,
    /// Print one JSON object: the kinds, the settings, or what was written.
    #[arg(long)]
    json: bool,
}

/// Lists or generates.
pub fn run(args: MakeArgs) -> Result<()> {
    match (&args.kind, &args.out) {
        (None, _) => list(args.json),
        (Some(name), None) if walks::is_environment(name) => walks::describe(args.json),
        (Some(name), Some(out)) if walks::is_environment(name) => {
            walks::write(name, table_of(&args.set)?, out, args.json)
        }
        (Some(kind), None) => describe(&synthetic::kind(kind)?, args.json),
        (Some(kind), Some(out)) => {
            let table = synthetic::table(kind, table_of(&args.set)?)?;
            let options = Options { format: args.to, overwrite: args.overwrite, ..Options::default() };
            let outcome = with_bar(|stop, progress| synthetic::write(&table, out, &options, stop, progress))?;
            report(&args, out, &table, &outcome)
        }
    }
}

fn list(as_json: bool) -> Result<()> {
    let kinds: Vec<KindReport> = synthetic::kinds().collect();
    if as_json {
        let object = |kind: &KindReport| json!({ "name": kind.name, "about": kind.about, "paper": kind.paper, "fields": kind.fields });
        return print::json(&json!({ "kinds": kinds.iter().map(object).collect::<Vec<_>>() }));
    }
    let row = |kind: &KindReport| {
        vec![kind.name.into(), format!("{}\n({})", kind.about, kind.paper), kind.fields.join(", ")]
    };
    print::table(&["kind", "data (paper)", "fields"], &kinds.iter().map(row).collect::<Vec<_>>());
    Ok(())
}

fn describe(kind: &KindReport, as_json: bool) -> Result<()> {
    if !as_json {
        println!("{}: {} ({}); fields {}", kind.name, kind.about, kind.paper, kind.fields.join(", "));
    }
    settings::show(&kind.settings.iter().collect::<Vec<_>>(), as_json)
}

fn report(args: &MakeArgs, out: &Path, table: &dyn Table, outcome: &Outcome) -> Result<()> {
    if args.json {
        print::json(&json!({ "kind": args.kind, "out": out, "conversion": outcome }))?;
    } else if !outcome.stopped {
        println!("{} rows with the fields {}: {}", table.len(), table.fields().join(", "), out.display());
    }
    if outcome.stopped {
        print::note("stopped; the same command continues");
    }
    let left_out = outcome.corrupt.len();
    ensure!(
        left_out == 0,
        "{left_out} rows cannot be generated and are left out: {}",
        outcome.corrupt[0].problem
    );
    Ok(())
}
