//! `smalti classify`

use super::compositions::{Loaded, batches, files};
use super::{device::DeviceChoice, print};
use crate::data;
use crate::inference::{Predicted, predict_tokens};
use crate::registry::Modalities;
use crate::sample::{Composition, OutputPart, Role};
use anyhow::Result;
use clap::Args;
use serde_json::{Value as Json, json};
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
    #[arg(required = true)]
    files: Vec<String>,
    /// Number of classes to print for each prediction.
    #[arg(long, default_value_t = 3)]
    top: usize,
    /// Device: auto, cpu, cuda or cuda:N.
    #[arg(long, default_value_t = DeviceChoice::Auto)]
    device: DeviceChoice,
    /// Print one JSON object: for each row its file, number and output, and classes with probabilities.
    #[arg(long)]
    json: bool,
}

/// Rows of a batch.
const BATCH: usize = 64;

/// Classifies.
pub fn run(args: ClassifyArgs, modalities: &Modalities) -> Result<()> {
    let run = Loaded::open(&args.run, args.device, modalities)?;
    let expected = "an output with classes and a single input (of several, use `predict` with --row)";
    let (number, task, input) = run.find(expected, |number, task| Some((number, task, only_input(task)?)))?;
    let (mut shown, mut rows) = (vec![], vec![]);
    for file in &files(&task.parts()[input], &args.files)? {
        let bytes = data::read(file)?;
        batches(&task.parts()[input], (file, &bytes), BATCH, |first, tokens| {
            let predicted = predict_tokens(&run.model, number, task, input, tokens)?;
            for (row, predicted) in (first..).zip(predicted) {
                for (output, classes) in classes(task, predicted, args.top) {
                    let named = classes.iter().map(|(class, p)| format!("{class} {:.1}%", 100.0 * p));
                    let named = named.collect::<Vec<_>>().join(", ");
                    rows.push(vec![file.clone(), row.to_string(), output.clone(), named]);
                    let classes =
                        classes.iter().map(|(class, p)| json!({ "class": class, "probability": p }));
                    let classes: Vec<Json> = classes.collect();
                    shown.push(json!({ "file": file, "row": row, "output": output, "classes": classes }));
                }
            }
            Ok(())
        })?;
    }
    if args.json {
        return print::json(&json!({ "rows": shown }));
    }
    print::table(&["file", "row", "output", "classes"], &rows);
    Ok(())
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
        probabilities.truncate(top);
        Some((output.name.clone(), probabilities))
    })
}
