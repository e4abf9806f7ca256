//! Attention weights: how strongly each token attends to each token, in every layer and head.

use super::config::{MixerConfig, ModelConfig};
use super::{Model, Pass};
use crate::data::{Batch, Stream};
use crate::ops::without_gradients;
use candle_core::{Result, Tensor};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// The attention weights of a batch.
#[derive(Clone, Debug, Default)]
pub struct AttentionWeights {
    /// The weights by layer: those of the encoder, then those of the main transformer, first of self-attention, then of
    /// cross-attention.
    pub layers: Vec<LayerWeights>,
    /// The layers that have no attention weights, because their mixer is no softmax attention: `layer 2: linear attention`.
    pub left_out: Vec<String>,
}

/// The attention weights of one layer.
#[derive(Clone, Debug)]
pub struct LayerWeights {
    /// The layer's place.
    pub place: AttentionPlace,
    /// For each document `[n_heads, queries, keys]`; `None` for a document with more pairs of query and key than were to be
    /// recorded.
    pub documents: Vec<Option<Tensor>>,
}

/// The place of an attention in a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AttentionPlace {
    /// The stream of the queries.
    pub stream: Stream,
    /// Whether the keys are the encoder's output.
    pub cross: bool,
    /// The layer's number in its transformer.
    pub layer: usize,
}

impl AttentionWeights {
    /// The layers of self-attention of a stream, or of cross-attention.
    pub fn of(&self, stream: Stream, cross: bool) -> impl Iterator<Item = &LayerWeights> {
        self.layers.iter().filter(move |layer| (layer.place.stream, layer.place.cross) == (stream, cross))
    }
}

/// Records the attention weights of a forward pass.
#[derive(Clone, Debug)]
pub struct AttentionRecorder {
    stream: Stream,
    most_tokens: usize,
    recorded: Arc<Mutex<BTreeMap<AttentionPlace, Vec<Option<Tensor>>>>>,
}

impl AttentionRecorder {
    fn new(most_tokens: usize) -> Self {
        Self { stream: Stream::Main, most_tokens, recorded: Arc::default() }
    }

    /// The recorder of the encoder's layers.
    pub(super) fn of_encoder(&self) -> Self {
        Self { stream: Stream::Encoder, ..self.clone() }
    }

    /// The most pairs of query and key of a recorded document.
    pub(super) fn most_pairs(&self) -> usize {
        self.most_tokens.saturating_mul(self.most_tokens)
    }

    /// Keeps the weights of a layer's self-attention or cross-attention, one tensor for each document.
    pub(super) fn record(&self, layer: usize, cross: bool, weights: Vec<Option<Tensor>>) {
        let place = AttentionPlace { stream: self.stream, cross, layer };
        self.recorded.lock().unwrap_or_else(PoisonError::into_inner).insert(place, weights);
    }

    fn take(&self) -> Vec<LayerWeights> {
        let recorded = std::mem::take(&mut *self.recorded.lock().unwrap_or_else(PoisonError::into_inner));
        recorded.into_iter().map(|(place, documents)| LayerWeights { place, documents }).collect()
    }
}

impl Model {
    /// The weights of self-attention and cross-attention in each document of a batch, as the reference operation computes them.
    /// A layer leaves out a document with more than `most_tokens`² pairs of query and key, so that memory is bounded. Keys that a
    /// layer's memory retrieves have no weights.
    ///
    /// # Errors
    /// If an operation fails.
    pub fn attention_weights(&self, batch: &Batch, most_tokens: usize) -> Result<AttentionWeights> {
        let recorder = AttentionRecorder::new(most_tokens);
        let pass = Pass { attention_weights: Some(recorder.clone()), ..Pass::default() };
        without_gradients(|| self.hidden(batch, None, &pass))?;
        let has_encoder = batch.encoder.is_some();
        Ok(AttentionWeights {
            layers: recorder.take(),
            left_out: without_attention(&self.config, has_encoder),
        })
    }
}

/// The layers whose mixer is no softmax attention, by name.
fn without_attention(config: &ModelConfig, has_encoder: bool) -> Vec<String> {
    let encoder = if has_encoder { config.n_encoder_layers } else { 0 };
    let stacks = [("encoder layer", encoder), ("layer", config.n_layers)];
    let layers = stacks.into_iter().flat_map(|(name, n)| (0..n).map(move |layer| (name, layer)));
    let named = layers.filter_map(|(name, layer)| {
        let mixer = match config.mixer(layer)? {
            MixerConfig::Linear(_) => "linear attention",
            MixerConfig::StateSpace(_) => "state-space layer",
        };
        Some(format!("{name} {layer}: {mixer}"))
    });
    named.collect()
}
