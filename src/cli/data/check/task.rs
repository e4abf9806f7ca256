//! Check of the rows of a task, whose settings name the fields.

use crate::cli::print;
use crate::config::RunConfig;
use crate::inspect::{SplitReport, TaskReport, inspect};
use crate::registry::Modalities;
use crate::run::open_tasks;
use crate::sample::Start;
use anyhow::{Result, ensure};
use serde_json::json;
use std::collections::BTreeMap;

/// Checks the rows of every task of a file of settings or a preset.
pub fn check(path: &str, set: &[String], limit: usize, as_json: bool, modalities: &Modalities) -> Result<()> {
    let config = RunConfig::of_preset_or_file_with(path, set, modalities)?;
    let mut reports: BTreeMap<String, TaskReport> = BTreeMap::new();
    for (entry, opened) in open_tasks(&config, modalities, |_| Ok(Start::New))? {
        reports.insert(entry.name.clone(), inspect(&opened, limit)?);
    }
    match as_json {
        true => print::json(&json!({ "path": path, "tasks": reports }))?,
        false => reports.iter().for_each(|(name, report)| show(name, report)),
    }
    let corrupt: usize =
        reports.values().flat_map(|report| &report.splits).map(|split| split.corrupt.len()).sum();
    let samples: usize =
        reports.values().flat_map(|report| &report.splits).map(|split| split.inspected).sum();
    ensure!(corrupt == 0, "{path}: {corrupt} of {samples} samples cannot be used");
    Ok(())
}

fn show(name: &str, report: &TaskReport) {
    for split in &report.splits {
        let SplitReport { split: of, source, rows, samples, inspected, .. } = split;
        let task = if name.is_empty() { String::new() } else { format!("{name}: ") };
        println!("{task}{of}: {rows} rows of {source}, {samples} samples, {inspected} inspected");
        super::show::fields(&split.fields);
        let parts = split.parts.iter().map(|part| {
            let [least, mean, most] = part.tokens;
            vec![
                part.part.clone(),
                part.modality.clone(),
                part.missing.to_string(),
                format!("{least} to {most}, mean {mean:.1}"),
            ]
        });
        print::table(&["part", "modality", "missing", "tokens"], &parts.collect::<Vec<_>>());
        split.corrupt.iter().for_each(|problem| println!("corrupt: {problem}"));
    }
    report.skipped.iter().for_each(|(what, why)| println!("not used: {what} ({why})"));
}
