//! `smalti show`

use super::{checks, print};
use crate::registry::Modalities;
use crate::report::curves::{self, Panel};
use crate::report::figure::{self, Format};
use crate::report::rules::{self, RulesFigure};
use crate::run::{RunError, Weights};
use crate::train::{check_folder, checkpoint::write_atomically, log};
use anyhow::{Context, Result};
use candle_core::Device;
use clap::Args;
use serde_json::json;
use std::path::PathBuf;

/// Draw the attention rules and the curves of a run.
#[derive(Args)]
pub struct ShowArgs {
    /// Run folder.
    run: PathBuf,
    /// Draw only the attention rules, on an example: x if the row's token attends to the column's.
    #[arg(long)]
    rules: bool,
    /// Draw only the curves of loss and validation metrics.
    #[arg(long)]
    curves: bool,
    /// Write rules.svg and curves.svg into this folder as well.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Print one JSON object: the rules as figures, the curves as points.
    #[arg(long)]
    json: bool,
}

/// Size of a plot in characters.
const COLUMNS: usize = 60;
const ROWS: usize = 12;

/// Draws.
pub fn run(args: ShowArgs, modalities: &Modalities) -> Result<()> {
    let run = checks::open(&args.run, modalities)?;
    let both = args.rules == args.curves;
    let figures: Option<Vec<RulesFigure>> = match both || args.rules {
        true => match run.load(Weights::Best, &Device::Cpu) {
            Ok((model, _)) => Some(rules::figures(&model)),
            // The curves alone, as with --curves.
            Err(error @ RunError::NoWeights { .. }) if both => {
                print::note(&format!("no attention rules: {error}"));
                None
            }
            Err(error) => return Err(error.into()),
        },
        false => None,
    };
    let panels: Option<Vec<Panel>> = match both || args.curves {
        true => {
            let mut panels = curves::Panels::default();
            for line in log::lines(run.folder())? {
                panels.add(&line?);
            }
            Some(panels.finish())
        }
        false => None,
    };
    if let Some(out) = &args.out {
        check_folder(out)?;
        std::fs::create_dir_all(out).with_context(|| out.display().to_string())?;
        if let Some(figures) = &figures {
            write_atomically(&out.join("rules.svg"), &figure::rules(figures).encode(Format::Svg)?)?;
        }
        if let Some(panels) = &panels {
            write_atomically(&out.join("curves.svg"), &figure::curves(panels).encode(Format::Svg)?)?;
        }
    }
    if args.json {
        return print::json(&json!({ "rules": figures, "curves": panels }));
    }
    if figures.is_some() {
        println!("An example of a few tokens of each kind; x: the row's token attends to the column's.\n");
    }
    figures.iter().flatten().for_each(|figure| println!("{figure}"));
    panels.iter().flatten().for_each(|panel| println!("{}", panel.plot(COLUMNS, ROWS)));
    Ok(())
}
