//! The parameters of a model: seeded, named, in order of creation.

mod scope;

pub use scope::Scope;

use super::saved::SavedTensors;
use super::weight::QuantizedParameter;
use crate::ops::QuantizedType;
use crate::pattern::matches;
use candle_core::{Device, Result, Tensor, Var, bail};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// Every parameter by name. A parameter's initial value depends on the seed and its name alone.
#[derive(Debug)]
pub struct Params {
    /// `None` for parameters that are loaded.
    seed: Option<u64>,
    device: Device,
    named: Vec<(String, Var)>,
    places: HashMap<String, usize>,
    /// The shapes of parameters that have no values; `None` for parameters with values.
    shapes: Option<BTreeMap<String, Vec<usize>>>,
    /// Patterns of names that get no gradient.
    frozen: Vec<String>,
    /// Names of parameters that are set later, and not drawn.
    set_later: BTreeSet<String>,
    /// The type of the weights of linear maps; `None` for f32.
    weights: Option<QuantizedType>,
    /// The weights that are not in f32.
    quantized: Vec<Arc<QuantizedParameter>>,
}

impl Params {
    /// No parameters yet. Parameters are initialized from `seed`, in f32 on `device`.
    pub fn new(seed: u64, device: &Device) -> Self {
        Self { seed: Some(seed), ..Self::blank(device) }
    }

    /// No parameters yet. They are zeros until [`load`](Self::load) sets them: no value is computed that a saved one replaces.
    pub fn blank(device: &Device) -> Self {
        Self {
            seed: None,
            device: device.clone(),
            named: Vec::new(),
            places: HashMap::new(),
            shapes: None,
            frozen: Vec::new(),
            set_later: BTreeSet::new(),
            weights: None,
            quantized: Vec::new(),
        }
    }

    /// No parameters yet. Of those created later only the shapes are kept, and nothing is allocated for their values.
    pub(super) fn without_values() -> Self {
        Self { shapes: Some(BTreeMap::new()), ..Self::blank(&Device::Cpu) }
    }

    /// The shapes of parameters [without values](Self::without_values), by name.
    pub(super) fn into_shapes(self) -> BTreeMap<String, Vec<usize>> {
        self.shapes.unwrap_or_default()
    }

    /// Leaves parameters of these names at zeros when they are created later: their values are set, so none is drawn.
    pub fn set_later(self, names: BTreeSet<String>) -> Self {
        Self { set_later: names, ..self }
    }

    /// Rounds the weights of linear maps that are created later, for inference: those of blocks to this type, those of heads to
    /// int8. Embeddings, norms, biases and the routers of experts stay in f32. A rounded weight has no gradient and no place
    /// among the parameters in f32.
    ///
    /// # Errors
    /// If the device is not the CPU.
    pub fn quantized(self, dtype: QuantizedType) -> Result<Self> {
        if !self.device.is_cpu() {
            bail!("weights in {dtype} are for the CPU; found {:?}", self.device.location());
        }
        Ok(Self { weights: Some(dtype), ..self })
    }

    /// Freezes parameters created later whose names match a pattern: they get no gradient. `*` stands for any letters, as in
    /// `stack.blocks.0.*`.
    pub fn freeze(self, patterns: &[String]) -> Self {
        Self { frozen: patterns.to_vec(), ..self }
    }

    /// Whether a parameter gets no gradient.
    pub fn is_frozen(&self, name: &str) -> bool {
        self.frozen.iter().any(|pattern| matches(pattern, name))
    }

    /// A pattern of [`freeze`](Self::freeze) that no parameter's name matches.
    pub fn unmatched(&self) -> Option<&str> {
        let idle = |pattern: &&String| !self.named.iter().any(|(name, _)| matches(pattern, name));
        self.frozen.iter().find(idle).map(String::as_str)
    }

