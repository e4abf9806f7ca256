//! The heads: what each reads, and its linear maps, as [`HeadLayer`](crate::model::HeadLayer) computes them. Classes and labels are
//! logits; numbers are in the units of the data.

use super::builder::{Builder, Name};
use super::embedding::Tokens;
use super::proto::{Attribute, Dim, FLOAT, ValueInfo};
use super::{Refused, block};
use crate::head::{Head, HeadSpec, OutputScale};
use crate::model::Model;
use crate::sample::{Composition, OutputPart, ReadSite};
use crate::task::Task;
use candle_core::Result;
use smalti_contract::ContentSpec;

/// Check that a head reads what a graph can give it.
///
/// # Errors
/// If it reads something else.
pub fn check(task: &Composition, output: &OutputPart) -> std::result::Result<(), Refused> {
    let refuse = |setting: &str, problem: &str| {
        Err(Refused::new(&format!("outputs.{}.{setting}", output.name), problem))
    };
    match output.site {
        ReadSite::Attention => {
            refuse("pool", "expected class_token, class_token_and_mean, mean, first or last; found attention")
        }
        ReadSite::Codes { .. } => refuse("head", "expected one without a codebook; found one with codes"),
        ReadSite::LastToken if !output.end.is_empty() => {
            refuse("end", "expected none, so that the last token is read; found ids")
        }
        _ if output.is_preference => refuse("head", "expected one of a single text; found prefer"),
        ReadSite::OwnTokens { part } => match task.parts()[part].series {
            true => refuse("head", "expected one without time steps; found a series"),
            false => Ok(()),
        },
        _ => Ok(()),
    }
}

/// A head's output as an output of the graph, from the hidden state `[n, d_model]` after the last block.
///
/// # Errors
/// If the model lacks a parameter.
pub fn append(
    graph: &mut Builder,
    model: &Model,
    tokens: &Tokens,
    (task, number): (&Composition, usize),
    hidden: &str,
) -> Result<()> {
    let (output, spec) = (&task.outputs()[number], &task.spec().heads[number]);
    let (x, rows) = read(graph, tokens, task, number, hidden);
    let y = map(graph, model, tokens, spec, &x)?;
    let y = predicted(graph, output.head.as_ref(), &y);
    // The output of a text that is generated or unmasked has the name of the input.
    let name =
        if output.name == tokens.part.name { format!("{}_logits", output.name) } else { output.name.clone() };
    graph.graph.node.push(super::proto::Node {
        input: vec![y],
        output: vec![name.clone()],
        name: format!("output_{name}"),
        op_type: "Identity".into(),
        attribute: vec![],
    });
    let width = if spec.head.width() == 0 { model.config().d_model } else { spec.head.width() };
    let shape = vec![rows, Dim::fixed(width)];
    graph.graph.output.push(ValueInfo::new(&name, FLOAT, shape));
    Ok(())
}

