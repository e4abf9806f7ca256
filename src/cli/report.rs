//! `smalti report`

use super::device::DeviceChoice;
use super::{checks, print};
use crate::registry::Modalities;
use crate::report::page;
use crate::run::Run;
#[cfg(all(feature = "text", feature = "image", feature = "audio", feature = "trajectory"))]
use crate::train::SaveError;
use crate::train::{check_target, checkpoint::write_atomically};
use anyhow::{Result, bail, ensure};
#[cfg(all(feature = "text", feature = "image", feature = "audio", feature = "trajectory"))]
use candle_core::Device;
use clap::Args;
use serde_json::json;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Write a page about a run: curves, settings, data, examples, attention, errors, embeddings.
#[derive(Args)]
#[command(after_help = "Examples:\n  \
    smalti report runs/digits\n  \
    smalti report runs/a runs/b runs/c --out compared.html")]
pub struct ReportArgs {
    /// Run folders.
    ///
    /// With several runs, curves and settings show all of them; the other sections show the first run only.
    #[arg(required = true, value_name = "RUN")]
    runs: Vec<PathBuf>,
    /// Write the page to this file [default: report.html in the first run's folder].
    ///
    /// The page is one HTML file of at most 10 MB, which needs no network; the largest figures are left out of a larger page.
    #[arg(long, value_name = "FILE.html")]
    out: Option<PathBuf>,
    /// Validation rows of each task that the model predicts, for confusions and worst errors; 0 for all.
    #[arg(long, default_value_t = SAMPLES)]
    samples: usize,
    /// Device: auto, cpu, cuda or cuda:N.
    #[arg(long, default_value_t = DeviceChoice::Cpu)]
    device: DeviceChoice,
    /// Print one JSON object: the file, its bytes, the runs, the ids of its sections.
    #[arg(long)]
    json: bool,
}

/// Validation rows of each task that the model predicts, unless chosen.
const SAMPLES: usize = 500;
/// The name of the page in a run folder.
const PAGE_FILE: &str = "report.html";
/// The first bytes of a page.
const PAGE_BEGINS: &[u8] = b"<!doctype html>";

/// Writes the page.
pub fn run(args: ReportArgs, modalities: &Modalities) -> Result<()> {
    let runs = args.runs.iter().map(|folder| checks::open(folder, modalities));
    let runs = runs.collect::<Result<Vec<Run>, _>>()?;
    let Some((first, others)) = runs.split_first() else { bail!("expected a run folder") };
    let out = args.out.unwrap_or_else(|| first.folder().join(PAGE_FILE));
    // Before the work.
    check_page_target(&out)?;
    let page = page::of_runs(first, others, &args.device.open()?, args.samples);
    write_atomically(&out, page.html.as_bytes())?;
    if args.json {
        let (bytes, runs) = (page.html.len(), &args.runs);
        return print::json(&json!({ "page": out, "bytes": bytes, "runs": runs, "sections": page.sections }));
    }
    println!("{}: {}", out.display(), size(page.html.len()));
    Ok(())
}

/// A number of bytes in kB or MB.
fn size(bytes: usize) -> String {
    let kilobytes = bytes as f64 / 1e3;
    if kilobytes < 1e3 { format!("{kilobytes:.0} kB") } else { format!("{:.1} MB", kilobytes / 1e3) }
}

/// Fails if the folder of the page is missing, or if it would replace anything but a page: a run has files of other formats.
fn check_page_target(path: &Path) -> Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    ensure!(
        folder.is_dir(),
        "{}: expected an existing folder, found no folder {}; create it, or choose another --out",
        path.display(),
        folder.display()
    );
    check_target(path)?;
    let Ok(file) = File::open(path) else { return Ok(()) };
    let mut beginning = vec![];
    file.take(PAGE_BEGINS.len() as u64).read_to_end(&mut beginning)?;
    ensure!(
        beginning.is_empty() || beginning.eq_ignore_ascii_case(PAGE_BEGINS),
        "{}: expected an HTML page to replace, found a file of another format; choose another --out",
        path.display()
    );
    Ok(())
}

/// Writes the page of a run into its folder, and gives its path.
#[cfg(all(feature = "text", feature = "image", feature = "audio", feature = "trajectory"))]
pub fn write_into(run: &Run) -> Result<PathBuf, SaveError> {
    let path = run.folder().join(PAGE_FILE);
    write_atomically(&path, page::of_runs(run, &[], &Device::Cpu, SAMPLES).html.as_bytes())?;
    Ok(path)
}
