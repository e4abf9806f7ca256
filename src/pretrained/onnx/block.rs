//! The blocks of a transformer: norm → attention → MLP, each added to the residual stream, as
//! [`Block`](crate::model::Block) computes them.

use super::builder::{Builder, Name};
use super::proto::Attribute;
use crate::model::{ModelConfig, NormKind, NormPlacement, Rotary, Sublayers};
use crate::ops::Heads;
use candle_core::Result;

/// What all blocks share.
pub struct Stack<'a> {
    pub config: &'a ModelConfig,
    /// The place of each token in the document, `[n]`.
    pub places: Name,
    /// The most tokens of a document.
    pub most: usize,
    /// `[n, n]`: whether a token attends to another, of a causal layer.
    pub mask: Option<Name>,
    /// For each layer, whether it is causal.
    pub causal: Vec<bool>,
}

impl Stack<'_> {
    /// All blocks and the norm after them: `[n, d_model]` → the same shape.
    ///
    /// # Errors
    /// If the model lacks a parameter.
    pub fn forward(&self, graph: &mut Builder, x: &str) -> Result<Name> {
        let mut x = x.to_string();
        for layer in 0..self.config.n_layers {
            x = self.block(graph, &x, layer)?;
        }
        match self.config.norm_placement {
            NormPlacement::Pre | NormPlacement::Both => norm(graph, self.config, &x, "stack.norm"),
            NormPlacement::Post => Ok(x),
        }
    }

    fn block(&self, graph: &mut Builder, x: &str, layer: usize) -> Result<Name> {
        let name = format!("stack.blocks.{layer}");
        let has_norm = layer > 0 || self.config.first_norm;
        let normed = self.pre_norm(graph, x, &format!("{name}.attention"), has_norm)?;
        let attended = self.attention(graph, &normed, layer)?;
        let sum = self.residual(graph, (x, &attended), &format!("{name}.attention"), has_norm)?;
        let mlp = format!("{name}.mlp");
        let (input, has_norm) = match self.config.sublayers {
            Sublayers::AttentionOnly => return Ok(sum),
            Sublayers::Sequential => (self.pre_norm(graph, &sum, &mlp, true)?, true),
            Sublayers::Parallel => (self.pre_norm(graph, x, &mlp, true)?, true),
            Sublayers::OneNorm => (normed, false),
        };
        let output = self.mlp(graph, &input, &mlp)?;
        self.residual(graph, (&sum, &output), &mlp, has_norm)
    }

    fn pre_norm(&self, graph: &mut Builder, x: &str, name: &str, has_norm: bool) -> Result<Name> {
        match self.config.norm_placement {
            NormPlacement::Pre | NormPlacement::Both if has_norm => {
                norm(graph, self.config, x, &format!("{name}_norm"))
            }
            _ => Ok(x.into()),
        }
    }

    /// The residual stream x after a sublayer with the output y.
    fn residual(
        &self,
        graph: &mut Builder,
        (x, y): (&str, &str),
        name: &str,
        has_norm: bool,
    ) -> Result<Name> {
        let mut y = y.to_string();
        let placement = self.config.norm_placement;
        if has_norm && placement == NormPlacement::Both {
            y = norm(graph, self.config, &y, &format!("{name}_output_norm"))?;
        }
        if let Some(scale) = graph.parameter(&format!("{name}_scale.weight"))? {
            y = graph.node("Mul", &[&y, &scale]);
        }
        let sum = graph.node("Add", &[x, &y]);
        match has_norm && placement == NormPlacement::Post {
            true => norm(graph, self.config, &sum, &format!("{name}_norm")),
            false => Ok(sum),
        }
    }

    fn mlp(&self, graph: &mut Builder, x: &str, name: &str) -> Result<Name> {
        let inner = graph.linear(x, &format!("{name}.inner"))?;
        let mut hidden = graph.activation(&inner, self.config.mlp.activation);
        if self.config.mlp.gated {
            let gated = graph.linear(x, &format!("{name}.gated"))?;
            hidden = graph.node("Mul", &[&hidden, &gated]);
        }
        graph.linear(&hidden, &format!("{name}.outer"))
    }

    /// Multi-head attention of all tokens to all, or to those before them: `[n, d_model]` → the same shape.
    fn attention(&self, graph: &mut Builder, x: &str, layer: usize) -> Result<Name> {
        let name = format!("stack.blocks.{layer}.attention");
        let Heads { n_heads, n_kv_heads, scale, soft_cap } = self.config.heads(layer);
        let (heads, kv_heads, d_head) = (n_heads as i64, n_kv_heads as i64, self.config.d_head() as i64);
        let query = graph.linear(x, &format!("{name}.query"))?;
        let key_value = graph.linear(x, &format!("{name}.key_value"))?;
        let key = graph.slice(&key_value, 1, 0, kv_heads * d_head);
        let value = graph.slice(&key_value, 1, kv_heads * d_head, 2 * kv_heads * d_head);
        let mut query = graph.reshape(&query, &[0, heads, d_head]);
        let mut key = graph.reshape(&key, &[0, kv_heads, d_head]);
        if self.config.attention.qk_norm {
            query = norm(graph, self.config, &query, &format!("{name}.query_norm"))?;
            key = norm(graph, self.config, &key, &format!("{name}.key_norm"))?;
        }
        if let Some(rotary) = self.config.rotary(layer) {
            query = self.rotated(graph, &query, &rotary);
            key = self.rotated(graph, &key, &rotary);
        }
        // [kv_heads, group, n, d_head]·[kv_heads, 1, d_head, n]: each group of queries has one head of keys.
        let query = graph.reshape(&query, &[0, kv_heads, heads / kv_heads.max(1), d_head]);
        let query = graph.transposed(&query, &[1, 2, 0, 3]);
        let key = graph.reshape(&key, &[0, kv_heads, 1, d_head]);
        let key = graph.transposed(&key, &[1, 2, 3, 0]);
        let value = graph.reshape(&value, &[0, kv_heads, 1, d_head]);
        let value = graph.transposed(&value, &[1, 2, 0, 3]);
        let scores = graph.node("MatMul", &[&query, &key]);
        let mut scores = graph.scaled(&scores, f64::from(scale));
        if let Some(cap) = soft_cap {
            scores = bounded(graph, &scores, f64::from(cap));
        }
        if let Some(mask) = self.mask.as_ref().filter(|_| self.causal[layer]) {
            let never = graph.number(f64::from(f32::MIN));
            scores = graph.node("Where", &[mask, &scores, &never]);
        }
        let weights = graph.with("Softmax", &[&scores], &[Attribute::int("axis", -1)]);
        let attended = graph.node("MatMul", &[&weights, &value]);
        let attended = graph.transposed(&attended, &[2, 0, 1, 3]);
        let attended = graph.reshape(&attended, &[0, heads * d_head]);
        graph.linear(&attended, &format!("{name}.output"))
    }

    /// Heads `[n, heads, d_head]`, of which the first features are rotated in pairs (i, i + half).
    fn rotated(&self, graph: &mut Builder, x: &str, rotary: &Rotary) -> Name {
        let d_head = self.config.d_head();
        let width = if rotary.width == 0 { d_head } else { rotary.width };
        let half = width / 2;
        let places: Vec<u32> = (0..self.most as u32).collect();
        let angles = crate::ops::Angles::new(&places, width, rotary.base, rotary.scaling);
        let [cos, sin] = [angles.cos(), angles.sin()].map(|table| {
            let table = graph.floats(table, &[self.most, 1, half]);
            graph.with("Gather", &[&table, &self.places], &[Attribute::int("axis", 0)])
        });
        let first = graph.slice(x, 2, 0, half as i64);
        let second = graph.slice(x, 2, half as i64, 2 * half as i64);
        let rotate = |graph: &mut Builder, a: &str, b: &str, op: &str| {
            let (a, b) = (graph.node("Mul", &[a, &cos]), graph.node("Mul", &[b, &sin]));
            graph.node(op, &[&a, &b])
        };
        let mut parts = vec![rotate(graph, &first, &second, "Sub"), rotate(graph, &second, &first, "Add")];
        if 2 * half < d_head {
            parts.push(graph.slice(x, 2, 2 * half as i64, d_head as i64));
        }
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        graph.concat(&parts, 2)
    }
}

