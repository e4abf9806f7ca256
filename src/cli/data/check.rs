//! `smalti data check`

#[cfg(feature = "audio")]
mod clips;
#[cfg_attr(not(any(feature = "image", feature = "audio", feature = "trajectory")), allow(dead_code))]
mod digest;
#[cfg(feature = "trajectory")]
mod episodes;
mod numbers;
mod part;
#[cfg(feature = "image")]
mod pictures;
mod show;
mod text;
mod twins;

use crate::cli::print;
use crate::cli::tokenize::{Cut, Modality};
use crate::data::manifest::Manifest;
use crate::data::{self, DataError, Files, glob, labelled};
use anyhow::{Result, bail, ensure};
use clap::Args;
use part::{Bad, Part};
use serde_json::json;
use twins::Twins;

#[derive(Args)]
#[command(after_help = "Examples:\n  \
    smalti data check my-images/ --patch 16 --size 224x224\n  \
    smalti data check 'shards/train-*.tar'\n  \
    smalti data check clips/manifest.tsv --json\n  \
    smalti data check log.npz --patch 12 --size 84x84")]
pub struct CheckArgs {
    /// A text, picture, recording or log; a manifest, or a folder or tar with one; labelled pictures: a folder with
    /// one folder a class, WebDataset tars (a pattern or a folder), an IDX file or CIFAR-10's batches; a folder of logs,
    /// or a data set in LeRobot's layout.
    path: String,
    /// The part of labelled pictures to read; without it, all parts.
    #[arg(long)]
    split: Option<String>,
    #[command(flatten)]
    cut: Cut,
    /// Prints one JSON object: for each part what it is, samples, findings, tokens, bad and skipped files; and what
    /// is there more than once.
    #[arg(long)]
    json: bool,
}

/// What lies at a location.
enum Source {
    /// One file, and its bytes.
    File(Modality, Vec<u8>),
    /// A table of recordings and their texts.
    #[cfg_attr(not(feature = "audio"), allow(dead_code))]
    Manifest(Manifest),
    /// Labelled pictures in one of their layouts.
    Labelled,
    /// A folder or archive of logged episodes.
    #[cfg(feature = "trajectory")]
    Log,
}

/// Checks.
pub fn run(args: CheckArgs) -> Result<()> {
    let mut parts = read(&args, recognise(&args.path)?)?;
    let twins = twins::find(&mut parts);
    match args.json {
        true => print::json(&json!({ "path": args.path, "parts": parts, "duplicates": twins }))?,
        false => {
            parts.iter().for_each(show::part);
            show::twins(&twins);
        }
    }
    verdict(&args.path, &parts, &twins)
}

/// An error that counts what is wrong, where something is.
fn verdict(path: &str, parts: &[Part], twins: &[Twins]) -> Result<()> {
    let (bad, samples) = parts.iter().fold((0, 0), |(b, s), part| (b + part.bad.len(), s + part.samples));
    let count = |wrong: fn(&Twins) -> bool| twins.iter().filter(|twins| wrong(twins)).count();
    let wrong: Vec<String> = [
        (bad, format!("{bad} of {samples} samples cannot be used")),
        (count(|t| t.labels_differ), "content under different labels".into()),
        (count(|t| t.across_splits), "content in several splits".into()),
    ]
    .into_iter()
    .enumerate()
    .filter(|(_, (n, _))| *n > 0)
    .map(|(i, (n, what))| if i == 0 { what } else { format!("{n} times the same {what}") })
    .collect();
    ensure!(wrong.is_empty(), "{path}: {}", wrong.join("; "));
    Ok(())
}

/// What a location holds, by asking those who read it.
fn recognise(path: &str) -> Result<Source> {
    if glob::is_pattern(path) {
        return Ok(Source::Labelled);
    }
    let name = path.rsplit('/').next().unwrap_or(path);
    match Files::open(path) {
        #[cfg(feature = "trajectory")]
        Ok(files) if crate::tasks::trajectory::is_log(&files) => Ok(Source::Log),
        Ok(_) => match Manifest::open(path) {
            Ok(manifest) => Ok(Source::Manifest(manifest)),
            Err(DataError::Missing { .. }) => Ok(Source::Labelled),
            // What is a manifest of pictures, say, is none of recordings.
            Err(_) if labelled::open(path, None).is_ok() => Ok(Source::Labelled),
            Err(error) => Err(error.into()),
        },
        Err(error) if name.ends_with(".tar") || name.contains(".tar.") => Err(error.into()),
        Err(_) => of_file(path),
    }
}

/// What a file that is no archive holds.
fn of_file(path: &str) -> Result<Source> {
    let no_manifest = match Manifest::open(path) {
        Ok(manifest) => return Ok(Source::Manifest(manifest)),
        Err(error) => error,
    };
    if labelled::open(path, None).is_ok() {
        return Ok(Source::Labelled);
    }
    let bytes = data::read(path)?;
    // A damaged manifest is text, but is meant to be more.
    let damaged =
        matches!(&no_manifest, DataError::Format { format: "a manifest", .. } | DataError::Path { .. });
    match Modality::guess(path, &bytes) {
        None | Some(Modality::Text) if damaged => Err(no_manifest.into()),
        Some(modality) => Ok(Source::File(modality, bytes)),
        None => bail!(
            "{path}: neither name nor content tells what it is; expected a text, a picture, a recording, \
             episodes, a manifest or labelled pictures"
        ),
    }
}

/// Reads everything there is.
fn read(args: &CheckArgs, source: Source) -> Result<Vec<Part>> {
    let labelled = matches!(source, Source::Labelled);
    ensure!(labelled || args.split.is_none(), "{}: --split is for labelled pictures", args.path);
    args.cut.only(match source {
        Source::File(modality, _) => modality,
        Source::Manifest(_) => Modality::Audio,
        Source::Labelled => Modality::Image,
        #[cfg(feature = "trajectory")]
        Source::Log => Modality::Trajectory,
    })?;
    match source {
        Source::File(Modality::Text, bytes) => Ok(vec![text::check(&args.path, &bytes, &args.cut)?]),
        #[cfg(feature = "image")]
        Source::File(Modality::Image, bytes) => {
            Ok(vec![pictures::check_file(&args.path, &bytes, &args.cut)?])
        }
        #[cfg(feature = "audio")]
        Source::File(Modality::Audio, bytes) => Ok(vec![clips::check_file(&args.path, &bytes, &args.cut)?]),
        #[cfg(feature = "trajectory")]
        Source::File(Modality::Trajectory, _) | Source::Log => {
            Ok(vec![episodes::check(&args.path, &args.cut)?])
        }
        #[cfg(feature = "audio")]
        Source::Manifest(manifest) => Ok(vec![clips::check_manifest(manifest, &args.cut)?]),
        #[cfg(feature = "image")]
        Source::Labelled => pictures::check_labelled(&args.path, args.split.as_deref(), &args.cut),
        #[allow(unreachable_patterns)] // where all modalities are built in
        _ => bail!("this smalti is built without the modality of these data"),
    }
}
