//! Embedder → transformer → heads: one model for all of its tasks.
//!
//! [`Block`] is norm → mixer (attention, or a layer in its place) → MLP; [`Transformer`] is a sequence of blocks; [`Model`]
//! embeds a packed batch, runs the encoder and the main transformer over it, and computes the heads' outputs from the rows that
//! they read. A [`ForwardPlan`] prepares masks, rotary angles, dropout and these rows once for each forward pass.

mod assemble;
mod attention;
mod attention_weights;
mod block;
mod cache;
mod candle;
mod codes;
mod config;
mod dropout;
mod embedding;
mod error;
mod experts;
mod forward;
mod head;
mod layer;
mod linear;
mod mixer;
mod mlp;
mod norm;
mod outline;
mod params;
mod plan;
mod pool;
mod residual;
mod rotary;
mod routing;
mod saved;
mod step;
mod transformer;
mod unused;
mod weight;

pub use attention::Attention;
pub use attention_weights::{AttentionPlace, AttentionRecorder, AttentionWeights, LayerWeights};
pub use block::Block;
pub use cache::{Cache, GrowingRows, LayerCache, MixerCache};
pub use candle::CandleLayer;
pub use config::{
    AttentionConfig, ConfigError, EmbeddingConfig, EncoderConfig, ExpertLayers, HeadConfig, LayerRule,
    LinearAttentionConfig, MOST_LAYERS, MemoryConfig, MixerConfig, MlpConfig, ModelConfig, NormKind,
    NormPlacement, PixelConvolution, Positions, RelativePositions, Rotary, RotaryOfLayers, StateSpaceConfig,
    Stem, Sublayers,
};
pub use dropout::Dropout;
pub use embedding::{CodedKind, Embedder, Quantized};
pub use error::ModelError;
pub use experts::Experts;
pub use forward::HeadLoss;
use forward::Pass;
pub use head::HeadLayer;
pub use layer::{CustomLayers, Layer};
pub use linear::{Linear, init_std};
pub use mixer::{LinearAttention, StateSpace};
pub use mlp::{BlockMlp, Mlp};
pub use norm::Norm;
pub use outline::Outline;
pub use params::{Params, Scope};
pub use plan::{CrossAttentionPlan, EncoderOutput, ForwardPlan, LayerPlan};
pub use pool::AttentionPool;
pub use residual::Residual;
pub use rotary::RotaryAngles;
pub use routing::{LayerLoad, Routing};
pub use saved::SavedTensors;
pub use transformer::{StackRole, Transformer};
pub use weight::{QuantizedParameter, Weight};

use crate::data::Layout;
use crate::ops::Value;
use crate::rules::AttentionRules;
use crate::task::TaskSpec;
use candle_core::{DType, Device, Tensor};
use rotary::LayerRotary;
use smalti_contract::KindSpec;
use std::ops::Range;
use std::sync::Arc;

/// A model of one or several tasks: its parameters, and the computation of losses and outputs.
pub struct Model {
    config: ModelConfig,
    tasks: Vec<TaskSpec>,
    kinds: Vec<KindSpec>,
    layouts: Vec<Layout>,
    /// One table for each layer, or one for all.
    rules: Vec<Arc<AttentionRules>>,
    /// The rules of the memory, if a layer has one.
    memory_rules: Option<Arc<AttentionRules>>,
    rotary: LayerRotary,
    params: Params,
    embedder: Embedder,
    /// The kinds whose tokens are codes.
    coded: Vec<CodedKind>,
    encoder: Option<Transformer>,
    /// Whether the main transformer attends to the encoder's output.
    cross_attention: bool,
    transformer: Transformer,
    /// The heads of each task, by number.
    heads: Vec<Vec<HeadLayer>>,
    /// The type of activations.
    dtype: DType,
}

impl Model {
    /// A model for these tasks with parameters initialized from `seed`.
    ///
    /// # Errors
    /// [`ModelError`] for settings, rules or tasks that do not fit together.
    pub fn new(
        config: &ModelConfig,
        tasks: &[TaskSpec],
        seed: u64,
        device: &Device,
    ) -> Result<Self, ModelError> {
        Self::with_params(config, tasks, Params::new(seed, device))
    }

    /// A model for these tasks whose parameters are created in `params`, which must be empty.
    ///
    /// # Errors
    /// As for [`new`](Self::new), and if a pattern of frozen parameters matches none.
    pub fn with_params(config: &ModelConfig, tasks: &[TaskSpec], params: Params) -> Result<Self, ModelError> {
        Self::with_layers(config, tasks, params, &CustomLayers::default())
    }