    /// The root of the tree of names.
    pub fn root(&mut self) -> Scope<'_> {
        let weights = self.weights;
        Scope { params: self, prefix: String::new(), weights }
    }

    /// Names and parameters in f32, in order of creation.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &Var)> {
        self.named.iter().map(|(name, var)| (name.as_str(), var))
    }

    /// The total number of elements of all parameters.
    pub fn count(&self) -> usize {
        let named = self.named.iter().map(|(_, var)| var.elem_count());
        named.chain(self.rounded().map(|(_, [outputs, inputs])| outputs * inputs)).sum()
    }

    /// The bytes of all parameters.
    pub fn bytes(&self) -> usize {
        let named = self.named.iter().map(|(_, var)| var.elem_count() * size_of::<f32>());
        named.chain(self.quantized.iter().map(|weight| weight.bytes())).sum()
    }

    /// The device of the parameters.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Names and shapes of the parameters that are not in f32.
    fn rounded(&self) -> impl Iterator<Item = (&str, [usize; 2])> {
        self.quantized.iter().filter_map(|weight| Some((weight.name()?, weight.dims())))
    }

    /// The types of the parameters that are not in f32, by name.
    pub fn quantized_types(&self) -> BTreeMap<String, QuantizedType> {
        self.quantized.iter().filter_map(|weight| Some((weight.name()?.into(), weight.dtype()))).collect()
    }

    /// The parameters in f32 as tensors, by name, for saving.
    pub fn tensors(&self) -> BTreeMap<String, Tensor> {
        self.named.iter().map(|(name, var)| (name.clone(), var.as_tensor().clone())).collect()
    }

    /// Sets every parameter from saved tensors of the same names and shapes.
    ///
    /// # Errors
    /// If a tensor is missing, unknown or of another shape; the message names the first ten and the number of all, and no parameter is changed. If a
    /// tensor cannot be read.
    pub fn load(&self, saved: &impl SavedTensors) -> Result<()> {
        let named = self.named.iter().map(|(name, var)| (name.clone(), var.dims().to_vec()));
        let rounded = self.rounded().map(|(name, dims)| (name.to_string(), dims.to_vec()));
        check_shapes(&named.chain(rounded).collect(), &saved.shapes())?;
        self.named.iter().try_for_each(|(name, var)| saved.read(name, var))?;
        self.quantized.iter().try_for_each(|weight| weight.load(saved))
    }
}

