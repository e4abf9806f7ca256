//! Export as ONNX (operator set 17): encoders, and decoders of one step, without a cache.
//!
//! The graph has one document: its input is the content of the tokens of one part, as the tokenizer makes them, and it has an
//! output for each of the task's. It is built from the parameters by the rules of [`crate::model`], and a parameter without a
//! place in it is an error.

mod block;
mod builder;
mod embedding;
mod head;
mod proto;

use super::PretrainedError;
use super::trained::refused;
use crate::model::{Model, ModelConfig, Positions};
use crate::registry::Modalities;
use crate::rules::{Condition, Rule};
use crate::run::{NamedTask, Run, Weights};
use crate::sample::Composition;
use crate::train::{Checks, check_new_file, checkpoint};
use block::Stack;
use builder::Builder;
use candle_core::Device;
use embedding::{Embedded, Tokens};
use prost::Message;
use serde_json::{Value, json};
use std::path::Path;

/// The version of the operators.
const OPERATORS: i64 = 17;
/// A file of the format has less than 2 GiB.
const MOST_BYTES: usize = i32::MAX as usize;

/// A setting that a graph does not have.
struct Refused {
    setting: String,
    problem: String,
}

impl Refused {
    fn new(setting: &str, problem: impl Into<String>) -> Self {
        Self { setting: setting.into(), problem: problem.into() }
    }
}

/// The inputs and outputs of an exported graph.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct OnnxReport {
    /// The names of its inputs.
    pub inputs: Vec<String>,
    /// The names of its outputs.
    pub outputs: Vec<String>,
    /// The number of its nodes.
    pub nodes: usize,
    /// The size of the file.
    pub bytes: usize,
}

/// Write the best weights of a run as an ONNX file.
///
/// # Errors
/// [`PretrainedError`] if the run cannot be read, or has a setting that the graph does not have, or the file exists or cannot be
/// written.
pub fn export_onnx(run: &Path, file: &Path, checks: Checks) -> Result<OnnxReport, PretrainedError> {
    check_new_file(file)?;
    let opened = Run::open_checked(run, &Modalities::builtin(), checks)?;
    let (model, tasks) = opened.load(Weights::Best, &Device::Cpu)?;
    let [NamedTask { task, .. }] = &tasks[..] else {
        let problem =
            format!("expected a run of one task, to export it as ONNX; found a mix of {}", tasks.len());
        return Err(refused(run, "mix", problem));
    };
    let graph = graph(run, &model, task)?;
    let names = |values: &[proto::ValueInfo]| values.iter().map(|value| value.name.clone()).collect();
    let mut report = OnnxReport {
        inputs: names(&graph.input),
        outputs: names(&graph.output),
        nodes: graph.node.len(),
        bytes: 0,
    };
    let onnx = proto::Model {
        ir_version: proto::IR_VERSION,
        producer_name: "smalti".into(),
        producer_version: env!("CARGO_PKG_VERSION").into(),
        graph: Some(graph),
        opset_import: vec![proto::OperatorSet { domain: String::new(), version: OPERATORS }],
        metadata_props: metadata(task)?,
    };
    let bytes = onnx.encode_to_vec();
    report.bytes = bytes.len();
    checkpoint::write_atomically(file, &bytes)?;
    Ok(report)
}

/// The graph of a model of one task.
fn graph(run: &Path, model: &Model, task: &Composition) -> Result<proto::Graph, PretrainedError> {
    let refuse =
        |found: Refused| refused(run, &found.setting, format!("{}, to export it as ONNX", found.problem));
    check(model.config()).map_err(refuse)?;
    let bytes = 4 * model.params().count();
    if bytes > MOST_BYTES {
        let problem = format!("expected weights of at most {MOST_BYTES} bytes in f32; found {bytes}");
        return Err(refuse(Refused::new("model", problem)));
    }
    let tokens = Tokens::of(model, task).map_err(refuse)?;
    for output in task.outputs() {
        head::check(task, output).map_err(refuse)?;
    }
    let causal = causal_layers(model, &tokens.kinds()).map_err(refuse)?;
    let mut graph = Builder::new(model.params().tensors());
    let Embedded { x, places } = tokens.embed(&mut graph, model)?;
    let mask = causal.contains(&true).then(|| mask(&mut graph, &places));
    let stack = Stack { config: model.config(), places, most: tokens.most(), mask, causal };
    let hidden = stack.forward(&mut graph, &x)?;
    for number in 0..task.outputs().len() {
        head::append(&mut graph, model, &tokens, (task, number), &hidden)?;
    }
    match graph.unused() {
        None => Ok(graph.graph),
        Some(name) => Err(refuse(Refused::new(name, "expected a parameter with a place in the graph"))),
    }
}

