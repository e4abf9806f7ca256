//! Embedder → transformer → heads: one model for all of its tasks.

use crate::data::{Batch, HeadBatch, Layout, Stream, TokenBatch};
use crate::embedding::Embedder;
use crate::head::{Head, Says};
use crate::ops::{self, Value, without_gradients};
use crate::params::Params;
use crate::random;
use crate::rules::{AttentionRules, MAX_AXES, RuleError, TokenMeta, Visibility};
use crate::task::TaskSpec;
use crate::transformer::{
    Cache, ConfigError, Dropout, LayerRule, Memory, ModelConfig, Pass, Place, Stack, Turns,
};
use candle_core::{DType, Device, Tensor};
use smalti_contract::KindSpec;
use std::{collections::BTreeSet, sync::Arc};

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
    encoder: Option<Stack>,
    stack: Stack,
    heads: Vec<Head>,
    /// Task, name and head.
    auxiliary: Vec<(String, String, Head)>,
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
        let (kinds, layouts) = lay_out(config, tasks)?;
        refuse_unused(config, tasks)?;
        let rules = rules_by_layer(config, tasks, &kinds)?;
        let share = shared_tables(tasks, &kinds)?;
        let embedder = Embedder::new(params.root().at("embed"), config, &kinds, &share, device)?;
        let encoder = match config.n_encoder_layers {
            0 => None,
            _ => Some(Stack::new(params.root().at("encoder"), config, Place::Encoder)?),
        };
        let place = Place::Main { cross: encoder.is_some() };
        let stack = Stack::new(params.root().at("stack"), config, place)?;
        let (mut heads, mut auxiliary) = (Vec::with_capacity(tasks.len()), Vec::new());
        for (task, layout) in tasks.iter().zip(&layouts) {
            let table = config.tie_embeddings.then(|| embedder.table(layout.reads)).flatten();
            let mut root = params.root();
            let mut scope = root.at("head");
            let mut scope = scope.at(&task.name);
            for (name, head) in &task.auxiliary {
                auxiliary.push((
                    task.name.clone(),
                    name.clone(),
                    Head::new(scope.at(name), &head.says, config, None)?,
                ));
            }
            heads.push(Head::new(scope, &task.head.says, config, table)?);
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
            encoder,
            stack,
            heads,
            auxiliary,
            dtype,
        })
    }

    /// The last hidden state of every token of the main stream, `[n_tokens, d_model]`. With a dropout seed,
    /// as in training.
    ///
    /// # Errors
    /// Where the tensor library refuses.
    pub fn forward(&self, batch: &Batch, dropout_seed: Option<u64>) -> candle_core::Result<Value> {
        self.hidden(batch, None, dropout_seed)
    }

    /// The last hidden state of every token of the encoder's stream, `[n_tokens, d_model]`; `None` where the batch has
    /// none.
    ///
    /// # Errors
    /// Where the tensor library refuses.
    pub fn encoded(&self, batch: &Batch) -> candle_core::Result<Option<Tensor>> {
        let (Some(encoder), Some(tokens)) = (&self.encoder, &batch.encoder) else { return Ok(None) };
        without_gradients(|| Ok(Some(self.run(encoder, tokens, None, None, None)?.into_tensor())))
    }

    /// What one of a task's auxiliary heads says of each token of the kind that it reads, `[tokens, width]`.
    ///
    /// # Errors
    /// Where there is no such head.
    pub fn auxiliary(&self, task: usize, name: &str, batch: &Batch) -> candle_core::Result<Tensor> {
        let spec = &self.tasks[task];
        let found = self.auxiliary.iter().find(|(of, head, _)| *of == spec.name && head == name);
        let reads = spec.auxiliary.iter().find(|(head, _)| head == name).map(|(_, head)| &head.reads);
        let (Some((_, _, head)), Some(reads)) = (found, reads) else {
            candle_core::bail!("task {} has no auxiliary head {name}", spec.name)
        };
        let kind = format!("{}.{reads}", spec.name);
        let reads = |kind_of_row: u32| self.kinds[kind_of_row as usize].name == kind;
        let rows = (0..).zip(&batch.main.meta.kind).filter(|(_, kind)| reads(**kind)).map(|(row, _)| row);
        without_gradients(|| head.output(&self.hidden(batch, None, None)?, &rows.collect::<Vec<u32>>()))
    }

    /// The last hidden state of these rows, ascending; `None` for all.
    fn hidden(
        &self,
        batch: &Batch,
        rows: Option<&[u32]>,
        dropout_seed: Option<u64>,
    ) -> candle_core::Result<Value> {
        let memory = match (&self.encoder, &batch.encoder) {
            (Some(encoder), Some(tokens)) => {
                let seed = dropout_seed.map(|seed| random::mix(seed, 1));
                Some((self.run(encoder, tokens, None, None, seed)?, tokens.meta.clone()))
            }
            _ => None,
        };
        self.run(&self.stack, &batch.main, rows, memory.as_ref(), dropout_seed)
    }

    /// Each head's loss on a batch. With a dropout seed, as in training.
    ///
    /// # Errors
    /// Where the tensor library refuses.
    pub fn loss(
        &self,
        batch: &Batch,
        dropout_seed: Option<u64>,
        label_smoothing: f32,
    ) -> candle_core::Result<Vec<HeadLoss>> {
        let read_rows = batch.read_rows();
        let hidden = self.hidden(batch, read_rows.some(), dropout_seed)?;
        let losses = batch.heads.iter().map(|read| {
            let head = &self.heads[read.task];
            let outputs = head.forward(&hidden, &read_rows.places(&read.rows))?;
            let sum = head.loss(&outputs, read, label_smoothing)?;
            Ok(HeadLoss { task: read.task, sum, weight: read.targets.weight() })
        });
        losses.collect()
    }

    /// Each head's output on a batch, `[rows, width]`, in the order of `batch.heads`.
    ///
    /// # Errors
    /// Where the tensor library refuses.
    pub fn outputs(&self, batch: &Batch) -> candle_core::Result<Vec<Tensor>> {
        without_gradients(|| {
            let read_rows = batch.read_rows();
            let hidden = self.hidden(batch, read_rows.some(), None)?;
            let output =
                |read: &HeadBatch| self.heads[read.task].output(&hidden, &read_rows.places(&read.rows));
            batch.heads.iter().map(|read| output(read)?.to_dtype(DType::F32)).collect()
        })
    }

    /// The outputs of task `task`'s head for the next tokens of one document, whose earlier tokens left their
    /// keys and values in `cache`; `[rows, width]`.
    ///
    /// # Errors
    /// Where an earlier token would see a later one under the rules.
    pub fn step(&self, task: usize, batch: &Batch, cache: &mut Cache) -> candle_core::Result<Tensor> {
        cache.extend(&batch.main.meta, &self.rules)?;
        without_gradients(|| self.step_on(task, batch, cache))
    }

    fn step_on(&self, task: usize, batch: &Batch, cache: &mut Cache) -> candle_core::Result<Tensor> {
        if let (Some(encoder), Some(tokens)) = (&self.encoder, &batch.encoder) {
            cache.memory = Some((self.run(encoder, tokens, None, None, None)?, tokens.meta.clone()));
        }
        let seen = cache.seen.clone();
        let read_rows = batch.read_rows();
        let memory = cache.memory.as_ref();
        let passes = self.passes(&batch.main.meta, read_rows.some(), &seen, memory, None);
        let x = ops::cast(&self.embedder.forward(&batch.main)?, self.dtype)?;
        let hidden = self.stack.forward(&x, &passes.0, passes.1.as_ref(), Some(cache))?;
        let rows: Vec<u32> = batch.heads.iter().flat_map(|head| read_rows.places(&head.rows)).collect();
        self.heads[task].output(&hidden, &rows)?.to_dtype(DType::F32)
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
        let tasks: BTreeSet<usize> = batch.heads.iter().map(|head| head.task).collect();
        let absent = (0..self.kinds.len()).filter(|k| !present.contains(k));
        let mut unused: Vec<String> = absent.map(|k| format!("embed.{}.", self.kinds[k].name)).collect();
        let silent = (0..self.tasks.len()).filter(|t| !tasks.contains(t));
        unused.extend(silent.map(|t| format!("head.{}.", self.tasks[t].name)));
        unused.extend(self.auxiliary.iter().map(|(task, name, _)| format!("head.{task}.{name}.")));
        let looks = batch.encoder.is_some();
        move |name| {
            let crosses =
                name.starts_with("encoder.") || name.contains(".cross.") || name.contains(".cross_norm.");
            (looks || !crosses) && !unused.iter().any(|prefix| name.starts_with(prefix.as_str()))
        }
    }

    /// The settings that the model was built from.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// The tasks, by number.
    pub fn tasks(&self) -> &[TaskSpec] {
        &self.tasks
    }

    /// The kinds of token, by number, named `task.kind`.
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

    /// The tasks' heads, by number.
    pub fn heads(&self) -> &[Head] {
        &self.heads
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
        dropout_seed: Option<u64>,
    ) -> candle_core::Result<Value> {
        let rate = self.config.dropout;
        let dropout = dropout_seed.map(|seed| Dropout { rate, seed, rows: tokens.keys.clone() });
        let (pass, last) = self.passes(&tokens.meta, rows, &tokens.meta, memory, dropout.as_ref());
        let mut x = ops::cast(&self.embedder.forward(tokens)?, self.dtype)?;
        if let Some(dropout) = &dropout {
            x = dropout.apply(&x, 0)?;
        }
        stack.forward(&x, &pass, last.as_ref(), None)
    }
}

