//! Attention rules as figures, on an example document of a few tokens of each kind.

use crate::data::{Layout, Stream};
use crate::model::Model;
use crate::rules::{AttentionRules, MAX_AXES, Rule, TokenMeta};
use serde::Serialize;
use smalti_contract::{ContentSpec, KindSpec};
use std::fmt;

/// The attention mask of one task, in layers with the same rules.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RulesFigure {
    /// The task's name.
    pub task: String,
    /// The attention: self-attention, encoder self-attention or cross-attention.
    pub attention: &'static str,
    /// The layers of the transformer or of the encoder, counted from 0.
    pub layers: Vec<usize>,
    /// The number of layers of the transformer or of the encoder.
    pub of_layers: usize,
    /// A symbol for each query token; rows of the figure.
    pub queries: String,
    /// A symbol for each key token; columns of the figure.
    pub keys: String,
    /// A row for each query: `x` if it attends to the key, else `.`.
    pub mask: Vec<String>,
    /// The symbols and their kinds.
    pub legend: Vec<(char, String)>,
    /// For each pair of kinds with attention: query, key and rule.
    pub rules: Vec<(String, String, String)>,
}

/// Kinds with their numbers in the model and their names in the task.
type Kinds = [(usize, KindSpec)];

/// The figures of all tasks of a model: one for each attention and, if layers differ, for each rule set.
pub fn figures(model: &Model) -> Vec<RulesFigure> {
    let (n_layers, n_encoder_layers) = (model.config().n_layers, model.config().n_encoder_layers);
    let mut figures = Vec::new();
    for layout in model.layouts() {
        let (main, encoder) = (kinds_of(layout, Stream::Main), kinds_of(layout, Stream::Encoder));
        let attentions = [
            ("encoder self-attention", &encoder, &encoder, n_encoder_layers),
            ("self-attention", &main, &main, n_layers),
            ("cross-attention", &main, &encoder, n_layers),
        ];
        for (attention, queries, keys, of_layers) in attentions {
            if !queries.is_empty() && !keys.is_empty() {
                figures.extend(of_attention(model, &layout.task, attention, queries, keys, of_layers));
            }
        }
    }
    figures
}

fn kinds_of(layout: &Layout, stream: Stream) -> Vec<(usize, KindSpec)> {
    let inputs = layout.inputs.iter().filter(|(of, _)| *of == stream);
    inputs.flat_map(|(_, kinds)| kinds).cloned().collect()
}

fn of_attention(
    model: &Model,
    task: &str,
    attention: &'static str,
    queries: &Kinds,
    keys: &Kinds,
    of_layers: usize,
) -> Vec<RulesFigure> {
    let (query_tokens, key_tokens) = (example(queries), example(keys));
    let legend = legend(queries, keys);
    let mut figures: Vec<RulesFigure> = Vec::new();
    for layer in 0..of_layers {
        let rules = rules_between(model.rules(layer), queries, keys);
        // Layers are grouped by rules, not by masks: `near(4096)` and `all` have the same mask on a few tokens.
        if let Some(known) = figures.iter_mut().find(|figure| figure.rules == rules) {
            known.layers.push(layer);
            continue;
        }
        let drawn = model.rules(layer).draw_cross(&query_tokens, &key_tokens);
        figures.push(RulesFigure {
            task: task.into(),
            attention,
            layers: vec![layer],
            of_layers,
            queries: symbols(&query_tokens, queries, &legend),
            keys: symbols(&key_tokens, keys, &legend),
            mask: drawn.lines().map(str::to_string).collect(),
            legend: legend.clone(),
            rules,
        });
    }
    figures
}

fn rules_between(rules: &AttentionRules, queries: &Kinds, keys: &Kinds) -> Vec<(String, String, String)> {
    let pairs = queries.iter().flat_map(|query| keys.iter().map(move |key| (query, key)));
    let attending = pairs.filter(|(query, key)| *rules.get(query.0, key.0) != Rule::Never);
    attending.map(|(q, k)| (q.1.name.clone(), k.1.name.clone(), rules.get(q.0, k.0).to_string())).collect()
}

/// A letter of its name for each kind, or a digit if all its letters are taken.
fn legend(queries: &Kinds, keys: &Kinds) -> Vec<(char, String)> {
    let mut legend: Vec<(char, String)> = Vec::new();
    for (_, kind) in queries.iter().chain(keys) {
        if legend.iter().any(|(_, known)| *known == kind.name) {
            continue;
        }
        let free = |symbol: &char| !legend.iter().any(|(taken, _)| taken == symbol);
        let symbol = kind.name.chars().chain('0'..='9').find(free).unwrap_or('?');
        legend.push((symbol, kind.name.clone()));
    }
    legend
}

