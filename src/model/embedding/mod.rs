//! Content + type + position: everything that is learned between tokens and the transformer.

mod codebook;
mod stem;

pub use codebook::{CodedKind, Quantized};

use crate::data::{KindBatch, TokenBatch};
use crate::model::config::{EmbeddingConfig, ModelConfig, Positions};
use crate::model::layer::{CustomLayers, Layer};
use crate::model::{linear::Linear, norm::Norm, params::Scope};
use crate::ops::{self, Value};
use candle_core::{DType, Device, Result, Tensor, bail};
use codebook::Codebook;
use smalti_contract::{Content, ContentSpec, KindSpec};
use std::ops::Range;
use std::sync::Arc;
use stem::{FrameConvolutions, PixelConvolutions, check_kind};

/// Embeds every kind of token of a model.
pub struct Embedder {
    kinds: Vec<KindEmbedding>,
    /// `[n_kinds, d_model]`: the type embeddings.
    types: Option<Value>,
    /// The norm of the first block's input.
    norm: Option<Norm>,
    /// `[d_model]`: added after the norm.
    offset: Option<Value>,
    /// Factor of the embedding of ids.
    scale: Option<f64>,
    positions: Positions,
    d_model: usize,
    device: Device,
}

#[derive(Clone)]
struct KindEmbedding {
    content: ContentEmbedding,
    /// A `[size, d_model]` table for each position axis, or one for all axes; empty if positions are not learned.
    axes: Vec<Value>,
    /// Positions on each axis.
    sizes: Vec<usize>,
    /// `[time_steps, d_model]`, if the kind has a learned time embedding.
    time: Option<Value>,
    has_time: bool,
    /// The places of its parameters.
    parameters: Range<usize>,
}

#[derive(Clone)]
enum ContentEmbedding {
    /// `[vocabulary, d_model]`.
    Table(Value),
    /// The codes of the encoder's outputs.
    Codebook(Codebook),
    /// `dim` features → d_model.
    Map(Linear),
    /// Convolutions, or a layer of your own.
    Stem(Arc<dyn Layer>),
}

/// Deviation of initial embeddings, as in GPT-2.
const EMBEDDING_STD: f64 = 0.02;

