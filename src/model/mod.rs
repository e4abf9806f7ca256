//! Embedder → transformer → heads: one model for all of its tasks.
//!
//! [`Block`] is norm → attention → MLP; [`Transformer`] is a sequence of blocks; [`Model`] embeds a packed batch, runs the
//! encoder and the main transformer over it, and computes the heads' outputs from the rows that they read. A [`ForwardPlan`]
//! prepares masks, rotary angles, dropout and these rows once for each forward pass.

mod assemble;
mod attention;
mod block;
mod cache;
mod candle;
mod config;
mod dropout;
mod embedding;
mod head;
mod layer;
mod linear;
mod mlp;
mod norm;
mod params;
mod plan;
mod residual;
mod transformer;

pub use attention::Attention;
pub use block::Block;
pub use cache::{Cache, GrowingRows, LayerCache};
pub use candle::CandleLayer;
pub use config::{
    AttentionConfig, ConfigError, EmbeddingConfig, HeadConfig, LayerRule, MlpConfig, ModelConfig, NormKind,
    NormPlacement, Positions, RelativePositions, Rotary, Stem,
};
pub use dropout::Dropout;
pub use embedding::{CodedKind, Embedder, Quantized};
pub use head::HeadLayer;
pub use layer::{CustomLayers, Layer};
pub use linear::{Linear, init_std};
pub use mlp::Mlp;
pub use norm::Norm;
pub use params::{Params, Scope};
pub use plan::{CrossAttentionPlan, EncoderOutput, ForwardPlan, LayerPlan, RotaryAngles};
pub use residual::Residual;
pub use transformer::{StackRole, Transformer};

use crate::data::{Batch, HeadBatch, Layout, ReadRows, TokenBatch};
use crate::head::HeadSpec;
use crate::ops::{self, Value, without_gradients};
use crate::random;
use crate::rules::{AttentionRules, RuleError};
use crate::task::{TaskSpec, joined};
use candle_core::{DType, Device, Tensor};
use plan::PlanInputs;
use smalti_contract::KindSpec;
use std::{collections::BTreeSet, ops::Range, sync::Arc};

/// A model of one or several tasks: its parameters, and the computation of losses and outputs.
pub struct Model {
    config: ModelConfig,
    tasks: Vec<TaskSpec>,
    kinds: Vec<KindSpec>,
    layouts: Vec<Layout>,
    /// One table for each layer, or one for all.
    rules: Vec<Arc<AttentionRules>>,
    params: Params,
    embedder: Embedder,
    /// The kinds whose tokens are codes.
    coded: Vec<CodedKind>,
    encoder: Option<Transformer>,
    /// Whether the main transformer attends to the encoder's output.
    cross_attention: bool,
    transformer: Transformer,
    /// The heads of each task, by number, each with the places of its parameters.
    heads: Vec<Vec<(HeadLayer, Range<usize>)>>,
    /// The type of activations.
    dtype: DType,
}

