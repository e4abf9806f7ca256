//! `smalti data`

mod bar;
mod check;
mod convert;
mod list;
mod make;
mod source;
mod walks;

use super::print;
use crate::data::recipes;
use crate::registry::Modalities;
use crate::train::{check_folder, checkpoint::write_atomically};
use anyhow::{Context, Result};
pub use bar::Bar;
use clap::{Args, Subcommand};
use serde_json::json;
use source::SourceOptions;
use std::path::{Path, PathBuf};

/// List, fetch, make, check and convert data.
#[derive(Args)]
pub struct DataArgs {
    #[command(subcommand)]
    command: DataCommand,
}

#[derive(Subcommand)]
enum DataCommand {
    /// List the data sets that ship and those that can be fetched.
    List(list::ListArgs),
    /// Write a data set that ships, or fetch a published one, verify its SHA-256 and unpack it.
    Get(GetArgs),
    /// Generate data with known answers: sums, dates, recall, regression in context, and others.
    ///
    /// Without KIND, lists the kinds; without --out, the settings of a kind. The same settings give the same bytes. The splits
    /// train, validation and test have no row in common.
    Make(make::MakeArgs),
    /// Read data and report its fields, sizes, classes, tokens, duplicates and corrupt rows.
    ///
    /// Reads every row on all cores and keeps only counts and a digest of each. Exits with 1 if a row is corrupt, or if
    /// duplicates have different labels or are in different splits. Other duplicates are reported and are no failure.
    Check(check::CheckArgs),
    /// Convert data to WebDataset shards or Parquet files, and resize or resample them on the way.
    ///
    /// Shards are complete or absent, and their bytes do not depend on the number of threads. A conversion that was stopped or
    /// killed continues when the command runs again. Rows that cannot be converted are left out and named; the command then
    /// exits with 1.
    Convert(convert::ConvertArgs),
}

#[derive(Args)]
struct GetArgs {
    /// Data set, one of `smalti data list`.
    name: String,
    /// Folder to write into, in a folder of the data set's name.
    #[arg(long, default_value = ".")]
    out: PathBuf,
    /// Address (http or https) or folder to take the files from, by their names.
    #[arg(long, value_name = "URL_OR_FOLDER")]
    mirror: Option<String>,
    /// Print one JSON object: name and folder.
    #[arg(long)]
    json: bool,
}

/// Runs one of the commands.
pub fn run(args: DataArgs, modalities: &Modalities) -> Result<()> {
    match args.command {
        DataCommand::List(args) => list::run(args),
        DataCommand::Get(args) => get(args),
        DataCommand::Make(args) => make::run(args),
        DataCommand::Check(args) => check::run(args, modalities),
        DataCommand::Convert(args) => convert::run(args, modalities),
    }
}

fn get(args: GetArgs) -> Result<()> {
    let folder = match list::shipped(&args.name) {
        Some(files) => write(files, &args.out.join(&args.name))?,
        None => download(&args)?,
    };
    if args.json {
        return print::json(&json!({ "name": args.name, "folder": folder }));
    }
    println!("{} is in {}", args.name, folder.display());
    Ok(())
}

/// Writes the files of a data set that ships; returns their folder.
fn write(files: impl Iterator<Item = &'static (&'static str, Vec<u8>)>, folder: &Path) -> Result<PathBuf> {
    check_folder(folder)?;
    std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    for (path, bytes) in files {
        let name = path.rsplit('/').next().unwrap_or(path);
        write_atomically(&folder.join(name), bytes)?;
    }
    Ok(folder.to_path_buf())
}

fn download(args: &GetArgs) -> Result<PathBuf> {
    let size = recipes::list().iter().find(|recipe| recipe.name == args.name);
    let size = size.map_or(0, |recipe| recipe.files.iter().map(|file| file.size).sum());
    let mut bar = Bar::of_bytes(size);
    let folder = recipes::get(&args.name, &args.out, args.mirror.as_deref(), &mut |done, _| bar.set(done));
    bar.finish();
    Ok(folder?)
}
