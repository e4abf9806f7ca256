//! The tokens of a training sample of a task.

use super::{TokenView, TokenizeArgs, check_index};
use crate::cli::print;
use crate::config::RunConfig;
use crate::registry::Modalities;
use crate::report::figure;
use crate::run::open_tasks;
use crate::sample::{Composition, Opened, Part, Role, Start};
use crate::train::checkpoint::write_atomically;
use anyhow::{Context, Result, bail};
use serde_json::json;
use smalti_contract::{AnyTokenizer, TokenSpec};

/// Shows the tokens of training sample `--index` of each task of a file of settings or a preset, without augmentation.
pub fn run(args: &TokenizeArgs, settings: &str, modalities: &Modalities) -> Result<()> {
    let config = RunConfig::of_preset_or_file_with(settings, &args.set, modalities)?;
    let mut shown = vec![];
    for (entry, opened) in open_tasks(&config, modalities, |_| Ok(Start::New))? {
        if let Some((path, format)) = &args.figure {
            write_atomically(path, &figure(&opened, args)?.encode(*format)?)?;
        }
        shown.push(show(&opened, &entry.name, args)?);
    }
    if args.json {
        print::json(&json!({ "file": args.file, "index": args.index, "tasks": shown }))
    } else {
        Ok(())
    }
}

fn show(opened: &Opened, name: &str, args: &TokenizeArgs) -> Result<serde_json::Value> {
    let n = opened.train.len();
    check_index(args.index, n, "training samples")?;
    let sample = opened.train.sample(args.index, None)?;
    let mut streams = vec![];
    for (stream, tokens) in &sample.inputs {
        let spec = TokenSpec { kinds: opened.task.kinds(*stream).to_vec() };
        let view = TokenView { spec: &spec, tokens, tokenizer: &|kind| tokenizer_of(&opened.task, kind) };
        if !args.json {
            let task = if name.is_empty() { String::new() } else { format!("{name}: ") };
            let stream = format!("{stream:?}").to_lowercase();
            println!("{task}sample {} of {n}, {} tokens of the {stream} stream", args.index, tokens.len());
            view.shown(args.first).print(view.tokenizer);
        }
        let mut shown = view.shown(args.first).json();
        shown["stream"] = json!(stream);
        streams.push(shown);
    }
    Ok(json!({ "task": name, "samples": n, "streams": streams }))
}

/// The tokenizer of a kind of token.
pub(super) fn tokenizer_of<'a>(task: &'a Composition, kind: &str) -> Option<&'a dyn AnyTokenizer> {
    let part = task.parts().iter().find(|part| part.kinds.iter().any(|known| known.name == kind))?;
    Some(part.tokenizer.as_ref())
}

/// The figure of the tokens of `--part`, or of the first input.
fn figure(opened: &Opened, args: &TokenizeArgs) -> Result<figure::Scene> {
    let names = || opened.task.parts().iter().map(|part| part.name.as_str()).collect::<Vec<_>>().join(", ");
    let wanted = |part: &&Part| match &args.part {
        Some(name) => part.name == *name,
        None => part.role == Role::Input,
    };
    let part = opened.task.parts().iter().find(wanted);
    let part = part.with_context(|| format!("--part: expected one of {}", names()))?;
    let (get, _, _) = opened.train_rows.row(args.index);
    let value = Part::value(&part.fields, &get)?;
    let value = match value {
        smalti_contract::Value::Series(mut steps) if !steps.is_empty() => steps.remove(0),
        other => other,
    };
    if value.is_missing() {
        bail!("{}: sample {} has no value", part.name, args.index);
    }
    Ok(figure::of(part.tokenizer.as_ref(), &part.tokenizer.encode_value(value, None)?))
}
