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

use crate::data::{Batch, HeadBatch, Layout, ReadRows, TokenBatch};
use crate::ops::cpu::awake::Awake;
use crate::ops::{self, Value, without_gradients};
use crate::random;
use crate::rules::AttentionRules;
use crate::task::TaskSpec;
use candle_core::{DType, Device, Tensor};
use plan::PlanInputs;
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

/// What a forward pass has beside its batch.
#[derive(Clone, Default)]
struct Pass {
    dropout_seed: Option<u64>,
    /// The routing to experts.
    routing: Option<Arc<Routing>>,
    /// Records attention weights, if they are wanted.
    attention_weights: Option<AttentionRecorder>,
}

/// One head's loss on a batch.
pub struct HeadLoss {
    /// The task's number.
    pub task: usize,
    /// The head's number in the task.
    pub head: usize,
    /// Scalar: the weighted sum of losses.
    pub sum: Value,
    /// The sum of weights; `sum / weight` is the mean loss.
    pub weight: f64,
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

    /// The hidden state of every token of the main stream after the last block, `[n_tokens, d_model]`; with a dropout seed, as
    /// in training.
    ///
    /// # Errors
    /// If an operation fails.
    pub fn forward(&self, batch: &Batch, dropout_seed: Option<u64>) -> candle_core::Result<Value> {
        let pass = Pass { dropout_seed, ..Pass::default() };
        Ok(self.hidden(batch, None, &pass)?.0)
    }

    /// The loss of each trained head of the batch, one of weight above 0; with a dropout seed, as in training.
    ///
    /// # Errors
    /// If the targets are not of the head's type, or an operation fails.
    pub fn loss(
        &self,
        batch: &Batch,
        dropout_seed: Option<u64>,
        label_smoothing: f32,
    ) -> candle_core::Result<Vec<HeadLoss>> {
        self.loss_of(batch, &Pass { dropout_seed, ..Pass::default() }, label_smoothing)
    }

    /// As [`loss`](Self::loss), with the [`routing`](Self::routing) to experts of a training batch, which takes their load. The
    /// gradients of the losses then include those of the load-balance losses.
    ///
    /// # Errors
    /// As for `loss`.
    pub fn loss_with_routing(
        &self,
        batch: &Batch,
        dropout_seed: Option<u64>,
        label_smoothing: f32,
        routing: Option<&Arc<Routing>>,
    ) -> candle_core::Result<Vec<HeadLoss>> {
        let pass = Pass { dropout_seed, routing: routing.cloned(), ..Pass::default() };
        self.loss_of(batch, &pass, label_smoothing)
    }

    fn loss_of(
        &self,
        batch: &Batch,
        pass: &Pass,
        label_smoothing: f32,
    ) -> candle_core::Result<Vec<HeadLoss>> {
        let trained: Vec<&HeadBatch> = self.trained(batch).collect();
        if trained.is_empty() {
            return Ok(vec![]);
        }
        let read_rows = batch.rows_of(&trained);
        let (hidden, quantized) = self.hidden(batch, read_rows.some(), pass)?;
        let losses = trained.into_iter().map(|read| {
            let output = self.output(&hidden, read, &read_rows)?;
            let mut sum = self.head(read.task, read.head).head().loss(&output, read, label_smoothing)?;
            let kind = self.layouts[read.task].heads[read.head].reads;
            if let Some(quantized) = quantized.iter().find(|quantized| quantized.kind == kind) {
                sum = ops::add(&sum, &quantized.loss)?;
            }
            Ok(HeadLoss { task: read.task, head: read.head, sum, weight: read.targets.weight() })
        });
        losses.collect()
    }

    /// The output of each head of the batch, `[rows, width]`, in the order of `batch.heads`, trained or not.
    ///
    /// # Errors
    /// If an operation fails.
    pub fn outputs(&self, batch: &Batch) -> candle_core::Result<Vec<Tensor>> {
        let _awake = Awake::on(self.device());
        without_gradients(|| {
            let read_rows = batch.read_rows();
            let (hidden, _) = self.hidden(batch, read_rows.some(), &Pass::default())?;
            self.outputs_of(batch, &hidden, &read_rows)
        })
    }

