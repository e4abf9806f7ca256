//! `smalti data convert`

use super::{Bar, SourceOptions};
use crate::cli::count::{MANY, up_to};
use crate::cli::print;
use crate::convert::{
    ConvertError, Format, ImageFormat, ImageSize, Options, Outcome, Progress, ShardSize, convert,
};
use crate::inspect::{Corrupt, open};
use crate::registry::Modalities;
use anyhow::{Context, Result, ensure};
use clap::Args;
use serde_json::json;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

#[derive(Args)]
#[command(after_help = "Examples:\n  \
    smalti data convert photos/ shards/ --image-size 256 --image-format jpeg\n  \
    smalti data convert clips.tsv speech/ --to parquet --sampling-rate 16000\n  \
    smalti data convert 'shards/train-*.tar' train.parquet --fields png,cls")]
pub struct ConvertArgs {
    /// Data in any layout: a path, a pattern, an address, hf:OWNER/NAME or builtin:NAME.
    source: String,
    /// Folder for the shards, or a file that ends in .parquet.
    dest: PathBuf,
    /// Format of the shards [default: webdataset; parquet if DEST ends in .parquet].
    #[arg(long, value_name = "FORMAT")]
    to: Option<Format>,
    #[command(flatten)]
    options: SourceOptions,
    /// Split to convert, by the field `split` [default: all].
    #[arg(long)]
    split: Option<String>,
    /// Fields to convert, separated by commas [default: all].
    #[arg(long, value_delimiter = ',', value_name = "FIELD,…")]
    fields: Option<Vec<String>>,
    /// Images: size to resize to, as shorter side or HxW, in pixels [default: no resizing].
    #[arg(long, value_name = "SIZE")]
    image_size: Option<ImageSize>,
    /// Images: format; keep writes a resized JPEG as JPEG and other resized images as PNG.
    #[arg(long, value_name = "FORMAT", default_value = "keep")]
    image_format: ImageFormat,
    /// Images: quality of JPEGs that are written, 1 to 100.
    #[arg(long, default_value_t = 90)]
    quality: u8,
    /// Audio: sampling rate to resample to, in Hz, as WAV of 16 bits [default: no resampling].
    #[arg(long, value_name = "HZ")]
    sampling_rate: Option<u32>,
    /// Number of rows in a shard [default: as many as --shard-size holds].
    #[arg(long, value_name = "N", conflicts_with = "shard_size", value_parser = up_to::<MANY>)]
    rows_per_shard: Option<usize>,
    /// Approximate size of a shard, such as 256MB or 1GB.
    #[arg(long, value_name = "SIZE", default_value = "256MB", value_parser = bytes)]
    shard_size: u64,
    /// Number of threads [default: one for each core].
    #[arg(long, value_name = "N", value_parser = up_to::<1024>)]
    threads: Option<usize>,
    /// Replace an earlier conversion with other settings, or an existing file.
    #[arg(long)]
    overwrite: bool,
    /// Print one JSON object: shards, fields, corrupt rows.
    #[arg(long)]
    json: bool,
}

/// Most corrupt rows to print; JSON has all.
const SHOWN: usize = 20;

/// Converts; Ctrl-C stops, and the same command continues.
pub fn run(args: ConvertArgs, modalities: &Modalities) -> Result<()> {
    ensure!(args.rows_per_shard != Some(0), "--rows-per-shard: expected 1 or more; found 0");
    let table = open(&args.options.of(&args.source), modalities.sources())?.table;
    let outcome = with_bar(|stop, progress| {
        convert(table.as_ref(), &args.source, &args.dest, &options(&args), stop, progress)
    })?;
    match args.json {
        true => print::json(&json!({ "source": args.source, "dest": args.dest, "conversion": outcome }))?,
        false => show(&args, &outcome),
    }
    if outcome.stopped {
        let (done, all) = (outcome.shards.len(), outcome.all_shards);
        print::note(&format!("stopped after {done} of {all} shards; the same command continues"));
        return Ok(());
    }
    let corrupt = outcome.corrupt.len();
    let rows = outcome.shards.iter().map(|shard| shard.rows).sum::<usize>() + corrupt;
    ensure!(corrupt == 0, "{}: {corrupt} of {rows} rows cannot be converted and are left out", args.source);
    Ok(())
}

