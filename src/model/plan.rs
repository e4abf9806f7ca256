//! The plan of one forward pass: masks, rotary angles, dropout, and the encoder's output.

use super::attention_weights::AttentionRecorder;
use super::dropout::Dropout;
use super::rotary::{LayerRotary, RotaryAngles};
use super::routing::Routing;
use crate::ops::{self, Span, Value};
use crate::rules::{AttentionMask, AttentionRules, Rule, TokenMeta};
use candle_core::Result;
use std::ops::Range;
use std::sync::Arc;

/// The plan of one forward pass through a transformer.
pub struct ForwardPlan {
    /// The plan of a layer that computes all tokens.
    all: Arc<LayerPlan>,
    /// The plan of the last layer, if heads read only some of the tokens.
    last: Option<Arc<LayerPlan>>,
}

/// The plan of one layer.
pub struct LayerPlan {
    /// All tokens of the pass.
    tokens: Arc<TokenMeta>,
    /// The rows that the layer computes, ascending; `None` for all.
    query_rows: Option<Vec<u32>>,
    /// Masks from those rows to all tokens: one for each layer, or one for all layers.
    masks: Vec<Arc<AttentionMask>>,
    /// The keys that the memory of a layer may have, if one has a memory.
    pub memory: Option<Arc<AttentionMask>>,
    /// The rotary angles.
    pub angles: RotaryAngles,
    /// Cross-attention, if there is an encoder.
    pub cross_attention: Option<CrossAttentionPlan>,
    /// The dropout of the rows that the layer computes, in training.
    pub dropout: Option<Dropout>,
    /// The routing to experts, in training.
    pub routing: Option<Arc<Routing>>,
    /// Records the attention weights of each layer, if they are wanted.
    pub attention_weights: Option<AttentionRecorder>,
}

/// The output of the encoder, and the metadata of its tokens.
#[derive(Clone)]
pub struct EncoderOutput {
    /// `[m, d_model]`.
    pub hidden: Value,
    /// Kind, document, order, time and position of each row. Documents with the same input share rows.
    pub tokens: Arc<TokenMeta>,
}

impl EncoderOutput {
    /// The output of documents of these numbers, which may repeat; all rows stay where they are.
    pub(super) fn select(&self, documents: &[usize]) -> Self {
        let rows = documents.iter().map(|&document| self.tokens.documents[document].clone()).collect();
        let tokens = TokenMeta { documents: rows, ..(*self.tokens).clone() };
        Self { hidden: self.hidden.clone(), tokens: Arc::new(tokens) }
    }
}

/// How the rows of a layer attend to the encoder's output.
pub struct CrossAttentionPlan {
    /// `[m, d_model]`.
    pub encoder_output: Value,
    /// The layer's rows that attend to it, those of documents with tokens in the encoder; `None` for all.
    pub query_rows: Option<Vec<u32>>,
    /// Masks from those rows to the encoder's tokens: one for each layer, or one for all layers.
    masks: Vec<Arc<AttentionMask>>,
    /// The dropout of those rows, in training.
    pub dropout: Option<Dropout>,
}

/// The inputs of a plan.
pub(super) struct PlanInputs<'a> {
    /// One table for each layer, or one for all.
    pub rules: &'a [Arc<AttentionRules>],
    /// The rules of the memory, if a layer has one.
    pub memory_rules: Option<&'a Arc<AttentionRules>>,
    /// The tokens of the pass.
    pub tokens: &'a Arc<TokenMeta>,
    /// The tokens that they attend to: the cached tokens, if any, and the tokens of the pass.
    pub keys: &'a Arc<TokenMeta>,
    /// The rows that heads read, ascending; `None` for all.
    pub read_rows: Option<&'a [u32]>,
    /// The encoder output that cross-attention attends to.
    pub encoder_output: Option<&'a EncoderOutput>,
    /// The settings of rotary positions.
    pub rotary: &'a LayerRotary,
    /// The dropout of all tokens, in training.
    pub dropout: Option<&'a Dropout>,
    /// The routing to experts, in training.
    pub routing: Option<&'a Arc<Routing>>,
    /// Records attention weights, if they are wanted.
    pub attention_weights: Option<&'a AttentionRecorder>,
}

impl ForwardPlan {
    pub(super) fn new(inputs: &PlanInputs) -> Self {
        let angles = inputs.rotary.angles(&inputs.tokens.order);
        let all = inputs.layer(None, &angles);
        let last = inputs.read_rows.map(|rows| Arc::new(inputs.layer(Some(rows), &angles)));
        Self { all: Arc::new(all), last }
    }

