//! `smalti generate`

use super::device::DeviceChoice;
use crate::registry::Modalities;
use anyhow::{Result, bail};
use clap::Args;
use std::path::PathBuf;

/// Write text on from a prompt.
#[derive(Args)]
pub struct GenerateArgs {
    /// The folder of a run with a text task.
    run: PathBuf,
    /// What the text begins with.
    #[arg(long, default_value = "\n")]
    prompt: String,
    /// How many tokens to write.
    #[arg(long, default_value_t = 300)]
    tokens: usize,
    /// Divides the logits: 1 as the model says, towards 0 ever more the likeliest; 0 always the likeliest.
    #[arg(long, default_value_t = 0.8)]
    temperature: f64,
    /// Draws among the K likeliest tokens only; 0 for all.
    #[arg(long, default_value_t = 0)]
    top_k: usize,
    /// Draws among the likeliest tokens that together have this probability; 1 for all.
    #[arg(long, default_value_t = 1.0)]
    top_p: f64,
    /// The same seed draws the same text.
    #[arg(long, default_value_t = 1337)]
    seed: u64,
    /// Computes on auto, cpu, cuda or cuda:N.
    #[arg(long, default_value_t = DeviceChoice::Auto)]
    device: DeviceChoice,
    /// Prints one JSON object: prompt, text, tokens, tokens_per_s.
    #[arg(long)]
    json: bool,
}

/// Generates.
#[cfg(feature = "text")]
pub fn run(args: GenerateArgs, modalities: &Modalities) -> Result<()> {
    use super::predict::{self, PredictArgs};
    use super::print;
    use crate::run::{Run, Weights};
    use crate::sample::Role;
    use crate::tasks::{
        Builtin,
        text::{Generator, Objective, Sampling},
    };

    let (model, tasks) = Run::open_with(&args.run, modalities)?.load(Weights::Best, &args.device.open()?)?;
    let found = tasks.iter().enumerate().find_map(|(number, named)| match &named.task {
        Builtin::Text(task) => Some((number, task.clone())),
        #[allow(unreachable_patterns)] // the only pattern where text is the only modality
        _ => None,
    });
    let Some((number, task)) = found else {
        let Some((_, task)) = predict::of_parts(&tasks, None) else {
            bail!("{} has no text task", args.run.display())
        };
        let mut texts =
            task.parts().iter().filter(|part| part.role == Role::Input && part.tokenizer.name() == "text");
        let (Some(input), None) = (texts.next(), texts.next()) else {
            bail!("{} has no single text input for --prompt; use `predict` with --row", args.run.display())
        };
        let row = vec![format!("{}={}", input.fields[0], args.prompt)];
        let sampled = PredictArgs {
            max_length: args.tokens,
            temperature: args.temperature,
            seed: args.seed,
            ..PredictArgs::of(&args.run, &[], row, args.device, args.json)
        };
        return predict::run(sampled, modalities);
    };
    let sampling =
        Sampling { temperature: args.temperature, top_k: args.top_k, top_p: args.top_p, seed: args.seed };
    let mut generator = Generator::new(&model, number, &task, &args.prompt, sampling)?;
    let (given, context) = (task.tokenizer().ids(&args.prompt)?.len(), task.tokenizer().context());
    if given > context {
        eprintln!("note: the prompt is {given} tokens; the model reads the last {context}");
    }
    let started = std::time::Instant::now();
    let text = generator.text(args.tokens)?;
    let tokens_per_s = generator.written() as f64 / started.elapsed().as_secs_f64();
    if args.json {
        return print::json(&serde_json::json!({
            "prompt": args.prompt,
            "text": text,
            "tokens": generator.written(),
            "tokens_per_s": tokens_per_s,
        }));
    }
    match task.objective() {
        Objective::Answer => println!("{text}"),
        _ => println!("{}{text}", args.prompt),
    }
    Ok(())
}

/// Says that this build cannot.
#[cfg(not(feature = "text"))]
pub fn run(_: GenerateArgs, _: &Modalities) -> Result<()> {
    bail!("this smalti is built without the feature `text`")
}
