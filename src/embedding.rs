//! Content + type + position: everything that is learned between tokens and the transformer.

use crate::data::{KindBatch, TokenBatch};
use crate::ops::{self, Value};
use crate::params::Scope;
use crate::transformer::{Linear, ModelConfig, Positions};
use candle_core::{DType, Device, Result, Tensor, bail};
use smalti_contract::{Content, ContentSpec, KindSpec};

/// Embeds every kind of token of a model.
pub struct Embedder {
    kinds: Vec<KindEmbedding>,
    /// `[n_kinds, d_model]`: the type embeddings.
    types: Value,
    positions: Positions,
    d_model: usize,
    device: Device,
}

struct KindEmbedding {
    content: ContentEmbedding,
    /// A `[size, d_model]` table for each position axis; none where positions are not learned.
    axes: Vec<Value>,
    /// `[time_steps, d_model]`, where the kind is embedded with its time.
    time: Option<Value>,
    has_time: bool,
}

enum ContentEmbedding {
    /// `[vocabulary, d_model]`.
    Table(Value),
    /// `dim` features → d_model.
    Map(Linear),
}

/// Deviation of initial embeddings, as in GPT-2.
const EMBEDDING_STD: f64 = 0.02;

impl Embedder {
    /// An embedder of these kinds; parameters are named after them.
    ///
    /// # Errors
    /// Where two kinds have one name.
    pub fn new(mut scope: Scope, config: &ModelConfig, kinds: &[KindSpec], device: &Device) -> Result<Self> {
        let d = config.d_model;
        let learned = config.positions == Positions::Learned;
        let mut embeddings = Vec::with_capacity(kinds.len());
        for kind in kinds {
            let mut scope = scope.at(&kind.name);
            let content = match kind.content {
                ContentSpec::Ids { vocabulary } => {
                    ContentEmbedding::Table(scope.normal("table", (vocabulary, d), EMBEDDING_STD)?)
                }
                ContentSpec::Features { dim } => {
                    // Features of variance 1 become embeddings of about the tables' size times the type's.
                    let std = 1.0 / (dim as f64).sqrt() * FEATURE_SCALE;
                    ContentEmbedding::Map(Linear::new(scope.at("map"), dim, d, config.bias, std)?)
                }
            };
            let mut axes = Vec::new();
            for axis in kind.axes.iter().filter(|_| learned) {
                axes.push(scope.normal(&axis.name, (axis.size, d), EMBEDDING_STD)?);
            }
            let time = match kind.time_steps {
                Some(steps) if learned => Some(scope.normal("time", (steps, d), EMBEDDING_STD)?),
                _ => None,
            };
            let has_time = kind.time_steps.is_some();
            embeddings.push(KindEmbedding { content, axes, time, has_time });
        }
        let types = scope.normal("types", (kinds.len(), d), EMBEDDING_STD)?;
        Ok(Self { kinds: embeddings, types, positions: config.positions, d_model: d, device: device.clone() })
    }

    /// `[n_tokens, d_model]`: one product or lookup for each kind, put at the tokens' rows.
    ///
    /// # Errors
    /// Where content and kind differ; collate has checked bounds.
    pub fn forward(&self, batch: &TokenBatch) -> Result<Value> {
        let parts = batch.groups.iter().map(|group| self.embed_kind(group)).collect::<Result<Vec<_>>>()?;
        let by_kind = match parts.as_slice() {
            [] => Value::constant(Tensor::zeros((0, self.d_model), DType::F32, &self.device)?),
            [one] => one.clone(),
            many => ops::concat_rows(many)?,
        };
        let in_place = batch.rows.iter().enumerate().all(|(i, &row)| i == row as usize);
        let content = if in_place { by_kind } else { ops::gather_rows(&by_kind, &batch.rows)? };
        ops::add(&content, &ops::gather_rows(&self.types, &batch.meta.kind)?)
    }

    /// The table of a kind that has one, for a head that shares it.
    pub fn table(&self, kind: usize) -> Option<&Value> {
        match &self.kinds.get(kind)?.content {
            ContentEmbedding::Table(table) => Some(table),
            ContentEmbedding::Map(_) => None,
        }
    }

    fn embed_kind(&self, group: &KindBatch) -> Result<Value> {
        let kind = &self.kinds[group.kind];
        let mut x = match (&kind.content, &group.content) {
            (ContentEmbedding::Table(table), Content::Ids(ids)) => ops::gather_rows(table, ids)?,
            (ContentEmbedding::Map(map), Content::Features { values, dim }) => {
                let features = Tensor::from_slice(values, (values.len() / dim, *dim), &self.device)?;
                map.forward(&Value::constant(features))?
            }
            _ => bail!("kind {} holds content of another sort than its embedding", group.kind),
        };
        match self.positions {
            Positions::None => {}
            Positions::Learned => {
                for (table, positions) in kind.axes.iter().zip(&group.positions) {
                    x = ops::add(&x, &ops::gather_rows(table, positions)?)?;
                }
                if let Some(table) = &kind.time {
                    x = ops::add(&x, &ops::gather_rows(table, &group.time)?)?;
                }
            }
            Positions::Sinusoidal => {
                let time = kind.has_time.then_some(&group.time);
                for positions in group.positions.iter().chain(time) {
                    x = ops::add(&x, &Value::constant(sinusoids(positions, self.d_model, &self.device)?))?;
                }
            }
        }
        Ok(x) // [n, d_model]
    }
}

/// Share of the features' deviation that their embedding starts with.
const FEATURE_SCALE: f64 = 0.2;

/// Root mean square of sinusoids: that of embedded features, since unlike a learned table they cannot grow.
const SINUSOID_RMS: f64 = 0.1;

/// Sines in the first half, cosines in the second, of wavelengths from 2π to 10,000·2π (Vaswani et al. 2017).
fn sinusoids(positions: &[u32], d_model: usize, device: &Device) -> Result<Tensor> {
    let half = d_model / 2;
    let amplitude = SINUSOID_RMS * std::f64::consts::SQRT_2;
    let mut values = Vec::with_capacity(positions.len() * d_model);
    for &position in positions {
        let angle = |i: usize| f64::from(position) * libm::exp(-(i as f64) / half as f64 * libm::log(1e4));
        values.extend((0..half).map(|i| (amplitude * libm::sin(angle(i))) as f32));
        values.extend((0..half).map(|i| (amplitude * libm::cos(angle(i))) as f32));
    }
    Tensor::from_vec(values, (positions.len(), d_model), device)
}
