//! `smalti import` and `smalti export`

use crate::train::Storage;
use anyhow::Result;
use clap::{Args, ValueEnum};
use std::path::PathBuf;

/// Import a published checkpoint as a run.
#[derive(Args)]
pub struct ImportArgs {
    /// Folder with config.json and weights, a safetensors file beside config.json, or hf:OWNER/NAME.
    ///
    /// Weights in a folder are model.safetensors, in one file or several, or pytorch_model.bin. hf:OWNER/NAME, or
    /// hf:OWNER/NAME@REVISION, is a repository on the Hugging Face Hub, which is downloaded into its cache.
    checkpoint: PathBuf,
    /// Run folder to write.
    #[arg(long)]
    out: PathBuf,
    /// Data type of the stored weights.
    #[arg(long, value_enum, default_value_t = Numbers::F32)]
    dtype: Numbers,
    /// Decision transformer: logged episodes to normalize states by [default: no normalization].
    ///
    /// The mean and the standard deviation of the states are no part of a checkpoint.
    #[arg(long)]
    log: Option<String>,
    /// Decision transformer: divisor of the returns in its training, often 1000.
    #[arg(long)]
    return_scale: Option<f32>,
    /// Setting beside the weights that changes no output. May be repeated.
    ///
    /// A setting that this build does not know is an error, because it may change the output. The run keeps the names of
    /// ignored settings.
    #[arg(long, value_name = "KEY")]
    ignore_setting: Vec<String>,
    /// Read weights that are integers as numbers.
    ///
    /// Weights are floating-point numbers. Integers are a mistake, or quantized weights whose scales are elsewhere.
    #[arg(long)]
    allow_integers: bool,
    /// CLIP, SigLIP: which of the two models to import. Both are two runs.
    #[arg(long, value_enum)]
    tower: Option<Tower>,
    /// Print one JSON object: loaded, numbers, repeated, unread, ignored, ids_as_text.
    #[arg(long)]
    json: bool,
}

/// Export an imported run in the format of its checkpoint.
#[derive(Args)]
pub struct ExportArgs {
    /// Run folder.
    run: PathBuf,
    /// Folder to write config.json and model.safetensors into.
    #[arg(long)]
    out: PathBuf,
    /// Data type of the stored weights.
    #[arg(long, value_enum, default_value_t = Numbers::F32)]
    dtype: Numbers,
}

/// One of the two models of CLIP or SigLIP.
#[derive(Clone, Copy, ValueEnum)]
enum Tower {
    /// The model that embeds images.
    Image,
    /// The model that embeds texts.
    Text,
}

/// Data type of a stored weight.
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

/// Most unread tensors to print; JSON has all.
#[cfg(all(feature = "text", feature = "image", feature = "audio", feature = "trajectory"))]
const LISTED: usize = 10;

/// Imports.
#[cfg(all(feature = "text", feature = "image", feature = "audio", feature = "trajectory"))]
pub fn import(args: ImportArgs) -> Result<()> {
    use super::{checks, print};
    use crate::pretrained;

    let scaled = args.log.is_some() || args.return_scale.is_some();
    let scales = pretrained::Scales { log: args.log, return_scale: args.return_scale };
    let storage = args.dtype.into();
    let tower = args.tower.map(|tower| match tower {
        Tower::Image => pretrained::Tower::Image,
        Tower::Text => pretrained::Tower::Text,
    });
    let options = pretrained::Options {
        scales: scaled.then_some(&scales),
        ignored: &args.ignore_setting,
        tower,
        allow_non_finite: !checks::chosen().finite,
        allow_integers: args.allow_integers,
    };
    let report = pretrained::import_with(&args.checkpoint, &args.out, storage, &options)?;
    if args.json {
        return print::json(&serde_json::to_value(&report)?);
    }
    let one = |what: &str, name: &str| vec![what.to_string(), name.to_string()];
    let mut rows = vec![
        one("parameters set", &report.loaded.to_string()),
        one("numbers in them", &report.numbers.to_string()),
    ];
    rows.extend(
        report.repeated.iter().map(|(name, other)| one("copy of another", &format!("{name} = {other}"))),
    );
    rows.extend(report.unread.iter().take(LISTED).map(|name| one("not read, kept for export", name)));
    if report.unread.len() > LISTED {
        rows.push(one("not read, in all", &report.unread.len().to_string()));
    }
    rows.extend(report.ignored.iter().map(|key| one("setting ignored", key)));
    print::table(&["tensors", ""], &rows);
    println!("the run is in {}", args.out.display());
    if report.ids_as_text {
        println!(
            "the checkpoint has no vocabulary: prompts and texts are ids, such as --prompt \"5 7 9\", without added begin and \
             end ids"
        );
    }
    Ok(())
}

/// Exports.
#[cfg(all(feature = "text", feature = "image", feature = "audio", feature = "trajectory"))]
pub fn export(args: ExportArgs) -> Result<()> {
    use super::checks;
    use crate::pretrained;

    let tensors = pretrained::export_checked(&args.run, &args.out, args.dtype.into(), checks::chosen())?;
    println!("{} tensors are in {}", tensors.len(), args.out.display());
    Ok(())
}

#[cfg(not(all(feature = "text", feature = "image", feature = "audio", feature = "trajectory")))]
const NEEDED_FEATURES: &str =
    "published checkpoints need the features text, image, audio and trajectory; build smalti with them";

/// Fails: this build lacks a modality.
#[cfg(not(all(feature = "text", feature = "image", feature = "audio", feature = "trajectory")))]
pub fn import(args: ImportArgs) -> Result<()> {
    let ImportArgs { checkpoint, .. } = args;
    anyhow::bail!("{}: {NEEDED_FEATURES}", checkpoint.display())
}

/// Fails: this build lacks a modality.
#[cfg(not(all(feature = "text", feature = "image", feature = "audio", feature = "trajectory")))]
pub fn export(args: ExportArgs) -> Result<()> {
    let ExportArgs { run, .. } = args;
    anyhow::bail!("{}: {NEEDED_FEATURES}", run.display())
}
