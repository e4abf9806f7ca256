//! Trained models: predictions, embeddings and generated values.

use crate::array::array;
use crate::error::{input, raise};
use crate::json;
use crate::value::{items, to_python, to_row, to_value, vector};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};
use smalti::candle_core::Device;
use smalti::contract::Row;
use smalti::inference::{
    Embedding, Generation, Predicted, Prompted, Sampling, embed, embedded_part, predict_rows,
};
use smalti::run::{NamedTask, Run, Weights};
use smalti::sample::{Composition, Pool};
use std::path::PathBuf;

/// A trained run: `smalti.Model.load("runs/digits")`.
#[pyclass(frozen, module = "smalti")]
pub struct Model {
    model: smalti::model::Model,
    tasks: Vec<NamedTask>,
    run: String,
}

impl Model {
    /// The task of this name and its number; without a name, the only task.
    fn task(&self, name: Option<&str>) -> PyResult<(usize, &Composition)> {
        NamedTask::choose(&self.tasks, name).ok_or_else(|| {
            let names = self.tasks.iter().map(|named| named.name.as_str()).collect::<Vec<_>>().join(", ");
            input(match name {
                Some(name) => format!("{}: task: expected one of {names}; found {name:?}", self.run),
                None => format!("{} has several tasks; choose one with task=: {names}", self.run),
            })
        })
    }
}

/// The row of a dict, in which a list of numbers is an array `[n]` if it is the value of a part without time steps.
fn row_of(task: &Composition, object: &Bound<'_, PyAny>) -> PyResult<Row> {
    let mut row = to_row(object)?;
    let is_series =
        |field: &String| task.parts().iter().any(|part| part.series && part.fields.contains(field));
    for (_, value) in row.fields.iter_mut().filter(|(field, _)| !is_series(field)) {
        *value = vector(std::mem::take(value));
    }
    Ok(row)
}

/// The device of this name.
fn device(name: &str) -> PyResult<Device> {
    let number = match name.split_once(':') {
        None if name == "cpu" => return Ok(Device::Cpu),
        None if name == "cuda" => Some(0),
        Some(("cuda", number)) => number.parse().ok(),
        _ => None,
    };
    let number =
        number.ok_or_else(|| input(format!("device: expected cpu, cuda or cuda:N; found {name:?}")))?;
    Device::new_cuda(number).map_err(|e| input(format!("device: {name} cannot be used: {e}")))
}