/// For each kind, the one whose tables it shares.
fn shared_tables(tasks: &[TaskSpec], kinds: &[KindSpec]) -> Result<Vec<Option<usize>>, ModelError> {
    let mut share = vec![None; kinds.len()];
    for task in tasks {
        let place = |name: &str| kinds.iter().position(|kind| kind.name == format!("{}.{name}", task.name));
        for (kind, other) in &task.shares {
            let problem = match (place(kind), place(other)) {
                (Some(one), Some(first)) if first < one && kinds[first].content == kinds[one].content => {
                    share[one] = Some(first);
                    continue;
                }
                (Some(_), Some(_)) => {
                    format!("{kind} cannot share {other}'s tables: it must come later and hold the same")
                }
                _ => format!("{kind} and {other} share tables; both must be kinds of it"),
            };
            return Err(ModelError::Task { task: task.name.clone(), problem });
        }
    }
    Ok(share)
}

/// Settings that no task has a use for.
fn refuse_unused(config: &ModelConfig, tasks: &[TaskSpec]) -> Result<(), ModelError> {
    let refuse = |setting, problem: &str| Err(ConfigError { setting, problem: problem.into() }.into());
    let mut streams = tasks.iter().flat_map(|task| &task.inputs).map(|(stream, _)| *stream);
    if config.n_encoder_layers > 0 && !streams.any(|stream| stream == Stream::Encoder) {
        return refuse(
            "n_encoder_layers",
            "no task has an input for the encoder (data.reading=\"cross\" has)",
        );
    }
    let ties = |task: &TaskSpec| matches!(task.head.says, Says::NextToken { .. } | Says::MaskedToken { .. });
    if config.tie_embeddings && !tasks.iter().any(ties) {
        return refuse("tie_embeddings", "no task has a head for next or masked tokens");
    }
    Ok(())
}

