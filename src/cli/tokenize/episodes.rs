//! The tokens of episodes: a task of return-to-go, camera images, observations and actions.

use super::task::tokenizer_of;
use super::{TokenView, TokenizeArgs, check_index, show};
use crate::data::Stream;
use crate::registry::Modalities;
use crate::report::figure;
use crate::sample::{Composition, InputSettings, OutputSettings, Start, TaskSettings};
use crate::table::{Detected, Modality, Source, Table, episodes};
use anyhow::{Context, Result, bail, ensure};
use indexmap::IndexMap;
use serde_json::{json, to_value};
use smalti_contract::{Numbers, TokenSpec, Value};
use std::sync::Arc;

/// Shows the tokens of window `--index`.
pub fn run(args: &TokenizeArgs, modalities: &Modalities) -> Result<()> {
    let settings = settings(args, modalities)?;
    let opened =
        Composition::open(("", 1.0), &settings, modalities, Start::New).with_context(|| args.file.clone())?;
    let rows = opened.train.len();
    check_index(args.index, rows, "rows").with_context(|| args.file.clone())?;
    let sample = opened.train.sample(args.index, None)?;
    let spec = TokenSpec { kinds: opened.task.kinds(Stream::Main).to_vec() };
    let tokens = sample.inputs.into_iter().map(|(_, tokens)| tokens).next().unwrap_or_default();
    let view =
        TokenView { spec: &spec, tokens: &tokens, tokenizer: &|kind| tokenizer_of(&opened.task, kind) };
    show(args, Modality::Trajectory, &view, rows, &|| figure::lanes(&spec, &tokens))
}

/// The task of the episodes at a location. Every row is a training row.
fn settings(args: &TokenizeArgs, modalities: &Modalities) -> Result<TaskSettings> {
    let layout = args.modality.map(|_| episodes::NAME.to_string());
    let source = Source { layout, ..Source::new(&args.file) };
    let table = episodes_at(&source, modalities)?;
    let mut data = json!({
        "source": source,
        "validation_source": source,
        "context": args.tokenizer.context(),
    });
    let numbers = |settings| serde_json::from_value::<InputSettings>(settings);
    let mut inputs = IndexMap::new();
    if table.fields().iter().any(|field| field == "rewards") {
        data["derived"] = json!({ "return_to_go": { "kind": "return_to_go", "field": "rewards" } });
        // Scaled by the largest magnitude and not standardized: 0 is the return-to-go after the last reward.
        inputs.insert("return_to_go".to_string(), numbers(json!({ "modality": "numbers", "scale": 0.0 }))?);
    }
    let derived = inputs.len();
    let (mut states, mut outputs) = (IndexMap::new(), IndexMap::new());
    for field in table.fields() {
        let of_actions = field == "actions" || field.starts_with("actions.");
        match first_step(table.as_ref(), field) {
            Some(Value::Array(array)) if matches!(array.numbers, Numbers::U8(_)) => {
                inputs.insert(field.clone(), image(args)?);
            }
            Some(Value::File(_)) => {
                inputs.insert(field.clone(), image(args)?);
            }
            Some(_) if of_actions => {
                let head = if is_discrete(table.as_ref(), field)? { "classify" } else { "regress" };
                outputs.insert(
                    field.clone(),
                    serde_json::from_value::<OutputSettings>(json!({ "head": head }))?,
                );
            }
            Some(_) if field == "observations" => {
                states.insert(field.clone(), numbers(json!({ "modality": "numbers" }))?);
            }
            // Other fields are parts of the observations, sources of derived fields, or no series.
            _ => {}
        }
    }
    ensure!(
        inputs.len() > derived || !args.tokenizer.has_image_options(),
        "{}: --patch-size, --image-size and --num-channels are for images; these episodes have none",
        args.file
    );
    inputs.extend(states);
    Ok(TaskSettings { data: serde_json::from_value(to_value(data)?)?, inputs, outputs })
}

/// The table of a source of episodes; fails with the layout and the fields of any other source.
fn episodes_at(source: &Source, modalities: &Modalities) -> Result<Arc<dyn Table>> {
    let Detected { table, layout, others, .. } = modalities.sources().detect(source)?;
    if layout == episodes::NAME {
        return Ok(table);
    }
    let reason = others.iter().find(|other| other.layout == episodes::NAME);
    let reason = reason.map_or(String::new(), |other| format!(": {}", other.reason));
    bail!(
        "{}: it has the layout {layout} with the fields {}, not that of episodes{reason}; `smalti data check` shows its fields, \
         and `smalti tokenize TASK.toml` the tokens of a task that reads it",
        source.path,
        smalti_contract::listed(table.fields(), ", ")
    )
}

/// The input of a camera's images.
fn image(args: &TokenizeArgs) -> Result<InputSettings> {
    let mut settings = args.tokenizer.image_settings();
    settings.insert("modality".into(), json!("image"));
    Ok(serde_json::from_value(settings.into())?)
}

/// The first value of a series that is not missing; `None` for other fields.
fn first_step(table: &dyn Table, field: &str) -> Option<Value> {
    (0..table.len()).find_map(|row| match table.peek(row, field) {
        Ok(Value::Series(steps)) => steps.into_iter().find(|step| !step.is_missing()),
        _ => None,
    })
}

/// Whether all actions are discrete: whole numbers from 0.
fn is_discrete(table: &dyn Table, field: &str) -> Result<bool> {
    for row in 0..table.len() {
        let Value::Series(steps) = table.peek(row, field)? else { continue };
        let is_id = |step: &Value| matches!(step, Value::Number(n) if *n >= 0.0 && n.fract() == 0.0);
        if !steps.iter().all(is_id) {
            return Ok(false);
        }
    }
    Ok(true)
}
