//! `smalti generate`

use super::{compositions::Loaded, dtype::LoadArgs, print};
use crate::cli::count::{MANY, up_to};
use crate::inference::{Generation, Prompted, Sampling, Unmasking, UnmaskingOrder};
use crate::registry::Modalities;
use anyhow::Result;
use clap::Args;
use smalti_contract::Value;
use std::path::PathBuf;

/// Generate text from a prompt.
#[derive(Args)]
pub struct GenerateArgs {
    /// Folder of a run that continues texts, fills masked tokens, or generates from a text input.
    run: PathBuf,
    /// Text to continue, or the text input.
    ///
    /// The ids that a published tokenizer puts before a text, such as <s>, are added. A run without a vocabulary reads ids,
    /// such as "5 7 9", as they are: T5's end id is not added.
    #[arg(long, default_value = "\n")]
    prompt: String,
    /// Text with gaps to fill, by a run with an output of masked tokens: each `_` stands for one token.
    #[arg(long, value_name = "TEXT", conflicts_with_all = ["prompt", "max_new_tokens"])]
    infill: Option<String>,
    /// Character that stands for a token to fill.
    #[arg(long, default_value_t = '_', requires = "infill")]
    gap: char,
    /// Passes that fill masked tokens, an equal number of tokens in each; 0 for one pass a token.
    #[arg(long, value_parser = up_to::<MANY>)]
    steps: Option<usize>,
    /// Order in which masked tokens are filled: random, or confidence, the most probable first.
    #[arg(long)]
    order: Option<UnmaskingOrder>,
    /// Maximum number of tokens to generate.
    #[arg(long, default_value_t = 300, value_parser = up_to::<MANY>)]
    max_new_tokens: usize,
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
    #[command(flatten)]
    load: LoadArgs,
    /// Print one JSON object: prompt, text, tokens, tokens_per_s.
    #[arg(long)]
    json: bool,
}

/// Generates.
pub fn run(args: GenerateArgs, modalities: &Modalities) -> Result<()> {
    let run = Loaded::open(&args.run, args.load, modalities)?;
    let sampling =
        Sampling { temperature: args.temperature, top_k: args.top_k, top_p: args.top_p, seed: args.seed };
    sampling.check()?;
    let started = std::time::Instant::now();
    let (before, text, tokens) = produce(&run, &args, sampling)?;
    let tokens_per_s = tokens as f64 / started.elapsed().as_secs_f64();
    if args.json {
        return print::json(&serde_json::json!({
            "prompt": args.infill.unwrap_or(args.prompt),
            "text": text,
            "tokens": tokens,
            "tokens_per_s": tokens_per_s,
        }));
    }
    println!("{before}{text}");
    Ok(())
}

/// The text before the new text, the new text, and its number of tokens.
fn produce(run: &Loaded, args: &GenerateArgs, sampling: Sampling) -> Result<(String, String, usize)> {
    let tasks = run.tasks();
    let max_new_tokens = Some(args.max_new_tokens);
    let completion = if args.infill.is_none() && args.steps.is_none() && args.order.is_none() {
        let prompted = run.require(Prompted::EXPECTED, Prompted::of(&tasks))?;
        let prompt = Value::Text(args.prompt.clone());
        prompted.complete(&run.model, prompt, &Generation { max_new_tokens, sampling }, || true)?
    } else {
        let prompted = run.require(Prompted::EXPECTED_MASKED, Prompted::masked(&tasks))?;
        let steps = args.steps.unwrap_or_default();
        let unmasking = Unmasking { steps, order: args.order.unwrap_or_default(), sampling };
        match &args.infill {
            Some(text) => prompted.infill(&run.model, text, args.gap, &unmasking)?,
            None => prompted.fill(&run.model, &args.prompt, max_new_tokens, &unmasking)?,
        }
    };
    let before = if completion.follows_prompt { args.prompt.clone() } else { String::new() };
    Ok((before, completion.value.into_text()?, completion.n_tokens))
}
