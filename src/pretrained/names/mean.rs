//! A linear map that is the mean of several published ones.

use super::{Tensors, missing};
use crate::pretrained::PretrainedError;
use candle_core::{Result as TensorResult, Tensor};
use std::collections::BTreeMap;

/// Equates a linear layer with the mean of several, of which each reads another part of the input: side by side, their
/// weights are those of the layer, times their number. The layer's bias is the mean of theirs.
pub(super) struct Mean {
    pub ours: String,
    pub theirs: Vec<String>,
}

impl Mean {
    /// The names of the published tensors.
    pub fn published(&self) -> impl Iterator<Item = String> {
        self.theirs.iter().flat_map(|name| ["weight", "bias"].map(|end| format!("{name}.{end}")))
    }

    /// The biases, which are kept for export: their mean does not determine them.
    pub fn biases(&self) -> impl Iterator<Item = String> {
        self.theirs.iter().map(|name| format!("{name}.bias"))
    }

    /// The parameters of the layer.
    pub fn import(
        &self,
        published: &Tensors,
        expected: &BTreeMap<String, Vec<usize>>,
    ) -> Result<Vec<(String, Tensor)>, Vec<String>> {
        let missing = self.published().filter(|name| !published.contains_key(name));
        let missing: Vec<String> = missing.map(|name| format!("{name} is missing")).collect();
        if !missing.is_empty() {
            return Err(missing);
        }
        let of = |end: &str| -> Vec<&Tensor> {
            self.theirs.iter().map(|name| &published[&format!("{name}.{end}")]).collect()
        };
        let share = 1.0 / self.theirs.len() as f64;
        let tensors = [
            ("weight", Tensor::cat(&of("weight"), 1).and_then(|all| all * share)),
            ("bias", self.mean(&of("bias"))),
        ];
        let (mut found, mut problems) = (vec![], vec![]);
        for (end, tensor) in tensors {
            let name = format!("{}.{end}", self.ours);
            match (tensor, expected.get(&name)) {
                (_, None) => problems.push(format!("the model has no {name}")),
                (Ok(tensor), Some(shape)) if tensor.dims() == shape => found.push((name, tensor)),
                (_, Some(shape)) => problems.push(format!(
                    "{} are {:?}, which do not make {name} of {shape:?}",
                    self.theirs.iter().map(|name| format!("{name}.{end}")).collect::<Vec<_>>().join(" and "),
                    of(end).iter().map(|tensor| tensor.dims()).collect::<Vec<_>>(),
                )),
            }
        }
        if problems.is_empty() { Ok(found) } else { Err(problems) }
    }

    fn mean(&self, tensors: &[&Tensor]) -> TensorResult<Tensor> {
        Tensor::stack(tensors, 0)?.mean(0)
    }

    /// Add the published layers, whose biases differ from each other as in `published` before.
    pub fn export(&self, ours: &Tensors, published: &mut Tensors) -> Result<(), PretrainedError> {
        let get = |end: &str| {
            let name = format!("{}.{end}", self.ours);
            ours.get(&name).ok_or_else(|| missing(&name))
        };
        let (weight, bias) = (get("weight")?, get("bias")?);
        let n = self.theirs.len();
        let before: Option<Vec<Tensor>> = self.biases().map(|name| published.get(&name).cloned()).collect();
        let moved = match &before {
            Some(before) => Some((bias - self.mean(&before.iter().collect::<Vec<_>>())?)?),
            None => None,
        };
        let width = weight.dim(1)? / n;
        for (i, name) in self.theirs.iter().enumerate() {
            let part = (weight.narrow(1, i * width, width)?.contiguous()? * n as f64)?;
            published.insert(format!("{name}.weight"), part);
            let bias = match (&before, &moved) {
                (Some(before), Some(moved)) => (&before[i] + moved)?,
                _ => bias.clone(),
            };
            published.insert(format!("{name}.bias"), bias);
        }
        Ok(())
    }
}
