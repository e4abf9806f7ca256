//! The forward pass of a model: hidden states, losses and outputs of a batch.

use super::attention_weights::AttentionRecorder;
use super::plan::PlanInputs;
use super::{Dropout, EncoderOutput, ForwardPlan, Model, Quantized, Routing, Transformer};
use crate::data::{Batch, HeadBatch, ReadRows, TokenBatch};
use crate::ops::cpu::awake::Awake;
use crate::ops::{self, Value, without_gradients};
use crate::random;
use candle_core::{DType, Tensor};
use std::sync::Arc;

/// What a forward pass has beside its batch.
#[derive(Clone, Default)]
pub(super) struct Pass {
    pub dropout_seed: Option<u64>,
    /// The routing to experts.
    pub routing: Option<Arc<Routing>>,
    /// Records attention weights, if they are wanted.
    pub attention_weights: Option<AttentionRecorder>,
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

    pub(super) fn encode(&self, batch: &Batch, pass: &Pass) -> candle_core::Result<Option<EncoderOutput>> {
        let (Some(encoder), Some(tokens)) = (&self.encoder, &batch.encoder) else { return Ok(None) };
        let dropout_seed = pass.dropout_seed.map(|seed| random::mix(seed, 1));
        let attention_weights = pass.attention_weights.as_ref().map(AttentionRecorder::of_encoder);
        let pass = Pass { dropout_seed, attention_weights, ..pass.clone() };
        let hidden = self.run(encoder, tokens, None, None, &[], &pass)?;
        Ok(Some(EncoderOutput { hidden, tokens: tokens.meta.clone() }))
    }

    /// The hidden state of these rows, ascending (`None` for all), after the last block, and the codes of the encoder's output.
    pub(super) fn hidden(
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
    pub(super) fn plan_inputs<'a>(&'a self, tokens: &'a TokenBatch) -> PlanInputs<'a> {
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

    pub(super) fn outputs_of(
        &self,
        batch: &Batch,
        hidden: &Value,
        read_rows: &ReadRows,
    ) -> candle_core::Result<Vec<Tensor>> {
        let output = |read| self.output(hidden, read, read_rows)?.into_tensor().to_dtype(DType::F32);
        batch.heads.iter().map(output).collect()
    }

    /// A head's output, from the hidden state of the rows that heads read.
    pub(super) fn output(
        &self,
        hidden: &Value,
        read: &HeadBatch,
        rows: &ReadRows,
    ) -> candle_core::Result<Value> {
        let head = self.head(read.task, read.head);
        head.forward(hidden, &rows.places(&read.rows), read.pools.as_deref(), &read.documents)
    }

    /// The trained heads of a batch.
    pub(super) fn trained<'a>(&'a self, batch: &'a Batch) -> impl Iterator<Item = &'a HeadBatch> {
        batch.heads.iter().filter(|read| self.tasks[read.task].heads[read.head].is_trained())
    }
}
