//! Tokens as NumPy arrays.

use crate::array::{array, integers};
use crate::error::input;
use numpy::{PyArrayDyn, PyArrayMethods, PyUntypedArrayMethods};
use pyo3::prelude::*;
use smalti::contract::spec::KindSpec;
use smalti::contract::tokens as contract;

/// The tokens of a value, one group for each kind.
///
/// `len(tokens)` is the number of tokens of all kinds, and `tokens["patch"]` the group of a kind. Tokens of a single kind,
/// which all modalities of smalti have, also have the attributes of their group.
#[pyclass(frozen, module = "smalti")]
pub struct Tokens {
    groups: Vec<Py<Group>>,
}

/// The tokens of one kind.
#[pyclass(frozen, module = "smalti", get_all)]
pub struct Group {
    /// The name of the kind: "patch", "slice", "subword".
    kind: String,
    /// int32 `[n]`: ids into a vocabulary; None if the content is features.
    ids: Option<Py<PyAny>>,
    /// float32 `[n, dim]`: real features; None if the content is ids.
    features: Option<Py<PyAny>>,
    /// int32 `[n, axes]`: the place on each axis, such as a patch's row and column.
    positions: Py<PyAny>,
    /// int32 `[n]`: the place in the sequence, over all kinds.
    order: Py<PyAny>,
    /// int32 `[n]`: the time step.
    time: Py<PyAny>,
}

impl Group {
    fn new(py: Python<'_>, kind: &KindSpec, group: contract::Group) -> PyResult<Py<Self>> {
        let n = group.len();
        let (ids, features) = content(py, group.content)?;
        let one = Self {
            kind: kind.name.clone(),
            ids,
            features,
            positions: integers(py, group.positions, &[n, kind.axes.len()])?,
            order: integers(py, group.order, &[n])?,
            time: integers(py, group.time, &[n])?,
        };
        Py::new(py, one)
    }

    fn to_group(&self, py: Python<'_>) -> PyResult<contract::Group> {
        let content = match (&self.ids, &self.features) {
            (Some(ids), _) => contract::Content::Ids(whole(ids.bind(py))?),
            (None, Some(features)) => {
                let features = features.bind(py).cast::<PyArrayDyn<f32>>()?;
                let dim = features.shape().last().copied().unwrap_or_default();
                contract::Content::Features { values: features.to_vec()?, dim }
            }
            (None, None) => contract::Content::Ids(vec![]),
        };
        let numbers = |array: &Py<PyAny>| whole(array.bind(py));
        Ok(contract::Group {
            content,
            positions: numbers(&self.positions)?,
            order: numbers(&self.order)?,
            time: numbers(&self.time)?,
        })
    }
}

/// An array, or `None` in Python.
type Optional = Option<Py<PyAny>>;

/// Ids `[n]` or features `[n, dim]` as arrays that own their memory.
pub fn content(py: Python<'_>, content: contract::Content) -> PyResult<(Optional, Optional)> {
    let n = content.len();
    Ok(match content {
        contract::Content::Ids(ids) => (Some(integers(py, ids, &[n])?), None),
        contract::Content::Features { values, dim } => (None, Some(array(py, values, &[n, dim])?)),
    })
}

/// Whole numbers of at least 0, in an array or a list.
pub fn whole(object: &Bound<'_, PyAny>) -> PyResult<Vec<u32>> {
    let given = object.py().import("numpy")?.call_method1("ravel", (object,))?;
    let dtype = given.getattr("dtype")?;
    // An empty list is an array of real numbers.
    if !"iu".contains(&dtype.getattr("kind")?.extract::<String>()?) && given.len()? > 0 {
        return Err(input(format!("ids: expected integers; found an array of {}", dtype.str()?)));
    }
    let wide = given.call_method1("astype", ("int64",))?.cast_into::<PyArrayDyn<i64>>()?.to_vec()?;
    let number = |&number: &i64| {
        u32::try_from(number).map_err(|_| input(format!("expected ids from 0 to 2**32 - 1; found {number}")))
    };
    wide.iter().map(number).collect()
}

#[pymethods]
impl Group {
    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        Ok(format!("<smalti.Group: {} of {}>", self.order.bind(py).len()?, self.kind))
    }
}

impl Tokens {
    /// The tokens of these kinds.
    pub fn new(py: Python<'_>, kinds: &[KindSpec], tokens: contract::Tokens) -> PyResult<Self> {
        let groups = kinds.iter().zip(tokens.groups).map(|(kind, group)| Group::new(py, kind, group));
        Ok(Self { groups: groups.collect::<PyResult<_>>()? })
    }

    /// The library's tokens.
    pub fn to_tokens(&self, py: Python<'_>) -> PyResult<contract::Tokens> {
        let groups = self.groups.iter().map(|group| group.get().to_group(py));
        Ok(contract::Tokens::new(groups.collect::<PyResult<_>>()?))
    }

    fn only(&self) -> PyResult<&Group> {
        match &self.groups[..] {
            [one] => Ok(one.get()),
            _ => Err(input(format!(
                "expected tokens of one kind; found {}: choose one, tokens[KIND]",
                self.listed()
            ))),
        }
    }

    fn listed(&self) -> String {
        self.kinds().join(", ")
    }
}

#[pymethods]
impl Tokens {
    /// The names of the kinds.
    #[getter]
    fn kinds(&self) -> Vec<&str> {
        self.groups.iter().map(|group| group.get().kind.as_str()).collect()
    }

    /// int32 `[n]`: the ids of tokens of one kind, or None.
    #[getter]
    fn ids(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        Ok(self.only()?.ids.as_ref().map(|ids| ids.clone_ref(py)))
    }

    /// float32 `[n, dim]`: the features of tokens of one kind, or None.
    #[getter]
    fn features(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        Ok(self.only()?.features.as_ref().map(|features| features.clone_ref(py)))
    }

    /// int32 `[n, axes]`: the positions of tokens of one kind.
    #[getter]
    fn positions(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        Ok(self.only()?.positions.clone_ref(py))
    }

    fn __len__(&self, py: Python<'_>) -> PyResult<usize> {
        self.groups.iter().map(|group| group.get().order.bind(py).len()).sum()
    }

    fn __getitem__(&self, py: Python<'_>, kind: &str) -> PyResult<Py<Group>> {
        let found = self.groups.iter().find(|group| group.get().kind == kind);
        let unknown =
            || pyo3::exceptions::PyKeyError::new_err(format!("{kind:?}; there is {}", self.listed()));
        found.map(|group| group.clone_ref(py)).ok_or_else(unknown)
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        Ok(format!("<smalti.Tokens: {} of {}>", self.__len__(py)?, self.listed()))
    }
}
