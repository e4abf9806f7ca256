//! Text: a language model of characters, trained on the source code of this project.
//!
//! ```text
//! cargo run --release --example 01_text
//! ```
//!
//! 2,000 steps: some minutes on 2 cores. `SMALTI_EXAMPLE_STEPS=5` trains for 5 steps instead.

use anyhow::Result;
use candle_core::Device;
use smalti::config::RunConfig;
use smalti::contract::Value;
use smalti::data::collate;
use smalti::inference::{Continuation, Sampling};
use smalti::model::Model;
use smalti::registry::Modalities;
use smalti::sample::{Opened, Start};
use smalti::task::Task;
use smalti::train::{Observer, StepReport, TrainTask, Trainer, baseline};
use std::{sync::atomic::AtomicBool, time::Instant};

fn main() -> Result<()> {
    let steps = std::env::var("SMALTI_EXAMPLE_STEPS").unwrap_or("2000".into());
    let overrides = [format!("train.max_steps={steps}"), "train.eval_every=0".into()];
    let config = RunConfig::of_preset_or_file("text", &overrides)?;

    println!("── input ──");
    // Opening a task reads its table and fits its tokenizer: the vocabulary is the characters of the text.
    let Opened { task, train, validation, .. } =
        config.tasks()[0].open(&Modalities::builtin(), Start::New)?;
    let prompt = Value::Text("/// The model".into());
    println!("{} training windows of source code; the prompt for later: {prompt:?}", train.len());

    println!("\n── tokens ──");
    let text = &task.parts()[0];
    let tokens = text.tokenizer.encode_value(prompt.clone(), None)?;
    println!("{:?}", tokens.groups[0].content.ids().unwrap_or_default());
    println!("one id for each character, from a vocabulary of {}", text.vocabulary().unwrap_or_default());

    println!("\n── mask ──");
    let model = Model::new(&config.model, &[task.spec().clone()], config.train.seed, &Device::Cpu)?;
    let batch = collate(model.layouts(), &[(0, validation.sample(0, None)?)])?;
    println!("a character (row) attends to itself and to earlier characters (x); the first twelve:");
    for row in model.rules(0).draw(&batch.main.meta).lines().take(12) {
        println!("{}", &row[..12]);
    }

    println!("\n── training ──");
    println!("{} parameters", model.params().count());
    let unigram = &baseline(train.as_ref(), validation.as_ref(), 1000)?[&0];
    let train_task = TrainTask { task: task.clone(), train, validation, weight: 1.0 };
    let mut trainer = Trainer::new(&config.train, model, vec![train_task])?;
    let metrics = &trainer.run(None, &AtomicBool::new(false), &mut Losses)?.metrics["text"];
    println!(
        "on held-out text: loss {:.2} nats per character, accuracy {:.0}%; character frequencies alone: loss {:.2}",
        metrics["loss"],
        100.0 * metrics["accuracy"],
        unigram["loss"]
    );

    println!("\n── output ──");
    // Each new character is one step of the model: a cache keeps the keys and values of earlier characters.
    let model = trainer.into_model();
    let started = Instant::now();
    let mut continuation = Continuation::new(&model, 0, &task, 0, prompt.clone(), Sampling::default())?;
    println!("{}{}", prompt.into_text()?, continuation.text(300)?);
    println!("── {:.1} ms per character ──", started.elapsed().as_secs_f64() * 1e3 / 300.0);
    Ok(())
}

/// Prints the loss every 200 steps.
struct Losses;

impl Observer for Losses {
    fn step(&mut self, report: &StepReport) {
        if report.step == 1 || report.step.is_multiple_of(200) {
            println!("step {:>4}  loss {:.2}", report.step, report.loss);
        }
    }
}
