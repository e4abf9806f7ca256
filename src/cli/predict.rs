//! `smalti predict`

use super::compositions::{Loaded, Unanswered, files};
use super::{dtype::LoadArgs, print};
use crate::cli::count::{MANY, up_to};
use crate::data;
use crate::head::Prediction;
use crate::inference::{
    Generation, PredictError, Predicted, Sampling, predict,
    write::{check_columns, write_rows},
};
use crate::registry::Modalities;
use crate::sample::{BoxedGetField, Composition, GetField, Part, Role};
use crate::table::{Derivation, Source, Table, derive};
use crate::train::check_target;
use anyhow::{Context, Error, Result, anyhow, bail};
use clap::Args;
use serde_json::{Map, Value as Json, json};
use smalti_contract::{Array, File, Numbers, TokenizeError, Value};
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Predict every output of rows: files, fields given by hand, or a table.
#[derive(Args)]
pub struct PredictArgs {
    /// Run folder.
    run: PathBuf,
    /// Files, one row each, or folders or tars of them, for a task with a single input.
    files: Vec<String>,
    /// Row given by hand: image=cat.png radar=[0.5,2]. A value is text, number, JSON array or file.
    #[arg(long, value_name = "FIELD=VALUE", num_args = 1.., conflicts_with = "files")]
    row: Vec<String>,
    /// Table of rows, in any layout of data.source.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["files", "row"])]
    table: Option<String>,
    /// Write the predictions to a .csv, .jsonl or .parquet file, and images into a folder beside it.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Fields of each row to copy into --out, such as an id or the label.
    #[arg(long, value_name = "FIELD,…", value_delimiter = ',', requires = "out")]
    keep: Vec<String>,
    /// Task, for a run with several tasks.
    #[arg(long)]
    task: Option<String>,
    /// Number of classes to print for each prediction; 0 for all.
    #[arg(long, default_value_t = 3, value_parser = up_to::<MANY>)]
    top: usize,
    /// Maximum number of tokens of a generated value [default: as many as the model has positions].
    #[arg(long, value_parser = up_to::<MANY>)]
    max_new_tokens: Option<usize>,
    /// Sampling temperature of generated values; 0 is greedy.
    #[arg(long, default_value_t = 0.0)]
    temperature: f64,
    /// Seed of sampling.
    #[arg(long, default_value_t = 1337)]
    seed: u64,
    #[command(flatten)]
    load: LoadArgs,
    /// Print one JSON object: for each row its outputs with value and probabilities.
    #[arg(long)]
    json: bool,
}

/// Rows of a batch.
const BATCH: usize = 64;

/// Rows to predict: given by hand, with names and fields, or a table.
enum Rows {
    ByHand(Vec<(String, BTreeMap<String, Value>)>),
    Table(Arc<dyn Table>),
}

/// Predicts.
pub fn run(args: PredictArgs, modalities: &Modalities) -> Result<()> {
    args.out.as_deref().map_or(Ok(()), check_target)?;
    let run = Loaded::open(&args.run, args.load, modalities)?;
    let (number, task) = run.task(args.task.as_deref())?;
    let (rows, mut unanswered) = rows(&args, task, modalities)?;
    let sampling = Sampling { temperature: args.temperature, seed: args.seed, ..Sampling::default() };
    let generation = Generation { max_new_tokens: args.max_new_tokens, sampling };
    generation.sampling.check()?;
    let windows: Vec<Window> = (0..rows.len()).flat_map(|row| rows.windows(row, task.context())).collect();
    rows.check_fields(&args.keep)?;
    let columns = columns(task, &args.keep);
    if let Some(out) = &args.out {
        check_columns(out, &columns)?; // before the first prediction
    }
    let answer = |windows: &[Window]| {
        answers(&rows, windows, &args.keep, |requests| {
            predict(&run.model, number, task, requests, &generation)
        })
    };
    let mut found: Vec<Answer> = Vec::with_capacity(windows.len());
    for windows in windows.chunks(BATCH) {
        match answer(windows) {
            Ok(answers) => found.extend(answers),
            // One file of the batch is the cause.
            Err(_) if rows.are_files() && windows.len() > 1 => {
                for window in windows.chunks(1) {
                    let name = rows.name(window[0].0, &window[0].1);
                    found.extend(unanswered.keep(&name, answer(window))?.into_iter().flatten());
                }
            }
            Err(error) => return Err(error),
        }
    }
    let (all, kept): (Vec<(String, Predicted)>, Vec<Vec<Value>>) = found.into_iter().unzip();
    if !all.is_empty() && all.iter().all(|(_, predicted)| predicted.is_empty()) {
        return Err(not_predicted(&args.run, task));
    }
    if let Some(out) = &args.out {
        write(out, task, &all, &columns, kept)?;
        eprintln!("{} rows are in {}", all.len(), out.display());
    }
    if args.json {
        let rows: Vec<Json> = all.iter().map(as_json).chain(unanswered.json("row")).collect();
        print::json(&json!({ "rows": rows }))?;
    } else if args.out.is_none() {
        show(&all, args.top);
    }
    unanswered.check()
}

