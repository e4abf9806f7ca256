//! `smalti transcribe`

use super::dtype::LoadArgs;
use crate::cli::count::up_to;
use crate::registry::Modalities;
use anyhow::Result;
use clap::Args;
use std::path::PathBuf;

/// Transcribe audio.
#[derive(Args)]
pub struct TranscribeArgs {
    /// Folder of a run with an audio input and a text output.
    run: PathBuf,
    /// Audio clips (WAV, FLAC, MP3, Ogg Vorbis, M4A, AAC), folders or tars of them, or clips inside a tar.
    #[arg(required = true)]
    files: Vec<String>,
    /// Code of the spoken language: en, de, … [default: the model's setting, or the most likely].
    #[arg(long)]
    language: Option<String>,
    /// Task, such as transcribe or translate [default: the model's setting].
    #[arg(long)]
    task: Option<String>,
    /// Predict timestamps.
    ///
    /// Clips that are longer than one window of the model always have timestamps, if the model has them.
    #[arg(long)]
    timestamps: bool,
    /// Number of beams; 1 is greedy.
    #[arg(long, value_parser = up_to::<1024>)]
    beams: Option<usize>,
    /// Temperatures to try until a text passes --compression-ratio and --logprob; 0 is greedy.
    ///
    /// The default is 0; with --compression-ratio or --logprob it is 0,0.2,0.4,0.6,0.8,1.
    #[arg(long, value_delimiter = ',')]
    temperature: Vec<f64>,
    /// Decode a text again if zlib compresses it by more than this factor (Whisper: 1.35 to 2.4).
    #[arg(long)]
    compression_ratio: Option<f64>,
    /// Decode a text again if its mean log-probability is below this (Whisper: -1).
    #[arg(long)]
    logprob: Option<f64>,
    /// Skip a window if its probability of no speech is above this (Whisper: 0.6).
    ///
    /// Only windows whose mean log-probability is below --logprob are skipped.
    #[arg(long)]
    no_speech: Option<f64>,
    /// Decode each window of a long clip after the text of the windows before it.
    #[arg(long)]
    condition: bool,
    /// Seed of sampling.
    #[arg(long, default_value_t = 1337)]
    seed: u64,
    #[command(flatten)]
    load: LoadArgs,
    /// Print one JSON object: for each clip file, seconds, text, language and segments.
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
    use super::compositions::{Loaded, Unanswered, files};
    use super::print;
    use crate::inference::transcribe::{Transcriber, Transcript};
    use crate::modalities::audio::{self, Waveform};
    use anyhow::Context;

    let run = Loaded::open(&args.run, args.load, modalities)?;
    let expected = "an audio input, and a text output with head generate or ctc";
    let transcriber = run.find(expected, |number, task| Transcriber::new(&run.model, number, task).ok())?;
    let options = args.options();
    let files = files(transcriber.input(), &args.files)?;
    let (mut results, mut rows, mut unanswered) = (vec![], vec![], Unanswered::of(files.len()));
    let answer = |file: &str| -> Result<(Waveform, Transcript)> {
        let clip = audio::read(&crate::data::read(file)?).with_context(|| file.to_string())?;
        let transcript = transcriber.transcribe(&clip, &options).with_context(|| file.to_string())?;
        Ok((clip, transcript))
    };
    for file in &files {
        let Some((clip, transcript)) = unanswered.keep(file, answer(file))? else { continue };
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
    results.extend(unanswered.json("file"));
    match args.json {
        true => print::json(&serde_json::json!({ "recordings": results }))?,
        false => print::answers(&["file", "length", "text"], &rows),
    }
    unanswered.check()
}

/// Fails: this build has no audio.
#[cfg(not(feature = "audio"))]
pub fn run(_: TranscribeArgs, _: &Modalities) -> Result<()> {
    anyhow::bail!("this smalti is built without the feature `audio`; build it with `--features audio`")
}
