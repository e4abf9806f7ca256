//! A head's parameters: a linear map of the tokens that it reads.

use super::config::ModelConfig;
use super::embedding::Embedder;
use super::layer::{CustomLayers, Layer};
use super::linear::Linear;
use super::norm::Norm;
use super::params::{Params, Scope};
use super::pool::AttentionPool;
use super::weight::Weight;
use crate::data::{Layout, Pooling};
use crate::head::{Dense, Head, HeadSpec};
use crate::ops::{self, Activation, Value};
use crate::task::{TaskSpec, joined};
use candle_core::{Result, bail};
use std::ops::Range;
use std::sync::Arc;

/// A head with its parameters.
pub struct HeadLayer {
    head: Arc<dyn Head>,
    pool: Pooling,
    /// For a head that pools by attention.
    attention: Option<AttentionPool>,
    /// Of the input, for a head that predicts classes, labels or numbers.
    norm: Option<Norm>,
    /// The hidden layer after that norm.
    hidden: Option<(Linear, Option<Activation>)>,
    /// Before the projection, for a head of a vocabulary.
    transform: Option<Transform>,
    /// Factor of the projection's input, for a head of a vocabulary.
    scale: Option<f64>,
    /// Bound of the output of a head of a vocabulary.
    soft_cap: Option<f64>,
    /// `None` for a head of width 0.
    projection: Option<Projection>,
    /// The places of its parameters.
    parameters: Range<usize>,
}

enum Projection {
    Own(Linear),
    /// A layer of yours, `[rows, d_model]`, or `[rows, 2·d_model]` of a head that reads two vectors, → `[rows, width]`.
    Custom(Box<dyn Layer>),
    /// The embedding of the kind that the head reads, `[vocabulary, d_model]`, and a separate bias.
    Shared(Weight, Option<Value>),
}

impl Projection {
    /// The projection of the `d_read` features that a head of this output and width reads.
    fn of(
        (scope, d_read): (&mut Scope, usize),
        (output, width): (&str, usize),
        config: &ModelConfig,
        table: Option<&Value>,
        layers: &CustomLayers,
    ) -> Result<Option<Self>> {
        Ok(match (layers.head_of(output), table) {
            (Some(build), _) => Some(Self::Custom(build(scope.borrowed(), d_read, width)?)),
            (None, Some(table)) => {
                if table.dims()[0] != width {
                    bail!(
                        "expected a shared embedding of {width} rows, one for each id of the head; found {}",
                        table.dims()[0]
                    );
                }
                let bias = config.head.bias.unwrap_or(false);
                let bias = bias.then(|| scope.zeros("bias", width)).transpose()?;
                Some(Self::Shared(scope.shared_weight(table)?, bias))
            }
            (None, None) if width == 0 => None,
            (None, None) => {
                let bias = config.head.bias.unwrap_or(true);
                Some(Self::Own(Linear::new(scope.borrowed(), d_read, width, bias, 0.02)?))
            }
        })
    }
}

/// A linear map, an activation and a norm.
struct Transform {
    map: Linear,
    activation: Activation,
    norm: Norm,
}

/// The heads of all tasks, by number.
pub(super) fn heads(
    params: &mut Params,
    config: &ModelConfig,
    tasks: &[TaskSpec],
    layouts: &[Layout],
    embedder: &Embedder,
    layers: &CustomLayers,
) -> Result<Vec<Vec<HeadLayer>>> {
    let mut head = |task: &TaskSpec, number: usize, reads: usize| {
        let spec = &task.heads[number];
        let table = config.head.tie_embeddings.then(|| embedder.table(reads)).flatten();
        let mut root = params.root();
        let scope = root.at(joined(&["head", &task.name, &spec.name])).in_int8();
        HeadLayer::new(scope, (&task.output_name(number), spec), config, table, layers)
    };
    let of_task = |(task, layout): (&TaskSpec, &Layout)| {
        layout.heads.iter().enumerate().map(|(number, read)| head(task, number, read.reads)).collect()
    };
    tasks.iter().zip(layouts).map(of_task).collect()
}

