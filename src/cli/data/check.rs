//! `smalti data check`

mod show;
mod task;

use super::{Bar, SourceOptions};
use crate::cli::compositions::settings_file;
use crate::cli::count::{MANY, up_to};
use crate::cli::print;
use crate::cli::tokenize::SlicingOptions;
use crate::inspect::{Duplicates, TableReport, inspect_table, open};
use crate::registry::Modalities;
use anyhow::{Result, ensure};
use clap::Args;
use serde_json::json;
use std::collections::BTreeMap;

#[derive(Args)]
#[command(after_help = "Examples:\n  \
    smalti data check my-images/ --patch-size 16 --image-size 224x224\n  \
    smalti data check 'shards/train-*.tar'\n  \
    smalti data check clips/manifest.tsv --json\n  \
    smalti data check log.npz --patch-size 12 --image-size 84x84")]
pub struct CheckArgs {
    /// Data in any layout, a single file of any modality, or a task: a TOML file, preset or run folder.
    ///
    /// A layout is a table or manifest; a folder, tar archive or pattern of files; class folders, WebDataset shards, IDX or
    /// CIFAR-10 files; or episodes. A single file is a text, an image or an audio clip.
    path: String,
    /// Override a setting of a task: data.source=my.csv. May be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Number of rows (samples of a task) of each split to inspect, spread over all; 0 for all.
    #[arg(long, default_value_t = 0, value_parser = up_to::<MANY>)]
    samples: usize,
    /// Split to inspect, by the field `split` [default: all].
    #[arg(long)]
    split: Option<String>,
    #[command(flatten)]
    source: SourceOptions,
    #[command(flatten)]
    slicing: SlicingOptions,
    /// Print one JSON object: layout; for each split rows, fields and corrupt rows; duplicates.
    #[arg(long)]
    json: bool,
}

/// Checks.
pub fn run(args: CheckArgs, modalities: &Modalities) -> Result<()> {
    if let Some(settings) = settings_file(&args.path) {
        return task::check(&settings, &args.set, args.samples, args.json, modalities);
    }
    ensure!(args.set.is_empty(), "{}: --set is for a task: a TOML file, preset or run folder", args.path);
    let detected = open(&args.source.of(&args.path), modalities.sources())?;
    let table = &detected.table;
    let mut bar: Option<Bar> = None;
    let report = inspect_table(
        table.as_ref(),
        args.split.as_deref(),
        &args.slicing.slicing(),
        args.samples,
        &mut |done, all| {
            bar.get_or_insert_with(|| Bar::of_rows(all)).set(done as u64);
        },
    )?;
    if let Some(bar) = bar {
        bar.finish();
    }
    let holds = report.splits.iter().flat_map(|split| &split.fields).map(|field| field.holds.as_str());
    args.slicing.check_fields(&holds.collect::<Vec<_>>())?;
    match args.json {
        true => {
            let TableReport { splits, duplicates, skipped } = &report;
            let others = detected.others.iter().map(|other| (other.layout, other.reason.as_str()));
            print::json(&json!({
                "path": args.path,
                "layout": detected.layout,
                "because": detected.because,
                "others": others.collect::<BTreeMap<_, _>>(),
                "splits": splits,
                "duplicates": duplicates,
                "skipped": skipped,
            }))?;
        }
        false => {
            show::layout(&detected);
            show::table(table.name(), &report);
        }
    }
    verdict(&args.path, &report)
}

/// Fails with the number of corrupt rows and of wrong duplicates, if there are any.
fn verdict(path: &str, report: &TableReport) -> Result<()> {
    let count = |wrong: fn(&Duplicates) -> bool| report.duplicates.iter().filter(|one| wrong(one)).count();
    let corrupt: usize = report.splits.iter().map(|split| split.corrupt.len()).sum();
    let rows: usize = report.splits.iter().map(|split| split.inspected).sum();
    let first = report.splits.iter().flat_map(|split| &split.corrupt).next();
    let first = first.map_or(String::new(), |first| format!("; the first: {}", first.problem));
    let wrong: Vec<String> = [
        (corrupt, format!("{corrupt} of {rows} rows cannot be used{first}")),
        (count(|one| one.labels_differ), "content under different labels".into()),
        (count(|one| one.across_splits), "content in several splits".into()),
    ]
    .into_iter()
    .enumerate()
    .filter(|(_, (n, _))| *n > 0)
    .map(|(i, (n, what))| if i == 0 { what } else { format!("{n} times the same {what}") })
    .collect();
    ensure!(wrong.is_empty(), "{path}: {}", wrong.join("; "));
    Ok(())
}