/// The rows that an output reads, and their number.
fn read(
    graph: &mut Builder,
    tokens: &Tokens,
    task: &Composition,
    number: usize,
    hidden: &str,
) -> (Name, Dim) {
    let output = &task.outputs()[number];
    let n_learned = tokens.n_learned() as i64;
    // The place of the output's class token, counted from the end.
    let before: usize = task.outputs()[..number]
        .iter()
        .map(|output| if output.site.class_token().is_some() { 1 + output.registers } else { 0 })
        .sum();
    let class = before as i64 - n_learned;
    let end = |place: i64| if place == 0 { i64::MAX } else { place };
    let registers = end(class + 1 + output.registers as i64);
    let row = |graph: &mut Builder, place: i64| {
        let place = graph.ints(&[place]);
        graph.with("Gather", &[hidden, &place], &[Attribute::int("axis", 0)])
    };
    let mean = |graph: &mut Builder, from: i64, to: i64| {
        let rows = graph.slice(hidden, 0, from, to);
        graph.with("ReduceMean", &[&rows], &[Attribute::ints("axes", &[0])])
    };
    let inputs = end(-n_learned);
    let one = match output.site {
        ReadSite::ClassToken { .. } => row(graph, class),
        ReadSite::ClassTokenAndMean { .. } => {
            let (class, mean) = (row(graph, class), mean(graph, 0, inputs));
            graph.concat(&[&class, &mean], 1)
        }
        ReadSite::ClassTokenAndRegisters { .. } => {
            let (of_class, mean) = (row(graph, class), mean(graph, class + 1, registers));
            graph.concat(&[&of_class, &mean], 1)
        }
        ReadSite::LearnedMean { .. } => mean(graph, class, registers),
        ReadSite::FirstToken => row(graph, 0),
        ReadSite::LastToken => row(graph, -n_learned - 1),
        ReadSite::Mean | ReadSite::Attention => mean(graph, 0, inputs),
        ReadSite::InputTokens { .. } | ReadSite::OwnTokens { .. } | ReadSite::Codes { .. } => {
            return (graph.slice(hidden, 0, 0, inputs), tokens.rows());
        }
    };
    (one, Dim::fixed(1))
}

/// The linear maps of a head.
fn map(graph: &mut Builder, model: &Model, tokens: &Tokens, spec: &HeadSpec, x: &str) -> Result<Name> {
    let (config, name) = (model.config(), format!("head.{}", spec.name));
    let is_vocabulary = spec.head.is_vocabulary();
    let predicts = !is_vocabulary && !spec.head.is_representation();
    let mut x = x.to_string();
    if config.head.norm && predicts {
        x = block::norm(graph, config, &x, &format!("{name}.norm"))?;
    }
    if let Some(hidden) = spec.hidden.filter(|_| predicts) {
        x = graph.linear(&x, &format!("{name}.hidden"))?;
        if let Some(activation) = hidden.dense(config.d_model).activation {
            x = graph.activation(&x, activation);
        }
    }
    if config.head.transform && is_vocabulary {
        x = graph.linear(&x, &format!("{name}.transform"))?;
        x = graph.activation(&x, config.mlp.activation);
        x = block::norm(graph, config, &x, &format!("{name}.transform_norm"))?;
    }
    if let Some(factor) = config.head.scale.filter(|_| is_vocabulary) {
        x = graph.scaled(&x, factor);
    }
    let kind = &model.kinds()[tokens.kinds()[0]];
    let shares =
        config.head.tie_embeddings && is_vocabulary && matches!(kind.content, ContentSpec::Ids { .. });
    x = match shares {
        true => {
            let table = graph.required(&format!("embed.{}.table", kind.name))?;
            let bias = graph.parameter(&format!("{name}.bias"))?;
            graph.product(&x, &table, bias.as_deref())
        }
        false if spec.head.width() == 0 => x,
        false => graph.linear(&x, &name)?,
    };
    Ok(match config.head.soft_cap.filter(|_| is_vocabulary) {
        Some(cap) => block::bounded(graph, &x, cap),
        None => x,
    })
}

/// The head's activation and the scale of its predictions.
fn predicted(graph: &mut Builder, head: &dyn Head, y: &str) -> Name {
    let y = match head.activation() {
        Some(activation) => graph.activation(y, activation),
        None => y.into(),
    };
    match head.output_scale() {
        OutputScale::Unscaled => y,
        OutputScale::UnitLength => {
            let length = graph.with("ReduceL2", &[&y], &[Attribute::ints("axes", &[-1])]);
            let least = graph.number(OutputScale::LEAST_LENGTH);
            let length = graph.node("Max", &[&length, &least]);
            graph.node("Div", &[&y, &length])
        }
        OutputScale::Affine { mean, std } => {
            let [mean, std] = [mean, std].map(|numbers| graph.floats(numbers, &[numbers.len()]));
            let scaled = graph.node("Mul", &[&y, &std]);
            graph.node("Add", &[&scaled, &mean])
        }
    }
}