/// `[n, n]`: whether the token of a row attends to that of a column: to itself and those before it.
fn mask(graph: &mut Builder, places: &str) -> builder::Name {
    let [first, second] = [graph.ints(&[0]), graph.ints(&[1])];
    let keys = graph.node("Unsqueeze", &[places, &first]);
    let queries = graph.node("Unsqueeze", &[places, &second]);
    graph.node("LessOrEqual", &[&keys, &queries])
}

/// Check that the graph has what the settings say.
fn check(config: &ModelConfig) -> Result<(), Refused> {
    let expected = |holds: bool, setting: &str, expected: &str| match holds {
        true => Ok(()),
        false => Err(Refused::new(setting, expected)),
    };
    let positions = config.embedding.positions;
    expected(
        config.n_encoder_layers == 0,
        "model.n_encoder_layers",
        "expected 0, one transformer; found an encoder",
    )?;
    expected(
        config.mixers.is_empty(),
        "model.mixers",
        "expected none, softmax attention in all layers; found others",
    )?;
    expected(config.memory.is_none(), "model.memory", "expected none; found a memory")?;
    expected(
        config.mlp.experts == 0,
        "model.mlp.experts",
        "expected 0, one MLP in each block; found experts",
    )?;
    expected(
        config.attention.relative.is_none(),
        "model.attention.relative",
        "expected none; found biases by distance",
    )?;
    expected(!config.attention.alibi, "model.attention.alibi", "expected false; found true")?;
    expected(config.embedding.stem.is_none(), "model.embedding.stem", "expected none; found convolutions")?;
    expected(
        positions != Positions::Sinusoidal,
        "model.embedding.positions",
        "expected learned, grid or none; found sinusoidal",
    )
}

/// For each layer, whether every token attends to itself and those before it; else, every token attends to all.
fn causal_layers(model: &Model, kinds: &[usize]) -> Result<Vec<bool>, Refused> {
    let causal = Rule::When(vec![Condition::Causal]);
    let of_layer = |layer: usize| {
        let rules = model.rules(layer);
        let first = rules.get(kinds[0], kinds[0]);
        let is_known = *first == Rule::ALL || *first == causal;
        let pairs = kinds.iter().flat_map(|&query| kinds.iter().map(move |&key| (query, key)));
        let mut pairs = pairs.map(|(query, key)| (query, key, rules.get(query, key)));
        match pairs.find(|(.., rule)| !is_known || *rule != first) {
            None => Ok(*first == causal),
            Some((query, key, rule)) => {
                let [query, key] = [query, key].map(|kind| &model.kinds()[kind].name);
                let problem = format!(
                    "expected all or causal for every pair of kinds; found \"{rule}\" for {query} that attends to {key} in \
                     layer {layer}"
                );
                Err(Refused::new("model.attention.rules", problem))
            }
        }
    };
    (0..model.config().n_layers).map(of_layer).collect()
}

/// What a user of the graph needs beside it: how inputs are prepared, and the names of classes.
fn metadata(task: &Composition) -> Result<Vec<proto::Entry>, PretrainedError> {
    let mut entries = vec![];
    for part in task.parts() {
        let mut config = part.tokenizer.config_json()?;
        if let Some(config) = config.as_object_mut() {
            // A vocabulary may be larger than the weights.
            config.remove("vocabulary");
            config.remove("augment");
            config.insert("modality".into(), part.tokenizer.name().into());
        }
        entries.push(proto::Entry { key: format!("inputs.{}", part.name), value: config.to_string() });
    }
    for output in task.outputs() {
        let head = task.saved().heads.get(&output.name).map_or("", |saved| &saved.name);
        let value: Value = json!({ "head": head, "classes": output.head.labels() });
        entries.push(proto::Entry { key: format!("outputs.{}", output.name), value: value.to_string() });
    }
    Ok(entries)
}

#[cfg(test)]
mod tests;
