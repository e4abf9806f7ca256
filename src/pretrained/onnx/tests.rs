//! The structure of exported graphs; `tests/readers/read_onnx.py` runs them.

use super::proto::{Graph, INT64, Node};
use super::*;
use crate::pretrained::open;
use std::collections::BTreeSet;

fn graph_of(checkpoint: &str) -> Result<Graph, PretrainedError> {
    let opened = open(&Path::new("tests/checkpoints").join(checkpoint)).unwrap();
    graph(Path::new("run"), &opened.model, &opened.task)
}

fn count(graph: &Graph, op: &str) -> usize {
    graph.node.iter().filter(|node| node.op_type == op).count()
}

/// Each value is defined before a node reads it, once, and each constant is read.
fn check(graph: &Graph) {
    let mut known: BTreeSet<&str> = BTreeSet::new();
    let first =
        graph.input.iter().map(|value| &value.name).chain(graph.initializer.iter().map(|value| &value.name));
    first.for_each(|name| assert!(known.insert(name), "{name} is defined twice"));
    for Node { input, output, .. } in &graph.node {
        input
            .iter()
            .for_each(|name| assert!(known.contains(name.as_str()), "{name} is read before it is defined"));
        output.iter().for_each(|name| assert!(known.insert(name), "{name} is defined twice"));
    }
    graph.output.iter().for_each(|value| assert!(known.contains(value.name.as_str()), "{}", value.name));
    let read: BTreeSet<&String> = graph.node.iter().flat_map(|node| &node.input).collect();
    for constant in &graph.initializer {
        assert!(read.contains(&constant.name), "no node reads {}", constant.name);
        let numbers = constant.dims.iter().product::<i64>();
        let width = if constant.data_type == INT64 { 8 } else { 4 };
        assert_eq!(constant.raw_data.len() as i64, width * numbers, "{}", constant.name);
    }
}

#[test]
#[rustfmt::skip]
fn graphs_of_encoders_and_decoders_are_whole() {
    let names = [
        "bert-classes", "bert-tags", "bert-trunk", "distilbert-masked", "deit", "dinov2", "dinov2-registers-classes",
        "vit-no-bias", "gpt2-untied", "llama-tied", "llama3-rope", "gemma", "qwen3", "phi", "gpt-neox", "opt",
    ];
    for name in names {
        let found = graph_of(name).unwrap_or_else(|e| panic!("{name}: {e}"));
        check(&found);
        assert_eq!((found.input.len(), found.output.len()), (1, 1), "{name}");
    }
}

#[test]
fn a_decoder_has_a_causal_mask_and_an_encoder_has_none() {
    assert_eq!(count(&graph_of("gpt2-untied").unwrap(), "LessOrEqual"), 1);
    assert_eq!(count(&graph_of("bert-classes").unwrap(), "LessOrEqual"), 0);
}

#[test]
fn a_tied_head_has_no_matrix_of_its_own() {
    let tied = graph_of("llama-tied").unwrap();
    let tables = tied.initializer.iter().filter(|of| of.name.ends_with(".table")).count();
    assert_eq!((tables, tied.initializer.iter().any(|of| of.name.starts_with("head."))), (1, false));
}

#[test]
fn what_a_graph_lacks_is_refused_by_name() {
    for (checkpoint, expected) in [
        ("mt5", "model.n_encoder_layers: expected 0"),
        ("mistral", "model.attention.rules: expected all or causal"),
    ] {
        let found = graph_of(checkpoint).unwrap_err().to_string();
        assert!(found.contains(expected) && found.contains("to export it as ONNX"), "{checkpoint}: {found}");
    }
}

#[test]
fn a_graph_is_read_again_from_its_bytes() {
    let graph = graph_of("gpt2-untied").unwrap();
    assert_eq!(Graph::decode(graph.encode_to_vec().as_slice()).unwrap(), graph);
}
