//! The mix: one trunk learns text, images, audio and trajectories at once.
//!
//! ```text
//! cargo run --release --example 05_mix
//! ```
//!
//! Some minutes on 2 cores at full length.
//! `SMALTI_EXAMPLE_STEPS=5` trains for 5 steps instead.

use anyhow::Result;
use candle_core::Device;
use smalti::config::RunConfig;
use smalti::env::Copies;
use smalti::inference::{RolloutSettings, random_policy, rollout};
use smalti::model::Model;
use smalti::registry::Modalities;
use smalti::rules::{AttentionRules, TokenMeta};
use smalti::sample::Start;
use smalti::tasks::{Builtin, Splits};
use smalti::train::{Observer, Part, StepReport, Trainer, baseline};
use std::sync::atomic::AtomicBool;

/// A short document of each task, by the kinds of its tokens.
const SKETCHES: [&[&str]; 4] = [
    &["audio.slice", "audio.slice", "audio.slice"],
    &["image.patch", "image.patch", "image.patch", "image.readout"],
    &["text.character", "text.character", "text.character", "text.character"],
    &[
        "trajectory.return_to_go.number",
        "trajectory.observations.number",
        "trajectory.actions.number",
        "trajectory.return_to_go.number",
        "trajectory.observations.number",
    ],
];

fn main() -> Result<()> {
    let steps = std::env::var("SMALTI_EXAMPLE_STEPS").unwrap_or("800".into());
    let settings = ["train.eval_every=0".into(), "train.ema=0".into(), format!("train.steps={steps}")];
    let config = RunConfig::of_preset_or_file("mix", &settings)?;

    println!("── input and tokens ──");
    let (mut tasks, mut parts) = (Vec::new(), Vec::new());
    for entry in config.tasks() {
        let (task, Splits { train, valid }) = entry.open(&Modalities::builtin(), Start::New)?;
        let (name, weight) = (entry.name, entry.weight);
        let sample = train.sample(0, Some(0))?;
        let tokens: usize = sample.inputs.iter().map(|(_, tokens)| tokens.len()).sum();
        println!("{name:>10}: {} documents to learn from; this one has {tokens} tokens", train.len());
        parts.push(Part { task: task.as_task(), train, valid, weight });
        tasks.push(task);
    }

    println!("\n── who sees whom ──");
    let specs: Vec<_> = parts.iter().map(|part| part.task.spec().clone()).collect();
    let model = Model::new(&config.model, &specs, config.train.seed, &Device::Cpu)?;
    table(model.rules(0));
    println!("\nand in a batch of one short document of each task (x: the row sees the column):");
    sketch(model.rules(0));

    println!("\n── training ──");
    let count = |prefix: &str| -> usize {
        let params = model.params().iter().filter(|(name, _)| name.starts_with(prefix));
        params.map(|(_, param)| param.elem_count()).sum()
    };
    println!("{} parameters, {} of them in the shared trunk", model.params().count(), count("stack."));
    let mut trainer = Trainer::new(&config.train, model, parts.clone())?;
    let outcome = trainer.run(None, &AtomicBool::new(false), &mut Losses)?;

    println!("\n── output ──");
    let model = trainer.into_model();
    for (number, (part, task)) in parts.iter().zip(&tasks).enumerate() {
        let name = &part.task.spec().name;
        let scores = &outcome.metrics[name];
        let without = &baseline(part.train.as_ref(), part.valid.as_ref(), 1000)?[&0];
        let score = |metric: &str| {
            format!("{:.3} (without looking at the input: {:.3})", scores[metric], without[metric])
        };
        let line = match task {
            Builtin::Parts(task) => {
                let mut cartpole = Copies::new("cartpole")?;
                let random = random_policy(&mut cartpole, 500, 100, 1337)?.return_mean();
                let mut play = |target_return| {
                    let settings =
                        RolloutSettings { target_return, episodes: 20, ..RolloutSettings::default() };
                    rollout(task, &model, number, &mut cartpole, &settings)
                };
                let (low, high) = (play(50.0)?.return_mean(), play(500.0)?.return_mean());
                format!(
                    "return {low:.0} when asked for 50, {high:.0} when asked for 500 (a random policy: {random:.0})"
                )
            }
            Builtin::Text(_) => format!("loss of the next character {}", score("loss")),
            Builtin::Image(_) => format!("accuracy of the digit {}", score("accuracy")),
            Builtin::Audio(_) => format!("character error rate {}", score("cer")),
            Builtin::Trajectory(_) => format!("loss {}", score("loss")),
        };
        println!("{name:>10}: {line}");
    }
    Ok(())
}

/// The rule for each pair of kinds: a row for each that looks, a column for each that is looked at.
fn table(rules: &AttentionRules) {
    let kinds = rules.kinds();
    println!("{:>20}{}", "", (0..kinds.len()).map(|key| format!("{key:>8}")).collect::<String>());
    for (query, name) in kinds.iter().enumerate() {
        let row = (0..kinds.len()).map(|key| format!("{:>8}", rules.get(query, key).to_string()));
        println!("{query} {name:>18}{}", row.collect::<String>());
    }
}

/// The mask of a batch of the four sketches.
fn sketch(rules: &AttentionRules) {
    let names = SKETCHES.concat();
    let number = |name: &&str| rules.kinds().iter().position(|kind| kind == name).map(|kind| kind as u32);
    let mut batch = TokenMeta::document(&names.iter().filter_map(number).collect::<Vec<_>>());
    batch.document =
        (0..).zip(SKETCHES).flat_map(|(document, kinds)| kinds.iter().map(move |_| document)).collect();
    for (name, row) in names.iter().zip(rules.draw(&batch).lines()) {
        println!("{name:>18} {row}");
    }
}

/// Prints the losses now and then.
struct Losses;

impl Observer for Losses {
    fn step(&mut self, report: &StepReport) {
        if report.step == 1 || report.step.is_multiple_of(100) {
            let losses = report.losses.iter().map(|(task, loss)| format!("  {task} {loss:.2}"));
            println!("step {:>4}{}", report.step, losses.collect::<String>());
        }
    }
}