/// c·tanh(x/c).
pub fn bounded(graph: &mut Builder, x: &str, cap: f64) -> Name {
    let scaled = graph.scaled(x, 1.0 / cap);
    let tanh = graph.node("Tanh", &[&scaled]);
    graph.scaled(&tanh, cap)
}

/// The norm `NAME` over the last axis.
///
/// # Errors
/// If the model has no such norm.
pub fn norm(graph: &mut Builder, config: &ModelConfig, x: &str, name: &str) -> Result<Name> {
    if config.norm == NormKind::None {
        return Ok(x.into());
    }
    let weight = graph.required(&format!("{name}.weight"))?;
    let last = Attribute::int("axis", -1);
    if config.norm == NormKind::Layer {
        let bias = graph.parameter(&format!("{name}.bias"))?;
        let inputs: Vec<&str> =
            [Some(x), Some(weight.as_str()), bias.as_deref()].into_iter().flatten().collect();
        return Ok(graph.with(
            "LayerNormalization",
            &inputs,
            &[last, Attribute::float("epsilon", config.norm_eps)],
        ));
    }
    let square = graph.node("Mul", &[x, x]);
    let mean = graph.with("ReduceMean", &[&square], &[Attribute::ints("axes", &[-1])]);
    let eps = graph.number(config.norm_eps);
    let sum = graph.node("Add", &[&mean, &eps]);
    let root = graph.node("Sqrt", &[&sum]);
    let normed = graph.node("Div", &[x, &root]);
    Ok(graph.node("Mul", &[&normed, &weight]))
}
