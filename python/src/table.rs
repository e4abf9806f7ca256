//! Sources as tables of rows.

use crate::error::{input, raise};
use crate::value::to_python;
use pyo3::exceptions::PyIndexError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PySlice};
use smalti::registry::Modalities;
use smalti::table::{ConcatTable, Source, Table as _, open_all};
use std::path::PathBuf;

/// The rows of a source: any file, folder, archive, pattern, `builtin:NAME`, `hf:OWNER/NAME` or remote location that
/// `[data] source` of a task opens, or a list of them.
///
/// `layout` and `columns` are detected if they are left out. `allow_outside` lets a table on disk name files outside its
/// folder. `len(table)` is the number of rows. `table[i]` is a dict of the row's values by field: a str, a float, a NumPy array, a
/// file `{"path": …, "bytes": …}`, a list with a value for each time step, or None. `table[i:j]` is a list of rows.
#[pyclass(frozen, module = "smalti")]
pub struct Table {
    table: ConcatTable,
}

/// A path, or several.
#[derive(FromPyObject)]
enum Paths {
    One(PathBuf),
    Many(Vec<PathBuf>),
}

/// A row, or several.
#[derive(FromPyObject)]
enum Index<'py> {
    One(isize),
    Many(Bound<'py, PySlice>),
}

impl Table {
    fn value_at<'py>(&self, py: Python<'py>, row: usize, field: &str) -> PyResult<Bound<'py, PyAny>> {
        let value = py.detach(|| self.table.value(row, field)).map_err(raise)?;
        to_python(py, value)
    }

    fn number(&self, row: isize) -> PyResult<usize> {
        let n = self.table.len();
        let from_start = if row < 0 { row.checked_add_unsigned(n).unwrap_or(-1) } else { row };
        let found = usize::try_from(from_start).ok().filter(|&row| row < n);
        found.ok_or_else(|| PyIndexError::new_err(format!("row {row}: {} has {n} rows", self.table.name())))
    }

    fn row_at<'py>(&self, py: Python<'py>, row: usize, fields: &[String]) -> PyResult<Bound<'py, PyDict>> {
        let dict = PyDict::new(py);
        fields.iter().try_for_each(|field| dict.set_item(field, self.value_at(py, row, field)?))?;
        Ok(dict)
    }
}

#[pymethods]
impl Table {
    #[new]
    #[pyo3(signature = (source, *, layout = None, columns = None, allow_outside = false))]
    fn new(
        py: Python<'_>,
        source: Paths,
        layout: Option<String>,
        columns: Option<Vec<String>>,
        allow_outside: bool,
    ) -> PyResult<Self> {
        let paths = match source {
            Paths::One(path) => vec![path],
            Paths::Many(paths) => paths,
        };
        if paths.is_empty() {
            return Err(input("source: expected at least one path; found none"));
        }
        let of = |path: PathBuf| Source {
            layout: layout.clone(),
            columns: columns.clone(),
            allow_outside,
            ..Source::new(path.to_string_lossy())
        };
        let sources: Vec<Source> = paths.into_iter().map(of).collect();
        let table = py.detach(|| open_all(&sources, Modalities::builtin().sources())).map_err(raise)?;
        Ok(Self { table })
    }

    /// The location.
    #[getter]
    fn name(&self) -> &str {
        self.table.name()
    }

    /// The names of the fields.
    #[getter]
    fn fields(&self) -> Vec<String> {
        self.table.fields().to_vec()
    }

    /// What each field of the first row is: a dict of descriptions, such as "an array [28, 28]".
    #[getter]
    fn schema<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let dict = PyDict::new(py);
        for field in self.table.fields() {
            let value = match self.table.is_empty() {
                true => None,
                false => Some(py.detach(|| self.table.peek(0, field)).map_err(raise)?),
            };
            dict.set_item(field, value.map(|value| value.describe()))?;
        }
        Ok(dict)
    }

    /// Files and columns that are not read: a list of names and reasons.
    #[getter]
    fn skipped(&self) -> Vec<(String, &'static str)> {
        self.table.skipped().to_vec()
    }

    /// The names of the classes that the source declares for a field, by number; None without such names.
    fn classes(&self, field: &str) -> Option<Vec<String>> {
        self.table.classes(field).map(<[String]>::to_vec)
    }

    /// The value of one field of a row.
    fn value<'py>(&self, py: Python<'py>, row: isize, field: &str) -> PyResult<Bound<'py, PyAny>> {
        self.value_at(py, self.number(row)?, field)
    }

    fn __len__(&self) -> usize {
        self.table.len()
    }

    fn __getitem__<'py>(&self, py: Python<'py>, index: Index<'py>) -> PyResult<Bound<'py, PyAny>> {
        let fields = self.table.fields();
        match index {
            Index::One(row) => Ok(self.row_at(py, self.number(row)?, fields)?.into_any()),
            Index::Many(slice) => {
                let rows = slice.indices(self.table.len() as isize)?;
                let places = (0..rows.slicelength).map(|nth| rows.start + nth as isize * rows.step);
                let rows = places.map(|row| {
                    py.check_signals()?;
                    self.row_at(py, row as usize, fields)
                });
                Ok(PyList::new(py, rows.collect::<PyResult<Vec<_>>>()?)?.into_any())
            }
        }
    }

    fn __repr__(&self) -> String {
        let (name, n, fields) = (self.table.name(), self.table.len(), self.table.fields().join(", "));
        format!("<smalti.Table: {n} rows of {name}: {fields}>")
    }
}