fn symbols(tokens: &TokenMeta, kinds: &Kinds, legend: &[(char, String)]) -> String {
    let symbol = |number: &u32| {
        let (_, kind) = kinds.iter().find(|(known, _)| *known == *number as usize)?;
        legend.iter().find(|(_, name)| *name == kind.name).map(|(symbol, _)| *symbol)
    };
    tokens.kind.iter().map(|number| symbol(number).unwrap_or('?')).collect()
}

/// Time steps of the example document.
const STEPS: u32 = 3;
/// Tokens of a kind in the example document, alone and with other kinds.
const ALONE: usize = 8;
const WITH_OTHERS: usize = 4;
/// Rows and columns of a grid in the example document.
const SIDE: u32 = 3;

/// A small document of these kinds. Several kinds with time steps are interleaved, like return, state and action; the tokens
/// of all others follow kind by kind, like patches and a class token.
fn example(kinds: &Kinds) -> TokenMeta {
    let several = kinds.iter().filter(|(_, kind)| kind.time_steps.is_some()).count() > 1;
    let (interleaved, in_sequence): (Vec<_>, Vec<_>) =
        kinds.iter().partition(|(_, kind)| several && kind.time_steps.is_some());
    let mut example = TokenMeta::default();
    for step in 0..if interleaved.is_empty() { 0 } else { STEPS } {
        for (number, kind) in &interleaved {
            let elements = kind.axes.first().map_or(1, |axis| axis.size.min(SIDE as usize)) as u32;
            (0..elements).for_each(|element| push(&mut example, *number, step, [element, 0]));
        }
    }
    let mut time = if interleaved.is_empty() { 0 } else { STEPS };
    for (number, kind) in in_sequence {
        for positions in places(kind, if kinds.len() == 1 { ALONE } else { WITH_OTHERS }) {
            push(&mut example, *number, time, positions);
            time += 1;
        }
    }
    example.documents = std::iter::once(0..example.len()).collect();
    example
}

/// The positions of up to `n` tokens of a kind, or of a small grid of them.
fn places(kind: &KindSpec, n: usize) -> Vec<[u32; MAX_AXES]> {
    let up_to = |n: usize, size: usize| 0..n.min(size) as u32;
    match (&kind.axes[..], kind.content) {
        ([rows, columns, ..], _) => {
            let row = |row| up_to(SIDE as usize, columns.size).map(move |column| [row, column]);
            up_to(SIDE as usize, rows.size).flat_map(row).collect()
        }
        ([axis], _) => up_to(n, axis.size).map(|index| [index, 0]).collect(),
        // Without an axis or time, only ids distinguish tokens: class tokens, registers.
        ([], ContentSpec::Ids { vocabulary }) if kind.time_steps.is_none() => vec![[0, 0]; n.min(vocabulary)],
        ([], _) => vec![[0, 0]; n],
    }
}

fn push(tokens: &mut TokenMeta, kind: usize, time: u32, positions: [u32; MAX_AXES]) {
    tokens.document.push(0);
    tokens.order.push(tokens.kind.len() as u32);
    tokens.kind.push(kind as u32);
    tokens.time.push(time);
    tokens.positions.push(positions);
}

impl RulesFigure {
    /// Task, attention and layers, on one line.
    pub fn title(&self) -> String {
        let layers: Vec<String> = self.layers.iter().map(usize::to_string).collect();
        let layers = match self.layers.len() {
            all if all == self.of_layers => "every layer".to_string(),
            1 => format!("layer {}", layers.join("")),
            _ => format!("layers {}", layers.join(", ")),
        };
        let task = if self.task.is_empty() { String::new() } else { format!("{}: ", self.task) };
        format!("{task}{}, {layers}", self.attention)
    }

    /// The legend and the rules, one line each.
    pub(super) fn notes(&self) -> Vec<String> {
        let legend: Vec<String> =
            self.legend.iter().map(|(symbol, kind)| format!("{symbol} = {kind}")).collect();
        let mut notes = vec![legend.join(", ")];
        // Keys that a kind attends to under one rule share a line.
        let mut done = Vec::new();
        for (query, _, rule) in &self.rules {
            if done.contains(&(query, rule)) {
                continue;
            }
            done.push((query, rule));
            let same = self.rules.iter().filter(|(q, _, r)| (q, r) == (query, rule));
            let keys: Vec<&str> = same.map(|(_, key, _)| key.as_str()).collect();
            notes.push(format!("{query} attends to {}: {rule}", keys.join(", ")));
        }
        notes
    }
}

impl fmt::Display for RulesFigure {
    /// Title, figure with its symbols, legend and rules.
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        writeln!(f, "{}\n\n      {}", self.title(), self.keys)?;
        for (query, row) in self.queries.chars().zip(&self.mask) {
            writeln!(f, "    {query} {row}")?;
        }
        writeln!(f)?;
        self.notes().iter().try_for_each(|note| writeln!(f, "    {note}"))
    }
}

#[cfg(test)]
mod tests;
