//! `smalti info`

use super::{checks, print, progress};
use crate::config::TaskEntry;
use crate::model::{MlpConfig, Model, SavedTensors};
use crate::registry::Modalities;
use crate::report::curves::Evaluation;
use crate::report::parameters::parameters;
use crate::report::summary::Summary;
use crate::run::{CONFIG_FILE, Run};
use crate::task::{Task, TaskSpec};
use crate::train::checksums::{self, Checksum, Finding, VerifiedFile};
use crate::train::{MODEL_FILE, STATE_FILE, TensorFile, checkpoint};
use anyhow::{Context, Result, ensure};
use clap::Args;
use serde_json::{Value, json};
use smalti_contract::{ContentSpec, KindSpec};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Describe a run: settings, tasks, parameters, progress.
#[derive(Args)]
pub struct InfoArgs {
    /// Run folder.
    run: PathBuf,
    /// Check every file against its checksum, and describe nothing else.
    ///
    /// Prints each file with its finding: ok, differs, missing, or no checksum, as of a run of an earlier version. Fails if a
    /// file differs or is missing. The settings in run.toml differ if they were edited by hand. metrics.jsonl grows, so it has
    /// no checksum.
    #[arg(long)]
    verify: bool,
    /// Print one JSON object: settings, tasks, kinds, parameters, step, best, weights, samples not used.
    #[arg(long)]
    json: bool,
}

/// Saved weights of a run.
struct Saved {
    file: &'static str,
    what: &'static str,
    bytes: u64,
    step: Option<u64>,
    /// The types of its numbers.
    types: Vec<String>,
    /// The number of elements of each tensor, by name.
    counts: BTreeMap<String, usize>,
}

/// A run's model, as its settings, its tokenizers and the header of its weights describe it.
struct Described {
    tasks: Vec<TaskSpec>,
    kinds: Vec<KindSpec>,
    /// The number of parameters of each part, in the order of the forward pass, of all, and with experts of those that a token
    /// uses.
    parameters: Vec<(String, usize)>,
}

/// Describes a run.
pub fn run(args: InfoArgs, modalities: &Modalities) -> Result<()> {
    if args.verify {
        return verify(&args);
    }
    let run = checks::open(&args.run, modalities)?;
    let weights = saved(&run)?;
    let best = weights.iter().find(|saved| saved.file == MODEL_FILE);
    let model = best.map(|saved| describe(&run, saved)).transpose();
    let model = model.with_context(|| args.run.display().to_string())?;
    let tasks = model.iter().flat_map(|model| &model.tasks);
    let loss_weights: BTreeMap<String, f64> = tasks.flat_map(TaskSpec::loss_weights).collect();
    let Summary { best, step, not_used, .. } = Summary::read(run.folder(), &loss_weights, |_| {})?;
    let step = weights.iter().filter_map(|saved| saved.step).max().max(step);
    let mut about = json(&run, model.as_ref(), step, best.as_ref(), &weights);
    about["not_used"] = json!(not_used);
    match args.json {
        true => print::json(&about),
        false => {
            show(&run, model.as_ref(), step, best.as_ref(), &weights);
            not_used.iter().for_each(|problem| println!("not used: {problem}"));
            Ok(())
        }
    }
}

/// Checks every file of a run, which may be too damaged to open.
fn verify(args: &InfoArgs) -> Result<()> {
    let folder = args.run.display();
    ensure!(args.run.join(CONFIG_FILE).is_file(), "{folder} is no run folder: it has no {CONFIG_FILE}");
    let files = checksums::verify(&args.run)?;
    if args.json {
        print::json(&json!({ "run": args.run, "files": files }))?;
    } else {
        let shown =
            |checksum: &Option<Checksum>| checksum.as_ref().map_or("none".into(), Checksum::to_string);
        let rows = files.iter().map(|VerifiedFile { file, finding, expected, found }| {
            let finding = match finding {
                Finding::Ok => "OK",
                Finding::Differs => "differs",
                Finding::Missing => "missing",
                Finding::NoChecksum => "no checksum",
            };
            vec![file.clone(), finding.into(), shown(expected), shown(found)]
        });
        print::table(&["file", "finding", "expected", "found"], &rows.collect::<Vec<_>>());
    }
    let differ = files.iter().filter(|file| matches!(file.finding, Finding::Differs | Finding::Missing));
    let differ: Vec<&str> = differ.map(|file| file.file.as_str()).collect();
    let edited = match differ.contains(&CONFIG_FILE) {
        true => format!(" (settings in {CONFIG_FILE} may have been edited)"),
        false => String::new(),
    };
    ensure!(
        differ.is_empty(),
        "{folder}: not as the run wrote them: {}; restore them from a copy{edited}",
        differ.join(", ")
    );
    Ok(())
}

/// The saved weights, with their steps.
fn saved(run: &Run) -> Result<Vec<Saved>> {
    let mut weights = Vec::new();
    for (file, what) in
        [(MODEL_FILE, "best by validation loss"), (STATE_FILE, "last checkpoint, to resume from")]
    {
        let path = run.folder().join(file);
        let Ok(metadata) = path.metadata() else { continue };
        let saved = TensorFile::open(&path)?;
        let step = saved.texts().get("step").and_then(|step| step.parse().ok());
        let counts = saved.shapes().into_iter().map(|(name, shape)| (name, shape.iter().product()));
        let (bytes, types) = (metadata.len(), saved.types());
        weights.push(Saved { file, what, bytes, step, types, counts: counts.collect() });
    }
    Ok(weights)
}