    /// The plan of a layer, which is the `last` or another one.
    pub fn layer(&self, last: bool) -> &Arc<LayerPlan> {
        self.last.as_ref().filter(|_| last).unwrap_or(&self.all)
    }
}

impl LayerPlan {
    /// The rows of `x` `[n_tokens, d_model]` that the layer computes.
    ///
    /// # Errors
    /// If a row is out of range.
    pub fn query_rows(&self, x: &Value) -> Result<Value> {
        self.query_rows.as_ref().map_or(Ok(x.clone()), |rows| ops::gather_rows(x, rows))
    }

    /// The range of each document's rows among those that the layer computes.
    pub fn documents(&self, layer: usize) -> &[Range<usize>] {
        &self.mask(layer).queries().documents
    }

    /// The mask of self-attention in a layer.
    pub fn mask(&self, layer: usize) -> &Arc<AttentionMask> {
        &self.masks[layer.min(self.masks.len() - 1)]
    }

    /// All tokens of the pass, of which the layer computes some.
    pub fn tokens(&self) -> &TokenMeta {
        &self.tokens
    }

    /// The rows of each document of the pass, for a layer in which all kinds of a document have one rule, all or causal.
    pub fn spans(&self, layer: usize) -> Vec<Span> {
        let rules = self.mask(layer).rules();
        let span = |rows: &Range<usize>| {
            let kind = self.tokens.kind.get(rows.start).map_or(0, |kind| *kind as usize);
            Span { rows: rows.clone(), causal: *rules.get(kind, kind) != Rule::ALL }
        };
        self.tokens.documents.iter().map(span).collect()
    }
}

impl CrossAttentionPlan {
    /// The mask of cross-attention in a layer.
    pub fn mask(&self, layer: usize) -> &Arc<AttentionMask> {
        &self.masks[layer.min(self.masks.len() - 1)]
    }
}

impl PlanInputs<'_> {
    /// The plan of a layer that computes `rows`, or all tokens.
    fn layer(&self, rows: Option<&[u32]>, angles: &RotaryAngles) -> LayerPlan {
        let queries = rows.map_or(self.tokens.clone(), |rows| Arc::new(self.tokens.take(rows)));
        let dropout = self.dropout.map(|dropout| rows.map_or(dropout.clone(), |rows| dropout.rows(rows)));
        LayerPlan {
            tokens: self.tokens.clone(),
            query_rows: rows.map(<[u32]>::to_vec),
            masks: self.masks(&queries, self.keys),
            memory: self
                .memory_rules
                .map(|rules| Arc::new(AttentionMask::new(rules.clone(), queries.clone(), self.keys.clone()))),
            angles: rows.map_or_else(|| angles.clone(), |rows| angles.of_rows(rows)),
            cross_attention: self
                .encoder_output
                .map(|encoder| self.cross_attention(encoder, &queries, dropout.as_ref())),
            dropout,
            routing: self.routing.cloned(),
            attention_weights: self.attention_weights.cloned(),
        }
    }

    fn cross_attention(
        &self,
        encoder: &EncoderOutput,
        queries: &Arc<TokenMeta>,
        dropout: Option<&Dropout>,
    ) -> CrossAttentionPlan {
        let encoder_output = encoder.hidden.clone();
        let is_encoded = |document: usize| !encoder.tokens.documents[document].is_empty();
        if (0..encoder.tokens.documents.len()).all(is_encoded) {
            let masks = self.masks(queries, &encoder.tokens);
            let dropout = dropout.cloned();
            return CrossAttentionPlan { encoder_output, query_rows: None, masks, dropout };
        }
        // A document without tokens in the encoder gets the same result as in a batch of its own.
        let (rows, queries) = queries.select(is_encoded);
        let dropout = dropout.map(|dropout| dropout.rows(&rows));
        let masks = self.masks(&Arc::new(queries), &encoder.tokens);
        CrossAttentionPlan { encoder_output, query_rows: Some(rows), masks, dropout }
    }

    fn masks(&self, queries: &Arc<TokenMeta>, keys: &Arc<TokenMeta>) -> Vec<Arc<AttentionMask>> {
        let mask = |rules: &Arc<AttentionRules>| {
            Arc::new(AttentionMask::new(rules.clone(), queries.clone(), keys.clone()))
        };
        self.rules.iter().map(mask).collect()
    }
}
