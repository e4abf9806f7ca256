//! Text: a model of characters learns to write on, from this project's own source.
//!
//! ```text
//! cargo run --release --example 01_text
//! ```
//!
//! Some minutes on 2 cores at full length.
//! `SMALTI_EXAMPLE_STEPS=5` trains for 5 steps instead.

use anyhow::{Context, Result, bail};
use candle_core::Device;
use smalti::config::RunConfig;
use smalti::data::{Sample, Stream, Target, collate, read_text};
use smalti::model::Model;
use smalti::task::Task;
use smalti::tasks::text::{Generator, Sampling};
use smalti::tasks::{Builtin, Splits};
use smalti::train::{Observer, Part, StepReport, Trainer, baseline};
use smalti_contract::Tokenizer;
use std::{sync::atomic::AtomicBool, time::Instant};

fn main() -> Result<()> {
    let steps = std::env::var("SMALTI_EXAMPLE_STEPS").unwrap_or("2000".into());
    let overrides = [format!("train.steps={steps}"), "train.eval_every=0".into()];
    let config = RunConfig::of_preset_or_file("text", &overrides)?;

    println!("── input ──");
    let text = read_text("builtin:text/smalti.txt")?;
    let prompt = "/// The model";
    println!("{} characters of source code, such as {prompt:?}", text.len());

    println!("\n── tokens ──");
    // Opening a task fits its tokenizer: here, the vocabulary is the characters that occur.
    let (task, Splits { train, valid }) =
        config.task_config().context("a preset of one task")?.open("text", 1.0)?;
    let Builtin::Text(task) = task else { bail!("the preset is of text") };
    let tokens = task.tokenizer().encode(&prompt.to_string())?;
    for (character, id) in prompt.chars().zip(tokens.groups[0].content.ids().unwrap_or_default()) {
        print!("{character:?}={id} ");
    }
    println!("of {} ids", task.tokenizer().vocabulary_size());

    println!("\n── mask ──");
    let model = Model::new(&config.model, &[task.spec().clone()], config.train.seed, &Device::Cpu)?;
    let sample =
        Sample { inputs: vec![(Stream::Main, tokens)], outputs: vec![Target::Unknown.into()], id: 0 };
    let batch = collate(model.layouts(), &[(0, sample)])?;
    println!("a character (row) sees itself and those before it (x):");
    print!("{}", model.rules(0).draw(&batch.main.meta));

    println!("\n── training ──");
    println!("{} parameters; the loss of knowing nothing is ln(vocabulary)", model.params().count());
    let unigram = &baseline(train.as_ref(), valid.as_ref(), 1000)?[&0];
    let part = Part { task: task.clone(), train, valid, weight: 1.0 };
    let mut trainer = Trainer::new(&config.train, model, vec![part])?;
    let outcome = trainer.run(None, &AtomicBool::new(false), &mut Losses)?;
    println!(
        "on text it has not seen: loss {:.2} nats a character, {:.0}% of next characters right; \
         frequencies alone give loss {:.2}",
        outcome.metrics["text"]["loss"],
        100.0 * outcome.metrics["text"]["accuracy"],
        unigram["loss"]
    );

    println!("\n── output ──");
    // Each new character is one step of the model: earlier ones left their keys and values in a cache.
    let model = trainer.into_model();
    let started = Instant::now();
    let written = Generator::new(&model, 0, &task, prompt, Sampling::default())?.text(300)?;
    println!("{prompt}{written}");
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