impl Embedder {
    /// An embedder of these kinds. `share` has, for each kind, the kind whose tables it shares. Parameters are named after
    /// kinds.
    ///
    /// # Errors
    /// If two kinds have one name, or a stem has no kind of features or does not fit it.
    pub fn new(
        mut scope: Scope,
        config: &ModelConfig,
        kinds: &[KindSpec],
        share: &[Option<usize>],
        coded: &[CodedKind],
        layers: &CustomLayers,
        device: &Device,
    ) -> Result<Self> {
        let d = config.d_model;
        let EmbeddingConfig { positions, stem, bias, type_embedding, shared_time, scale, norm, offset } =
            &config.embedding;
        if let Some(stem) = stem {
            check_kind(stem, kinds)?;
        }
        let learned = matches!(positions, Positions::Learned | Positions::Grid);
        let mut embeddings: Vec<KindEmbedding> = Vec::with_capacity(kinds.len());
        let most_steps = kinds.iter().filter_map(|kind| kind.time_steps).max();
        let times = match most_steps.filter(|_| learned && *shared_time) {
            Some(steps) => Some(scope.normal("time", (steps, d), EMBEDDING_STD)?),
            None => None,
        };
        for (number, (kind, shared)) in kinds.iter().zip(share).enumerate() {
            let coded = coded.iter().find(|coded| coded.kind == number);
            if let Some(shared) = shared.and_then(|other| embeddings.get(other)) {
                embeddings.push(shared.clone());
                continue;
            }
            let mut scope = scope.at(&kind.name);
            let first = scope.n_parameters();
            let content = match kind.content {
                ContentSpec::Ids { .. } if let Some(CodedKind { codebook, .. }) = coded => {
                    ContentEmbedding::Codebook(Codebook::new(scope.at("codebook"), *codebook, config)?)
                }
                ContentSpec::Ids { vocabulary } => {
                    ContentEmbedding::Table(scope.normal("table", (vocabulary, d), EMBEDDING_STD)?)
                }
                ContentSpec::Features { dim } if let Some(build) = layers.stem_of(&kind.name) => {
                    ContentEmbedding::Stem(build(scope.at("stem"), dim, d)?.into())
                }
                ContentSpec::Features { dim }
                    if let Some(stem) = stem.as_ref().filter(|stem| stem.kind == kind.name) =>
                {
                    let scope = scope.at("stem");
                    ContentEmbedding::Stem(match stem.pixels {
                        None => Arc::new(FrameConvolutions::new(scope, dim, config)?),
                        Some(first) => Arc::new(PixelConvolutions::new(scope, dim, first, config)?),
                    })
                }
                ContentSpec::Features { dim } => {
                    // Features of variance 1 become embeddings of about the tables' size times the type's.
                    let std = 1.0 / (dim as f64).sqrt() * FEATURE_SCALE;
                    let bias = bias.unwrap_or(config.bias);
                    ContentEmbedding::Map(Linear::new(scope.at("map"), dim, d, bias, std)?)
                }
            };
            let sizes: Vec<usize> = kind.axes.iter().map(|axis| axis.size).collect();
            let mut axes = Vec::new();
            if *positions == Positions::Grid && !sizes.is_empty() {
                let cells = sizes.iter().fold(1_usize, |cells, &size| cells.saturating_mul(size));
                axes.push(scope.normal("grid", (cells, d), EMBEDDING_STD)?);
            } else if learned {
                for axis in &kind.axes {
                    axes.push(scope.normal(&axis.name, (axis.size, d), EMBEDDING_STD)?);
                }
            }
            let time = match kind.time_steps {
                Some(_) if times.is_some() => times.clone(),
                Some(steps) if learned => Some(scope.normal("time", (steps, d), EMBEDDING_STD)?),
                _ => None,
            };
            let has_time = kind.time_steps.is_some();
            let parameters = first..scope.n_parameters();
            embeddings.push(KindEmbedding { content, axes, sizes, time, has_time, parameters });
        }
        let types = match type_embedding {
            true => Some(scope.normal("types", (kinds.len(), d), EMBEDDING_STD)?),
            false => None,
        };
        let norm = match norm {
            true => Some(Norm::new(scope.at("norm"), config)?),
            false => None,
        };
        let offset = offset.then(|| scope.zeros("offset", d)).transpose()?;
        Ok(Self {
            kinds: embeddings,
            types,
            norm,
            offset,
            scale: *scale,
            positions: *positions,
            d_model: d,
            device: device.clone(),
        })
    }

    /// `[n_tokens, d_model]`: one product or lookup for each kind, scattered to the tokens' rows. `quantized` has the embedded
    /// codes of the encoder's output.
    ///
    /// # Errors
    /// If a group's content does not match its kind; collate has checked bounds.
    pub fn forward(&self, batch: &TokenBatch, quantized: &[Quantized]) -> Result<Value> {
        let embed = |group: &KindBatch| {
            let from_encoder = quantized.iter().find(|quantized| quantized.kind == group.kind);
            self.embed_kind(group, from_encoder)
        };
        let parts = batch.groups.iter().map(embed).collect::<Result<Vec<_>>>()?;
        let by_kind = match parts.as_slice() {
            [] => Value::constant(Tensor::zeros((0, self.d_model), DType::F32, &self.device)?),
            [one] => one.clone(),
            many => ops::concat_rows(many)?,
        };
        let in_place = batch.rows.iter().enumerate().all(|(i, &row)| i == row as usize);
        let mut x = if in_place { by_kind } else { ops::gather_rows(&by_kind, &batch.rows)? };
        if let Some(types) = &self.types {
            x = ops::add(&x, &ops::gather_rows(types, &batch.meta.kind)?)?;
        }
        if let Some(norm) = &self.norm {
            x = norm.forward(&x)?;
        }
        self.offset.as_ref().map_or(Ok(x.clone()), |offset| ops::add_to_columns(&x, offset))
    }

    /// The places of a kind's parameters, which kinds that share them have in common.
    pub fn parameters(&self, kind: usize) -> Range<usize> {
        self.kinds[kind].parameters.clone()
    }

