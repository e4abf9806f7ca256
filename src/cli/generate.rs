//! `smalti generate`

use super::{compositions::Loaded, device::DeviceChoice, print};
use crate::cli::count::{MANY, up_to};
use crate::inference::{Continuation, Generation, PredictError, Sampling, generate};
use crate::model::Model;
use crate::registry::Modalities;
use crate::sample::{Composition, Part, Purpose, Role};
use anyhow::Result;
use clap::Args;
use smalti_contract::Value;
use std::path::PathBuf;

/// Generate text from a prompt.
#[derive(Args)]
pub struct GenerateArgs {
    /// Folder of a run that continues texts, or generates texts from a single text input.
    run: PathBuf,
    /// Text to continue, or the text input.
    ///
    /// The ids that a published tokenizer puts before a text, such as <s>, are added. A run without a vocabulary reads ids,
    /// such as "5 7 9", as they are: T5's end id is not added.
    #[arg(long, default_value = "\n")]
    prompt: String,
    /// Maximum number of tokens to generate.
    #[arg(long, default_value_t = 300, value_parser = up_to::<MANY>)]
    max_length: usize,
    /// Sampling temperature; 0 is greedy.
    #[arg(long, default_value_t = 0.8)]
    temperature: f64,
    /// Sample among the K most likely tokens only; 0 for all.
    #[arg(long, default_value_t = 0, value_parser = up_to::<MANY>)]
    top_k: usize,
    /// Sample among the most likely tokens of this total probability only (nucleus sampling); 1 for all.
    #[arg(long, default_value_t = 1.0)]
    top_p: f64,
    /// Seed of sampling.
    #[arg(long, default_value_t = 1337)]
    seed: u64,
    /// Device: auto, cpu, cuda or cuda:N.
    #[arg(long, default_value_t = DeviceChoice::Auto)]
    device: DeviceChoice,
    /// Print one JSON object: prompt, text, tokens, tokens_per_s.
    #[arg(long)]
    json: bool,
}

/// Generates.
pub fn run(args: GenerateArgs, modalities: &Modalities) -> Result<()> {
    let run = Loaded::open(&args.run, args.device, modalities)?;
    let sampling =
        Sampling { temperature: args.temperature, top_k: args.top_k, top_p: args.top_p, seed: args.seed };
    sampling.check()?;
    let started = std::time::Instant::now();
    let continues = |number, task| Some((number, task, output(task, |part| part.windows)?));
    let (before, text, tokens) = match run.first(continues) {
        Some((number, task, output)) => {
            let prompt = Value::Text(args.prompt.clone());
            let mut continuation = Continuation::new(&run.model, number, task, output, prompt, sampling)?;
            let (given, context) = (continuation.prompt_len(), continuation.context());
            if given > context {
                eprintln!("note: the prompt has {given} tokens; the model reads the last {context}");
            }
            (args.prompt.as_str(), continuation.text(args.max_length)?, continuation.n_generated())
        }
        None => {
            let expected =
                "an output that continues texts (windows = true) or is generated from a single text input";
            let (number, task, output, input) = run.find(expected, |number, task| {
                Some((number, task, output(task, |part| !part.windows)?, text_input(task)?))
            })?;
            let (text, tokens) = answer(&run.model, (number, task), (output, input), &args, sampling)?;
            ("", text, tokens)
        }
    };
    let tokens_per_s = tokens as f64 / started.elapsed().as_secs_f64();
    if args.json {
        return print::json(&serde_json::json!({
            "prompt": args.prompt,
            "text": text,
            "tokens": tokens,
            "tokens_per_s": tokens_per_s,
        }));
    }
    println!("{before}{text}");
    Ok(())
}

/// The first generated output whose part passes `is_such`.
fn output(task: &Composition, is_such: impl Fn(&Part) -> bool) -> Option<usize> {
    task.parts().iter().find_map(|part| match part.role {
        Role::Generated(output) if is_such(part) => Some(output),
        _ => None,
    })
}

/// The only input that is text.
fn text_input(task: &Composition) -> Option<&Part> {
    let mut texts =
        task.parts().iter().filter(|part| part.role == Role::Input && part.tokenizer.name() == "text");
    texts.next().filter(|_| texts.next().is_none())
}

/// The text generated from the prompt as an input, and its number of tokens.
fn answer(
    model: &Model,
    (number, task): (usize, &Composition),
    (output, input): (usize, &Part),
    args: &GenerateArgs,
    sampling: Sampling,
) -> Result<(String, usize)> {
    let get = |field: &str| match input.fields.iter().any(|known| known == field) {
        true => Ok(Value::Text(args.prompt.clone())),
        false => Ok(Value::Missing),
    };
    let sample = task
        .sample(&get, 0..0, Purpose::Predict, 0)
        .map_err(|e| PredictError::Option { option: "prompt", problem: e.to_string() })?;
    let generation = Generation { max_length: args.max_length, sampling };
    let ids = generate(model, number, task, output, &sample, &generation)?;
    Ok((task.decode(output, &ids)?.into_text()?, ids.len()))
}