/// Runs a conversion with a progress bar; Ctrl-C stops it.
pub(super) fn with_bar(
    convert: impl FnOnce(&AtomicBool, &mut Progress<'_>) -> Result<Outcome, ConvertError>,
) -> Result<Outcome> {
    let stop = Arc::new(AtomicBool::new(false));
    let on_signal = stop.clone();
    ctrlc::set_handler(move || on_signal.store(true, Ordering::Relaxed))
        .context("Ctrl-C cannot be caught")?;
    let mut bar: Option<Bar> = None;
    let outcome =
        convert(&stop, &mut |done, all| bar.get_or_insert_with(|| Bar::of_rows(all)).set(done as u64));
    if let Some(bar) = bar {
        bar.finish();
    }
    Ok(outcome?)
}

fn options(args: &ConvertArgs) -> Options {
    let is_parquet = args.dest.extension().is_some_and(|extension| extension == "parquet");
    let by_name = if is_parquet { Format::Parquet } else { Format::Webdataset };
    Options {
        format: args.to.unwrap_or(by_name),
        split: args.split.clone(),
        fields: args.fields.clone(),
        image_size: args.image_size,
        image_format: args.image_format,
        quality: args.quality,
        sampling_rate: args.sampling_rate,
        shard_size: args.rows_per_shard.map_or(ShardSize::Bytes(args.shard_size), ShardSize::Rows),
        threads: args.threads,
        overwrite: args.overwrite,
    }
}

/// A size in bytes: a number and `B`, `kB`, `MB` or `GB`, or `KiB`, `MiB` or `GiB`.
fn bytes(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit: u64 = match text[digits.len()..].to_lowercase().as_str() {
        "" | "b" => 1,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        "kib" => 1 << 10,
        "mib" => 1 << 20,
        "gib" => 1 << 30,
        _ => 0,
    };
    let size = digits.trim().parse::<u64>().ok().and_then(|number| number.checked_mul(unit));
    size.filter(|size| *size > 0)
        .ok_or_else(|| format!("expected a size, such as 256MB or 1GB; found {text:?}"))
}

fn show(args: &ConvertArgs, outcome: &Outcome) {
    let places: Vec<Vec<String>> =
        outcome.fields.iter().map(|(field, place)| vec![field.clone(), place.clone()]).collect();
    print::table(&["field", "in the shards"], &places);
    for (field, why) in &outcome.skipped {
        println!("left out: {field}: {why}");
    }
    for Corrupt { row, field, problem } in outcome.corrupt.iter().take(SHOWN) {
        println!("corrupt: {row}, field {field}: {problem}");
    }
    if outcome.corrupt.len() > SHOWN {
        println!("and {} more; --json lists all", outcome.corrupt.len() - SHOWN);
    }
    let rows: usize = outcome.shards.iter().map(|shard| shard.rows).sum();
    let size: u64 = outcome.shards.iter().map(|shard| shard.bytes).sum();
    let shards = outcome.shards.len();
    let kept =
        if outcome.kept > 0 { format!(", {} of them from before", outcome.kept) } else { String::new() };
    println!(
        "{rows} rows in {shards} shard{}{kept}, {}: {}",
        if shards == 1 { "" } else { "s" },
        indicatif::HumanBytes(size),
        args.dest.display()
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        assert_eq!([bytes("256MB"), bytes("1GiB"), bytes("7")], [Ok(256_000_000), Ok(1 << 30), Ok(7)]);
        for wrong in ["", "0", "MB", "-1MB", "3 ells", "99999999999GB"] {
            let message = bytes(wrong).unwrap_err();
            assert_eq!(message, format!("expected a size, such as 256MB or 1GB; found {wrong:?}"));
        }
    }
}
