//! `smalti demo`

use crate::registry::Modalities;
use anyhow::Result;
use clap::Args;
use std::path::PathBuf;

/// Train one shared model on the four modalities of the data that ships, in a few minutes.
#[derive(Args)]
pub struct DemoArgs {
    /// Run folder [default: the first free one of runs/demo, runs/demo-2, …].
    #[arg(long)]
    out: Option<PathBuf>,
    /// Train on one task alone (audio, image, text, trajectory), to compare with the mix.
    ///
    /// The model is the same, and the number of samples is that of the task in the mix.
    #[arg(long, value_name = "TASK")]
    alone: Option<String>,
    /// Override a setting of the preset mix: train.max_steps=300. May be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Print one JSON object: the page; for each task metric, baseline, score and number of samples.
    #[arg(long)]
    json: bool,
}

/// Fails: this build lacks a modality.
#[cfg(not(all(feature = "text", feature = "image", feature = "audio", feature = "trajectory")))]
pub fn run(_: DemoArgs, _: &Modalities) -> Result<()> {
    anyhow::bail!("the demo needs the features text, image, audio and trajectory; build smalti with them")
}

#[cfg(all(feature = "text", feature = "image", feature = "audio", feature = "trajectory"))]
pub use with_all::run;

#[cfg(all(feature = "text", feature = "image", feature = "audio", feature = "trajectory"))]
mod with_all {
    use super::super::{print, report as page, train};
    use super::{DemoArgs, Modalities, PathBuf, Result};
    use crate::config::RunConfig;
    use crate::data::shares;
    use crate::env::{CartPole, Copies};
    use crate::head::Prediction;
    use crate::inference::{Continuation, Generation, RolloutSettings, Sampling};
    use crate::inference::{predict, random_policy, rollout};
    use crate::model::Model;
    use crate::run::{Run, Weights};
    use crate::sample::Opened;
    use crate::task::joined;
    use crate::train::{Alone, End, SAMPLES, baseline, evaluate};
    use anyhow::{Context, bail};
    use candle_core::Device;
    use serde_json::json;
    use smalti_contract::{Array, Numbers, Value};
    use std::path::Path;
    use std::sync::Arc;

    /// Episodes of a rollout.
    const EPISODES: usize = 20;

    /// One row of the result.
    struct Learned {
        task: String,
        what: &'static str,
        metric: &'static str,
        baseline: f64,
        score: f64,
        /// The number of validation samples, or of episodes.
        samples: usize,
        /// A prediction beside its target.
        example: String,
    }

    /// Trains the mix, or one of its tasks alone, and shows what was learned.
    pub fn run(args: DemoArgs, modalities: &Modalities) -> Result<()> {
        let mut config = RunConfig::of_preset_or_file_with("mix", &args.set, modalities)?;
        if let Some(task) = &args.alone {
            keep_only(&mut config, task)?;
        }
        let folder = args.out.clone().unwrap_or_else(free_folder);
        let started = std::time::Instant::now();
        let (run, mut trainer) =
            Run::create_with(&folder, config, &Device::Cpu, Arc::new(Alone), modalities)?;
        eprintln!("one transformer, {} task(s): {}", run.config().mix.len(), names(run.config()).join(", "));
        let outcome = train::train_run(&mut trainer, &folder, None, &Alone, modalities)?;
        train::show_problems(&outcome, args.json);
        if outcome.end == End::Stopped {
            return Ok(());
        }
        let minutes = started.elapsed().as_secs_f64() / 60.0;
        let (model, _) = run.load(Weights::Best, &Device::Cpu)?;
        let mut learned = Vec::new();
        for (number, (entry, opened)) in run.splits(run.config())?.into_iter().enumerate() {
            learned.push(measure(&model, number, entry.name, &opened)?);
        }
        let page = match page::write_into(&run) {
            Ok(page) => Some(page),
            Err(error) => {
                print::note(&format!("no page of the run: {error}"));
                None
            }
        };
        if args.json {
            let tasks = learned.iter().map(|l| {
                let Learned { metric, baseline, score, samples, .. } = l;
                let about =
                    json!({ "metric": metric, "baseline": baseline, "score": score, "samples": samples });
                (l.task.clone(), about)
            });
            let tasks: serde_json::Map<_, _> = tasks.collect();
            return print::json(&json!({ "run": folder, "page": page, "minutes": minutes, "tasks": tasks }));
        }
        report(&learned, &model, &folder, minutes);
        if let Some(page) = page {
            println!("Its page is {}; open it in a browser.", page.display());
        }
        Ok(())
    }

    fn names(config: &RunConfig) -> Vec<String> {
        config.mix.keys().cloned().collect()
    }

    fn free_folder() -> PathBuf {
        let numbered = (2..).map(|n| Path::new("runs").join(format!("demo-{n}")));
        let mut folders = std::iter::once(Path::new("runs").join("demo")).chain(numbered);
        folders.find(|folder| !folder.exists()).unwrap_or_default()
    }

