//! `smalti data check`

#[cfg(feature = "audio")]
mod clips;
#[cfg(feature = "trajectory")]
mod episodes;
#[cfg(feature = "image")]
mod pictures;
mod text;

use crate::cli::{print, tokenize::Modality};
use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use serde::Serialize;
use serde_json::{Map, Value, json};
use smalti::data::{self, DataError, Files};

#[derive(Args)]
pub struct CheckArgs {
    /// A text, picture, recording or log; a manifest (.tsv); labelled pictures (folder, tar, tars*.tar, IDX file); a
    /// folder of logs, or a data set in LeRobot's layout.
    path: String,
    /// The part of labelled pictures to read; without it, all parts.
    #[arg(long)]
    split: Option<String>,
    /// Prints one JSON object: for each part what it is, samples, findings, bad and skipped files.
    #[arg(long)]
    json: bool,
}

/// What was found in some data, or in one split of them.
#[derive(Serialize)]
struct Part {
    /// The split's name, where there are splits.
    split: Option<String>,
    /// What the data are.
    what: &'static str,
    /// How many samples there are, bad ones included.
    samples: usize,
    /// Counts, sizes, lengths, by name.
    found: Map<String, Value>,
    /// The samples that cannot be used.
    bad: Vec<Bad>,
    /// Files that are no samples, and why.
    skipped: Vec<(String, &'static str)>,
}

/// A sample that cannot be used.
#[derive(Serialize)]
struct Bad {
    name: String,
    problem: String,
}

/// What lies at a location.
enum Source {
    /// One file, and its bytes.
    File(Modality, Vec<u8>),
    /// A table of recordings and their texts.
    Manifest,
    /// Labelled pictures in one of their layouts.
    Labelled,
    /// A folder or archive of logged episodes.
    #[cfg(feature = "trajectory")]
    Log,
}

/// Checks.
pub fn run(args: CheckArgs) -> Result<()> {
    let parts = read(&args, recognise(&args.path)?)?;
    match args.json {
        true => print::json(&json!({ "path": args.path, "parts": parts }))?,
        false => parts.iter().for_each(show),
    }
    let (bad, samples) = parts.iter().fold((0, 0), |(b, s), part| (b + part.bad.len(), s + part.samples));
    ensure!(bad == 0, "{}: {bad} of {samples} samples cannot be used", args.path);
    Ok(())
}

fn recognise(path: &str) -> Result<Source> {
    let unpacked = path.strip_suffix(".gz").unwrap_or(path);
    let idx = unpacked.ends_with("-images-idx3-ubyte") || unpacked.ends_with("-images.idx3-ubyte");
    if idx || path.contains(['*', '?']) {
        return Ok(Source::Labelled);
    }
    if path.ends_with(".tsv") {
        return Ok(Source::Manifest);
    }
    match data::read(path) {
        Ok(bytes) if !path.ends_with(".tar") => match Modality::guess(path, &bytes) {
            Some(modality) => Ok(Source::File(modality, bytes)),
            None => bail!(
                "{path}: neither name nor content tells what it is; expected text, a picture, a WAV file, \
                 episodes (.npz, .jsonl, .csv, .parquet, .hdf5), a manifest (.tsv) or labelled pictures"
            ),
        },
        Ok(_) | Err(DataError::IsFolder { .. }) => {
            let files = Files::open(path)?;
            match files.contains("manifest.tsv") {
                true => Ok(Source::Manifest),
                #[cfg(feature = "trajectory")]
                false if smalti::tasks::trajectory::is_log(&files) => Ok(Source::Log),
                false => Ok(Source::Labelled),
            }
        }
        Err(error) => Err(error.into()),
    }
}

/// Reads everything there is.
fn read(args: &CheckArgs, source: Source) -> Result<Vec<Part>> {
    let labelled = matches!(source, Source::Labelled);
    ensure!(labelled || args.split.is_none(), "{}: --split is for labelled pictures", args.path);
    match source {
        Source::File(Modality::Text, bytes) => {
            Ok(vec![text::check(&bytes).with_context(|| args.path.clone())?])
        }
        #[cfg(feature = "image")]
        Source::File(Modality::Image, bytes) => Ok(vec![pictures::check_file(&bytes)?]),
        #[cfg(feature = "audio")]
        Source::File(Modality::Audio, bytes) => Ok(vec![clips::check_file(&args.path, &bytes)]),
        #[cfg(feature = "trajectory")]
        Source::File(Modality::Trajectory, _) | Source::Log => Ok(vec![episodes::check(&args.path)?]),
        #[cfg(feature = "audio")]
        Source::Manifest => Ok(vec![clips::check_manifest(&args.path)?]),
        #[cfg(feature = "image")]
        Source::Labelled => pictures::check_labelled(&args.path, args.split.as_deref()),
        #[allow(unreachable_patterns)] // where all modalities are built in
        _ => bail!("this smalti is built without the modality of these data"),
    }
}

impl Part {
    fn new(what: &'static str) -> Self {
        Self { split: None, what, samples: 0, found: Map::new(), bad: vec![], skipped: vec![] }
    }

