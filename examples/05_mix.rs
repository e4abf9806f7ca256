//! The mix: one transformer learns text, images, audio and trajectories at once.
//!
//! ```text
//! cargo run --release --example 05_mix
//! ```
//!
//! 800 steps: some minutes on 2 cores. `SMALTI_EXAMPLE_STEPS=5` trains for 5 steps instead.

use anyhow::Result;
use candle_core::Device;
use smalti::config::RunConfig;
use smalti::env::Copies;
use smalti::inference::{RolloutSettings, random_policy, rollout};
use smalti::model::Model;
use smalti::registry::Modalities;
use smalti::rules::{AttentionRules, TokenMeta};
use smalti::sample::{Opened, Start};
use smalti::train::{Observer, StepReport, TrainTask, Trainer, baseline};
use std::sync::atomic::AtomicBool;

/// A short document of each task, by the kinds of its tokens.
const SKETCHES: [&[&str]; 4] = [
    &["audio.audio.slice", "audio.audio.slice", "audio.audio.slice"],
    &["image.image.patch", "image.image.patch", "image.image.patch", "image.class.class"],
    &["text.text.character", "text.text.character", "text.text.character"],
    &[
        "trajectory.return_to_go.number",
        "trajectory.observations.number",
        "trajectory.actions.number",
        "trajectory.return_to_go.number",
        "trajectory.observations.number",
    ],
];

/// For each output, a metric and its description.
const SCORES: [(&str, &str, &str); 4] = [
    ("audio.text", "cer", "character error rate"),
    ("image.class", "accuracy", "accuracy of the digit"),
    ("text.text", "loss", "loss of the next character"),
    ("trajectory.actions", "accuracy", "accuracy of the logged action"),
];

fn main() -> Result<()> {
    let steps = std::env::var("SMALTI_EXAMPLE_STEPS").unwrap_or("800".into());
    let settings =
        ["train.eval_every=0".into(), "train.ema_decay=0".into(), format!("train.max_steps={steps}")];
    let config = RunConfig::of_preset_or_file("mix", &settings)?;

    println!("── input and tokens ──");
    let (mut tasks, mut train_tasks) = (Vec::new(), Vec::new());
    for entry in config.tasks() {
        let Opened { task, train, validation, .. } = entry.open(&Modalities::builtin(), Start::New)?;
        let sample = train.sample(0, Some(0))?;
        let tokens: usize = sample.inputs.iter().map(|(_, tokens)| tokens.len()).sum();
        println!("{:>10}: {} training samples; the first has {tokens} tokens", entry.name, train.len());
        train_tasks.push(TrainTask { task: task.clone(), train, validation, weight: entry.weight });
        tasks.push(task);
    }

    println!("\n── attention rules ──");
    let specs: Vec<_> = train_tasks.iter().map(|trained| trained.task.spec().clone()).collect();
    let model = Model::new(&config.model, &specs, config.train.seed, &Device::Cpu)?;
    table(model.rules(0));
    println!(
        "\nthe mask of a batch with one short document of each task (x: the row attends to the column):"
    );
    sketch(model.rules(0));

    println!("\n── training ──");
    let count = |prefix: &str| -> usize {
        let params = model.params().iter().filter(|(name, _)| name.starts_with(prefix));
        params.map(|(_, param)| param.elem_count()).sum()
    };
    println!("{} parameters, {} of them in the shared transformer", model.params().count(), count("stack."));
    let mut trainer = Trainer::new(&config.train, model, train_tasks.clone())?;
    let outcome = trainer.run(None, &AtomicBool::new(false), &mut Losses)?;

    println!("\n── output ──");
    let model = trainer.into_model();
    for (trained, (output, metric, what)) in train_tasks.iter().zip(SCORES) {
        let without = &baseline(trained.train.as_ref(), trained.validation.as_ref(), 1000)?[&0];
        let (found, baseline) = (outcome.metrics[output][metric], without[metric]);
        println!("{output:>20}: {what} {found:.3} (baseline without the input: {baseline:.3})");
    }
    let mut cartpole = Copies::new("cartpole")?;
    println!("return of a random policy: {:.0}", random_policy(&mut cartpole, 500, 100, 1337)?.return_mean());
    for target_return in [50.0, 500.0] {
        let settings = RolloutSettings { target_return, episodes: 20, ..RolloutSettings::default() };
        let earned = rollout(&tasks[3], &model, 3, &mut cartpole, &settings)?.return_mean();
        println!("target return {target_return}: return {earned:.0}");
    }
    Ok(())
}

/// The rule for each pair of kinds: a row for each query, a column for each key.
fn table(rules: &AttentionRules) {
    let kinds = rules.kinds();
    println!("{:>34}{}", "", (0..kinds.len()).map(|key| format!("{key:>8}")).collect::<String>());
    for (query, name) in kinds.iter().enumerate() {
        let row = (0..kinds.len()).map(|key| format!("{:>8}", rules.get(query, key).to_string()));
        println!("{query} {name:>32}{}", row.collect::<String>());
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
        println!("{name:>32} {row}");
    }
}

/// Prints the losses every 100 steps.
struct Losses;

impl Observer for Losses {
    fn step(&mut self, report: &StepReport) {
        if report.step == 1 || report.step.is_multiple_of(100) {
            let losses = report.losses.iter().map(|(task, loss)| format!("  {task} {loss:.2}"));
            println!("step {:>4}{}", report.step, losses.collect::<String>());
        }
    }
}