/// A row's predictions: for each output its value, and the probability of each label.
fn to_dict(py: Python<'_>, predicted: Predicted) -> PyResult<Bound<'_, PyDict>> {
    let outputs = PyDict::new(py);
    for (name, prediction) in predicted {
        let output = PyDict::new(py);
        output.set_item("value", to_python(py, prediction.value)?)?;
        let probabilities = PyDict::new(py);
        prediction.probabilities.into_iter().try_for_each(|(label, p)| probabilities.set_item(label, p))?;
        output.set_item("probabilities", probabilities)?;
        outputs.set_item(name, output)?;
    }
    Ok(outputs)
}

#[pymethods]
impl Model {
    /// Load the model of a run folder.
    ///
    /// `weights` are "best", by validation loss, or "last". `device` is "cpu", or "cuda:N" in a build with the feature `cuda`.
    #[staticmethod]
    #[pyo3(signature = (run, *, weights = "best", device = "cpu"))]
    fn load(py: Python<'_>, run: PathBuf, weights: &str, device: &str) -> PyResult<Self> {
        let weights = match weights {
            "best" => Weights::Best,
            "last" => Weights::Last,
            _ => return Err(input(format!("weights: expected \"best\" or \"last\"; found {weights:?}"))),
        };
        let device = self::device(device)?;
        let (model, tasks) = py.detach(|| Run::open(&run)?.load(weights, &device)).map_err(raise)?;
        Ok(Self { model, tasks, run: run.display().to_string() })
    }

    /// The tasks of the model: a list of dicts with `name`, the `fields` of a row that its inputs and outputs read, and the
    /// names of its `outputs`.
    #[getter]
    fn tasks<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let of = |named: &NamedTask| {
            let outputs: Vec<&str> = named.task.outputs().iter().map(|output| output.name.as_str()).collect();
            serde_json::json!({ "name": named.name, "fields": named.task.fields(), "outputs": outputs })
        };
        json::to_python(py, &self.tasks.iter().map(of).collect())
    }

    /// The kinds of token, by number: a list of dicts with `name`, `vocabulary` (of ids) or `dim` (of features), `axes` (the size
    /// of each axis of positions) and `time_steps`.
    #[getter]
    fn kinds<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        json::to_python(py, &json::of_kinds(self.model.kinds()))
    }

    /// Predict the outputs of a row, a dict of values by field, or of a list of rows, `batch_size` at a time.
    ///
    /// A value is a str, the bytes of a file or its `pathlib.Path`, a number, a NumPy array, a clip `{"array": samples,
    /// "sampling_rate": Hz}`, or a list: of numbers, or with the value of each time step of a series. A field that a row does
    /// not have is missing; a row has at least one input, and one that lacks an input has no unknown field.
    ///
    /// Returns a dict by output, or a list of them: `{"class": {"value": "cat", "probabilities": {"cat": 0.9, …}}}`. A series has
    /// a list with a value for each time step. Generated outputs (captions, transcripts) have at most `max_new_tokens`, by default
    /// as many as the model has positions, and are sampled at `temperature`; 0 is greedy. `task` is the name of a task of a mix.
    #[pyo3(signature = (
        rows, *, task = None, max_new_tokens = None, temperature = 0.0, top_k = 0, top_p = 1.0, seed = 1337, batch_size = 32
    ))]
    #[allow(clippy::too_many_arguments)] // the keywords of Python
    fn predict<'py>(
        &self,
        py: Python<'py>,
        rows: &Bound<'py, PyAny>,
        task: Option<&str>,
        max_new_tokens: Option<usize>,
        temperature: f64,
        top_k: usize,
        top_p: f64,
        seed: u64,
        batch_size: usize,
    ) -> PyResult<Bound<'py, PyAny>> {
        let (number, task) = self.task(task)?;
        let sampling = Sampling { temperature, top_k, top_p, seed };
        let generation = Generation { max_new_tokens, sampling };
        let predict = |rows: &[Row]| {
            py.check_signals()?;
            py.detach(|| predict_rows(&self.model, number, task, rows, &generation)).map_err(raise)
        };
        if rows.is_instance_of::<PyDict>() {
            let mut predicted = predict(&[row_of(task, rows)?])?;
            return Ok(to_dict(py, predicted.pop().unwrap_or_default())?.into_any());
        }
        let rows = items("rows", rows)?;
        let rows = rows.iter().map(|row| row_of(task, row)).collect::<PyResult<Vec<_>>>()?;
        let all = PyList::empty(py);
        for rows in rows.chunks(batch_size.max(1)) {
            predict(rows)?.into_iter().try_for_each(|predicted| all.append(to_dict(py, predicted)?))?;
        }
        Ok(all.into_any())
    }

    /// Embed a list of values of the only input, or of the one named `input`: float32 `[n, d_model]`.
    ///
    /// `pool` is "class_token", "mean", "first" or "last"; by default that of the run. `normalize` divides each vector by its
    /// length. Texts are cut to `max_length` tokens; 0 for as many as the model reads.
    #[pyo3(signature = (values, *, input = None, task = None, pool = None, normalize = false, max_length = 0, batch_size = 32))]
    #[allow(clippy::too_many_arguments)] // the keywords of Python
    fn embed(
        &self,
        py: Python<'_>,
        values: &Bound<'_, PyAny>,
        input: Option<&str>,
        task: Option<&str>,
        pool: Option<&str>,
        normalize: bool,
        max_length: usize,
        batch_size: usize,
    ) -> PyResult<Py<PyAny>> {
        let (number, task) = self.task(task)?;
        let part = embedded_part(task, input).map_err(raise)?;
        let pool = match pool {
            None => None,
            Some("class_token") => Some(Pool::ClassToken),
            Some("mean") => Some(Pool::Mean),
            Some("first") => Some(Pool::First),
            Some("last") => Some(Pool::Last),
            Some(found) => {
                let problem = format!("pool: expected class_token, mean, first or last; found {found:?}");
                return Err(crate::error::input(problem));
            }
        };
        let embedding = Embedding { pool, normalize, max_tokens: max_length };
        let batch_size = batch_size.max(1);
        let values = items("values", values)?;
        let (mut all, mut width) = (vec![], self.model.config().d_model);
        for values in values.chunks(batch_size) {
            py.check_signals()?;
            let values =
                values.iter().map(|value| to_value(value).map(vector)).collect::<PyResult<Vec<_>>>()?;
            let of = (&self.model, number, task);
            let embedded = py.detach(|| embed(of, part, values, &embedding, batch_size)).map_err(raise)?;
            width = embedded.vectors.first().map_or(width, Vec::len);
            all.extend(embedded.vectors.into_iter().flatten());
        }
        array(py, all, &[values.len(), width])
    }

    /// Generate what follows `prompt`, or is generated from it as the text input: a str, or a value of the output's modality. A run
    /// with masked tokens fills those after the prompt.
    ///
    /// `max_new_tokens` is the most tokens, without those of the prompt; None for as many as the model has positions.
    /// `temperature` divides the logits, 0 is greedy; `top_k` and `top_p` bound the sampled tokens (0 and 1 for all).
    #[pyo3(signature = (prompt, *, max_new_tokens = 300, temperature = 0.8, top_k = 0, top_p = 1.0, seed = 1337))]
    #[allow(clippy::too_many_arguments)] // the keywords of Python
    fn generate<'py>(
        &self,
        py: Python<'py>,
        prompt: &Bound<'py, PyAny>,
        max_new_tokens: Option<usize>,
        temperature: f64,
        top_k: usize,
        top_p: f64,
        seed: u64,
    ) -> PyResult<Bound<'py, PyAny>> {
        let prompt = to_value(prompt)?;
        let sampling = Sampling { temperature, top_k, top_p, seed };
        let tasks: Vec<&Composition> = self.tasks.iter().map(|named| named.task.as_ref()).collect();
        let Some(prompted) = Prompted::of(&tasks) else {
            return Err(input(format!("{}: expected {}", self.run, Prompted::EXPECTED)));
        };
        let generation = Generation { max_new_tokens, sampling };
        let mut interrupted = Ok(());
        let keep_generating = || {
            interrupted = Python::attach(|py| py.check_signals());
            interrupted.is_ok()
        };
        let completion = py.detach(|| prompted.complete(&self.model, prompt, &generation, keep_generating));
        interrupted?;
        to_python(py, completion.map_err(raise)?.value)
    }

    fn __repr__(&self) -> String {
        let n = self.model.params().count();
        format!("<smalti.Model: {}, {n} parameters>", self.run)
    }
}
