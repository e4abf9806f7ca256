//! A graph under construction: nodes, weights and constants.

use super::proto::{self, Attribute, FLOAT, INT64, Node};
use crate::ops::Activation;
use candle_core::{Result, Tensor, bail};
use std::collections::{BTreeMap, BTreeSet};

/// The name of a value in a graph.
pub type Name = String;

/// A graph of one model.
pub struct Builder {
    parameters: BTreeMap<String, Tensor>,
    /// The parameters that the graph has, whole or in a constant.
    used: BTreeSet<String>,
    pub graph: proto::Graph,
}

impl Builder {
    /// An empty graph of a model with these parameters.
    pub fn new(parameters: BTreeMap<String, Tensor>) -> Self {
        let graph = proto::Graph { name: "smalti".into(), ..proto::Graph::default() };
        Self { parameters, used: BTreeSet::new(), graph }
    }

    /// The first parameter without a place in the graph.
    pub fn unused(&self) -> Option<&str> {
        self.parameters.keys().find(|name| !self.used.contains(*name)).map(String::as_str)
    }

    /// Counts a parameter as used; returns its value if the model has it.
    pub fn take(&mut self, name: &str) -> Option<Tensor> {
        let tensor = self.parameters.get(name)?.clone();
        self.used.insert(name.into());
        Some(tensor)
    }

    /// A parameter, if the model has it, as it is.
    ///
    /// # Errors
    /// If its values cannot be read.
    pub fn parameter(&mut self, name: &str) -> Result<Option<Name>> {
        let is_new = !self.graph.initializer.iter().any(|known| known.name == name);
        let Some(tensor) = self.take(name) else { return Ok(None) };
        if is_new {
            let values = tensor.flatten_all()?.to_vec1::<f32>()?;
            self.initializer(name.into(), FLOAT, tensor.dims(), bytemuck::cast_slice(&values));
        }
        Ok(Some(name.into()))
    }

    /// A parameter that the model must have.
    ///
    /// # Errors
    /// If it does not.
    pub fn required(&mut self, name: &str) -> Result<Name> {
        match self.parameter(name)? {
            Some(found) => Ok(found),
            None => bail!("the model has no {name}"),
        }
    }

    fn initializer(&mut self, name: Name, data_type: i32, dims: &[usize], bytes: &[u8]) {
        let dims = dims.iter().map(|&dim| dim as i64).collect();
        // ONNX is little-endian; so are the machines that this program has kernels for.
        self.graph.initializer.push(proto::Tensor { dims, data_type, name, raw_data: bytes.to_vec() });
    }

    fn constant(&mut self, data_type: i32, dims: &[usize], bytes: &[u8]) -> Name {
        let same = |known: &&proto::Tensor| {
            known.name.starts_with("constant_")
                && known.data_type == data_type
                && known.raw_data == bytes
                && known.dims.iter().map(|&dim| dim as usize).eq(dims.iter().copied())
        };
        if let Some(known) = self.graph.initializer.iter().find(same) {
            return known.name.clone();
        }
        let name = format!("constant_{}", self.graph.initializer.len());
        self.initializer(name.clone(), data_type, dims, bytes);
        name
    }

    /// A constant of floating-point numbers.
    pub fn floats(&mut self, values: &[f32], dims: &[usize]) -> Name {
        self.constant(FLOAT, dims, bytemuck::cast_slice(values))
    }

    /// A constant number.
    pub fn number(&mut self, value: f64) -> Name {
        self.floats(&[value as f32], &[])
    }

    /// A constant tensor.
    ///
    /// # Errors
    /// If its values cannot be read.
    pub fn tensor(&mut self, tensor: &Tensor) -> Result<Name> {
        Ok(self.floats(&tensor.flatten_all()?.to_vec1::<f32>()?, tensor.dims()))
    }

    /// A constant list of integers.
    pub fn ints(&mut self, values: &[i64]) -> Name {
        self.constant(INT64, &[values.len()], bytemuck::cast_slice(values))
    }

    /// A constant integer.
    pub fn int(&mut self, value: i64) -> Name {
        self.constant(INT64, &[], bytemuck::cast_slice(&[value]))
    }

