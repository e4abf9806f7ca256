//! The shapes of a model's parameters, before anything is allocated for their values.

use super::params::{Params, check_shapes};
use super::{Model, ModelConfig, ModelError, SavedTensors};
use crate::data::Layout;
use crate::task::TaskSpec;
use std::collections::BTreeMap;

/// A model without values: the names and shapes of its parameters, and the layout of its batches.
#[derive(Clone, Debug)]
pub struct Outline {
    shapes: BTreeMap<String, Vec<usize>>,
    layouts: Vec<Layout>,
}

impl Model {
    /// The outline of a model for these tasks. The code that makes the parameters also makes the outline, but draws and
    /// allocates none of their values.
    ///
    /// # Errors
    /// As for [`Model::new`].
    pub fn outline(config: &ModelConfig, tasks: &[TaskSpec]) -> Result<Outline, ModelError> {
        let model = Self::with_params(config, tasks, Params::without_values())?;
        Ok(Outline { shapes: model.params.into_shapes(), layouts: model.layouts })
    }
}

impl Outline {
    /// The shape of each parameter, by name.
    pub fn shapes(&self) -> &BTreeMap<String, Vec<usize>> {
        &self.shapes
    }

    /// The layout of each task's tokens, as [`Model::layouts`].
    pub fn layouts(&self) -> &[Layout] {
        &self.layouts
    }

    /// The total number of elements of all parameters whose names pass a filter.
    pub fn count(&self, filter: impl Fn(&str) -> bool) -> u128 {
        let counted = self.shapes.iter().filter(|(name, _)| filter(name));
        counted.map(|(_, shape)| shape.iter().map(|&dim| dim as u128).product::<u128>()).sum()
    }

    /// The parameter with the most elements, and its shape.
    pub fn largest(&self) -> Option<(&str, &[usize])> {
        let numbers = |shape: &[usize]| shape.iter().map(|&dim| dim as u128).product::<u128>();
        let all = self.shapes.iter().map(|(name, shape)| (name.as_str(), shape.as_slice()));
        all.max_by_key(|(_, shape)| numbers(shape))
    }

    /// Checks that saved tensors have the names and shapes of the parameters, before the model is built to load them.
    ///
    /// # Errors
    /// If a tensor is missing, unknown or of another shape; the message names the first ten.
    pub fn check(&self, saved: &impl SavedTensors) -> candle_core::Result<()> {
        check_shapes(&self.shapes, &saved.shapes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{NormKind, Sublayers};
    use candle_core::Device;

    #[test]
    fn an_outline_has_the_shapes_of_the_model() {
        let mut config = ModelConfig { n_layers: 2, ..ModelConfig::default() };
        config.embedding.type_embedding = false;
        let model = Model::new(&config, &[], 0, &Device::Cpu).unwrap();
        let outline = Model::outline(&config, &[]).unwrap();
        let tensors = model.params().tensors();
        let shapes: BTreeMap<_, _> =
            tensors.iter().map(|(name, tensor)| (name.clone(), tensor.dims().to_vec())).collect();
        assert_eq!(*outline.shapes(), shapes);
        assert_eq!(outline.count(|_| true), model.params().count() as u128);
        let weights: std::collections::HashMap<_, _> = tensors.into_iter().collect();
        assert!(outline.check(&weights).is_ok());
    }

    #[test]
    fn an_outline_of_any_size_is_drawn_at_once() {
        let mut config = ModelConfig { d_model: 1 << 20, n_layers: 10_000, ..ModelConfig::default() };
        config.mlp.d_ff = 1 << 24;
        let outline = Model::outline(&config, &[]).unwrap();
        assert!(outline.count(|_| true) > 1 << 58);
        let (_, largest) = outline.largest().unwrap();
        assert_eq!(largest.iter().product::<usize>(), 1 << 44);
        config.n_layers = 1_000_000_000;
        let message = Model::outline(&config, &[]).unwrap_err().to_string();
        assert_eq!(message, "model.n_layers: expected 1 to 10000; found 1000000000");
    }

    #[test]
    fn a_model_without_norms_and_mlp_is_attention_and_a_sum() {
        let mut config = ModelConfig { n_layers: 1, bias: false, ..ModelConfig::default() };
        (config.norm, config.sublayers) = (NormKind::None, Sublayers::AttentionOnly);
        config.embedding.type_embedding = false;
        let outline = Model::outline(&config, &[]).unwrap();
        assert!(outline.shapes().keys().all(|name| name.contains("attention")), "{:?}", outline.shapes());
        let refused = |config: &ModelConfig| Model::outline(config, &[]).unwrap_err().to_string();
        let mut with_norm = config.clone();
        with_norm.attention.qk_norm = true;
        assert!(refused(&with_norm).starts_with("model.attention.qk_norm: has no effect"));
        config.mlp.d_ff = 8;
        assert!(refused(&config).starts_with("model.mlp: has no effect"));
    }
}
