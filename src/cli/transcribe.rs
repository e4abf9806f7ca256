//! `smalti transcribe`

use super::device::DeviceChoice;
use crate::registry::Modalities;
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
    /// The language that is spoken, by its code (en, de, …). Left out, as the model says or hears.
    #[arg(long)]
    language: Option<String>,
    /// What to write, such as transcribe or translate. Left out, as the model says.
    #[arg(long)]
    task: Option<String>,
    /// Writes when each stretch is said; recordings longer than the model reads at once are always read so, where it can.
    #[arg(long)]
    timestamps: bool,
    /// How many texts are followed side by side; 1 takes the likeliest token each time.
    #[arg(long)]
    beams: Option<usize>,
    /// Tried one after the other until a text is good enough: 0 takes the likeliest token, above it is drawn. Left out, 0;
    /// or 0,0.2,0.4,0.6,0.8,1 where --compression-ratio or --logprob say what is good enough.
    #[arg(long, value_delimiter = ',')]
    temperature: Vec<f64>,
    /// A text that zlib makes smaller than by this factor repeats itself, and is written again (Whisper: 1.35 to 2.4).
    #[arg(long)]
    compression_ratio: Option<f64>,
    /// A text whose tokens have a mean log-probability below this is written again (Whisper: -1).
    #[arg(long, allow_negative_numbers = true)]
    logprob: Option<f64>,
    /// Where that is so, and the probability that nothing is said above this, nothing is written (Whisper: 0.6).
    #[arg(long)]
    no_speech: Option<f64>,
    /// Reads each part of a long recording with the text of those before it.
    #[arg(long)]
    condition: bool,
    /// The same seed draws the same text.
    #[arg(long, default_value_t = 1337)]
    seed: u64,
    /// Computes on auto, cpu, cuda or cuda:N.
    #[arg(long, default_value_t = DeviceChoice::Auto)]
    device: DeviceChoice,
    /// Prints one JSON object: for each recording its file, seconds and text, its language and segments.
    #[arg(long)]
    json: bool,
}

#[cfg(feature = "audio")]
impl TranscribeArgs {
    fn options(&self) -> crate::tasks::audio::Options {
        use crate::tasks::audio::Options;
        let falls_back = self.compression_ratio.is_some() || self.logprob.is_some();
        let temperatures = match self.temperature.is_empty() {
            true if falls_back => Options::FALLBACK.to_vec(),
            true => Options::default().temperatures,
            false => self.temperature.clone(),
        };
        Options {
            language: self.language.clone(),
            task: self.task.clone(),
            timestamps: self.timestamps.then_some(true),
            beams: self.beams,
            temperatures,
            compression_ratio: self.compression_ratio,
            logprob: self.logprob,
            no_speech: self.no_speech,
            condition: self.condition,
            seed: self.seed,
        }
    }
}

/// Transcribes.
#[cfg(feature = "audio")]
pub fn run(args: TranscribeArgs, modalities: &Modalities) -> Result<()> {
    use super::predict::{self, PredictArgs};
    use super::print;
    use crate::run::{Run, Weights};
    use crate::tasks::{Builtin, modalities};
    use anyhow::Context;

    let (model, tasks) = Run::open_with(&args.run, modalities)?.load(Weights::Best, &args.device.open()?)?;
    let found = tasks.iter().enumerate().find_map(|(number, named)| match &named.task {
        Builtin::Audio(task) => Some((number, task.clone())),
        #[allow(unreachable_patterns)] // the only pattern where audio is the only modality
        _ => None,
    });
    let Some((number, task)) = found else {
        if predict::of_parts(&tasks, None).is_some() {
            let predicted = PredictArgs::of(&args.run, &args.files, vec![], args.device, args.json);
            return predict::run(predicted, modalities);
        }
        bail!("{} has no audio task", args.run.display())
    };
    let options = args.options();
    let mut results = Vec::new();
    let mut rows = Vec::new();
    for file in &args.files {
        let clip = modalities::audio::read(&crate::data::read(file)?).with_context(|| file.clone())?;
        let said = task.decode(&model, number, &clip, &options).with_context(|| file.clone())?;
        if said.timestamps {
            rows.extend(said.segments.iter().map(|segment| {
                let time = format!("{:.2}–{:.2} s", segment.start, segment.end);
                vec![file.clone(), time, segment.text.clone()]
            }));
        } else {
            rows.push(vec![file.clone(), format!("{:.2} s", clip.seconds()), said.text.clone()]);
        }
        let mut result = serde_json::json!({ "file": file, "seconds": clip.seconds(), "text": said.text });
        if let Some(language) = &said.language {
            result["language"] = language.as_str().into();
        }
        if !said.segments.is_empty() {
            result["segments"] = serde_json::to_value(&said.segments)?;
        }
        results.push(result);
    }
    if args.json {
        return print::json(&serde_json::json!({ "recordings": results }));
    }
    print::table(&["file", "length", "text"], &rows);
    Ok(())
}

/// Says that this build cannot.
#[cfg(not(feature = "audio"))]
pub fn run(_: TranscribeArgs, _: &Modalities) -> Result<()> {
    bail!("this smalti is built without the feature `audio`")
}