/// The error of a task of whose outputs rows have no prediction: those of masked tokens.
fn not_predicted(run: &Path, task: &Composition) -> Error {
    let is_masked = task.parts().iter().any(|part| matches!(part.role, Role::Masked(_)));
    let advice = if is_masked { "; `smalti generate --infill` fills masked tokens" } else { "" };
    let (run, found) = (run.display(), task.listed());
    anyhow!("{run}: expected an output that is predicted from a row; found {found}{advice}")
}

/// A row, and the time steps of a window.
type Window = (usize, Range<usize>);
/// The name and the prediction of a row, and its values of the kept fields.
type Answer = ((String, Predicted), Vec<Value>);

/// The answers for these rows.
fn answers(
    rows: &Rows,
    windows: &[Window],
    keep: &[String],
    predict: impl Fn(&[(GetField, Range<usize>)]) -> Result<Vec<Predicted>, PredictError>,
) -> Result<Vec<Answer>> {
    let gets: Vec<BoxedGetField> =
        windows.iter().map(|(row, steps)| read(rows, *row, steps.clone())).collect();
    let requests: Vec<(GetField, Range<usize>)> =
        gets.iter().zip(windows).map(|(get, (_, steps))| (get.as_ref() as GetField, steps.clone())).collect();
    let place = || match windows {
        [(row, steps)] => rows.name(*row, steps),
        [(first, steps), .., (last, until)] => {
            format!("{} to {}", rows.name(*first, steps), rows.name(*last, until))
        }
        [] => String::new(),
    };
    let predicted = predict(&requests).with_context(place)?;
    let mut answers = Vec::with_capacity(windows.len());
    for (((row, steps), predicted), get) in windows.iter().zip(predicted).zip(&gets) {
        let kept = keep.iter().map(|field| get(field)).collect::<Result<_, _>>().with_context(place)?;
        answers.push(((rows.name(*row, steps), predicted), kept));
    }
    Ok(answers)
}

/// The value of any field of a row.
fn read(rows: &Rows, row: usize, steps: Range<usize>) -> BoxedGetField<'_> {
    Box::new(move |field: &str| match rows {
        Rows::ByHand(rows) => {
            let value = rows[row].1.get(field).cloned().unwrap_or_default();
            Ok(if steps.is_empty() { value } else { value.window(steps.clone()) })
        }
        Rows::Table(table) if !table.fields().iter().any(|known| known == field) => Ok(Value::Missing),
        Rows::Table(table) => {
            let value = if steps.is_empty() {
                table.value(row, field)
            } else {
                table.window(row, field, steps.clone())
            };
            value.map_err(|e| TokenizeError::Input(e.to_string()))
        }
    })
}

impl Rows {
    fn len(&self) -> usize {
        match self {
            Rows::ByHand(rows) => rows.len(),
            Rows::Table(table) => table.len(),
        }
    }

    /// Whether the rows are several files.
    fn are_files(&self) -> bool {
        matches!(self, Rows::ByHand(rows) if rows.len() > 1)
    }

    /// Fails if a field is in no row.
    fn check_fields(&self, wanted: &[String]) -> Result<()> {
        let known: Vec<String> = match self {
            Rows::ByHand(rows) => rows.iter().flat_map(|(_, row)| row.keys().cloned()).collect(),
            Rows::Table(table) => table.fields().to_vec(),
        };
        match wanted.iter().find(|field| !known.contains(field)) {
            Some(field) => {
                bail!("--keep {field}: no row has this field; found {}", smalti_contract::listed(known, ", "))
            }
            None => Ok(()),
        }
    }

    /// The name of a row, with the time steps if its series are longer than the context.
    fn name(&self, row: usize, steps: &Range<usize>) -> String {
        let name = match self {
            Rows::ByHand(rows) => rows[row].0.clone(),
            Rows::Table(table) => table.location(row),
        };
        match steps.len() < self.steps(row) {
            true => format!("{name} steps {} to {}", steps.start, steps.end.min(self.steps(row)) - 1),
            false => name,
        }
    }

