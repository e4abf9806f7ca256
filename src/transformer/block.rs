//! One block, norm → attention → MLP, and the small layers it is made of.

use super::{Attention, Memory, ModelConfig, NormKind, NormPlace, cache::LayerCache, stack::Pass};
use crate::ops::{self, Activation, RelativeBias, Value};
use crate::params::Scope;
use crate::random;
use candle_core::Result;
use std::sync::Arc;

/// An affine map of each token: x·Wᵀ + b.
#[derive(Clone)]
pub struct Linear {
    weight: Value,
    bias: Option<Value>,
}

impl Linear {
    /// A map from `inputs` to `outputs` features, of normal weights with deviation `std`.
    ///
    /// # Errors
    /// Where the parameters' names are taken.
    pub fn new(mut scope: Scope, inputs: usize, outputs: usize, bias: bool, std: f64) -> Result<Self> {
        let weight = scope.normal("weight", (outputs, inputs), std)?;
        let bias = bias.then(|| scope.zeros("bias", outputs)).transpose()?;
        Ok(Self { weight, bias })
    }

    /// Weight and bias, for an operation that holds the map inside.
    fn map(&self) -> (&Value, Option<&Value>) {
        (&self.weight, self.bias.as_ref())
    }

    /// `[n, inputs]` → `[n, outputs]`.
    ///
    /// # Errors
    /// Where the width differs.
    pub fn forward(&self, x: &Value) -> Result<Value> {
        ops::linear(x, &self.weight, self.bias.as_ref())
    }

    /// As [`forward`](Self::forward), added to `onto` where that is given.
    ///
    /// # Errors
    /// Where shapes differ.
    pub fn forward_onto(&self, x: &Value, onto: Option<&Value>) -> Result<Value> {
        match onto {
            Some(onto) => ops::linear_onto(x, &self.weight, self.bias.as_ref(), onto),
            None => self.forward(x),
        }
    }
}

/// Normalises each token.
pub enum Norm {
    /// Layer norm.
    Layer {
        /// `[d_model]`.
        weight: Value,
        /// `[d_model]`.
        bias: Option<Value>,
        /// Added to the variance.
        eps: f64,
    },
    /// Root-mean-square norm.
    Rms {
        /// `[d_model]`.
        weight: Value,
        /// Added to the mean square.
        eps: f64,
    },
}

impl Norm {
    /// A norm of the configured kind.
    ///
    /// # Errors
    /// Where the parameters' names are taken.
    pub fn new(mut scope: Scope, config: &ModelConfig) -> Result<Self> {
        let (d, eps) = (config.d_model, config.norm_eps);
        let weight = scope.ones("weight", d)?;
        Ok(match config.norm {
            NormKind::Rms => Norm::Rms { weight, eps },
            NormKind::Layer => {
                let bias = config.bias.then(|| scope.zeros("bias", d)).transpose()?;
                Norm::Layer { weight, bias, eps }
            }
        })
    }

    /// `[n, d_model]` → the same shape.
    ///
    /// # Errors
    /// Where the width differs.
    pub fn forward(&self, x: &Value) -> Result<Value> {
        match self {
            Norm::Layer { weight, bias, eps } => ops::layer_norm(x, weight, bias.as_ref(), *eps),
            Norm::Rms { weight, eps } => ops::rms_norm(x, weight, *eps),
        }
    }
}

/// Two linear maps with an activation between them, which may be gated by a third.
pub struct Mlp {
    inner: Linear,
    /// What the activation is multiplied with.
    gated: Option<Linear>,
    outer: Linear,
    activation: Activation,
}

impl Mlp {
    /// An MLP of the configured width; `residual_std` is the deviation of what is added to the residual.
    ///
    /// # Errors
    /// Where the parameters' names are taken.
    pub fn new(mut scope: Scope, config: &ModelConfig, residual_std: f64) -> Result<Self> {
        let (d, d_ff, bias) = (config.d_model, config.d_ff(), config.mlp_bias.unwrap_or(config.bias));
        let gated = match config.gated {
            true => Some(Linear::new(scope.at("gated"), d, d_ff, bias, init_std(d))?),
            false => None,
        };
        Ok(Self {
            inner: Linear::new(scope.at("inner"), d, d_ff, bias, init_std(d))?,
            gated,
            outer: Linear::new(scope.at("outer"), d_ff, d, bias, residual_std)?,
            activation: config.activation,
        })
    }