    /// The encoder's output, `[n_tokens, d_model]`; `None` for a batch without an encoder's stream.
    ///
    /// # Errors
    /// If an operation fails.
    pub fn encoded(&self, batch: &Batch) -> candle_core::Result<Option<Tensor>> {
        without_gradients(|| {
            Ok(self.encode(batch, &Pass::default())?.map(|encoder| encoder.hidden.into_tensor()))
        })
    }

    fn encode(&self, batch: &Batch, pass: &Pass) -> candle_core::Result<Option<EncoderOutput>> {
        let (Some(encoder), Some(tokens)) = (&self.encoder, &batch.encoder) else { return Ok(None) };
        let dropout_seed = pass.dropout_seed.map(|seed| random::mix(seed, 1));
        let attention_weights = pass.attention_weights.as_ref().map(AttentionRecorder::of_encoder);
        let pass = Pass { dropout_seed, attention_weights, ..pass.clone() };
        let hidden = self.run(encoder, tokens, None, None, &[], &pass)?;
        Ok(Some(EncoderOutput { hidden, tokens: tokens.meta.clone() }))
    }

    /// The hidden state of these rows, ascending (`None` for all), after the last block, and the codes of the encoder's output.
    fn hidden(
        &self,
        batch: &Batch,
        rows: Option<&[u32]>,
        pass: &Pass,
    ) -> candle_core::Result<(Value, Vec<Quantized>)> {
        let encoded = self.encode(batch, pass)?;
        let quantized = self.quantized(batch, encoded.as_ref())?;
        let encoded = encoded.filter(|_| self.cross_attention);
        let hidden = self.run(&self.transformer, &batch.main, rows, encoded.as_ref(), &quantized, pass)?;
        Ok((hidden, quantized))
    }

    /// The output of a transformer, `[n_tokens, d_model]`, or only of `rows`.
    fn run(
        &self,
        transformer: &Transformer,
        tokens: &TokenBatch,
        rows: Option<&[u32]>,
        encoder_output: Option<&EncoderOutput>,
        quantized: &[Quantized],
        pass: &Pass,
    ) -> candle_core::Result<Value> {
        let rate = self.config.dropout;
        let dropout = pass.dropout_seed.map(|seed| Dropout { rate, seed, keys: tokens.keys.clone() });
        let plan = ForwardPlan::new(&PlanInputs {
            read_rows: rows,
            encoder_output,
            dropout: dropout.as_ref(),
            routing: pass.routing.as_ref(),
            attention_weights: pass.attention_weights.as_ref(),
            ..self.plan_inputs(tokens)
        });
        let mut x = ops::cast(&self.embedder.forward(tokens, quantized)?, self.dtype)?;
        if let Some(dropout) = &dropout {
            x = dropout.forward(&x, 0)?;
        }
        transformer.forward(&x, &plan, None)
    }

    /// The inputs of a plan in which all tokens attend to each other and heads read all of them.
    fn plan_inputs<'a>(&'a self, tokens: &'a TokenBatch) -> PlanInputs<'a> {
        PlanInputs {
            rules: &self.rules,
            memory_rules: self.memory_rules.as_ref(),
            tokens: &tokens.meta,
            keys: &tokens.meta,
            read_rows: None,
            encoder_output: None,
            rotary: &self.rotary,
            dropout: None,
            routing: None,
            attention_weights: None,
        }
    }

    fn outputs_of(
        &self,
        batch: &Batch,
        hidden: &Value,
        read_rows: &ReadRows,
    ) -> candle_core::Result<Vec<Tensor>> {
        let output = |read| self.output(hidden, read, read_rows)?.into_tensor().to_dtype(DType::F32);
        batch.heads.iter().map(output).collect()
    }

    /// A head's output, from the hidden state of the rows that heads read.
    fn output(&self, hidden: &Value, read: &HeadBatch, rows: &ReadRows) -> candle_core::Result<Value> {
        let head = self.head(read.task, read.head);
        head.forward(hidden, &rows.places(&read.rows), read.pools.as_deref(), &read.documents)
    }

    /// The trained heads of a batch.
    fn trained<'a>(&'a self, batch: &'a Batch) -> impl Iterator<Item = &'a HeadBatch> {
        batch.heads.iter().filter(|read| self.tasks[read.task].heads[read.head].is_trained())
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