    /// A node with attributes and one output.
    pub fn with(&mut self, op: &str, inputs: &[&str], attributes: &[Attribute]) -> Name {
        let name = format!("{}_{}", op.to_lowercase(), self.graph.node.len());
        self.graph.node.push(Node {
            input: inputs.iter().map(|input| input.to_string()).collect(),
            output: vec![name.clone()],
            name: name.clone(),
            op_type: op.into(),
            attribute: attributes.to_vec(),
        });
        name
    }

    /// A node without attributes and with one output.
    pub fn node(&mut self, op: &str, inputs: &[&str]) -> Name {
        self.with(op, inputs, &[])
    }

    /// x·factor.
    pub fn scaled(&mut self, x: &str, factor: f64) -> Name {
        let factor = self.number(factor);
        self.node("Mul", &[x, &factor])
    }

    /// The elements from `from` to `to` on an axis; a negative number counts from the end.
    pub fn slice(&mut self, x: &str, axis: i64, from: i64, to: i64) -> Name {
        let [from, to, axis] = [from, to, axis].map(|number| self.ints(&[number]));
        self.node("Slice", &[x, &from, &to, &axis])
    }

    /// `x` in another shape, in which 0 is the dimension of `x` at its place.
    pub fn reshape(&mut self, x: &str, dims: &[i64]) -> Name {
        let dims = self.ints(dims);
        self.node("Reshape", &[x, &dims])
    }

    /// `x` with permuted axes.
    pub fn transposed(&mut self, x: &str, axes: &[i64]) -> Name {
        self.with("Transpose", &[x], &[Attribute::ints("perm", axes)])
    }

    /// Concatenation on an axis.
    pub fn concat(&mut self, parts: &[&str], axis: i64) -> Name {
        match parts {
            [one] => one.to_string(),
            parts => self.with("Concat", parts, &[Attribute::int("axis", axis)]),
        }
    }

    /// The linear map `NAME` of rows: `[n, inputs]` → `[n, outputs]`.
    ///
    /// # Errors
    /// If the model has no such map.
    pub fn linear(&mut self, x: &str, name: &str) -> Result<Name> {
        let weight = self.required(&format!("{name}.weight"))?;
        let bias = self.parameter(&format!("{name}.bias"))?;
        Ok(self.product(x, &weight, bias.as_deref()))
    }

    /// x·Wᵀ + b.
    pub fn product(&mut self, x: &str, weight: &str, bias: Option<&str>) -> Name {
        let inputs: Vec<&str> = [Some(x), Some(weight), bias].into_iter().flatten().collect();
        self.with("Gemm", &inputs, &[Attribute::int("transB", 1)])
    }

    /// The activation of each element.
    pub fn activation(&mut self, x: &str, activation: Activation) -> Name {
        match activation {
            Activation::Relu => self.node("Relu", &[x]),
            Activation::Tanh => self.node("Tanh", &[x]),
            Activation::Silu => self.gated(x, 1.0),
            Activation::QuickGelu => self.gated(x, 1.702),
            Activation::Gelu => {
                let scaled = self.scaled(x, std::f64::consts::FRAC_1_SQRT_2);
                let erf = self.node("Erf", &[&scaled]);
                self.half_of_one_plus(x, &erf)
            }
            Activation::GeluTanh => {
                let square = self.node("Mul", &[x, x]);
                let cube = self.node("Mul", &[&square, x]);
                let cube = self.scaled(&cube, 0.044715);
                let sum = self.node("Add", &[x, &cube]);
                let scaled = self.scaled(&sum, (2.0 / std::f64::consts::PI).sqrt());
                let tanh = self.node("Tanh", &[&scaled]);
                self.half_of_one_plus(x, &tanh)
            }
        }
    }

    /// x·σ(slope·x).
    fn gated(&mut self, x: &str, slope: f64) -> Name {
        let scaled = if slope == 1.0 { x.to_string() } else { self.scaled(x, slope) };
        let sigmoid = self.node("Sigmoid", &[&scaled]);
        self.node("Mul", &[x, &sigmoid])
    }

    /// x·(1 + y)/2.
    fn half_of_one_plus(&mut self, x: &str, y: &str) -> Name {
        let one = self.number(1.0);
        let sum = self.node("Add", &[y, &one]);
        let product = self.node("Mul", &[x, &sum]);
        self.scaled(&product, 0.5)
    }
}
