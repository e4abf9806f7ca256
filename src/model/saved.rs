//! Saved parameters, as a model reads them.

use candle_core::{Result, Tensor, Var, bail};
use std::collections::{BTreeMap, HashMap};

/// Saved tensors, which are read one at a time.
pub trait SavedTensors {
    /// The shape of each tensor, by name.
    fn shapes(&self) -> BTreeMap<String, Vec<usize>>;

    /// Sets a variable to the values of the tensor `name`.
    ///
    /// # Errors
    /// If there is no such tensor, it has another shape, or it cannot be read.
    fn read(&self, name: &str, into: &Var) -> Result<()>;
}

impl SavedTensors for HashMap<String, Tensor> {
    fn shapes(&self) -> BTreeMap<String, Vec<usize>> {
        self.iter().map(|(name, tensor)| (name.clone(), tensor.dims().to_vec())).collect()
    }

    fn read(&self, name: &str, into: &Var) -> Result<()> {
        let Some(tensor) = self.get(name) else { bail!("there is no tensor {name}") };
        into.set(&tensor.to_device(into.device())?.to_dtype(into.dtype())?)
    }
}
