//! `smalti classify`

use super::device::DeviceChoice;
use crate::registry::Modalities;
use anyhow::{Result, bail};
use clap::Args;
use std::path::PathBuf;

/// Say what images show.
#[derive(Args)]
pub struct ClassifyArgs {
    /// The folder of a run with an image task, or of one made of inputs and outputs: then as `predict`.
    run: PathBuf,
    /// Images: PNG, JPEG or IDX files, on disk or inside a tar (photos.tar/cat.png).
    #[arg(required = true)]
    files: Vec<String>,
    /// How many classes to name for each image.
    #[arg(long, default_value_t = 3)]
    top: usize,
    /// Computes on auto, cpu, cuda or cuda:N.
    #[arg(long, default_value_t = DeviceChoice::Auto)]
    device: DeviceChoice,
    /// Prints one JSON object: for each image its file, record and classes with probabilities.
    #[arg(long)]
    json: bool,
}

/// Images that are classified together.
#[cfg(feature = "image")]
const BATCH: usize = 64;

/// Classifies.
#[cfg(feature = "image")]
pub fn run(args: ClassifyArgs, modalities: &Modalities) -> Result<()> {
    use super::predict::{self, PredictArgs};
    use super::print;
    use crate::run::{Run, Weights};
    use crate::tasks::Builtin;
    use anyhow::Context;
    use smalti_contract::Tokenizer;

    let (model, tasks) = Run::open_with(&args.run, modalities)?.load(Weights::Best, &args.device.open()?)?;
    let found = tasks.iter().enumerate().find_map(|(number, named)| match &named.task {
        Builtin::Image(task) => Some((number, task.clone())),
        #[allow(unreachable_patterns)] // the only pattern where image is the only modality
        _ => None,
    });
    let Some((number, task)) = found else {
        if predict::of_parts(&tasks, None).is_some() {
            let predicted = PredictArgs {
                top: args.top,
                ..PredictArgs::of(&args.run, &args.files, vec![], args.device, args.json)
            };
            return predict::run(predicted, modalities);
        }
        bail!("{} has no image task", args.run.display())
    };
    let mut results = Vec::new();
    let mut rows = Vec::new();
    for file in &args.files {
        let bytes = crate::data::read(file)?;
        let images = task.tokenizer().records(&bytes).collect::<Result<Vec<_>, _>>();
        let images = images.with_context(|| file.clone())?;
        for (chunk, images) in images.chunks(BATCH).enumerate() {
            let guesses = task.classify(&model, number, images).with_context(|| file.clone())?;
            for (i, mut guesses) in guesses.into_iter().enumerate() {
                guesses.truncate(args.top);
                let record = chunk * BATCH + i;
                let named = guesses.iter().map(|g| format!("{} {:.1}%", g.class, 100.0 * g.probability));
                rows.push(vec![file.clone(), record.to_string(), named.collect::<Vec<_>>().join(", ")]);
                results.push(serde_json::json!({ "file": file, "record": record, "classes": guesses }));
            }
        }
    }
    if args.json {
        return print::json(&serde_json::json!({ "images": results }));
    }
    print::table(&["file", "record", "classes"], &rows);
    Ok(())
}

/// Says that this build cannot.
#[cfg(not(feature = "image"))]
pub fn run(_: ClassifyArgs, _: &Modalities) -> Result<()> {
    bail!("this smalti is built without the feature `image`")
}
