//! `smalti classify`

use super::compositions::{Loaded, Unanswered, batches, files};
use super::count::{MANY, up_to};
use super::{dtype::LoadArgs, print};
use crate::data;
use crate::inference::{Predicted, predict_tokens};
use crate::registry::Modalities;
use crate::sample::{Composition, OutputPart, Part, Role};
use crate::table::Modality;
use anyhow::{Context, Result, bail};
use clap::Args;
use serde_json::{Value as Json, json};
use smalti_contract::{Tokens, Value};
use std::path::PathBuf;

/// Classify files: images, clips, texts.
#[derive(Args)]
pub struct ClassifyArgs {
    /// Folder of a run with an output that has classes, and a single input.
    run: PathBuf,
    /// Files of the input, folders or tars of them, or files inside a tar (photos.tar/cat.png).
    ///
    /// Of a folder or tar, the files of the input's modality are read, in order of name. A file with several rows, such as
    /// IDX, has a prediction for each.
    files: Vec<String>,
    /// Text to classify. May be repeated.
    #[arg(long)]
    text: Vec<String>,
    /// Number of classes to print for each prediction; 0 for all.
    #[arg(long, default_value_t = 3, value_parser = up_to::<MANY>)]
    top: usize,
    #[command(flatten)]
    load: LoadArgs,
    /// Print one JSON object: for each row its file, number and output, and classes with probabilities.
    #[arg(long)]
    json: bool,
}

/// Rows of a batch.
const BATCH: usize = 64;

/// A row's file, its number there, the name of an output, and its most likely classes.
type Classified = (String, usize, String, Vec<(String, f64)>);

/// Classifies.
pub fn run(args: ClassifyArgs, modalities: &Modalities) -> Result<()> {
    if args.files.is_empty() && args.text.is_empty() {
        bail!("nothing to classify: expected files or --text");
    }
    let run = Loaded::open(&args.run, args.load, modalities)?;
    let expected = "an output with classes and a single input (of several, use `predict` with --row)";
    let (number, task, input) = run.find(expected, |number, task| Some((number, task, only_input(task)?)))?;
    let part = &task.parts()[input];
    let files = files(part, &args.files)?;
    let mut unanswered = Unanswered::of(files.len() + args.text.len());
    let predict =
        |tokens| -> Result<Vec<Predicted>> { Ok(predict_tokens(&run.model, number, task, input, tokens)?) };
    let answer = |file: &str| -> Result<Vec<(usize, Predicted)>> {
        let (bytes, mut found) = (data::read(file)?, vec![]);
        if let Some(text) = text(part, &bytes) {
            found.extend((0..).zip(predict(vec![cut(part, file, text)?])?));
            return Ok(found);
        }
        batches(part, (file, &bytes), BATCH, |first, tokens| {
            found.extend((first..).zip(predict(tokens)?));
            Ok(())
        })?;
        Ok(found)
    };
    let mut rows: Vec<Classified> = vec![];
    let mut add = |file: &str, row, predicted| {
        rows.extend(classes(task, predicted, args.top).map(|(output, c)| (file.into(), row, output, c)));
    };
    for (number, text) in (1..).zip(&args.text) {
        let source = format!("--text {number}");
        let predicted = cut(part, &source, text).and_then(|tokens| predict(vec![tokens]));
        let predicted = unanswered.keep(&source, predicted)?.into_iter().flatten();
        predicted.for_each(|predicted| add("--text", number, predicted));
    }
    for file in &files {
        let predicted = unanswered.keep(file, answer(file))?.into_iter().flatten();
        predicted.for_each(|(row, predicted)| add(file, row, predicted));
    }
    report(&rows, &unanswered, args.json)
}

/// Prints the classes of all rows; fails if a file has none.
fn report(rows: &[Classified], unanswered: &Unanswered, json: bool) -> Result<()> {
    match json {
        true => {
            let rows: Vec<Json> = rows.iter().map(json_row).chain(unanswered.json("file")).collect();
            print::json(&json!({ "rows": rows }))?;
        }
        false => {
            let rows: Vec<Vec<String>> = rows.iter().map(table_row).collect();
            print::answers(&["file", "row", "output", "classes"], &rows);
        }
    }
    unanswered.check()
}

fn json_row((file, row, output, classes): &Classified) -> Json {
    let class = |(class, p): &(String, f64)| json!({ "class": class, "probability": p });
    let classes: Vec<Json> = classes.iter().map(class).collect();
    json!({ "file": file, "row": row, "output": output, "classes": classes })
}

fn table_row((file, row, output, classes): &Classified) -> Vec<String> {
    let named = classes.iter().map(|(class, p)| format!("{class} {:.1}%", 100.0 * p));
    vec![file.clone(), row.to_string(), output.clone(), named.collect::<Vec<_>>().join(", ")]
}

/// The text of a file, if the part reads texts.
fn text<'a>(part: &Part, bytes: &'a [u8]) -> Option<&'a str> {
    std::str::from_utf8(bytes).ok().filter(|_| part.tokenizer.name() == Modality::Text.name())
}

/// The tokens of a text from `source`, cut to what the model reads.
fn cut(part: &Part, source: &str, text: &str) -> Result<Tokens> {
    let tokens = part.tokenizer.encode_value_truncated(Value::Text(text.into()), usize::MAX);
    let (tokens, is_truncated) =
        tokens.map_err(|error| part.error(error)).with_context(|| source.to_string())?;
    if tokens.is_empty() {
        bail!("{source}: expected at least one token; found 0");
    }
    if is_truncated {
        print::note(&format!("note: {source} was truncated to the length that the model reads"));
    }
    Ok(tokens)
}

/// The number of the only input of a task that has an output with classes.
fn only_input(task: &Composition) -> Option<usize> {
    let mut inputs = (0..).zip(task.parts()).filter(|(_, part)| part.role == Role::Input && !part.series);
    let (input, _) = inputs.next().filter(|_| task.outputs().iter().any(has_classes))?;
    inputs.next().is_none().then_some(input)
}

/// Whether an output predicts a class or labels of the whole sample.
fn has_classes(output: &OutputPart) -> bool {
    output.site.is_whole() && !output.head.labels().is_empty()
}

/// The outputs that have classes, each with its most likely classes.
fn classes(
    task: &Composition,
    mut predicted: Predicted,
    top: usize,
) -> impl Iterator<Item = (String, Vec<(String, f64)>)> {
    task.outputs().iter().filter(|output| has_classes(output)).filter_map(move |output| {
        let mut probabilities = predicted.remove(&output.name)?.probabilities;
        if top > 0 {
            probabilities.truncate(top);
        }
        Some((output.name.clone(), probabilities))
    })
}