    /// The windows of a row; a row without series has one window, of no steps.
    fn windows(&self, row: usize, context: usize) -> impl Iterator<Item = (usize, Range<usize>)> {
        let steps = self.steps(row);
        let one = (steps == 0).then_some((row, 0..0));
        one.into_iter()
            .chain((0..steps).step_by(context.max(1)).map(move |first| (row, first..first + context)))
    }

    fn steps(&self, row: usize) -> usize {
        match self {
            Rows::ByHand(rows) => rows[row].1.values().filter_map(Value::steps).max().unwrap_or(0),
            Rows::Table(table) => table.steps(row),
        }
    }
}

/// The table with the derived fields of the task. Those that it has, and those of a field that it lacks, such as rewards, are left
/// out.
fn with_derived(mut table: Arc<dyn Table>, task: &Composition) -> Result<Arc<dyn Table>> {
    loop {
        let has = |field: &str| table.fields().iter().any(|known| known == field);
        let usable = |(name, of): &(&String, &Derivation)| !has(name) && has(of.field());
        let next = task.derived().iter().find(usable);
        let Some((name, derivation)) = next else { return Ok(table) };
        table = derive(table, &[(name.clone(), derivation.clone())].into())?;
    }
}

/// The rows to predict, and the files that cannot be read.
fn rows(args: &PredictArgs, task: &Composition, modalities: &Modalities) -> Result<(Rows, Unanswered)> {
    // A text to continue is read like an input.
    let inputs = task.parts().iter().filter(|part| part.role == Role::Input || part.windows);
    let inputs: Vec<&Part> = inputs.collect();
    let fields: Vec<&String> = inputs.iter().flat_map(|part| &part.fields).collect();
    let listed = || smalti_contract::listed(&fields, ", ");
    if let Some(path) = &args.table {
        if fields.is_empty() {
            return Err(not_predicted(&args.run, task));
        }
        let table = modalities.sources().open(&Source::new(path.clone()))?;
        if !fields.iter().any(|field| table.fields().contains(field)) {
            bail!(
                "{path} has no field of the inputs: expected some of {}; found {}",
                listed(),
                smalti_contract::listed(table.fields(), ", ")
            );
        }
        return Ok((Rows::Table(with_derived(table, task)?), Unanswered::of(1)));
    }
    if !args.row.is_empty() {
        // The earlier steps of a predicted series are read too.
        let reads = |part: &&Part| matches!(part.role, Role::Input | Role::Series(_)) || part.windows;
        let read = task.parts().iter().filter(reads);
        let row = by_hand(&args.row, &read.collect::<Vec<_>>())?;
        return Ok((Rows::ByHand(vec![("1".into(), row)]), Unanswered::of(1)));
    }
    match (&args.files[..], &inputs[..], &fields[..]) {
        ([], ..) => bail!(
            "nothing to predict: expected files, --row FIELD=VALUE with the fields {}, or --table FILE",
            listed()
        ),
        (given, [part], [field]) => {
            let files = files(part, given)?;
            let (mut rows, mut unanswered) = (vec![], Unanswered::of(files.len()));
            for path in files {
                let Some(bytes) = unanswered.keep(&path, data::read(&path).map_err(Into::into))? else {
                    continue;
                };
                let file = Value::File(File { name: path.clone(), bytes });
                rows.push((path, BTreeMap::from([(field.to_string(), file)])));
            }
            Ok((Rows::ByHand(rows), unanswered))
        }
        _ => bail!("the task has several inputs; give their fields with --row: {}", listed()),
    }
}

/// The values of the fields that these parts read, each given as `FIELD=VALUE`.
pub(super) fn by_hand(given: &[String], parts: &[&Part]) -> Result<BTreeMap<String, Value>> {
    let one = |given: &String| {
        let Some((field, text)) = given.split_once('=') else { bail!("--row {given}: expected FIELD=VALUE") };
        let Some(part) = parts.iter().find(|part| part.fields.iter().any(|known| known == field)) else {
            let known: Vec<&str> = parts.iter().flat_map(|part| &part.fields).map(String::as_str).collect();
            bail!("--row {given}: expected a field of the inputs: {}; found {field:?}", known.join(", "))
        };
        Ok((field.to_string(), value(text, part).with_context(|| format!("--row {given}"))?))
    };
    let mut row = BTreeMap::new();
    for given in given {
        let (field, value) = one(given)?;
        if row.insert(field.clone(), value).is_some() {
            bail!("--row {given}: the field {field:?} is given twice; several rows need --table");
        }
    }
    Ok(row)
}

