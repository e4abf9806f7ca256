//! `smalti classify`

use super::compositions::{Loaded, batches};
use super::{device::DeviceChoice, print};
use crate::data;
use crate::inference::{Predicted, predict_tokens};
use crate::registry::Modalities;
use crate::sample::{Composition, OutputPart, Role, Site};
use anyhow::Result;
use clap::Args;
use serde_json::{Value as Json, json};
use std::path::PathBuf;

/// Classify files: images, clips, texts.
#[derive(Args)]
pub struct ClassifyArgs {
    /// The folder of a run that has an output with classes, and a single input.
    run: PathBuf,
    /// Files of the input, on disk or inside a tar (photos.tar/cat.png). A file of several records, such as IDX, gives several.
    #[arg(required = true)]
    files: Vec<String>,
    /// Classes to print for each prediction.
    #[arg(long, default_value_t = 3)]
    top: usize,
    /// Device: auto, cpu, cuda or cuda:N.
    #[arg(long, default_value_t = DeviceChoice::Auto)]
    device: DeviceChoice,
    /// Print one JSON object: for each record its file, its number there, the output, and classes with probabilities.
    #[arg(long)]
    json: bool,
}

/// Records that are classified together.
const BATCH: usize = 64;

/// Classifies.
pub fn run(args: ClassifyArgs, modalities: &Modalities) -> Result<()> {
    let run = Loaded::open(&args.run, args.device, modalities)?;
    let expected = "an output with classes and a single input (of several, use `predict` with --row)";
    let (number, task, input) = run.find(expected, |number, task| Some((number, task, only_input(task)?)))?;
    let (mut shown, mut rows) = (vec![], vec![]);
    for file in &args.files {
        let bytes = data::read(file)?;
        batches(&task.parts()[input], (file, &bytes), BATCH, |first, tokens| {
            let predicted = predict_tokens(&run.model, number, task, input, tokens)?;
            for (record, predicted) in (first..).zip(predicted) {
                for (output, classes) in classes(task, predicted, args.top) {
                    let named = classes.iter().map(|(class, p)| format!("{class} {:.1}%", 100.0 * p));
                    let named = named.collect::<Vec<_>>().join(", ");
                    rows.push(vec![file.clone(), record.to_string(), output.clone(), named]);
                    let classes =
                        classes.iter().map(|(class, p)| json!({ "class": class, "probability": p }));
                    let classes: Vec<Json> = classes.collect();
                    shown.push(
                        json!({ "file": file, "record": record, "output": output, "classes": classes }),
                    );
                }
            }
            Ok(())
        })?;
    }
    if args.json {
        return print::json(&json!({ "records": shown }));
    }
    print::table(&["file", "record", "output", "classes"], &rows);
    Ok(())
}

/// The number of the only input of a task that has an output with classes.
fn only_input(task: &Composition) -> Option<usize> {
    let mut inputs = (0..).zip(task.parts()).filter(|(_, part)| part.role == Role::Input && !part.series);
    let (input, _) = inputs.next().filter(|_| task.outputs().iter().any(has_classes))?;
    inputs.next().is_none().then_some(input)
}

/// Whether an output is a class, or labels, of the whole sample.
fn has_classes(output: &OutputPart) -> bool {
    let whole = matches!(output.site, Site::ClassToken { .. } | Site::Mean | Site::First);
    whole && !output.head.labels().is_empty()
}

/// The outputs that have classes, each with the most likely of them.
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