/// Errors of building a model.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// Invalid settings.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A rule that does not fit its kinds.
    #[error(transparent)]
    Rule(#[from] RuleError),
    /// A task that does not fit the settings or the other tasks.
    #[error("task {task}: {problem}")]
    Task {
        /// The task's name.
        task: String,
        /// The problem.
        problem: String,
    },
    /// A pattern of `train.freeze` that matches no parameter.
    #[error(
        "train.freeze: no parameter's name matches {pattern:?}; `smalti info RUN` lists parts, `*` stands for any letters"
    )]
    Frozen {
        /// The pattern.
        pattern: String,
    },
    /// A layer of your own that has no place in the model.
    #[error("{layer}: the model has none of this name")]
    Layer {
        /// The layer.
        layer: String,
    },
    /// An operation failed.
    #[error(transparent)]
    Tensor(#[from] candle_core::Error),
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
        let share = assemble::shared_tables(tasks, &mut kinds)?;
        let coded = assemble::coded_kinds(tasks, &layouts)?;
        let embedder =
            Embedder::new(params.root().at("embed"), config, &kinds, &share, &coded, layers, device)?;
        let kind_names: Vec<String> = kinds.iter().map(|kind| kind.name.clone()).collect();
        let outputs = tasks.iter().flat_map(|task| (0..task.heads.len()).map(|head| task.output_name(head)));
        let outputs: Vec<String> = outputs.collect();
        if let Some(layer) = layers.unmatched(&kind_names, config.n_layers, &outputs) {
            return Err(ModelError::Layer { layer });
        }
        let encoder = match config.n_encoder_layers {
            0 => None,
            _ => Some(Transformer::new(
                params.root().at("encoder"),
                config,
                StackRole::Encoder,
                &CustomLayers::default(),
            )?),
        };
        let cross_attention = encoder.is_some() && assemble::has_cross_attention(&rules, &layouts);
        let role = StackRole::Main { cross_attention };
        let transformer = Transformer::new(params.root().at("stack"), config, role, layers)?;
        let mut heads = Vec::with_capacity(tasks.len());
        for (task, layout) in tasks.iter().zip(&layouts) {
            let mut of_task = Vec::with_capacity(task.heads.len());
            for (number, (spec, layout)) in task.heads.iter().zip(&layout.heads).enumerate() {
                let table = config.head.tie_embeddings.then(|| embedder.table(layout.reads)).flatten();
                let first = params.iter().len();
                let mut root = params.root();
                let scope = root.at(joined(&["head", &task.name, &spec.name]));
                let head =
                    HeadLayer::new(scope, (&task.output_name(number), &spec.head), config, table, layers)?;
                of_task.push((head, first..params.iter().len()));
            }
            heads.push(of_task);
        }
        if let Some(pattern) = params.unmatched() {
            return Err(ModelError::Frozen { pattern: pattern.into() });
        }
        let (config, tasks) = (config.clone(), tasks.to_vec());
        let dtype = DType::F32;
        Ok(Self {
            config,
            tasks,
            kinds,
            layouts,
            rules,
            params,
            embedder,
            coded,
            encoder,
            cross_attention,
            transformer,
            heads,
            dtype,
        })
    }

    /// The hidden state of every token of the main stream after the last block, `[n_tokens, d_model]`; with a dropout seed, as
    /// in training.
    ///
    /// # Errors
    /// If an operation fails.
    pub fn forward(&self, batch: &Batch, dropout_seed: Option<u64>) -> candle_core::Result<Value> {
        Ok(self.hidden(batch, None, dropout_seed)?.0)
    }

    /// The encoder's output, `[n_tokens, d_model]`; `None` for a batch without an encoder's stream.
    ///
    /// # Errors
    /// If an operation fails.
    pub fn encoded(&self, batch: &Batch) -> candle_core::Result<Option<Tensor>> {
        without_gradients(|| Ok(self.encode(batch, None)?.map(|encoder| encoder.hidden.into_tensor())))
    }

    fn encode(&self, batch: &Batch, dropout_seed: Option<u64>) -> candle_core::Result<Option<EncoderOutput>> {
        let (Some(encoder), Some(tokens)) = (&self.encoder, &batch.encoder) else { return Ok(None) };
        let seed = dropout_seed.map(|seed| random::mix(seed, 1));
        let hidden = self.run(encoder, tokens, None, None, &[], seed)?;
        Ok(Some(EncoderOutput { hidden, tokens: tokens.meta.clone() }))
    }

    /// The code of each token of the encoder's stream that has a codebook, in the order of the batch's documents.
    ///
    /// # Errors
    /// If the model has no codebook for the batch, or an operation fails.
    pub fn codes(&self, batch: &Batch) -> candle_core::Result<Vec<u32>> {
        let quantized = without_gradients(|| self.quantized(batch, self.encode(batch, None)?.as_ref()))?;
        match quantized.into_iter().next() {
            Some(quantized) => Ok(quantized.ids),
            None => candle_core::bail!("expected a batch whose encoder has a codebook"),
        }
    }

    /// The encoder's output as codes, for each kind of code of the main stream.
    fn quantized(
        &self,
        batch: &Batch,
        encoded: Option<&EncoderOutput>,
    ) -> candle_core::Result<Vec<Quantized>> {
        let Some(EncoderOutput { hidden: encoded, tokens: meta }) = encoded else { return Ok(vec![]) };
        let mut all = vec![];
        for &CodedKind { kind, source, .. } in &self.coded {
            let rows = (0..meta.len() as u32).filter(|&row| meta.kind[row as usize] as usize == source);
            let rows: Vec<u32> = rows.collect();
            if rows.is_empty() {
                continue;
            }
            let codes = batch.main.meta.kind.iter().filter(|&&of| of as usize == kind).count();
            if codes != rows.len() {
                candle_core::bail!(
                    "expected a code for each of {} tokens of the encoder; found {codes}",
                    rows.len()
                );
            }
            let of_kind = if rows.len() == meta.len() { encoded } else { &ops::gather_rows(encoded, &rows)? };
            all.push(self.embedder.quantize(kind, of_kind)?);
        }
        Ok(all)
    }

    /// The hidden state of these rows, ascending (`None` for all), after the last block, and the codes of the encoder's output.
    fn hidden(
        &self,
        batch: &Batch,
        rows: Option<&[u32]>,
        dropout_seed: Option<u64>,
    ) -> candle_core::Result<(Value, Vec<Quantized>)> {
        let encoded = self.encode(batch, dropout_seed)?;
        let quantized = self.quantized(batch, encoded.as_ref())?;
        let encoded = encoded.filter(|_| self.cross_attention);
        let hidden =
            self.run(&self.transformer, &batch.main, rows, encoded.as_ref(), &quantized, dropout_seed)?;
        Ok((hidden, quantized))
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
        let trained: Vec<&HeadBatch> = self.trained(batch).collect();
        if trained.is_empty() {
            return Ok(vec![]);
        }
        let read_rows = batch.rows_of(&trained);
        let (hidden, quantized) = self.hidden(batch, read_rows.some(), dropout_seed)?;
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
        without_gradients(|| {
            let read_rows = batch.read_rows();
            let (hidden, _) = self.hidden(batch, read_rows.some(), None)?;
            self.outputs_of(batch, &hidden, &read_rows)
        })
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

    /// The outputs, as [`outputs`](Self::outputs) gives them, of the next tokens of one document, whose earlier tokens have
    /// their keys and values in `cache`.
    ///
    /// # Errors
    /// If a rule lets an earlier token attend to a later one.
    pub fn step(&self, batch: &Batch, cache: &mut Cache) -> candle_core::Result<Vec<Tensor>> {
        cache.extend(&batch.main.meta, &self.rules)?;
        without_gradients(|| self.step_with(batch, cache))
    }

    fn step_with(&self, batch: &Batch, cache: &mut Cache) -> candle_core::Result<Vec<Tensor>> {
        if let Some(encoded) = self.encode(batch, None)? {
            cache.encoder_output = Some(encoded);
        }
        let read_rows = batch.read_rows();
        let plan = ForwardPlan::new(&PlanInputs {
            read_rows: read_rows.some(),
            keys: &cache.tokens.clone(),
            encoder_output: cache.encoder_output.as_ref(),
            ..self.plan_inputs(&batch.main)
        });
        let x = ops::cast(&self.embedder.forward(&batch.main, &[])?, self.dtype)?;
        let hidden = self.transformer.forward(&x, &plan, Some(cache))?;
        self.outputs_of(batch, &hidden, &read_rows)
    }

    /// Sets the type of activations: `f32` (default), or `bf16` on a GPU. Outputs and losses stay `f32`.
    pub fn compute_in(&mut self, dtype: DType) {
        self.dtype = dtype;
    }

    /// Turns activation checkpointing on or off: each block keeps only its input and computes its activations again in the
    /// backward pass. Saves memory, takes time, and gives the same bits.
    pub fn checkpoint_activations(&mut self, on: bool) {
        self.transformer.checkpoint_activations(on);
        self.encoder.iter_mut().for_each(|encoder| encoder.checkpoint_activations(on));
    }

    /// A cache for [`step`](Self::step).
    pub fn cache(&self) -> Cache {
        Cache::new(self.config.n_layers)
    }

    /// The names of the parameters that the losses of a batch do not depend on. Training checks that all others get a
    /// gradient.
    pub fn unused_parameters(&self, batch: &Batch) -> BTreeSet<&str> {
        let names: Vec<&str> = self.params.iter().map(|(name, _)| name).collect();
        let trained: BTreeSet<(usize, usize)> =
            self.trained(batch).map(|read| (read.task, read.head)).collect();
        if trained.is_empty() {
            return names.into_iter().collect();
        }
        let mut used = vec![true; names.len()];
        let streams = std::iter::once(&batch.main).chain(&batch.encoder);
        let present: BTreeSet<usize> = streams.flat_map(|s| s.groups.iter().map(|g| g.kind)).collect();
        for kind in 0..self.kinds.len() {
            used[self.embedder.parameters(kind)].fill(false);
        }
        present.iter().for_each(|kind| used[self.embedder.parameters(*kind)].fill(true));
        if batch.encoder.is_none() {
            self.encoder.iter().for_each(|encoder| used[encoder.parameters()].fill(false));
            self.transformer.cross_parameters().for_each(|place| used[place] = false);
        }
        for (task, heads) in self.heads.iter().enumerate() {
            let idle = heads.iter().enumerate().filter(|(head, _)| !trained.contains(&(task, *head)));
            idle.for_each(|(_, (_, parameters))| used[parameters.clone()].fill(false));
        }
        names.into_iter().zip(used).filter(|(_, used)| !used).map(|(name, _)| name).collect()
    }

    /// The trained heads of a batch.
    fn trained<'a>(&'a self, batch: &'a Batch) -> impl Iterator<Item = &'a HeadBatch> {
        batch.heads.iter().filter(|read| self.head_spec(read).is_trained())
    }

    fn head_spec(&self, read: &HeadBatch) -> &HeadSpec {
        &self.tasks[read.task].heads[read.head]
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

    /// Head `head` of task `task`.
    pub fn head(&self, task: usize, head: usize) -> &HeadLayer {
        &self.heads[task][head].0
    }

    /// The parameters.
    pub fn params(&self) -> &Params {
        &self.params
    }

    /// The device of the parameters, on which the model computes.
    pub fn device(&self) -> &Device {
        self.params.device()
    }

    /// The output of a transformer, `[n_tokens, d_model]`, or only of `rows`.
    fn run(
        &self,
        transformer: &Transformer,
        tokens: &TokenBatch,
        rows: Option<&[u32]>,
        encoder_output: Option<&EncoderOutput>,
        quantized: &[Quantized],
        dropout_seed: Option<u64>,
    ) -> candle_core::Result<Value> {
        let rate = self.config.dropout;
        let dropout = dropout_seed.map(|seed| Dropout { rate, seed, keys: tokens.keys.clone() });
        let plan = ForwardPlan::new(&PlanInputs {
            read_rows: rows,
            encoder_output,
            dropout: dropout.as_ref(),
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
            tokens: &tokens.meta,
            keys: &tokens.meta,
            read_rows: None,
            encoder_output: None,
            rotary: self.config.attention.rotary.map(|rotary| (self.config.d_head(), rotary)),
            dropout: None,
        }
    }
}
