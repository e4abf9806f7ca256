//! `smalti import` and `smalti export`

use crate::train::Storage;
use anyhow::Result;
use clap::{Args, ValueEnum};
use std::path::PathBuf;

/// Turn a published checkpoint into a run.
#[derive(Args)]
pub struct ImportArgs {
    /// A folder with config.json and weights (model.safetensors, in one file or several; pytorch_model.bin), or a
    /// safetensors file with config.json beside it.
    checkpoint: PathBuf,
    /// The run folder to write.
    #[arg(long)]
    out: PathBuf,
    /// How weights are stored.
    #[arg(long, value_enum, default_value_t = Numbers::F32)]
    dtype: Numbers,
    /// Of a decision transformer: logged episodes whose states say what states are centred and scaled by; the weights do
    /// not come with it. Without, states go in as they are.
    #[arg(long)]
    log: Option<String>,
    /// Of a decision transformer: what its returns were divided by, often 1000.
    #[arg(long)]
    return_scale: Option<f32>,
    /// Prints one JSON object: loaded, numbers, repeated, unread, ids_as_text.
    #[arg(long)]
    json: bool,
}

/// Write a run that was imported as the checkpoint that it came from.
#[derive(Args)]
pub struct ExportArgs {
    /// The run folder.
    run: PathBuf,
    /// The folder to write config.json and model.safetensors into.
    #[arg(long)]
    out: PathBuf,
    /// How weights are stored.
    #[arg(long, value_enum, default_value_t = Numbers::F32)]
    dtype: Numbers,
}

/// Bits of a stored number.
#[derive(Clone, Copy, ValueEnum)]
enum Numbers {
    F32,
    Bf16,
    F16,
}

impl From<Numbers> for Storage {
    fn from(numbers: Numbers) -> Self {
        match numbers {
            Numbers::F32 => Storage::F32,
            Numbers::Bf16 => Storage::Bf16,
            Numbers::F16 => Storage::F16,
        }
    }
}

/// Imports.
#[cfg(all(feature = "text", feature = "image", feature = "audio", feature = "trajectory"))]
pub fn import(args: ImportArgs) -> Result<()> {
    use super::print;
    use crate::pretrained;

    let scaled = args.log.is_some() || args.return_scale.is_some();
    let scales = pretrained::Scales { log: args.log, return_scale: args.return_scale };
    let storage = args.dtype.into();
    let report = pretrained::import(&args.checkpoint, &args.out, storage, scaled.then_some(&scales))?;
    if args.json {
        return print::json(&serde_json::to_value(&report)?);
    }
    let one = |what: &str, name: &str| vec![what.to_string(), name.to_string()];
    let mut rows = vec![
        one("parameters set", &report.loaded.to_string()),
        one("numbers in them", &report.numbers.to_string()),
    ];
    rows.extend(
        report.repeated.iter().map(|(name, other)| one("repeats another", &format!("{name} = {other}"))),
    );
    rows.extend(report.unread.iter().map(|name| one("not read, kept for export", name)));
    print::table(&["tensors", ""], &rows);
    println!("{} is a run now", args.out.display());
    if report.ids_as_text {
        println!("it came without a vocabulary: prompts and texts are ids, such as --prompt \"5 7 9\"");
    }
    Ok(())
}

/// Exports.
#[cfg(all(feature = "text", feature = "image", feature = "audio", feature = "trajectory"))]
pub fn export(args: ExportArgs) -> Result<()> {
    use crate::pretrained;

    let tensors = pretrained::export(&args.run, &args.out, args.dtype.into())?;
    println!("{} tensors are in {}", tensors.len(), args.out.display());
    Ok(())
}

/// Says that this build cannot.
#[cfg(not(all(feature = "text", feature = "image", feature = "audio", feature = "trajectory")))]
pub fn import(args: ImportArgs) -> Result<()> {
    let ImportArgs { checkpoint, .. } = args;
    anyhow::bail!("{}: published models want a smalti with all four modalities", checkpoint.display())
}

/// Says that this build cannot.
#[cfg(not(all(feature = "text", feature = "image", feature = "audio", feature = "trajectory")))]
pub fn export(args: ExportArgs) -> Result<()> {
    let ExportArgs { run, .. } = args;
    anyhow::bail!("{}: published models want a smalti with all four modalities", run.display())
}