    /// `[n, d_model]` → the same shape, added to `onto` where that is given.
    ///
    /// # Errors
    /// Where shapes differ.
    pub fn forward(&self, x: &Value, onto: Option<&Value>) -> Result<Value> {
        let (inner, outer, activation) = (self.inner.map(), self.outer.map(), self.activation);
        match (&self.gated, onto) {
            (Some(gated), _) => {
                let hidden = ops::gate(&self.inner.forward(x)?, &gated.forward(x)?, activation)?;
                self.outer.forward_onto(&hidden, onto)
            }
            (None, Some(onto)) => ops::mlp_onto(x, inner, outer, activation, onto),
            (None, None) => ops::mlp(x, inner, outer, activation),
        }
    }
}

/// Deviation of initial weights: GPT-2's 0.02 at its width of 768, and at any width scores of one size.
pub fn init_std(d_model: usize) -> f64 {
    (3.0 * d_model as f64).sqrt().recip()
}

/// What dropout is keyed by: the seed of the step, and for each token its sample and place in it.
#[derive(Clone, Debug)]
pub struct Dropout {
    /// Share of values dropped.
    pub rate: f32,
    /// Of (train.seed, step).
    pub seed: u64,
    /// `[n_tokens]`: of (sample id, place in the document), never of the flat row.
    pub rows: Arc<Vec<u64>>,
}

impl Dropout {
    /// The same dropout, of these rows alone.
    pub fn of(&self, rows: &[u32]) -> Self {
        let keys = rows.iter().map(|&row| self.rows[row as usize]).collect();
        Self { rows: Arc::new(keys), ..self.clone() }
    }

    /// `x` with values dropped; `site` tells apart the places of the model that drop.
    ///
    /// # Errors
    /// Where the rows differ in number.
    pub fn apply(&self, x: &Value, site: u64) -> Result<Value> {
        if self.rate == 0.0 {
            return Ok(x.clone());
        }
        ops::dropout(x, self.rate, random::mix(self.seed, site), &self.rows)
    }
}

/// One block of a stack.
pub struct Block {
    attention: Attention,
    attention_norm: Norm,
    attention_scale: Option<Value>,
    /// Where the stack looks at another one.
    cross: Option<(Attention, Norm)>,
    mlp: Mlp,
    mlp_norm: Norm,
    mlp_scale: Option<Value>,
    place: NormPlace,
    layer: usize,
}

impl Block {
    /// Block number `layer` of a stack of `n_layers`, with cross-attention where `cross`.
    ///
    /// # Errors
    /// Where the parameters' names are taken.
    pub fn new(
        mut scope: Scope,
        config: &ModelConfig,
        n_layers: usize,
        layer: usize,
        cross: bool,
    ) -> Result<Self> {
        // What is added to the residual stream is scaled so that its variance does not grow with depth (GPT-2).
        let residual_std = init_std(config.d_model) / (2.0 * n_layers as f64).sqrt();
        let cross = match cross {
            false => None,
            true => Some((
                Attention::new(scope.at("cross"), config, layer, residual_std)?,
                Norm::new(scope.at("cross_norm"), config)?,
            )),
        };
        let scaled = |mut scope: Scope| {
            config.layer_scale.map(|start| scope.constant("weight", config.d_model, start)).transpose()
        };
        Ok(Self {
            attention: Attention::new(scope.at("attention"), config, layer, residual_std)?,
            attention_norm: Norm::new(scope.at("attention_norm"), config)?,
            attention_scale: scaled(scope.at("attention_scale"))?,
            cross,
            mlp: Mlp::new(scope.at("mlp"), config, residual_std)?,
            mlp_norm: Norm::new(scope.at("mlp_norm"), config)?,
            mlp_scale: scaled(scope.at("mlp_scale"))?,
            place: config.norm_place,
            layer,
        })
    }

