//! Vectors as NumPy arrays, which take their memory without a copy.

use crate::error::input;
use numpy::ndarray::ArrayD;
use numpy::{Element, PyArrayDyn};
use pyo3::prelude::*;

/// An array of this shape that owns the memory of `values`.
pub fn array<T: Element>(py: Python<'_>, values: Vec<T>, shape: &[usize]) -> PyResult<Py<PyAny>> {
    let array = ArrayD::from_shape_vec(shape, values).map_err(|e| input(format!("shape {shape:?}: {e}")))?;
    Ok(PyArrayDyn::from_owned_array(py, array).into_any().unbind())
}

/// Numbers below 2³¹ as `int32`, which PyTorch reads as indices, in the same memory.
pub fn integers(py: Python<'_>, values: Vec<u32>, shape: &[usize]) -> PyResult<Py<PyAny>> {
    array(py, values.into_iter().map(|value| value as i32).collect(), shape)
}