impl HeadLayer {
    /// The head of the output of this name with new parameters. A head of a vocabulary uses the embedding `table`, if there is
    /// one, as its matrix.
    ///
    /// # Errors
    /// If the table's number of rows is not the head's width, or a parameter's name is taken.
    pub fn new(
        mut scope: Scope,
        (output, spec): (&str, &HeadSpec),
        config: &ModelConfig,
        table: Option<&Value>,
        layers: &CustomLayers,
    ) -> Result<Self> {
        let first = scope.n_parameters();
        let HeadSpec { head, pool, .. } = spec;
        let (d_model, width, vocabulary) = (config.d_model, head.width(), head.is_vocabulary());
        let d_pooled = pool.n_vectors() * d_model;
        let attention = match pool {
            Pooling::Attention => Some(AttentionPool::new(scope.at("pool"), config)?),
            Pooling::None | Pooling::Mean | Pooling::FirstAndMean => None,
        };
        let predicts = !vocabulary && !head.is_representation();
        let norm = match config.head.norm && predicts {
            true => Some(Norm::of_width(scope.at("norm"), config, d_pooled)?),
            false => None,
        };
        let (hidden, d_read) = match spec.hidden.filter(|_| predicts).map(|hidden| hidden.dense(d_model)) {
            Some(Dense { width, activation }) => {
                let map = Linear::new(scope.at("hidden"), d_pooled, width, config.bias, 0.02)?;
                (Some((map, activation)), width)
            }
            None => (None, d_pooled),
        };
        let transform = match config.head.transform && vocabulary {
            true => Some(Transform {
                map: Linear::new(scope.at("transform"), d_model, d_model, config.bias, 0.02)?,
                activation: config.mlp.activation,
                norm: Norm::new(scope.at("transform_norm"), config)?,
            }),
            false => None,
        };
        let table = table.filter(|_| vocabulary);
        let projection = Projection::of((&mut scope, d_read), (output, width), config, table, layers)?;
        let scale = config.head.scale.filter(|_| vocabulary);
        let soft_cap = config.head.soft_cap.filter(|_| vocabulary);
        let parameters = first..scope.n_parameters();
        let (head, pool) = (head.clone(), *pool);
        Ok(Self { head, pool, attention, norm, hidden, transform, scale, soft_cap, projection, parameters })
    }

    /// The output for `rows`, `[n_tokens, d_model]` → `[rows, width]`; with `pools`, for the pooled vector of each range of
    /// `rows`, or of each two, concatenated, `[pools, width]`. `documents` are the ranges of output rows of the documents.
    ///
    /// # Errors
    /// If a row or a range is out of bounds.
    pub fn forward(
        &self,
        hidden: &Value,
        rows: &[u32],
        pools: Option<&[Range<usize>]>,
        documents: &[Range<usize>],
    ) -> Result<Value> {
        let all =
            rows.len() == hidden.dims()[0] && rows.iter().enumerate().all(|(i, &row)| i == row as usize);
        let mut read = if all { hidden.clone() } else { ops::gather_rows(hidden, rows)? };
        if let Some(pools) = pools {
            read = self.pooled(&read, pools)?;
        }
        if let Some(norm) = &self.norm {
            read = norm.forward(&read)?;
        }
        if let Some((map, activation)) = &self.hidden {
            read = map.forward(&read)?;
            if let Some(activation) = activation {
                read = ops::activation(&read, *activation)?;
            }
        }
        if let Some(Transform { map, activation, norm }) = &self.transform {
            read = norm.forward(&ops::activation(&map.forward(&read)?, *activation)?)?;
        }
        if let Some(factor) = self.scale {
            read = ops::scale(&read, factor)?;
        }
        let mut y = match &self.projection {
            Some(Projection::Own(linear)) => linear.forward(&read)?,
            Some(Projection::Custom(layer)) => layer.forward(&read, documents)?,
            Some(Projection::Shared(table, bias)) => table.linear(&read, bias.as_ref())?,
            None => read,
        };
        if let Some(cap) = self.soft_cap {
            y = ops::scale(&ops::activation(&ops::scale(&y, 1.0 / cap)?, Activation::Tanh)?, cap)?;
        }
        match self.head.activation() {
            Some(activation) => ops::activation(&y, activation),
            None => Ok(y),
        }
    }

    /// `[rows, d_model]` → `[pools, d_model]`, or `[pools/2, 2·d_model]` for a head that reads two vectors.
    fn pooled(&self, rows: &Value, pools: &[Range<usize>]) -> Result<Value> {
        let vectors = match &self.attention {
            Some(attention) => return attention.forward(rows, pools),
            None => ops::mean_rows(rows, pools)?,
        };
        match self.pool.n_vectors() {
            1 => Ok(vectors),
            n => ops::reshape(&vectors, &[pools.len() / n, n * rows.dims()[1]]),
        }
    }

    /// The head.
    pub fn head(&self) -> &dyn Head {
        self.head.as_ref()
    }

    /// The places of its parameters.
    pub fn parameters(&self) -> Range<usize> {
        self.parameters.clone()
    }
}