    /// The table of a kind that has one, for a head that shares it.
    pub fn table(&self, kind: usize) -> Option<&Value> {
        match &self.kinds.get(kind)?.content {
            ContentEmbedding::Table(table) => Some(table),
            ContentEmbedding::Map(_) | ContentEmbedding::Stem(_) | ContentEmbedding::Codebook(_) => None,
        }
    }

    /// The type embeddings, `[n_kinds, d_model]`.
    pub fn types(&self) -> Option<&Value> {
        self.types.as_ref()
    }

    /// The learned vector of each place of a kind, `[places, d_model]`, the last axis running fastest; `None` for a kind whose
    /// positions are not learned.
    ///
    /// # Errors
    /// If an operation fails.
    pub fn positions(&self, kind: usize) -> Result<Option<Tensor>> {
        let Some(kind) = self.kinds.get(kind).filter(|kind| !kind.axes.is_empty()) else { return Ok(None) };
        if self.positions == Positions::Grid {
            return Ok(Some(kind.axes[0].tensor().clone()));
        }
        let mut vectors = Tensor::zeros((1, self.d_model), DType::F32, &self.device)?;
        for table in &kind.axes {
            let table = table.tensor().to_dtype(DType::F32)?;
            let sums = vectors.unsqueeze(1)?.broadcast_add(&table.unsqueeze(0)?)?;
            vectors = sums.reshape(((), self.d_model))?;
        }
        Ok(Some(vectors))
    }

    /// Quantizes the encoder's outputs, `[n, d_model]`, with the codebook of a kind.
    ///
    /// # Errors
    /// If the kind has no codebook, or an operation fails.
    pub fn quantize(&self, kind: usize, encoded: &Value) -> Result<Quantized> {
        match self.kinds.get(kind).map(|kind| &kind.content) {
            Some(ContentEmbedding::Codebook(codebook)) => codebook.quantize(encoded, kind),
            _ => bail!("kind {kind} has no codebook"),
        }
    }

    fn embed_kind(&self, group: &KindBatch, quantized: Option<&Quantized>) -> Result<Value> {
        let kind = &self.kinds[group.kind];
        let mut x = match (&kind.content, &group.content) {
            (ContentEmbedding::Codebook(codebook), Content::Ids(ids)) => match quantized {
                Some(quantized) => quantized.tokens.clone(),
                None => codebook.embed(ids)?,
            },
            (ContentEmbedding::Table(table), Content::Ids(ids)) => {
                let x = ops::gather_rows(table, ids)?;
                self.scale.map_or(Ok(x.clone()), |factor| ops::scale(&x, factor))?
            }
            (ContentEmbedding::Map(map), Content::Features { values, dim }) => {
                map.forward(&self.features(group, values, *dim)?)?
            }
            (ContentEmbedding::Stem(stem), Content::Features { values, dim }) => {
                stem.forward(&self.features(group, values, *dim)?, &group.documents)?
            }
            _ => bail!(
                "kind {}: expected content of the type of its embedding; found another type",
                group.kind
            ),
        };
        match self.positions {
            Positions::None => {}
            Positions::Grid if kind.axes.is_empty() => {}
            Positions::Grid => {
                let cells = cells(&group.positions, &kind.sizes, group.time.len());
                x = ops::add(&x, &ops::gather_rows(&kind.axes[0], &cells)?)?;
                if let Some(table) = &kind.time {
                    x = ops::add(&x, &ops::gather_rows(table, &group.time)?)?;
                }
            }
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

    /// `[n, dim]` features, on the device already if the loader has sent them.
    fn features(&self, group: &KindBatch, values: &[f32], dim: usize) -> Result<Value> {
        if let Some(features) = group.on_device.take::<Tensor>() {
            return Ok(Value::constant(features.as_ref().clone()));
        }
        Ok(Value::constant(Tensor::from_slice(values, (values.len() / dim, dim), &self.device)?))
    }
}

/// The cell of each of `n` tokens in a grid of these sizes, the last axis running fastest.
fn cells(positions: &[Vec<u32>], sizes: &[usize], n: usize) -> Vec<u32> {
    let cell =
        |i: usize| positions.iter().zip(sizes).fold(0, |cell, (axis, &size)| cell * size as u32 + axis[i]);
    (0..n).map(cell).collect()
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