    /// Counts a sample; gives what was read of it, or notes by its name why it cannot be used.
    #[cfg(any(feature = "image", feature = "audio", feature = "trajectory"))]
    fn count<T>(&mut self, name: impl FnOnce() -> String, read: Result<T, String>) -> Option<T> {
        self.samples += 1;
        read.map_err(|problem| self.bad.push(Bad { name: name(), problem })).ok()
    }

    /// Notes something that was found.
    fn find(&mut self, name: &str, value: impl Serialize) {
        self.found.insert(name.into(), json!(value));
    }
}

/// Reads samples on all cores, with a bar.
#[cfg(any(feature = "image", feature = "audio"))]
fn read_all<T: Sync, R: Send>(
    samples: &[T],
    read: impl Fn(&T) -> Result<R, String> + Sync,
) -> Vec<Result<R, String>> {
    use rayon::prelude::*;

    let mut bar = super::Bar::of_samples(samples.len());
    let mut all = Vec::with_capacity(samples.len());
    for chunk in samples.chunks(256) {
        all.par_extend(chunk.par_iter().map(&read));
        bar.set(all.len() as u64);
    }
    bar.finish();
    all
}

/// Bad and skipped files that are printed; JSON has all.
const SHOWN: usize = 20;

fn show(part: &Part) {
    let of = part.split.as_ref().map_or(String::new(), |split| format!("{split}: "));
    println!("{of}{}, {} sample{}", part.what, part.samples, if part.samples == 1 { "" } else { "s" });
    let rows = part.found.iter().map(|(name, value)| vec![name.replace('_', " "), shown(value)]);
    print::table(&["found", ""], &rows.collect::<Vec<_>>());
    for Bad { name, problem } in part.bad.iter().take(SHOWN) {
        println!("bad: {name}: {problem}");
    }
    for (name, why) in part.skipped.iter().take(SHOWN) {
        println!("skipped: {name}: {why}");
    }
    let unshown = part.bad.len().saturating_sub(SHOWN) + part.skipped.len().saturating_sub(SHOWN);
    if unshown > 0 {
        println!("and {unshown} more; --json lists all");
    }
}

/// A finding in a line: of many, the first.
fn shown(value: &Value) -> String {
    let listed = |items: Vec<String>| match items.len() {
        few if few <= SHOWN => items.join(", "),
        many => format!("{}, … ({many} in all)", items[..SHOWN].join(", ")),
    };
    match value {
        Value::String(text) => text.clone(),
        Value::Number(number) if number.is_f64() => print::number(number.as_f64().unwrap_or(f64::NAN)),
        Value::Array(items) => listed(items.iter().map(shown).collect()),
        Value::Object(items) => {
            listed(items.iter().map(|(name, value)| format!("{name}: {}", shown(value))).collect())
        }
        other => other.to_string(),
    }
}
