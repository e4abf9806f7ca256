//! From tasks to a model's kinds, layouts and attention rules.

use super::ModelError;
use super::config::{ConfigError, LayerRule, ModelConfig};
use super::embedding::CodedKind;
use super::layer::CustomLayers;
use crate::data::{HeadLayout, Layout, Stream};
use crate::head::HeadSpec;
use crate::rules::{AttentionRules, MAX_AXES, Rule, RuleError};
use crate::task::{TaskSpec, joined};
use smalti_contract::{ContentSpec, KindSpec};
use std::sync::Arc;

/// For each kind, the first kind that it shares tables with. That kind's vocabulary becomes the largest of all that share it,
/// because each may have added special ids.
pub(super) fn shared_tables(
    tasks: &[TaskSpec],
    kinds: &mut [KindSpec],
) -> Result<Vec<Option<usize>>, ModelError> {
    let mut share: Vec<Option<usize>> = vec![None; kinds.len()];
    for task in tasks {
        for (kind, other) in &task.shares {
            let place = |name: &str| kinds.iter().position(|kind| kind.name == *name);
            let within = |name: &str| place(&joined(&[&task.name, name]));
            let refuse = |problem| Err(ModelError::Task { task: task.name.clone(), problem });
            // The name of another task's part includes the task.
            let (Some(one), Some(two)) = (within(kind), within(other).or_else(|| place(other))) else {
                return refuse(format!("{kind} and {other} share tables; both must be kinds of the model"));
            };
            let owner = |place: usize| share[place].unwrap_or(place);
            let (first, last) = (owner(one).min(owner(two)), owner(one).max(owner(two)));
            let content = match (kinds[first].content, kinds[last].content) {
                (ContentSpec::Ids { vocabulary: a }, ContentSpec::Ids { vocabulary: b }) => {
                    ContentSpec::Ids { vocabulary: a.max(b) }
                }
                (a, b) if a == b => a,
                _ => {
                    return refuse(format!(
                        "{kind} cannot share the tables of {other}: their tokens differ in type or width"
                    ));
                }
            };
            if first == last {
                continue;
            }
            kinds[first].content = content;
            share.iter_mut().filter(|known| **known == Some(last)).for_each(|known| *known = Some(first));
            share[last] = Some(first);
        }
    }
    Ok(share)
}

/// Fails if a setting has no effect for these tasks.
pub(super) fn check_unused_settings(config: &ModelConfig, tasks: &[TaskSpec]) -> Result<(), ModelError> {
    let refuse = |setting, problem: &str| Err(ConfigError { setting, problem: problem.into() }.into());
    let mut streams = tasks.iter().flat_map(|task| &task.inputs).map(|(stream, _)| *stream);
    if config.n_encoder_layers > 0 && !streams.any(|stream| stream == Stream::Encoder) {
        return refuse(
            "n_encoder_layers",
            "no task has an input for the encoder (outputs with cross_attention = true put inputs there)",
        );
    }
    let mut heads = tasks.iter().flat_map(|task| &task.heads);
    if config.head.tie_embeddings && !heads.any(|head| head.head.is_vocabulary()) {
        return refuse(
            "head.tie_embeddings",
            "expected an output that predicts next or masked tokens; found none: set it to false",
        );
    }
    Ok(())
}

/// Fails if a layer of yours is for a kind, a block or an output that the model does not have.
pub(super) fn check_custom_layers(
    layers: &CustomLayers,
    config: &ModelConfig,
    tasks: &[TaskSpec],
    kinds: &[KindSpec],
) -> Result<(), ModelError> {
    let kinds: Vec<String> = kinds.iter().map(|kind| kind.name.clone()).collect();
    let outputs = tasks.iter().flat_map(|task| (0..task.heads.len()).map(|head| task.output_name(head)));
    match layers.unmatched(&kinds, config.n_layers, &outputs.collect::<Vec<_>>()) {
        Some(layer) => Err(ModelError::Layer { layer }),
        None => Ok(()),
    }
}

