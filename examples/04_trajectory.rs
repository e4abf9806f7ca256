//! Trajectories: a decision transformer, trained on logged episodes of balancing a pole, acts for a target return.
//!
//! ```text
//! cargo run --release --example 04_trajectory
//! ```
//!
//! 600 steps: some minutes on 2 cores. `SMALTI_EXAMPLE_STEPS=5` trains for 5 steps instead.

use anyhow::{Context, Result};
use candle_core::Device;
use smalti::config::RunConfig;
use smalti::contract::Content;
use smalti::data::{Stream, collate, read};
use smalti::env::Copies;
use smalti::inference::{RolloutSettings, random_policy, rollout};
use smalti::model::Model;
use smalti::registry::Modalities;
use smalti::sample::{Opened, Start};
use smalti::task::Task;
use smalti::train::{Observer, StepReport, TrainTask, Trainer, baseline};
use smalti_trajectory::{Episode, episodes};
use std::sync::atomic::AtomicBool;

fn main() -> Result<()> {
    let steps = std::env::var("SMALTI_EXAMPLE_STEPS").unwrap_or("600".into());
    let overrides = [format!("train.max_steps={steps}"), "train.eval_every=0".into()];
    let config = RunConfig::of_preset_or_file("trajectory", &overrides)?;

    println!("── input ──");
    let log = read("builtin:cartpole-mixed.npz")?;
    let log = episodes(&log).collect::<Result<Vec<Episode>, _>>()?;
    let returns = log.iter().map(Episode::total_return);
    let mean = returns.clone().sum::<f32>() / log.len() as f32;
    println!(
        "{} episodes, with returns up to {} and a mean of {mean:.0}",
        log.len(),
        returns.fold(0.0, f32::max)
    );
    // The reward is 1 for every step that the pole stands, so the return-to-go falls by 1 each step.
    let (first, total) = (&log[0], log[0].total_return());
    for (step, state) in first.observations.chunks(first.state_dim).take(3).enumerate() {
        println!("step {step}: return-to-go {}, cart and pole {state:.2?}", total - step as f32);
    }

    println!("\n── tokens ──");
    // Opening a task fits its tokenizers: mean and standard deviation of returns and states, and the set of actions.
    let entry = config.tasks().remove(0);
    let Opened { task, train, validation, .. } = entry.open(&Modalities::builtin(), Start::New)?;
    let sample = validation.sample(0, None)?;
    let (_, tokens) = sample.inputs.first().context("a sample has tokens")?;
    for (kind, group) in task.kinds(Stream::Main).iter().zip(&tokens.groups) {
        let first = match &group.content {
            Content::Ids(ids) => format!("the id {}", ids[0]),
            Content::Features { values, dim } => format!("{:.2?}", &values[..*dim]),
        };
        let places = &group.order[..3];
        println!("{:>20} at places {places:?}, … of the sequence; content of the first: {first}", kind.name);
    }

    println!("\n── mask ──");
    let model = Model::new(&config.model, &[task.spec().clone()], config.train.seed, &Device::Cpu)?;
    let batch = collate(model.layouts(), &[(0, sample)])?;
    let mask = model.rules(0).draw(&batch.main.meta);
    for (kind, row) in batch.main.meta.kind.iter().zip(mask.lines()).take(9) {
        println!("{:>20} {}…", model.kinds()[*kind as usize].name, &row[..9]);
    }
    println!(
        "the head reads the state to predict the action of its step; the state does not attend to that action"
    );

    println!("\n── training ──");
    println!("{} parameters", model.params().count());
    let baseline = baseline(train.as_ref(), validation.as_ref(), 0)?[&0]["accuracy"];
    let train_task = TrainTask { task: task.clone(), train, validation, weight: 1.0 };
    let mut trainer = Trainer::new(&config.train, model, vec![train_task])?;
    let outcome = trainer.run(None, &AtomicBool::new(false), &mut Losses)?;
    let accuracy = outcome.metrics["actions"]["accuracy"];
    println!(
        "accuracy of the logged action: {:.0}% (the most frequent action: {:.0}%)",
        100.0 * accuracy,
        100.0 * baseline
    );

    println!("\n── output ──");
    let model = trainer.into_model();
    let mut cartpole = Copies::new("cartpole")?;
    println!("return of a random policy: {:.0}", random_policy(&mut cartpole, 500, 100, 1337)?.return_mean());
    for target_return in [50.0, 500.0] {
        let settings = RolloutSettings { target_return, episodes: 20, ..RolloutSettings::default() };
        let played = rollout(&task, &model, 0, &mut cartpole, &settings)?;
        let (mean, std) = (played.return_mean(), played.return_std());
        println!(
            "target return {target_return}: return {mean:.0} ± {std:.0} over {} episodes",
            played.returns.len()
        );
    }
    Ok(())
}

/// Prints the loss every 100 steps.
struct Losses;

impl Observer for Losses {
    fn step(&mut self, report: &StepReport) {
        if report.step == 1 || report.step.is_multiple_of(100) {
            println!("step {:>4}  loss {:.3}", report.step, report.loss);
        }
    }
}
