//! Layers of your own in a model: stems, sublayers and heads.

use super::params::Scope;
use crate::ops::Value;
use candle_core::Result;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

/// A layer of your own, such as a [`CandleLayer`](super::CandleLayer) with the reshapes around it.
pub trait Layer: Send + Sync {
    /// `[n, inputs]` → `[n, outputs]`. The rows of a document are neighbours; `documents` are their ranges.
    ///
    /// # Errors
    /// If an operation fails.
    fn forward(&self, x: &Value, documents: &[Range<usize>]) -> Result<Value>;
}

/// Builds a layer of `inputs` → `outputs` features, whose parameters are made in a scope.
pub(super) type BuildLayer = Arc<dyn Fn(Scope, usize, usize) -> Result<Box<dyn Layer>> + Send + Sync>;

/// The layers of your own that a model has.
///
/// ```
/// use candle_core::Result;
/// use candle_nn::{Linear, linear};
/// use smalti::model::{CandleLayer, CustomLayers, Layer};
/// use smalti::ops::Value;
/// use std::ops::Range;
///
/// struct Probe(CandleLayer<Linear>);
///
/// impl Layer for Probe {
///     fn forward(&self, x: &Value, _: &[Range<usize>]) -> Result<Value> {
///         self.0.forward(x)
///     }
/// }
///
/// let layers = CustomLayers::default().head("class", |scope, inputs, outputs| {
///     Ok(Box::new(Probe(CandleLayer::new(scope, |vb| linear(inputs, outputs, vb))?)))
/// });
/// # let _ = layers;
/// ```
#[derive(Clone, Default)]
pub struct CustomLayers {
    stems: BTreeMap<String, BuildLayer>,
    sublayers: BTreeMap<usize, BuildLayer>,
    heads: BTreeMap<String, BuildLayer>,
}

impl CustomLayers {
    /// Embeds the features of a kind of token, `task.kind` or `kind`: `[n, dim]` → `[n, d_model]`.
    #[must_use]
    pub fn stem<F>(mut self, kind: &str, build: F) -> Self
    where
        F: Fn(Scope, usize, usize) -> Result<Box<dyn Layer>> + Send + Sync + 'static,
    {
        self.stems.insert(kind.into(), Arc::new(build));
        self
    }

    /// Adds a sublayer after the MLP of block number `block` of the main transformer, with a norm and a residual sum like the
    /// others: `[n, d_model]` → the same shape.
    ///
    /// In the last block it gets the rows that heads read alone, and during generation the new tokens alone.
    #[must_use]
    pub fn sublayer<F>(mut self, block: usize, build: F) -> Self
    where
        F: Fn(Scope, usize, usize) -> Result<Box<dyn Layer>> + Send + Sync + 'static,
    {
        self.sublayers.insert(block, Arc::new(build));
        self
    }

    /// Replaces the linear map of an output, `TASK.OUTPUT` or `OUTPUT`: `[rows, d_model]` → `[rows, width]`.
    #[must_use]
    pub fn head<F>(mut self, output: &str, build: F) -> Self
    where
        F: Fn(Scope, usize, usize) -> Result<Box<dyn Layer>> + Send + Sync + 'static,
    {
        self.heads.insert(output.into(), Arc::new(build));
        self
    }

    pub(super) fn stem_of(&self, kind: &str) -> Option<&BuildLayer> {
        self.stems.get(kind)
    }

    pub(super) fn sublayer_of(&self, block: usize) -> Option<&BuildLayer> {
        self.sublayers.get(&block)
    }

    pub(super) fn head_of(&self, output: &str) -> Option<&BuildLayer> {
        self.heads.get(output)
    }

    /// A layer whose kind, block or output is not in the model.
    pub(super) fn unmatched(&self, kinds: &[String], blocks: usize, outputs: &[String]) -> Option<String> {
        let unknown = |known: &[String], names: &BTreeMap<String, BuildLayer>| {
            names.keys().find(|name| !known.contains(name)).cloned()
        };
        let block = self.sublayers.keys().find(|block| **block >= blocks);
        let stem = unknown(kinds, &self.stems).map(|kind| format!("the stem of {kind}"));
        stem.or(block.map(|block| format!("the sublayer of block {block}")))
            .or(unknown(outputs, &self.heads).map(|output| format!("the head of {output}")))
    }
}

impl fmt::Debug for CustomLayers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CustomLayers")
            .field("stems", &self.stems.keys())
            .field("sublayers", &self.sublayers.keys())
            .field("heads", &self.heads.keys())
            .finish()
    }
}