    /// Keeps one task, with its share of the batch in the mix.
    fn keep_only(config: &mut RunConfig, task: &str) -> Result<()> {
        let weights: Vec<f64> = config.mix.values().map(|entry| entry.weight).collect();
        let Some(place) = config.mix.keys().position(|name| name == task) else {
            bail!("--alone: expected one of {}; found {task:?}", names(config).join(", "));
        };
        config.train.batch_size = shares(config.train.batch_size, &weights)[place];
        config.mix.retain(|name, _| name == task);
        Ok(())
    }

    /// Metric, baseline and example of a task.
    fn measure(model: &Model, number: usize, name: String, opened: &Opened) -> Result<Learned> {
        let (task, validation) = (opened.task.as_ref(), opened.validation.as_ref());
        let output = task.outputs()[0].name.clone();
        let scores = evaluate(model, number, task, validation, 0, 64, &mut vec![])?;
        let scores = scores.metrics().remove(&joined(&[&name, &output])).unwrap_or_default();
        let without = baseline(opened.train.as_ref(), validation, 2_000)?.remove(&0).unwrap_or_default();
        let learned = |what, metric: &'static str, example| Learned {
            task: name.clone(),
            what,
            metric,
            baseline: without.get(metric).copied().unwrap_or(f64::NAN),
            score: scores.get(metric).copied().unwrap_or(f64::NAN),
            samples: scores.get(SAMPLES).map_or(0, |&samples| samples as usize),
            example,
        };
        Ok(match name.as_str() {
            "text" => {
                let sampling = Sampling { temperature: 0.7, ..Sampling::default() };
                let prompt = "/// The ";
                let text = Continuation::new(model, number, task, 0, Value::Text(prompt.into()), sampling)?
                    .text(240)?;
                learned("next character of its own source", "loss", format!("{prompt}{text}"))
            }
            "image" => {
                let (image, label, predicted) = row(model, number, opened, 7, ["image", "class"])?;
                let likely = predicted.probabilities.first().map_or(0.0, |(_, p)| 100.0 * p);
                let (class, label) = (predicted.value.into_label()?, label.into_label()?);
                let example = format!("{}predicted {class} ({likely:.0}%); target {label}", draw(&image));
                learned("handwritten digit", "accuracy", example)
            }
            "audio" => {
                let (_, text, predicted) = row(model, number, opened, 0, ["audio", "text"])?;
                let (predicted, text) = (predicted.value.into_text()?, text.into_text()?);
                learned(
                    "telephone keys by their tones",
                    "cer",
                    format!("predicted {predicted:?}; target {text:?}"),
                )
            }
            _ => {
                let mut cartpole = Copies::new(CartPole::NAME)?;
                let random = random_policy(&mut cartpole, 500, 100, 1337)?.return_mean();
                let mut play = |target_return| {
                    let settings =
                        RolloutSettings { target_return, episodes: EPISODES, ..RolloutSettings::default() };
                    rollout(task, model, number, &mut cartpole, &settings)
                };
                let (low, high) = (play(50.0)?.return_mean(), play(500.0)?.return_mean());
                let example = format!(
                    "mean return {low:.0} for a target return of 50, {high:.0} for 500 ({EPISODES} episodes each)"
                );
                Learned {
                    baseline: random,
                    score: high,
                    samples: EPISODES,
                    ..learned("balancing a pole for 500 steps", "return_mean", example)
                }
            }
        })
    }

    /// An input and an output field of a validation row, and its prediction.
    fn row(
        model: &Model,
        number: usize,
        opened: &Opened,
        index: usize,
        [input, output]: [&str; 2],
    ) -> Result<(Value, Value, Prediction)> {
        let (get, steps, _) = opened.validation_rows.row(index);
        let mut predicted = predict(model, number, &opened.task, &[(&get, steps)], &Generation::default())?;
        let predicted = predicted.remove(0).remove(output).context("the output is predicted")?;
        Ok((get(input)?, get(output)?, predicted))
    }

    /// A grey image in characters, two for each pixel, because a character is taller than wide.
    fn draw(image: &Value) -> String {
        const SHADES: [char; 5] = [' ', '░', '▒', '▓', '█'];
        let Value::Array(Array { shape, numbers: Numbers::U8(pixels) }) = image else { return String::new() };
        let rows = pixels.chunks(shape.get(1).copied().unwrap_or(1)).map(|row| {
            let shades = row.iter().map(|&pixel| SHADES[usize::from(pixel) * 4 / 255]);
            shades.flat_map(|shade| [shade, shade]).chain(['\n']).collect::<String>()
        });
        rows.collect()
    }

    fn report(learned: &[Learned], model: &Model, folder: &Path, minutes: f64) {
        println!("One model of {} parameters learned in {minutes:.1} minutes:\n", model.params().count());
        let rows = learned.iter().map(|l| {
            vec![
                l.task.clone(),
                l.what.into(),
                l.metric.into(),
                print::number(l.baseline),
                print::number(l.score),
                l.samples.to_string(),
            ]
        });
        print::table(
            &["task", "learned", "metric", "baseline", "score", "samples"],
            &rows.collect::<Vec<_>>(),
        );
        for l in learned {
            println!("\n── {} ──\n{}", l.task, l.example);
        }
        println!("\nThe run is in {0}; try `smalti info {0}`.", folder.display());
    }
}
