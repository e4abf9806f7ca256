//! `smalti generate`

use super::{compositions::Loaded, dtype::LoadArgs, print};
use crate::cli::count::{MANY, up_to};
use crate::inference::{
    Continuation, Generation, PredictError, Sampling, Unmask, Unmasking, UnmaskingOrder, generate,
};
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
    /// Folder of a run that continues texts, fills masked tokens, or generates from a text input.
    run: PathBuf,
    /// Text to continue, or the text input.
    ///
    /// The ids that a published tokenizer puts before a text, such as <s>, are added. A run without a vocabulary reads ids,
    /// such as "5 7 9", as they are: T5's end id is not added.
    #[arg(long, default_value = "\n")]
    prompt: String,
    /// Text with gaps to fill, by a run with an output of masked tokens: each `_` stands for one token.
    #[arg(long, value_name = "TEXT", conflicts_with_all = ["prompt", "max_length"])]
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
    let must_fill = args.infill.is_some() || args.steps.is_some() || args.order.is_some();
    let continues = |number, task| Some((number, task, output(task, |part| part.windows)?));
    if let Some((number, task, output)) = run.first(continues).filter(|_| !must_fill) {
        let prompt = Value::Text(args.prompt.clone());
        let mut continuation = Continuation::new(&run.model, number, task, output, prompt, sampling)?;
        let (given, context) = (continuation.prompt_len(), continuation.context());
        if given > context {
            eprintln!("note: the prompt has {given} tokens; the model reads the last {context}");
        }
        let text = continuation.text(args.max_length)?;
        let all = given + continuation.n_generated();
        if all > context {
            eprintln!(
                "note: the text has {all} tokens, more than the model's context of {context}: each time the context is full, \
                 the model goes on from its second half, which it reads from position 0 again; other programs differ there"
            );
        }
        return Ok((args.prompt.clone(), text, continuation.n_generated()));
    }
    let answers = |number, task| Some((number, task, output(task, |part| !part.windows)?, text_input(task)?));
    if let Some((number, task, output, input)) = run.first(answers).filter(|_| !must_fill) {
        let (text, tokens) = answer(&run.model, (number, task), (output, input), args, sampling)?;
        return Ok((String::new(), text, tokens));
    }
    let expected = match must_fill {
        true => "an output of masked tokens (head = \"masked\")",
        false => "an output that continues texts (windows = true) or is generated from a single text input",
    };
    fill(&run.model, run.find(expected, masked)?, args, sampling)
}

/// The first output of masked tokens.
fn masked(number: usize, task: &Composition) -> Option<(usize, &Composition, usize)> {
    let masked = |part: &Part| if let Role::Masked(output) = part.role { Some(output) } else { None };
    Some((number, task, task.parts().iter().find_map(masked)?))
}

/// Fills masked tokens after the prompt, or in gaps of a text, as [`produce`] returns them.
fn fill(
    model: &Model,
    (number, task, output): (usize, &Composition, usize),
    args: &GenerateArgs,
    sampling: Sampling,
) -> Result<(String, String, usize)> {
    let unmask = Unmask::new(model, number, task, output)?;
    let ids = match &args.infill {
        Some(text) => unmask.with_gaps(text, args.gap)?,
        None => unmask.continued(&args.prompt, args.max_length)?,
    };
    let n_filled = ids.iter().filter(|id| id.is_none()).count();
    if args.infill.is_none() && n_filled < args.max_length {
        eprintln!("note: the model has {} positions: {n_filled} tokens follow the prompt", ids.len());
    }
    let unmasking =
        Unmasking { steps: args.steps.unwrap_or_default(), order: args.order.unwrap_or_default(), sampling };
    let text = unmask.text(&unmask.fill(&|_| Ok(Value::Missing), &ids, &unmasking)?)?;
    Ok(match text.strip_prefix(&args.prompt).filter(|_| args.infill.is_none()) {
        Some(new) => (args.prompt.clone(), new.into(), n_filled),
        None => (String::new(), text, n_filled),
    })
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