/// Checks that saved tensors have the names and shapes of a model's parameters.
///
/// # Errors
/// If a tensor is missing, unknown or of another shape.
pub(super) fn check_shapes(
    expected: &BTreeMap<String, Vec<usize>>,
    saved: &BTreeMap<String, Vec<usize>>,
) -> Result<()> {
    let misfit = |(name, expected): (&String, &Vec<usize>)| match saved.get(name) {
        None => Some(format!("{name} is missing")),
        Some(shape) if shape != expected => Some(format!("{name} is {shape:?}, expected {expected:?}")),
        Some(_) => None,
    };
    let unknown = saved.keys().filter(|name| !expected.contains_key(*name));
    let unknown = unknown.map(|name| format!("{name} is not a parameter of this model"));
    let mut problems: Vec<String> = expected.iter().filter_map(misfit).chain(unknown).collect();
    if problems.is_empty() {
        return Ok(());
    }
    problems.sort();
    bail!("saved weights do not fit: {}", smalti_contract::listed(problems, "; "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::Value;
    use candle_core::DType;

    #[test]
    fn a_value_depends_only_on_seed_and_name() -> Result<()> {
        let (mut one, mut two) = (Params::new(7, &Device::Cpu), Params::new(7, &Device::Cpu));
        one.root().at("first").normal("weight", (2, 3), 1.0)?;
        let a = one.root().at("second").normal("weight", (2, 3), 1.0)?;
        let b = two.root().at("second").normal("weight", (2, 3), 1.0)?;
        assert_eq!(a.tensor().to_vec2::<f32>()?, b.tensor().to_vec2::<f32>()?);
        assert_eq!(one.iter().map(|(name, _)| name).collect::<Vec<_>>(), ["first.weight", "second.weight"]);
        assert!(one.root().at("first").zeros("weight", 1).is_err());
        Ok(())
    }

    #[test]
    fn matching_parameters_are_frozen() -> Result<()> {
        let patterns = ["embed.*", "*.bias", "none*"].map(String::from);
        let mut params = Params::new(0, &Device::Cpu).freeze(&patterns);
        let gradient = |params: &mut Params, scope: &str, name: &str| -> Result<bool> {
            Ok(params.root().at(scope).ones(name, 2)?.has_gradient())
        };
        assert!(!gradient(&mut params, "embed", "table")?);
        assert!(!gradient(&mut params, "stack", "bias")?);
        assert!(gradient(&mut params, "stack", "weight")?);
        assert_eq!(params.unmatched(), Some("none*"));
        Ok(())
    }

    #[test]
    fn a_blank_parameter_is_zeros_until_it_is_loaded() -> Result<()> {
        let build = |params: &mut Params| -> Result<Vec<Value>> {
            let mut root = params.root();
            Ok(vec![root.normal("a", (40, 3), 1.0)?, root.ones("b", 2)?, root.constant("c", 2, 0.5)?])
        };
        let (mut drawn, mut blank) = (Params::new(3, &Device::Cpu), Params::blank(&Device::Cpu));
        let (expected, values) = (build(&mut drawn)?, build(&mut blank)?);
        let numbers = |value: &Value| value.tensor().flatten_all()?.to_vec1::<f32>();
        for value in &values {
            assert!(numbers(value)?.iter().all(|x| *x == 0.0), "nothing is drawn");
        }
        blank.load(&drawn.tensors().into_iter().collect::<HashMap<_, _>>())?;
        for (value, expected) in values.iter().zip(&expected) {
            assert_eq!(numbers(value)?, numbers(expected)?);
        }
        Ok(())
    }

    #[test]
    fn a_parameter_without_values_has_a_shape_alone() -> Result<()> {
        let mut params = Params::without_values();
        let mut root = params.root();
        let value = root.normal("a", (1 << 30, 1 << 20), 1.0)?;
        assert_eq!(value.dims(), [1 << 30, 1 << 20]);
        root.ones("b", 2)?;
        assert_eq!(root.n_parameters(), 2);
        assert!(root.zeros("b", 2).is_err());
        let shapes = params.into_shapes();
        assert_eq!((&shapes["a"][..], &shapes["b"][..]), (&[1 << 30, 1 << 20][..], &[2][..]));
        Ok(())
    }

    #[test]
    fn parameters_that_are_set_later_are_not_drawn() -> Result<()> {
        let later = BTreeSet::from(["a.weight", "a.scale"].map(String::from));
        let (mut all, mut rest) =
            (Params::new(3, &Device::Cpu), Params::new(3, &Device::Cpu).set_later(later));
        for params in [&mut all, &mut rest] {
            params.root().at("a").normal("weight", (4, 3), 1.0)?;
            params.root().at("a").ones("scale", 2)?;
            params.root().at("b").normal("weight", (4, 3), 1.0)?;
        }
        let numbers = |params: &Params, name: &str| params.tensors()[name].flatten_all()?.to_vec1::<f32>();
        for name in ["a.weight", "a.scale"] {
            assert!(numbers(&rest, name)?.iter().all(|x| *x == 0.0), "{name} is drawn");
        }
        assert_eq!(numbers(&rest, "b.weight")?, numbers(&all, "b.weight")?);
        Ok(())
    }

    #[test]
    fn a_size_beyond_all_memory_is_an_error() {
        for mut params in
            [Params::new(0, &Device::Cpu), Params::blank(&Device::Cpu), Params::without_values()]
        {
            let message = params.root().normal("a", (1 << 40, 1 << 40), 1.0).unwrap_err().to_string();
            assert!(message.contains("fewer than 2^60 numbers"), "{message}");
        }
    }

    #[test]
    fn many_misfits_are_counted() {
        let expected = (0..25).map(|i| (format!("p{i:02}"), vec![1])).collect();
        let message = check_shapes(&expected, &BTreeMap::new()).unwrap_err().to_string();
        assert!(message.contains("p09 is missing; … (25 in all)"), "{message}");
    }

    #[test]
    fn a_failed_load_names_every_misfit() -> Result<()> {
        let mut params = Params::new(0, &Device::Cpu);
        params.root().zeros("a", 2)?;
        params.root().zeros("b", 2)?;
        let saved = HashMap::from([
            ("a".to_string(), Tensor::zeros(3, DType::F32, &Device::Cpu)?),
            ("c".to_string(), Tensor::zeros(3, DType::F32, &Device::Cpu)?),
        ]);
        let message = params.load(&saved).unwrap_err().to_string();
        for part in ["a is [3], expected [2]", "b is missing", "c is not a parameter"] {
            assert!(message.contains(part), "{message}");
        }
        Ok(())
    }
}
