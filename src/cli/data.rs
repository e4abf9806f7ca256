//! `smalti data`

mod bar;
mod check;
mod list;

use super::print;
use crate::data::{recipes, synthetic};
use crate::registry::Modalities;
use crate::train::checkpoint::write_atomically;
use anyhow::{Context, Result};
use bar::Bar;
use clap::{Args, Subcommand};
use serde_json::json;
use std::path::PathBuf;

/// List, fetch, make and check data.
#[derive(Args)]
pub struct DataArgs {
    #[command(subcommand)]
    command: DataCommand,
}

#[derive(Subcommand)]
enum DataCommand {
    /// List the data sets that ship, that can be made, and that can be fetched.
    List(list::ListArgs),
    /// Fetch a published data set, verify its size and SHA-256, and unpack it.
    Get(GetArgs),
    /// Make a synthetic data set that ships: the same bytes each time.
    Make(MakeArgs),
    /// Read data and report its fields, sizes, classes, tokens, duplicates and corrupt rows.
    ///
    /// Reads every row on all cores and keeps only counts and a digest of each. Exits with 1 if a row is corrupt, or if
    /// duplicates have different labels or are in different splits. Other duplicates are reported and are no failure.
    Check(check::CheckArgs),
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

#[derive(Args)]
struct MakeArgs {
    /// Data set: cartpole or touchtone.
    name: String,
    /// Folder to write the file into.
    #[arg(long, default_value = ".")]
    out: PathBuf,
    /// Print one JSON object: file and bytes.
    #[arg(long)]
    json: bool,
}

/// Runs one of the commands.
pub fn run(args: DataArgs, modalities: &Modalities) -> Result<()> {
    match args.command {
        DataCommand::List(args) => list::run(args),
        DataCommand::Get(args) => get(args),
        DataCommand::Make(args) => make(args),
        DataCommand::Check(args) => check::run(args, modalities),
    }
}

fn get(args: GetArgs) -> Result<()> {
    let size = recipes::list().iter().find(|recipe| recipe.name == args.name);
    let size = size.map_or(0, |recipe| recipe.files.iter().map(|file| file.size).sum());
    let mut bar = Bar::of_bytes(size);
    let folder = recipes::get(&args.name, &args.out, args.mirror.as_deref(), &mut |done, _| bar.set(done));
    bar.finish();
    let folder = folder?;
    if args.json {
        return print::json(&json!({ "name": args.name, "folder": folder }));
    }
    println!("{} is in {}", args.name, folder.display());
    Ok(())
}

fn make(args: MakeArgs) -> Result<()> {
    let data_set = synthetic::make(&args.name)?;
    std::fs::create_dir_all(&args.out).with_context(|| args.out.display().to_string())?;
    let file = args.out.join(data_set.file_name);
    write_atomically(&file, &data_set.bytes)?;
    if args.json {
        return print::json(&json!({ "file": file, "bytes": data_set.bytes.len() }));
    }
    println!("{} bytes are in {}", data_set.bytes.len(), file.display());
    Ok(())
}
