//! Generation token by token: the next tokens of documents whose earlier tokens are cached.

use super::plan::{ForwardPlan, PlanInputs};
use super::{Cache, Model, Pass};
use crate::data::Batch;
use crate::ops::cpu::awake::Awake;
use crate::ops::{self, without_gradients};
use candle_core::Tensor;

impl Model {
    /// A cache for [`step`](Self::step).
    pub fn cache(&self) -> Cache {
        Cache::new(self.config.n_layers)
    }

    /// The outputs, as [`outputs`](Self::outputs) gives them, of the next tokens of some documents, whose earlier tokens have
    /// their keys and values in `cache`. The first step decides the number of documents; each later one has the same documents,
    /// of which some may have no new token.
    ///
    /// # Errors
    /// If a rule lets an earlier token attend to a later one, the number of documents is not that of the cache, or an operation
    /// fails. The cache is unusable then: begin with a new one.
    pub fn step(&self, batch: &Batch, cache: &mut Cache) -> candle_core::Result<Vec<Tensor>> {
        let rules = self.rules.iter().chain(&self.memory_rules).map(AsRef::as_ref);
        cache.extend(&batch.main.meta, rules)?;
        let _awake = Awake::on(self.device());
        without_gradients(|| self.step_with(batch, cache))
    }

    fn step_with(&self, batch: &Batch, cache: &mut Cache) -> candle_core::Result<Vec<Tensor>> {
        if let Some(encoded) = self.encode(batch, &Pass::default())? {
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
}
