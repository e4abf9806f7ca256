//! Text: a model of characters learns to continue a text, from this project's own source.
//!
//! ```text
//! cargo run --release --example 01_text
//! ```
//!
//! Some minutes on 2 cores at full length.
//! `SMALTI_EXAMPLE_STEPS=5` trains for 5 steps instead.

use anyhow::Result;
use candle_core::Device;
use smalti::config::RunConfig;
use smalti::data::collate;
use smalti::inference::{Continuation, Sampling};
use smalti::model::Model;
use smalti::registry::Modalities;
use smalti::sample::{Opened, Start};
use smalti::task::Task;
use smalti::train::{Observer, Part, StepReport, Trainer, baseline};
use smalti_contract::Value;
use std::{sync::atomic::AtomicBool, time::Instant};

fn main() -> Result<()> {
    let steps = std::env::var("SMALTI_EXAMPLE_STEPS").unwrap_or("2000".into());
    let overrides = [format!("train.max_steps={steps}"), "train.eval_every=0".into()];
    let config = RunConfig::of_preset_or_file("text", &overrides)?;

    println!("── input ──");
    // Opening a task reads its table and fits its tokenizer: the vocabulary is the characters that occur.
    let Opened { task, train, validation, .. } =
        config.tasks()[0].open(&Modalities::builtin(), Start::New)?;
    let prompt = Value::Text("/// The model".into());
    println!("{} windows of source code to train on; to continue later: {prompt:?}", train.len());

    println!("\n── tokens ──");
    let text = &task.parts()[0];
    let tokens = text.tokenizer.encode_value(prompt.clone(), None)?;
    println!("{:?}", tokens.groups[0].content.ids().unwrap_or_default());
    println!("a character each, of a vocabulary of {}", text.vocabulary().unwrap_or_default());

    println!("\n── mask ──");
    let model = Model::new(&config.model, &[task.spec().clone()], config.train.seed, &Device::Cpu)?;
    let batch = collate(model.layouts(), &[(0, validation.sample(0, None)?)])?;
    println!("a character (row) attends to itself and to those before it (x); the first twelve:");
    for row in model.rules(0).draw(&batch.main.meta).lines().take(12) {
        println!("{}", &row[..12]);
    }

    println!("\n── training ──");
    println!("{} parameters", model.params().count());
    let unigram = &baseline(train.as_ref(), validation.as_ref(), 1000)?[&0];
    let part = Part { task: task.clone(), train, valid: validation, weight: 1.0 };
    let mut trainer = Trainer::new(&config.train, model, vec![part])?;
    let metrics = &trainer.run(None, &AtomicBool::new(false), &mut Losses)?.metrics["text"];
    println!(
        "on held-out text: loss {:.2} nats a character, {:.0}% of next characters right; \
         frequencies alone give loss {:.2}",
        metrics["loss"],
        100.0 * metrics["accuracy"],
        unigram["loss"]
    );

    println!("\n── output ──");
    // Each new character is one step of the model: the keys and values of earlier ones are kept in a cache.
    let model = trainer.into_model();
    let started = Instant::now();
    let mut continuation = Continuation::new(&model, 0, &task, 0, prompt.clone(), Sampling::default())?;
    println!("{}{}", prompt.into_text()?, continuation.text(300)?);
    println!("── {:.1} ms a character ──", started.elapsed().as_secs_f64() * 1e3 / 300.0);
    Ok(())
}

/// Prints the loss now and then.
struct Losses;

impl Observer for Losses {
    fn step(&mut self, report: &StepReport) {
        if report.step == 1 || report.step.is_multiple_of(200) {
            println!("step {:>4}  loss {:.2}", report.step, report.loss);
        }
    }
}