    /// As [`with_params`](Self::with_params), with layers of your own.
    ///
    /// # Errors
    /// As for [`with_params`](Self::with_params), and if a layer is for a kind, a block or an output that the model does not have.
    pub fn with_layers(
        config: &ModelConfig,
        tasks: &[TaskSpec],
        mut params: Params,
        layers: &CustomLayers,
    ) -> Result<Self, ModelError> {
        config.validate()?;
        let device = &params.device().clone();
        let (mut kinds, layouts) = assemble::lay_out(config, tasks)?;
        assemble::check_unused_settings(config, tasks)?;
        let rules = assemble::rules_by_layer(config, tasks, &kinds)?;
        mixer::check_rules(config, &layouts, &rules)?;
        let share = assemble::shared_tables(tasks, &mut kinds)?;
        let coded = assemble::coded_kinds(tasks, &layouts)?;
        let embedder = Embedder::new(
            params.root().at("embed").in_f32(),
            config,
            &kinds,
            &share,
            &coded,
            layers,
            device,
        )?;
        assemble::check_custom_layers(layers, config, tasks, &kinds)?;
        let encoder = match config.n_encoder_layers {
            0 => None,
            _ => {
                let none = CustomLayers::default();
                Some(Transformer::new(params.root().at("encoder"), config, StackRole::Encoder, &none)?)
            }
        };
        let cross_attention = encoder.is_some() && assemble::has_cross_attention(&rules, &layouts);
        let role = StackRole::Main { cross_attention };
        let transformer = Transformer::new(params.root().at("stack"), config, role, layers)?;
        let heads = head::heads(&mut params, config, tasks, &layouts, &embedder, layers)?;
        if let Some(pattern) = params.unmatched() {
            return Err(ModelError::Frozen { pattern: pattern.into() });
        }
        let of_layer = |layer: usize| rules[layer.min(rules.len() - 1)].without_near();
        Ok(Self {
            memory_rules: config.memory.map(|memory| Arc::new(of_layer(memory.layer))),
            config: config.clone(),
            tasks: tasks.to_vec(),
            kinds,
            layouts,
            rules,
            rotary: LayerRotary::new(config),
            params,
            embedder,
            coded,
            encoder,
            cross_attention,
            transformer,
            heads,
            dtype: DType::F32,
        })
    }

    /// The kinds of token of a model for these tasks, by number; as [`kinds`](Self::kinds), without the model.
    ///
    /// # Errors
    /// [`ModelError::Task`] for tasks that do not fit together.
    pub fn kinds_of(config: &ModelConfig, tasks: &[TaskSpec]) -> Result<Vec<KindSpec>, ModelError> {
        let (mut kinds, _) = assemble::lay_out(config, tasks)?;
        assemble::shared_tables(tasks, &mut kinds)?;
        Ok(kinds)
    }

    /// Sets the type of activations: `f32` (default) or `bf16`. Outputs and losses stay `f32`.
    pub fn compute_in(&mut self, dtype: DType) {
        self.dtype = dtype;
    }

    /// Turns activation checkpointing on or off: each block keeps only its input and computes its activations again in the
    /// backward pass. Saves memory, takes time, and gives the same bits.
    pub fn checkpoint_activations(&mut self, on: bool) {
        self.transformer.checkpoint_activations(on);
        self.encoder.iter_mut().for_each(|encoder| encoder.checkpoint_activations(on));
    }

    /// The settings that the model was built from.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// The tasks, by number.
    pub fn tasks(&self) -> &[TaskSpec] {
        &self.tasks
    }

    /// The kinds of token, by number, named `task.kind`, or `kind` for a task without a name.
    pub fn kinds(&self) -> &[KindSpec] {
        &self.kinds
    }

    /// The layout of each task's tokens, for [`collate`](crate::data::collate).
    pub fn layouts(&self) -> &[Layout] {
        &self.layouts
    }

    /// The attention rules of a layer.
    pub fn rules(&self, layer: usize) -> &AttentionRules {
        &self.rules[layer.min(self.rules.len() - 1)]
    }

    /// The places of the parameters that embed a kind of token, which kinds that share them have in common.
    pub(crate) fn embedding_parameters(&self, kind: usize) -> Range<usize> {
        self.embedder.parameters(kind)
    }

    /// The learned vector of each place of a kind of token, `[places, d_model]`, the last axis running fastest; `None` for a kind
    /// whose positions are not learned.
    ///
    /// # Errors
    /// If an operation fails.
    pub fn positions(&self, kind: usize) -> candle_core::Result<Option<Tensor>> {
        self.embedder.positions(kind)
    }

    /// The vector of each id of a kind of token, `[vocabulary, d_model]`; `None` for a kind whose tokens are not ids of a table.
    pub fn token_embeddings(&self, kind: usize) -> Option<&Tensor> {
        self.embedder.table(kind).map(Value::tensor)
    }

    /// The type embedding of each kind of token, `[n_kinds, d_model]`; `None` for a model without them.
    pub fn type_embeddings(&self) -> Option<&Tensor> {
        self.embedder.types().map(Value::tensor)
    }

    /// Head `head` of task `task`.
    pub fn head(&self, task: usize, head: usize) -> &HeadLayer {
        &self.heads[task][head]
    }

    /// The parameters.
    pub fn params(&self) -> &Params {
        &self.params
    }

    /// The device of the parameters, on which the model computes.
    pub fn device(&self) -> &Device {
        self.params.device()
    }
}