    /// `[n_tokens, d_model]` → `[n_looking, d_model]`: the rows that look around, which are all but where
    /// [`Pass::rows`] names some.
    ///
    /// # Errors
    /// Where shapes differ.
    pub fn forward(
        &self,
        x: &Value,
        pass: &Pass,
        bias: Option<RelativeBias>,
        cache: Option<&mut LayerCache>,
    ) -> Result<Value> {
        let (own, other) = match cache {
            Some(LayerCache { own, other }) => (Some(own), Some(other)),
            None => (None, None),
        };
        let dropout = pass.dropout.as_ref();
        let around = self.enter(&self.attention_norm, x)?;
        let queries = pass.looking(&around)?;
        let view = pass.self_view(self.layer);
        let found = self.attention.look_around(&queries, &around, view, pass.angles.as_ref(), bias, own)?;
        let stream =
            Stream { x: &pass.looking(x)?, scale: self.attention_scale.as_ref(), dropout, sublayer: 0 };
        let mut x = self.leave(&self.attention_norm, stream, |onto| self.attention.say(&found, onto))?;
        if let (Some((attention, norm)), Some(memory)) = (&self.cross, &pass.memory) {
            x = self.listen(&x, attention, norm, memory, other)?;
        }
        let read = self.enter(&self.mlp_norm, &x)?;
        let stream = Stream { x: &x, scale: self.mlp_scale.as_ref(), dropout, sublayer: 2 };
        self.leave(&self.mlp_norm, stream, |onto| self.mlp.forward(&read, onto))
    }

    /// The residual stream behind cross-attention: the rows that have something to look at, changed.
    fn listen(
        &self,
        x: &Value,
        attention: &Attention,
        norm: &Norm,
        memory: &Memory,
        cache: Option<&mut Option<Value>>,
    ) -> Result<Value> {
        let listeners = match &memory.rows {
            Some(rows) => ops::gather_rows(x, rows)?,
            None => x.clone(),
        };
        let queries = self.enter(norm, &listeners)?;
        let found = attention.look_at(&queries, &memory.tokens, memory.view(self.layer), cache)?;
        let dropout = memory.dropout.as_ref();
        let stream = Stream { x: &listeners, scale: None, dropout, sublayer: 1 };
        let heard = self.leave(norm, stream, |onto| attention.say(&found, onto))?;
        match &memory.rows {
            Some(rows) => ops::replace_rows(x, rows, &heard),
            None => Ok(heard),
        }
    }

    /// What a sublayer reads of the residual stream x: norm(x) where norms come first, else x.
    fn enter(&self, norm: &Norm, x: &Value) -> Result<Value> {
        match self.place {
            NormPlace::Pre => norm.forward(x),
            NormPlace::Post => Ok(x.clone()),
        }
    }

    /// The residual stream x behind a sublayer that says y: x + y, or norm(x + y) where norms come last. `say` gives y,
    /// or x + y where it is given x.
    fn leave(
        &self,
        norm: &Norm,
        stream: Stream,
        say: impl FnOnce(Option<&Value>) -> Result<Value>,
    ) -> Result<Value> {
        let Stream { x, scale, dropout, sublayer } = stream;
        let dropout = dropout.filter(|dropout| dropout.rate > 0.0);
        let sum = match (scale, dropout) {
            (None, None) => say(Some(x))?,
            (scale, dropout) => {
                let y = say(None)?;
                let y = scale.map_or(Ok(y.clone()), |scale| ops::scale_columns(&y, scale))?;
                let site = 1 + 3 * self.layer as u64 + sublayer;
                ops::add(x, &dropout.map_or(Ok(y.clone()), |dropout| dropout.apply(&y, site))?)?
            }
        };
        match self.place {
            NormPlace::Pre => Ok(sum),
            NormPlace::Post => norm.forward(&sum),
        }
    }
}

/// The residual stream where a sublayer adds to it.
struct Stream<'a> {
    x: &'a Value,
    /// Of what the sublayer says, each feature's, where the model learns it.
    scale: Option<&'a Value>,
    dropout: Option<&'a Dropout>,
    /// Which of the block's: 0 attention, 1 cross-attention, 2 MLP.
    sublayer: u64,
}