/// The model's kinds, and where each task's tokens go.
fn lay_out(config: &ModelConfig, tasks: &[TaskSpec]) -> Result<(Vec<KindSpec>, Vec<Layout>), ModelError> {
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
            // Places in the sequence are counted from 0 in each input; two would mix.
            if task.inputs[..place].iter().any(|(other, _)| other == stream) {
                return Err(refuse(format!("has two inputs for {stream:?}; merge their tokens into one")));
            }
            if *stream == Stream::Encoder && config.n_encoder_layers == 0 {
                return Err(refuse("has an input for the encoder; model.n_encoder_layers is 0".into()));
            }
            let mut numbered = Vec::new();
            for kind in input {
                let mut named = kind.clone();
                named.name = format!("{}.{}", task.name, kind.name);
                if kinds[first..].iter().any(|other| other.name == named.name) {
                    return Err(refuse(format!("has two kinds named {}", kind.name)));
                }
                numbered.push((kinds.len(), kind.clone()));
                kinds.push(named);
            }
            inputs.push((*stream, numbered));
        }
        let mut main =
            inputs.iter().filter(|(stream, _)| *stream == Stream::Main).flat_map(|(_, kinds)| kinds);
        let reads = main.find(|(_, kind)| kind.name == task.head.reads).map(|(number, _)| *number);
        let reads = reads.ok_or_else(|| {
            refuse(format!("its head reads {}, no kind of its main input", task.head.reads))
        })?;
        layouts.push(Layout { task: task.name.clone(), inputs, reads });
    }
    Ok((kinds, layouts))
}

/// The tasks' rules side by side, with the configured replacements: one table, or one for each layer.
fn rules_by_layer(
    config: &ModelConfig,
    tasks: &[TaskSpec],
    kinds: &[KindSpec],
) -> Result<Vec<Arc<AttentionRules>>, ModelError> {
    let mut base = AttentionRules::never(kinds.iter().map(|kind| kind.name.clone()));
    for task in tasks {
        for (query, key, rule) in &task.rules {
            base.set(&format!("{}.{query}", task.name), &format!("{}.{key}", task.name), rule.clone())?;
        }
    }
    let (some_layers, all_layers): (Vec<_>, Vec<_>) = config.rules.iter().partition(|r| !r.layers.is_empty());
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
