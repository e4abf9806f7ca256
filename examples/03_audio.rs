//! Audio: which telephone keys were pressed is heard and written down.
//!
//! ```text
//! cargo run --release --example 03_audio
//! ```
//!
//! 300 steps: every key of the 100 unseen clips is right. That took 40 s on 2 cores.
//! `SMALTI_EXAMPLE_STEPS=5` trains for 5 steps instead.

use anyhow::{Context, Result, bail};
use candle_core::Device;
use smalti::config::RunConfig;
use smalti::data::manifest::{Filter, Manifest};
use smalti::data::{Sample, Stream, Target, collate};
use smalti::model::Model;
use smalti::task::Task;
use smalti::tasks::{Builtin, Splits};
use smalti::train::{Observer, Part, StepReport, Trainer};
use smalti_contract::{Tokenizer, Tokens};
use std::sync::atomic::AtomicBool;

/// The preset `audio` is for speech. Touch tones lie close together and below 1.7 kHz, so their bands are narrow.
const SETTINGS: [&str; 12] = [
    "data.train=split=train",
    "data.valid=split=valid",
    "data.audio.sample_rate=4000",
    "data.audio.frames_per_slice=4",
    "data.audio.slice_hop=2",
    "data.audio.mel.n_fft=128",
    "data.audio.mel.hop_length=40",
    "data.audio.mel.n_mels=24",
    "data.audio.mel.fmin=600",
    "data.audio.mel.fmax=1700",
    "train.warmup=50",
    "train.eval_every=0",
];

fn main() -> Result<()> {
    let steps = std::env::var("SMALTI_EXAMPLE_STEPS").unwrap_or("300".into());
    let settings = SETTINGS.map(String::from).into_iter().chain([format!("train.steps={steps}")]);
    let config = RunConfig::of_preset_or_file("audio", &settings.collect::<Vec<_>>())?;

    println!("── input ──");
    let manifest = Manifest::open("builtin:touchtone.tar")?;
    let heldout = manifest.select(&Filter::parse("split=valid")?)?;
    let row = heldout.first().context("no clip to validate with")?;
    let clip = smalti_audio::read(&row.read()?)?;
    let (samples, rate) = (clip.samples.len(), clip.sample_rate);
    println!("{}: {:?}, {samples} samples at {rate} Hz, {:.2} s", row.path(), row.text(), clip.seconds());

    println!("\n── tokens ──");
    // Opening a task fits its tokenizers: here, the alphabet of the texts.
    let (task, Splits { train, valid }) =
        config.task_config().context("a preset of one task")?.open("audio", 1.0)?;
    let Builtin::Audio(task) = task else { bail!("the preset is of audio") };
    let slices = task.tokenizer().encode(&clip)?;
    println!(
        "{} slices, one every 20 ms, each four columns of a log-mel spectrogram; as loud as they are:",
        slices.len()
    );
    println!("{}", loudness(&slices));

    println!("\n── training ──");
    let model = Model::new(&config.model, &[task.spec().clone()], config.train.seed, &Device::Cpu)?;
    println!("{} parameters; nobody says when in the clip a character comes (CTC)", model.params().count());
    let part = Part { task: task.clone(), train, valid, weight: 1.0 };
    let mut trainer = Trainer::new(&config.train, model, vec![part])?;
    let outcome = trainer.run(None, &AtomicBool::new(false), &mut Losses)?;
    println!(
        "character error rate on clips it has not heard: {:.1}%",
        100.0 * outcome.metrics["audio"]["cer"]
    );

    println!("\n── output ──");
    // At each slice a character or a blank is predicted; repeats are merged.
    let model = trainer.into_model();
    println!("{}", loudness(&slices));
    let sample =
        Sample { inputs: vec![(Stream::Main, slices)], outputs: vec![Target::Unknown.into()], id: 0 };
    let logits = model.outputs(&collate(model.layouts(), &[(0, sample)])?)?.remove(0);
    for said in logits.argmax(1)?.to_vec1::<u32>()? {
        let character = task.transcript(0, &[said]).filter(|text| !text.is_empty());
        print!("{}", character.as_deref().unwrap_or("·"));
    }
    println!();
    for row in heldout.iter().take(5) {
        let text = task.transcribe(&model, 0, &smalti_audio::read(&row.read()?)?)?;
        println!("{} says {text:?}; it is {:?}", row.path(), row.text().to_lowercase());
    }
    Ok(())
}

/// A character for each slice: the higher, the louder its loudest band.
fn loudness(slices: &Tokens) -> String {
    const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let n = slices.len().max(1);
    let features = slices.groups[0].content.features().unwrap_or_default();
    let loudest = |slice: &[f32]| slice.iter().copied().fold(f32::MIN, f32::max);
    let levels: Vec<f32> = features.chunks((features.len() / n).max(1)).map(loudest).collect();
    let (low, high) = levels.iter().fold((f32::MAX, f32::MIN), |(low, high), &l| (low.min(l), high.max(l)));
    levels.iter().map(|level| BARS[((level - low) / (high - low) * 7.0).round() as usize]).collect()
}

/// Prints the loss now and then.
struct Losses;

impl Observer for Losses {
    fn step(&mut self, report: &StepReport) {
        if report.step == 1 || report.step.is_multiple_of(50) {
            println!("step {:>4}  loss {:.2}", report.step, report.loss);
        }
    }
}