/// A value given by hand: a JSON array, a number of an input with several fields, a text if the tokenizer reads texts, else
/// the name of a file.
fn value(text: &str, part: &Part) -> Result<Value> {
    if let Ok(json @ Json::Array(_)) = serde_json::from_str(text) {
        return array(&json).context("expected numbers in JSON arrays of one length");
    }
    // A tokenizer reads several fields as one value of all their numbers, so it cannot tell whether it reads one of them.
    if part.fields.len() > 1
        && let Ok(number) = text.parse()
    {
        return Ok(Value::Number(number));
    }
    let literal = Value::Text(text.into());
    let problem = match part.tokenizer.encode_value_truncated(literal.clone(), usize::MAX) {
        Ok(_) => return Ok(literal),
        Err(error) => error,
    };
    match Path::new(text).is_file() {
        true => Ok(Value::File(File { name: text.into(), bytes: data::read(text)? })),
        false => bail!("inputs.{}: {problem}; and no file has this name", part.name),
    }
}

/// An array of numbers as a vector, an array of arrays as a series of vectors.
fn array(json: &Json) -> Option<Value> {
    let items = json.as_array()?;
    if items.iter().any(Json::is_array) {
        return items.iter().map(array).collect::<Option<Vec<_>>>().map(Value::Series);
    }
    let numbers: Option<Vec<f32>> =
        items.iter().map(|item| item.as_f64().map(|number| number as f32)).collect();
    numbers.map(Value::vector)
}

/// A value as JSON: text, number or nested arrays.
fn as_value(value: &Value) -> Json {
    match value {
        Value::Missing => Json::Null,
        Value::Text(text) => json!(text),
        Value::Number(number) => json!(number),
        Value::Array(Array { numbers: Numbers::F32(numbers), .. }) if numbers.len() == 1 => json!(numbers[0]),
        Value::Array(array) => json!(array.to_f32()),
        Value::File(file) => json!(file.name),
        Value::Series(steps) | Value::Several { values: steps, .. } => steps.iter().map(as_value).collect(),
    }
}

fn as_json((name, predicted): &(String, Predicted)) -> Json {
    let mut row = Map::from_iter([("row".to_string(), json!(name))]);
    for (output, Prediction { value, probabilities }) in predicted {
        let mut about = Map::from_iter([("value".to_string(), as_value(value))]);
        if !probabilities.is_empty() {
            let by_class = probabilities.iter().map(|(class, p)| (class.clone(), json!(p)));
            about.insert("probabilities".into(), Json::Object(by_class.collect()));
        }
        row.insert(output.clone(), Json::Object(about));
    }
    Json::Object(row)
}

/// The columns of --out: the row, the kept fields, and for each output its value and the probability of each class.
fn columns(task: &Composition, kept: &[String]) -> Vec<String> {
    let mut columns = vec!["row".to_string()];
    columns.extend_from_slice(kept);
    for output in task.outputs() {
        columns.push(output.name.clone());
        columns.extend(output.head.labels().iter().map(|label| format!("{}.{label}", output.name)));
    }
    columns
}

/// Writes the predictions and the kept fields, with a value for each column.
fn write(
    path: &Path,
    task: &Composition,
    all: &[(String, Predicted)],
    columns: &[String],
    kept: Vec<Vec<Value>>,
) -> Result<()> {
    let row = |((name, predicted), kept): (&(String, Predicted), Vec<Value>)| {
        let mut row = vec![Value::Text(name.clone())];
        row.extend(kept);
        for output in task.outputs() {
            let prediction = predicted.get(&output.name);
            row.push(prediction.map_or(Value::Missing, |prediction| prediction.value.clone()));
            for label in output.head.labels() {
                let known =
                    prediction.and_then(|it| it.probabilities.iter().find(|(class, _)| class == label));
                row.push(known.map_or(Value::Missing, |(_, p)| Value::Number(*p)));
            }
        }
        row
    };
    Ok(write_rows(path, columns, &all.iter().zip(kept).map(row).collect::<Vec<_>>())?)
}

fn show(all: &[(String, Predicted)], top: usize) {
    let mut lines = vec![];
    for (name, predicted) in all {
        for (output, Prediction { value, probabilities }) in predicted {
            let most = if top == 0 { probabilities.len() } else { top };
            let likely =
                probabilities.iter().take(most).map(|(class, p)| format!("{class} {:.1}%", 100.0 * p));
            let shown = match as_value(value) {
                Json::String(text) if matches!(value, Value::File(_)) => {
                    format!("{text} (write it with --out)")
                }
                Json::String(text) => text,
                other => other.to_string(),
            };
            lines.push(vec![name.clone(), output.clone(), shown, likely.collect::<Vec<_>>().join(", ")]);
        }
    }
    print::answers(&["row", "output", "prediction", "probabilities"], &lines);
}