/// The model's kinds, and the layout of each task's tokens.
pub(super) fn lay_out(
    config: &ModelConfig,
    tasks: &[TaskSpec],
) -> Result<(Vec<KindSpec>, Vec<Layout>), ModelError> {
    let mut kinds: Vec<KindSpec> = Vec::new();
    let mut layouts = Vec::with_capacity(tasks.len());
    for task in tasks {
        let refuse = |problem: String| ModelError::Task { task: task.name.clone(), problem };
        if layouts.iter().any(|layout: &Layout| layout.task == task.name) {
            return Err(refuse("another task has the same name".into()));
        }
        let first = kinds.len();
        let mut inputs = Vec::new();
        for (place, (stream, input)) in task.inputs.iter().enumerate() {
            // Places are counted from 0 in each input: the places of two inputs would collide.
            if task.inputs[..place].iter().any(|(other, _)| other == stream) {
                return Err(refuse(format!("has two inputs for {stream:?}; merge their tokens into one")));
            }
            if *stream == Stream::Encoder && config.n_encoder_layers == 0 {
                return Err(refuse("has an input for the encoder; model.n_encoder_layers is 0".into()));
            }
            let mut numbered = Vec::new();
            for kind in input {
                let mut named = kind.clone();
                named.name = joined(&[&task.name, &kind.name]);
                if kinds[first..].iter().any(|other| other.name == named.name) {
                    return Err(refuse(format!("has two kinds named {}", kind.name)));
                }
                check_sizes(kind).map_err(refuse)?;
                numbered.push((kinds.len(), kind.clone()));
                kinds.push(named);
            }
            inputs.push((*stream, numbered));
        }
        let heads = lay_out_heads(task, &inputs).map_err(refuse)?;
        layouts.push(Layout { task: task.name.clone(), inputs, heads });
    }
    Ok((kinds, layouts))
}

/// Most ids, features, positions or time steps of a kind of token, and most columns of a head.
const MOST_SIZE: usize = u32::MAX as usize;

/// Most numbers in a vector of a codebook.
const MOST_CODE_DIM: usize = 1 << 16;

/// Checks the sizes of a kind of token, which come from its tokenizer.
fn check_sizes(kind: &KindSpec) -> Result<(), String> {
    let content = match kind.content {
        ContentSpec::Ids { vocabulary } => ("ids", vocabulary),
        ContentSpec::Features { dim } => ("features", dim),
    };
    let axes = kind.axes.iter().map(|axis| (axis.name.as_str(), axis.size));
    let sizes = axes.chain([content, ("time steps", kind.time_steps.unwrap_or(0))]);
    match sizes.into_iter().find(|(_, size)| *size > MOST_SIZE) {
        Some((of, size)) => Err(format!("{}: {of}: expected at most {MOST_SIZE}; found {size}", kind.name)),
        None => Ok(()),
    }
}

/// The kind of token that each head of a task reads.
fn lay_out_heads(task: &TaskSpec, inputs: &Inputs) -> Result<Vec<HeadLayout>, String> {
    let main = || inputs.iter().filter(|(stream, _)| *stream == Stream::Main).flat_map(|(_, kinds)| kinds);
    let mut heads: Vec<HeadLayout> = Vec::with_capacity(task.heads.len());
    for HeadSpec { head, name, reads, pool, weight, .. } in &task.heads {
        let width = head.width();
        let called = if name.is_empty() { "its head".into() } else { format!("its head {name}") };
        if heads.iter().any(|other| other.name == *name) {
            return Err(format!("has two heads named {name:?}"));
        }
        if !(weight.is_finite() && *weight >= 0.0) {
            return Err(format!("the weight of {called}: expected 0 or more; found {weight}"));
        }
        if width > MOST_SIZE {
            return Err(format!("the width of {called}: expected at most {MOST_SIZE}; found {width}"));
        }
        let read = main().find(|(_, kind)| kind.name == *reads).map(|(number, _)| *number);
        let read =
            read.ok_or_else(|| format!("{called} reads {reads}, which is not a kind of its main input"))?;
        heads.push(HeadLayout { name: name.clone(), reads: read, pool: *pool });
    }
    Ok(heads)
}

