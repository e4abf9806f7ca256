//! `smalti transcribe`

use super::device::DeviceChoice;
use crate::registry::Modalities;
use anyhow::Result;
use clap::Args;
use std::path::PathBuf;

/// Transcribe audio.
#[derive(Args)]
pub struct TranscribeArgs {
    /// The folder of a run that has an audio input, and an output of text.
    run: PathBuf,
    /// Clips (WAV, FLAC, MP3, Ogg Vorbis, M4A, AAC), on disk or inside a tar (clips.tar/one.wav).
    #[arg(required = true)]
    files: Vec<String>,
    /// Language that is spoken, by its code (en, de, …). Left out, as in the model's settings, or the most likely.
    #[arg(long)]
    language: Option<String>,
    /// Task, such as transcribe or translate. Left out, as in the model's settings.
    #[arg(long)]
    task: Option<String>,
    /// Predict timestamps. Clips longer than the model reads at once always have them, if the model has timestamps.
    #[arg(long)]
    timestamps: bool,
    /// Number of beams; 1 is greedy.
    #[arg(long)]
    beams: Option<usize>,
    /// Temperatures to try one after the other until a text is good enough; 0 is greedy. Left out, 0; or
    /// 0,0.2,0.4,0.6,0.8,1 with --compression-ratio or --logprob, which define good enough.
    #[arg(long, value_delimiter = ',')]
    temperature: Vec<f64>,
    /// Decode again a text that zlib compresses by more than this factor (Whisper: 1.35 to 2.4).
    #[arg(long)]
    compression_ratio: Option<f64>,
    /// Decode again a text whose tokens have a mean log-probability below this (Whisper: -1).
    #[arg(long, allow_negative_numbers = true)]
    logprob: Option<f64>,
    /// Leave out a window of a lower mean log-probability if the probability of no speech is above this (Whisper: 0.6).
    #[arg(long)]
    no_speech: Option<f64>,
    /// Decode each window of a long clip after the text of those before it.
    #[arg(long)]
    condition: bool,
    /// Seed of sampling.
    #[arg(long, default_value_t = 1337)]
    seed: u64,
    /// Device: auto, cpu, cuda or cuda:N.
    #[arg(long, default_value_t = DeviceChoice::Auto)]
    device: DeviceChoice,
    /// Print one JSON object: for each clip its file, seconds and text, its language and segments.
    #[arg(long)]
    json: bool,
}

#[cfg(feature = "audio")]
impl TranscribeArgs {
    fn options(&self) -> crate::inference::transcribe::Options {
        use crate::inference::transcribe::Options;
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
    use super::{compositions::Loaded, print};
    use crate::inference::transcribe::Transcriber;
    use anyhow::Context;

    let run = Loaded::open(&args.run, args.device, modalities)?;
    let expected = "an audio input, and an output of text with head generate or ctc";
    let transcriber = run.find(expected, |number, task| Transcriber::new(&run.model, number, task).ok())?;
    let options = args.options();
    let (mut results, mut rows) = (vec![], vec![]);
    for file in &args.files {
        let clip = crate::modalities::audio::read(&crate::data::read(file)?).with_context(|| file.clone())?;
        let transcript = transcriber.transcribe(&clip, &options).with_context(|| file.clone())?;
        if transcript.timestamps {
            rows.extend(transcript.segments.iter().map(|segment| {
                let time = format!("{:.2}–{:.2} s", segment.start, segment.end);
                vec![file.clone(), time, segment.text.clone()]
            }));
        } else {
            rows.push(vec![file.clone(), format!("{:.2} s", clip.seconds()), transcript.text.clone()]);
        }
        let mut result =
            serde_json::json!({ "file": file, "seconds": clip.seconds(), "text": transcript.text });
        if let Some(language) = &transcript.language {
            result["language"] = language.as_str().into();
        }
        if !transcript.segments.is_empty() {
            result["segments"] = serde_json::to_value(&transcript.segments)?;
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
    anyhow::bail!("this smalti is built without the feature `audio`")
}
