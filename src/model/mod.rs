//! Embedder → transformer → heads: one model for all of its tasks.

mod assemble;

use crate::data::{Batch, HeadBatch, Layout, ReadRows, TokenBatch};
use crate::embedding::{CodedKind, Embedder, Quantized};
use crate::head::{HeadLayer, HeadSpec};
use crate::ops::{self, Value, without_gradients};
use crate::params::Params;
use crate::random;
use crate::rules::{AttentionRules, RuleError, TokenMeta, Visibility};
use crate::task::{TaskSpec, joined};
use crate::transformer::{Cache, ConfigError, Dropout, Memory, ModelConfig, Pass, Place, Stack, Turns};
use candle_core::{DType, Device, Tensor};
use smalti_contract::KindSpec;
use std::{collections::BTreeSet, ops::Range, sync::Arc};

/// A model: its parameters and what they compute.
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
    encoder: Option<Stack>,
    /// Whether the main stack attends to the encoder's output.
    crosses: bool,
    stack: Stack,
    /// The heads of each task, by number, each with the places of its parameters.
    heads: Vec<Vec<(HeadLayer, Range<usize>)>>,
    /// The type of what is between embeddings and losses.
    dtype: DType,
}

/// Why a model cannot be built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// Settings that cannot work together.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A rule that does not fit its kinds.
    #[error(transparent)]
    Rule(#[from] RuleError),
    /// A task that does not fit.
    #[error("task {task}: {problem}")]
    Task {
        /// The task's name.
        task: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A pattern of frozen parameters that matches none.
    #[error(
        "train.freeze: no parameter's name matches {pattern:?}; `smalti info RUN` lists parts, `*` stands for any letters"
    )]
    Frozen {
        /// The pattern.
        pattern: String,
    },
    /// The tensor library refused.
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
    /// A model for these tasks, its parameters drawn from `seed`.
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

    /// A model for these tasks whose parameters are made in `params`, which has none yet.
    ///
    /// # Errors
    /// As of [`new`](Self::new), and where a pattern of frozen parameters has none.
    pub fn with_params(
        config: &ModelConfig,
        tasks: &[TaskSpec],
        mut params: Params,
    ) -> Result<Self, ModelError> {
        config.validate()?;
        let device = &params.device().clone();
        let (mut kinds, layouts) = assemble::lay_out(config, tasks)?;
        assemble::refuse_unused(config, tasks)?;
        let rules = assemble::rules_by_layer(config, tasks, &kinds)?;
        let share = assemble::shared_tables(tasks, &mut kinds)?;
        let coded = assemble::coded_kinds(tasks, &layouts)?;
        let embedder = Embedder::new(params.root().at("embed"), config, &kinds, &share, &coded, device)?;
        let encoder = match config.n_encoder_layers {
            0 => None,
            _ => Some(Stack::new(params.root().at("encoder"), config, Place::Encoder)?),
        };
        let crosses = encoder.is_some() && assemble::crosses(&rules, &layouts);
        let place = Place::Main { cross: crosses };
        let stack = Stack::new(params.root().at("stack"), config, place)?;
        let mut heads = Vec::with_capacity(tasks.len());
        for (task, layout) in tasks.iter().zip(&layouts) {
            let mut of_task = Vec::with_capacity(task.heads.len());
            for (spec, layout) in task.heads.iter().zip(&layout.heads) {
                let table = config.tie_embeddings.then(|| embedder.table(layout.reads)).flatten();
                let first = params.iter().len();
                let mut root = params.root();
                let scope = root.at(joined(&["head", &task.name, &spec.name]));
                let head = HeadLayer::new(scope, &spec.head, config, table)?;
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
            crosses,
            stack,
            heads,
            dtype,
        })
    }

    /// The last hidden state of every token of the main stream, `[n_tokens, d_model]`. With a dropout seed,
    /// as in training.
    ///
    /// # Errors
    /// Where the tensor library refuses.
    pub fn forward(&self, batch: &Batch, dropout_seed: Option<u64>) -> candle_core::Result<Value> {
        Ok(self.hidden(batch, None, dropout_seed)?.0)
    }

    /// The last hidden state of every token of the encoder's stream, `[n_tokens, d_model]`; `None` where the batch has
    /// none.
    ///
    /// # Errors
    /// Where the tensor library refuses.
    pub fn encoded(&self, batch: &Batch) -> candle_core::Result<Option<Tensor>> {
        without_gradients(|| Ok(self.encode(batch, None)?.map(|(encoded, _)| encoded.into_tensor())))
    }

    /// The encoder's output, `[n_tokens, d_model]`, and its tokens.
    fn encode(
        &self,
        batch: &Batch,
        dropout_seed: Option<u64>,
    ) -> candle_core::Result<Option<(Value, Arc<TokenMeta>)>> {
        let (Some(encoder), Some(tokens)) = (&self.encoder, &batch.encoder) else { return Ok(None) };
        let seed = dropout_seed.map(|seed| random::mix(seed, 1));
        Ok(Some((self.run(encoder, tokens, None, None, &[], seed)?, tokens.meta.clone())))
    }

    /// The ids of the codes of a batch, in the order of its documents: of each token of the encoder's stream that has a
    /// codebook, the nearest.
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

    /// The encoder's output as codes, for each kind of the main stream that is codes.
    fn quantized(
        &self,
        batch: &Batch,
        encoded: Option<&(Value, Arc<TokenMeta>)>,
    ) -> candle_core::Result<Vec<Quantized>> {
        let Some((encoded, meta)) = encoded else { return Ok(vec![]) };
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

    /// The last hidden state of these rows, ascending (`None` for all), and the codes that came from the encoder.
    fn hidden(
        &self,
        batch: &Batch,
        rows: Option<&[u32]>,
        dropout_seed: Option<u64>,
    ) -> candle_core::Result<(Value, Vec<Quantized>)> {
        let encoded = self.encode(batch, dropout_seed)?;
        let quantized = self.quantized(batch, encoded.as_ref())?;
        let memory = encoded.filter(|_| self.crosses);
        let hidden = self.run(&self.stack, &batch.main, rows, memory.as_ref(), &quantized, dropout_seed)?;
        Ok((hidden, quantized))
    }

    /// The loss of each head of the batch that is trained: whose weight is above 0. With a dropout seed, as in training.
    ///
    /// # Errors
    /// If targets are of another sort than their head's, or an operation fails.
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

    /// The output of each head of the batch, `[rows, width]` each, in the order of `batch.heads`. A head that is not
    /// trained is among them if a sample asks for its output.
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

    /// A head's output, from the last hidden state of the rows that are read.
    fn output(&self, hidden: &Value, read: &HeadBatch, rows: &ReadRows) -> candle_core::Result<Value> {
        let head = self.head(read.task, read.head);
        head.forward(hidden, &rows.places(&read.rows), read.pools.as_deref())
    }

    /// The outputs, as [`outputs`](Self::outputs) gives them, of the next tokens of one document, whose earlier tokens
    /// left their keys and values in `cache`.
    ///
    /// # Errors
    /// If the rules let an earlier token attend to a later one.
    pub fn step(&self, batch: &Batch, cache: &mut Cache) -> candle_core::Result<Vec<Tensor>> {
        cache.extend(&batch.main.meta, &self.rules)?;
        without_gradients(|| self.step_on(batch, cache))
    }

    fn step_on(&self, batch: &Batch, cache: &mut Cache) -> candle_core::Result<Vec<Tensor>> {
        if let Some(encoded) = self.encode(batch, None)? {
            cache.memory = Some(encoded);
        }
        let seen = cache.seen.clone();
        let read_rows = batch.read_rows();
        let memory = cache.memory.as_ref();
        let passes = self.passes(&batch.main.meta, read_rows.some(), &seen, memory, None);
        let x = ops::cast(&self.embedder.forward(&batch.main, &[])?, self.dtype)?;
        let hidden = self.stack.forward(&x, &passes.0, passes.1.as_ref(), Some(cache))?;
        self.outputs_of(batch, &hidden, &read_rows)
    }

    /// Has activations computed in `dtype`: `f32`, as at first, or on a GPU `bf16`. Outputs and losses are in `f32`
    /// nevertheless.
    pub fn compute_in(&mut self, dtype: DType) {
        self.dtype = dtype;
    }

    /// Has each block keep for its gradients what enters it alone, and be computed again on the way back: less memory for
    /// more time, with the same bits.
    pub fn recompute(&mut self, on: bool) {
        self.stack.recompute(on);
        self.encoder.iter_mut().for_each(|encoder| encoder.recompute(on));
    }

    /// A cache for [`step`](Self::step).
    pub fn cache(&self) -> Cache {
        Cache::new(self.config.n_layers)
    }

    /// Whether a batch uses a parameter: training checks that each of these gets a gradient.
    pub fn uses<'a>(&'a self, batch: &Batch) -> impl Fn(&str) -> bool + use<'a> {
        let streams = std::iter::once(&batch.main).chain(&batch.encoder);
        let present: BTreeSet<usize> = streams.flat_map(|s| s.groups.iter().map(|g| g.kind)).collect();
        let absent = (0..self.kinds.len()).filter(|k| !present.contains(k));
        let unused: Vec<String> = absent.map(|k| format!("embed.{}.", self.kinds[k].name)).collect();
        let trained: BTreeSet<(usize, usize)> =
            self.trained(batch).map(|read| (read.task, read.head)).collect();
        let names: Vec<&str> = self.params.iter().map(|(name, _)| name).collect();
        let heads = self.heads.iter().enumerate().flat_map(|(task, heads)| {
            heads.iter().enumerate().map(move |(head, (_, params))| ((task, head), params.clone()))
        });
        let idle = heads.filter(|(head, _)| !trained.contains(head));
        let idle: BTreeSet<&str> = idle.flat_map(|(_, params)| names[params].iter().copied()).collect();
        let encodes = batch.encoder.is_some();
        move |name| {
            let crosses =
                name.starts_with("encoder.") || name.contains(".cross.") || name.contains(".cross_norm.");
            !trained.is_empty()
                && (encodes || !crosses)
                && !idle.contains(name)
                && !unused.iter().any(|prefix| name.starts_with(prefix.as_str()))
        }
    }

    /// What the batch's heads that are trained read.
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

    /// Where each task's tokens go; what [`collate`](crate::data::collate) wants.
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

    /// The device that the model computes on.
    pub fn device(&self) -> &Device {
        self.params.device()
    }

    fn views(&self, queries: &Arc<TokenMeta>, keys: &Arc<TokenMeta>) -> Vec<Arc<Visibility>> {
        let view = |rules: &Arc<AttentionRules>| {
            Arc::new(Visibility::new(rules.clone(), queries.clone(), keys.clone()))
        };
        self.rules.iter().map(view).collect()
    }

    /// What a stack needs beside `tokens`, which look at `keys` and at the other stack's output; and what its last
    /// block needs, where only `rows` of them look around there.
    fn passes(
        &self,
        tokens: &Arc<TokenMeta>,
        rows: Option<&[u32]>,
        keys: &Arc<TokenMeta>,
        memory: Option<&(Value, Arc<TokenMeta>)>,
        dropout: Option<&Dropout>,
    ) -> (Arc<Pass>, Option<Arc<Pass>>) {
        let angles = self.angles(tokens);
        let look_at = |looking: &Arc<TokenMeta>, dropout: Option<&Dropout>| {
            memory.map(|(memory, meta)| self.memory(memory, meta, looking, dropout))
        };
        let turns =
            |queries: Option<Arc<ops::Angles>>| Some(Turns { queries: queries?, keys: angles.clone()? });
        let last = rows.map(|rows| {
            let looking = Arc::new(tokens.take(rows));
            let dropout = dropout.map(|dropout| dropout.of(rows));
            Arc::new(Pass {
                self_views: self.views(&looking, keys),
                memory: look_at(&looking, dropout.as_ref()),
                angles: turns(angles.as_ref().map(|angles| Arc::new(angles.take(rows)))),
                rows: Some(rows.to_vec()),
                dropout,
            })
        });
        let pass = Pass {
            rows: None,
            self_views: self.views(tokens, keys),
            memory: look_at(tokens, dropout),
            angles: turns(angles.clone()),
            dropout: dropout.cloned(),
        };
        (Arc::new(pass), last)
    }

    /// What the tokens of `looking` have to look at in another stack's output.
    fn memory(
        &self,
        memory: &Value,
        looked_at: &Arc<TokenMeta>,
        looking: &Arc<TokenMeta>,
        dropout: Option<&Dropout>,
    ) -> Memory {
        let tokens = memory.clone();
        let there = |document: usize| !looked_at.documents[document].is_empty();
        if (0..looked_at.documents.len()).all(there) {
            let views = self.views(looking, looked_at);
            return Memory { tokens, rows: None, views, dropout: dropout.cloned() };
        }
        // A document that has nothing to look at must come out as it would without the others.
        let (rows, meta) = looking.select(there);
        let dropout = dropout.map(|dropout| dropout.of(&rows));
        let views = self.views(&Arc::new(meta), looked_at);
        Memory { tokens, rows: Some(rows), views, dropout }
    }

    /// How far queries and keys are turned, with rotary positions.
    fn angles(&self, meta: &TokenMeta) -> Option<Arc<ops::Angles>> {
        let rotary = self.config.rotary?;
        Some(Arc::new(ops::Angles::new(&meta.order, self.config.d_head(), rotary.base, rotary.scaling)))
    }

    fn run(
        &self,
        stack: &Stack,
        tokens: &TokenBatch,
        rows: Option<&[u32]>,
        memory: Option<&(Value, Arc<TokenMeta>)>,
        quantized: &[Quantized],
        dropout_seed: Option<u64>,
    ) -> candle_core::Result<Value> {
        let rate = self.config.dropout;
        let dropout = dropout_seed.map(|seed| Dropout { rate, seed, rows: tokens.keys.clone() });
        let (pass, last) = self.passes(&tokens.meta, rows, &tokens.meta, memory, dropout.as_ref());
        let mut x = ops::cast(&self.embedder.forward(tokens, quantized)?, self.dtype)?;
        if let Some(dropout) = &dropout {
            x = dropout.apply(&x, 0)?;
        }
        stack.forward(&x, &pass, last.as_ref(), None)
    }
}
