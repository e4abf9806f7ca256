//! `smalti transcribe`

use super::device::DeviceChoice;
use anyhow::{Result, bail};
use clap::Args;
use std::path::PathBuf;

/// Write down what recordings say.
#[derive(Args)]
pub struct TranscribeArgs {
    /// The folder of a run with an audio task.
    run: PathBuf,
    /// Recordings (WAV, FLAC, MP3, Ogg Vorbis, M4A, AAC), on disk or inside a tar (clips.tar/one.wav).
    #[arg(required = true)]
    files: Vec<String>,
    /// Computes on auto, cpu, cuda or cuda:N.
    #[arg(long, default_value_t = DeviceChoice::Auto)]
    device: DeviceChoice,
    /// Prints one JSON object: for each recording its file, seconds and text.
    #[arg(long)]
    json: bool,
}

/// Transcribes.
#[cfg(feature = "audio")]
pub fn run(args: TranscribeArgs) -> Result<()> {
    use super::print;
    use anyhow::Context;
    use smalti::run::{Run, Weights};
    use smalti::tasks::{Builtin, modalities};

    let (model, tasks) = Run::open(&args.run)?.load(Weights::Best, &args.device.open()?)?;
    let found = tasks.iter().enumerate().find_map(|(number, named)| match &named.task {
        Builtin::Audio(task) => Some((number, task.clone())),
        #[allow(unreachable_patterns)] // the only pattern where audio is the only modality
        _ => None,
    });
    let Some((number, task)) = found else { bail!("{} has no audio task", args.run.display()) };
    let mut results = Vec::new();
    let mut rows = Vec::new();
    for file in &args.files {
        let clip = modalities::audio::read(&smalti::data::read(file)?).with_context(|| file.clone())?;
        let text = task.transcribe(&model, number, &clip).with_context(|| file.clone())?;
        rows.push(vec![file.clone(), format!("{:.2} s", clip.seconds()), text.clone()]);
        results.push(serde_json::json!({ "file": file, "seconds": clip.seconds(), "text": text }));
    }
    if args.json {
        return print::json(&serde_json::json!({ "recordings": results }));
    }
    print::table(&["file", "length", "text"], &rows);
    Ok(())
}

/// Says that this build cannot.
#[cfg(not(feature = "audio"))]
pub fn run(_: TranscribeArgs) -> Result<()> {
    bail!("this smalti is built without the feature `audio`")
}