/// Describes a run's model without its weights.
fn describe(run: &Run, saved: &Saved) -> Result<Described> {
    let tasks: Vec<TaskSpec> = run.tasks()?.iter().map(|named| named.task.spec().clone()).collect();
    let path = run.folder().join(saved.file);
    let outline = Model::outline(&run.config().model, &tasks)?;
    outline.check(&TensorFile::open(&path)?).map_err(|error| checkpoint::misfit(&path, error))?;
    let kinds = Model::kinds_of(&run.config().model, &tasks)?;
    let mut parameters = parameters(&saved.counts);
    parameters.extend(active(&saved.counts, &run.config().model.mlp).map(|count| ("active".into(), count)));
    Ok(Described { tasks, kinds, parameters })
}

/// The number of parameters that a token uses: all but the experts that it does not choose; `None` without experts.
fn active(counts: &BTreeMap<String, usize>, mlp: &MlpConfig) -> Option<usize> {
    let of_experts = counts.iter().filter(|(name, _)| name.contains(".mlp.experts."));
    let all: usize = of_experts.map(|(_, count)| count).sum();
    let of_one = all.checked_div(mlp.experts)?;
    Some(counts.values().sum::<usize>() - all + of_one * mlp.experts_per_token)
}

/// The inputs of a task, each with its modality.
fn inputs(task: &TaskEntry) -> BTreeMap<&str, &str> {
    task.settings.inputs.iter().map(|(name, input)| (name.as_str(), input.modality.as_str())).collect()
}

/// The outputs of a task, each with its head.
fn outputs(task: &TaskEntry) -> BTreeMap<&str, &str> {
    task.settings.outputs.iter().map(|(name, output)| (name.as_str(), output.head.as_str())).collect()
}

fn json(
    run: &Run,
    model: Option<&Described>,
    step: Option<u64>,
    best: Option<&Evaluation>,
    weights: &[Saved],
) -> Value {
    let tasks = run.config().tasks().into_iter().map(|task| {
        let (inputs, outputs) = (inputs(&task), outputs(&task));
        let (weight, loss_weight) = (task.weight, task.loss_weight);
        json!({ "name": task.name, "inputs": inputs, "outputs": outputs, "weight": weight, "loss_weight": loss_weight })
    });
    let weights = weights.iter().map(|Saved { file, what, bytes, step, types, .. }| {
        json!({ "file": file, "what": what, "bytes": bytes, "types": types, "step": step })
    });
    json!({
        "run": run.folder(),
        "settings": run.config(),
        "tasks": tasks.collect::<Vec<_>>(),
        "kinds": model.map(|model| &model.kinds),
        "parameters": model.map(|model| model.parameters.iter().cloned().collect::<BTreeMap<_, _>>()),
        "step": step,
        "best": best,
        "weights": weights.collect::<Vec<_>>(),
    })
}

fn show(
    run: &Run,
    model: Option<&Described>,
    step: Option<u64>,
    best: Option<&Evaluation>,
    weights: &[Saved],
) {
    if let Ok(settings) = run.config().to_toml() {
        println!("{settings}");
    }
    let tasks = run.config().tasks().into_iter().map(|task| {
        let listed = |parts: BTreeMap<&str, &str>| {
            parts.iter().map(|(name, of)| format!("{name} ({of})")).collect::<Vec<_>>().join(", ")
        };
        let (inputs, outputs) = (listed(inputs(&task)), listed(outputs(&task)));
        vec![task.name.clone(), inputs, outputs, task.weight.to_string(), task.loss_weight.to_string()]
    });
    let header = ["task", "inputs", "outputs", "weight", "loss weight"];
    print::table(&header, &tasks.collect::<Vec<_>>());
    if let Some(model) = model {
        let kinds: Vec<_> = model.kinds.iter().map(kind_row).collect();
        print::table(&["kind", "content", "axes", "time steps"], &kinds);
        let parts = model.parameters.iter().map(|(part, count)| vec![part.clone(), count.to_string()]);
        print::table(&["part", "parameters"], &parts.collect::<Vec<_>>());
    }
    if let Some(Evaluation { step, metrics }) = best {
        let units = &model.map(|model| progress::loss_units(&model.tasks)).unwrap_or_default();
        let rows = metrics.iter().flat_map(|(output, metrics)| {
            let named = |name| progress::metric_name(name, units.get(output));
            metrics.iter().map(move |(name, value)| {
                vec![output.clone(), named(name), print::metric(name, *value), step.to_string()]
            })
        });
        print::table(&["output", "metric", "best", "at step"], &rows.collect::<Vec<_>>());
    }
    let rows = weights.iter().map(|Saved { file, what, bytes, step, types, .. }| {
        vec![
            file.to_string(),
            what.to_string(),
            bytes.to_string(),
            types.join(", "),
            step.map_or("unknown".into(), |s| s.to_string()),
        ]
    });
    print::table(&["weights", "what", "bytes", "types", "of step"], &rows.collect::<Vec<_>>());
    match step {
        Some(step) => println!("{} is at step {step}", run.folder().display()),
        None => println!("{} has no step yet", run.folder().display()),
    }
}

fn kind_row(kind: &KindSpec) -> Vec<String> {
    let content = match kind.content {
        ContentSpec::Ids { vocabulary } => format!("ids of {vocabulary}"),
        ContentSpec::Features { dim } => format!("{dim} features"),
    };
    let axes: Vec<String> = kind.axes.iter().map(|axis| format!("{} {}", axis.name, axis.size)).collect();
    let time_steps = kind.time_steps.map_or(String::new(), |steps| steps.to_string());
    vec![kind.name.clone(), content, axes.join(", "), time_steps]
}