/// The kinds of the main stream whose tokens are codes.
pub(super) fn coded_kinds(tasks: &[TaskSpec], layouts: &[Layout]) -> Result<Vec<CodedKind>, ModelError> {
    let mut coded = vec![];
    for (task, layout) in tasks.iter().zip(layouts) {
        for (spec, read) in task.heads.iter().zip(&layout.heads) {
            let Some(codebook) = spec.head.codebook() else { continue };
            if codebook.dim > MOST_CODE_DIM {
                let (task, found) = (task.name.clone(), codebook.dim);
                let problem = format!(
                    "its head {}: codebook_dim: expected at most {MOST_CODE_DIM}; found {found}",
                    spec.name
                );
                return Err(ModelError::Task { task, problem });
            }
            let encoder = layout.inputs.iter().find(|(stream, _)| *stream == Stream::Encoder);
            let Some([(source, _)]) = encoder.map(|(_, kinds)| &kinds[..]) else {
                let problem =
                    format!("its head {} has a codebook, which reads one kind of the encoder", spec.name);
                return Err(ModelError::Task { task: task.name.clone(), problem });
            };
            coded.push(CodedKind { kind: read.reads, source: *source, codebook });
        }
    }
    Ok(coded)
}

/// Whether any token of the main stream attends to the encoder's output.
pub(super) fn has_cross_attention(rules: &[Arc<AttentionRules>], layouts: &[Layout]) -> bool {
    let of = |wanted: Stream| {
        let inputs = layouts.iter().flat_map(|layout| &layout.inputs);
        inputs.filter(move |(stream, _)| *stream == wanted).flat_map(|(_, kinds)| kinds)
    };
    let attends = |table: &AttentionRules, query: usize| {
        of(Stream::Encoder).any(|(key, _)| *table.get(query, *key) != Rule::Never)
    };
    rules.iter().any(|table| of(Stream::Main).any(|(query, _)| attends(table, *query)))
}

/// For each input: its stream, and the number and bounds of each of its kinds.
type Inputs = [(Stream, Vec<(usize, KindSpec)>)];

/// The rules of all tasks, with the configured replacements: one table, or one for each layer.
pub(super) fn rules_by_layer(
    config: &ModelConfig,
    tasks: &[TaskSpec],
    kinds: &[KindSpec],
) -> Result<Vec<Arc<AttentionRules>>, ModelError> {
    let mut base = AttentionRules::never(kinds.iter().map(|kind| kind.name.clone()));
    for task in tasks {
        for (query, key, rule) in &task.rules {
            base.set(&joined(&[&task.name, query]), &joined(&[&task.name, key]), rule.clone())?;
        }
    }
    let (some_layers, all_layers): (Vec<_>, Vec<_>) =
        config.attention.rules.iter().partition(|r| !r.layers.is_empty());
    let replace = |rules: &mut AttentionRules, replaced: &[&LayerRule]| {
        replaced.iter().try_for_each(|r| rules.set(&r.query, &r.key, r.rule.clone()))
    };
    replace(&mut base, &all_layers)?;
    let n_tables = if some_layers.is_empty() { 1 } else { config.n_layers.max(config.n_encoder_layers) };
    let mut tables = Vec::with_capacity(n_tables);
    for layer in 0..n_tables {
        let mut rules = base.clone();
        let here: Vec<_> = some_layers.iter().copied().filter(|r| r.layers.contains(&layer)).collect();
        replace(&mut rules, &here)?;
        comparable_axes(&rules, kinds)?;
        tables.push(Arc::new(rules));
    }
    Ok(tables)
}

/// `near` compares positions axis by axis, so both kinds must have the same axes.
fn comparable_axes(rules: &AttentionRules, kinds: &[KindSpec]) -> Result<(), RuleError> {
    let names = |kind: &KindSpec| kind.axes.iter().map(|a| a.name.as_str()).collect::<Vec<_>>().join(", ");
    for (q, query) in kinds.iter().enumerate() {
        for (k, key) in kinds.iter().enumerate() {
            if let Some(radius) = rules.get(q, k).compares_positions() {
                let (query_axes, key_axes) = (names(query), names(key));
                let too_many = query.axes.len() > MAX_AXES;
                if query_axes != key_axes || query_axes.is_empty() || too_many {
                    let (query, key) = (query.name.clone(), key.name.clone());
                    return Err(RuleError::Axes { radius, query, query_axes, key, key_axes });
                }
            }
        }
    }
    Ok(())
}
