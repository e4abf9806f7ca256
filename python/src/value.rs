//! Values of a row: Python's and the library's.

use crate::array::array;
use crate::error::{file, input};
use hound::{SampleFormat, WavSpec, WavWriter};
use numpy::{PyArrayDyn, PyArrayMethods, PyUntypedArrayMethods};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyDict, PyList, PyString, PyTuple};
use smalti::contract::value::{Array, File, Numbers};
use smalti::contract::{Row, Value};
use smalti::modalities::audio::Waveform;
use std::io::Cursor;
use std::path::PathBuf;

/// The value of a Python object.
pub fn to_value(object: &Bound<'_, PyAny>) -> PyResult<Value> {
    if object.is_none() {
        return Ok(Value::Missing);
    }
    if let Ok(flag) = object.cast::<PyBool>() {
        return Ok(flag.is_true().into());
    }
    if object.is_instance_of::<PyString>() {
        return Ok(Value::Text(object.extract()?));
    }
    if let Ok(bytes) = object.cast::<PyBytes>() {
        return Ok(Value::File(File { name: "bytes".into(), bytes: bytes.as_bytes().to_vec() }));
    }
    if let Ok(dict) = object.cast::<PyDict>() {
        return of_dict(dict);
    }
    if object.is_instance_of::<PyList>() || object.is_instance_of::<PyTuple>() {
        let steps = object.try_iter()?.map(|step| to_value(&step?));
        return Ok(Value::Series(steps.collect::<PyResult<_>>()?));
    }
    if object.hasattr("__fspath__")? {
        return read(object.extract()?);
    }
    if object.hasattr("__array__")? || object.hasattr("__array_interface__")? {
        return of_array(object);
    }
    match object.extract::<f64>() {
        Ok(number) => Ok(Value::Number(number)),
        Err(_) => Err(unexpected(
            object,
            "str, bytes, a path, a number, an array, a dict of a file or a clip, a list or None",
        )),
    }
}

/// The items of an argument that is a list of values: not those of a str, of bytes or of a dict.
pub fn items<'py>(argument: &str, object: &Bound<'py, PyAny>) -> PyResult<Vec<Bound<'py, PyAny>>> {
    let is_value = object.is_instance_of::<PyString>()
        || object.is_instance_of::<PyBytes>()
        || object.is_instance_of::<PyDict>();
    if is_value || !object.hasattr("__iter__")? {
        let found = object.get_type().name()?;
        return Err(input(format!("{argument}: expected a list of values; found {found}")));
    }
    object.try_iter()?.collect()
}

/// A list of numbers as an array `[n]`, for what has no time steps; any other value unchanged.
pub fn vector(value: Value) -> Value {
    let number = |step: &Value| if let Value::Number(number) = step { Some(*number as f32) } else { None };
    let numbers = match &value {
        Value::Series(steps) if !steps.is_empty() => steps.iter().map(number).collect::<Option<Vec<f32>>>(),
        _ => None,
    };
    numbers.map_or(value, Value::vector)
}

/// The row of a dict of values by field.
pub fn to_row(object: &Bound<'_, PyAny>) -> PyResult<Row> {
    let Ok(dict) = object.cast::<PyDict>() else {
        return Err(unexpected(object, "a dict of values by field"));
    };
    let field = |(name, value): (Bound<'_, PyAny>, Bound<'_, PyAny>)| {
        let name: String = name.extract()?;
        let value = to_value(&value)?;
        Ok((name, value))
    };
    Ok(Row { fields: dict.iter().map(field).collect::<PyResult<_>>()? })
}

/// The Python object of a value.
pub fn to_python(py: Python<'_>, value: Value) -> PyResult<Bound<'_, PyAny>> {
    Ok(match value {
        Value::Missing => py.None().into_bound(py),
        Value::Text(text) => PyString::new(py, &text).into_any(),
        Value::Number(number) => number.into_pyobject(py)?.into_any(),
        Value::Array(Array { shape, numbers: Numbers::U8(bytes) }) => {
            array(py, bytes, &shape)?.into_bound(py)
        }
        Value::Array(Array { shape, numbers: Numbers::F32(numbers) }) => {
            array(py, numbers, &shape)?.into_bound(py)
        }
        Value::File(File { name, bytes }) => {
            let dict = PyDict::new(py);
            dict.set_item("path", name)?;
            dict.set_item("bytes", PyBytes::new(py, &bytes))?;
            dict.into_any()
        }
        Value::Series(values) | Value::Several { values, .. } => {
            let values = values.into_iter().map(|value| to_python(py, value));
            PyList::new(py, values.collect::<PyResult<Vec<_>>>()?)?.into_any()
        }
    })
}

/// The clip of samples `[n]` at `sampling_rate`, or of a dict with both as `datasets` has them; `None` for any other object.
pub fn to_clip(object: &Bound<'_, PyAny>, sampling_rate: Option<u32>) -> PyResult<Option<Waveform>> {
    if let Ok(dict) = object.cast::<PyDict>() {
        let (Some(samples), Some(rate)) = (dict.get_item("array")?, dict.get_item("sampling_rate")?) else {
            return Ok(None);
        };
        return Ok(Some(Waveform { sampling_rate: rate.extract()?, samples: samples_of(&samples)? }));
    }
    match sampling_rate {
        Some(sampling_rate) => Ok(Some(Waveform { sampling_rate, samples: samples_of(object)? })),
        None => Ok(None),
    }
}

/// A clip as a WAV file of 32-bit floats, which keeps its samples.
pub fn wav(clip: &Waveform) -> PyResult<Value> {
    let (sample_rate, sample_format) = (clip.sampling_rate, SampleFormat::Float);
    let spec = WavSpec { channels: 1, sample_rate, bits_per_sample: 32, sample_format };
    let mut bytes = Cursor::new(Vec::with_capacity(64 + 4 * clip.samples.len()));
    let write = |bytes: &mut Cursor<Vec<u8>>| -> Result<(), hound::Error> {
        let mut writer = WavWriter::new(bytes, spec)?;
        clip.samples.iter().try_for_each(|&sample| writer.write_sample(sample))?;
        writer.finalize()
    };
    write(&mut bytes).map_err(|e| input(e.to_string()))?;
    Ok(Value::File(File { name: "clip.wav".into(), bytes: bytes.into_inner() }))
}

/// The samples of a clip, `[n]`.
fn samples_of(object: &Bound<'_, PyAny>) -> PyResult<Vec<f32>> {
    let numpy = object.py().import("numpy")?;
    let given = numpy.call_method1("asarray", (object,))?;
    let kind: String = given.getattr("dtype")?.getattr("kind")?.extract()?;
    let (dims, dtype) = (given.getattr("ndim")?.extract::<usize>()?, given.getattr("dtype")?.str()?);
    if kind != "f" || dims != 1 {
        let found = format!("{} of {dtype}", given.getattr("shape")?.str()?);
        return Err(input(format!(
            "expected the samples of a clip: an array [n] of real numbers; found {found}"
        )));
    }
    floats(&given)
}

/// The numbers of an array as `f32`, row-major.
fn floats(object: &Bound<'_, PyAny>) -> PyResult<Vec<f32>> {
    let contiguous = object.py().import("numpy")?.call_method1("ascontiguousarray", (object, "float32"))?;
    Ok(contiguous.cast::<PyArrayDyn<f32>>()?.to_vec()?)
}

/// An array of bytes, or of any other numbers as real numbers; a number for an array without axes.
fn of_array(object: &Bound<'_, PyAny>) -> PyResult<Value> {
    let numpy = object.py().import("numpy")?;
    let given = numpy.call_method1("asarray", (object,))?;
    if given.getattr("ndim")?.extract::<usize>()? == 0 {
        return to_value(&given.call_method0("item")?);
    }
    if let Ok(bytes) = numpy.call_method1("ascontiguousarray", (&given,))?.cast::<PyArrayDyn<u8>>() {
        return Ok(Value::Array(Array {
            shape: bytes.shape().to_vec(),
            numbers: Numbers::U8(bytes.to_vec()?),
        }));
    }
    let kind: String = given.getattr("dtype")?.getattr("kind")?.extract()?;
    if !"biuf".contains(&kind) {
        return Err(input(format!("expected an array of numbers; found {}", given.getattr("dtype")?.str()?)));
    }
    let shape = given.getattr("shape")?.extract()?;
    Ok(Value::Array(Array { shape, numbers: Numbers::F32(floats(&given)?) }))
}

/// A file (`bytes`, `path` or both) or a clip (`array`, `sampling_rate`), as `datasets` has them.
fn of_dict(dict: &Bound<'_, PyDict>) -> PyResult<Value> {
    if let Some(clip) = to_clip(dict.as_any(), None)? {
        return wav(&clip);
    }
    let given = |key: &str| Ok::<_, PyErr>(dict.get_item(key)?.filter(|value| !value.is_none()));
    let (path, bytes) = (given("path")?, given("bytes")?);
    match (path, bytes) {
        (path, Some(bytes)) => {
            let name = path.map_or(Ok("bytes".into()), |path| path.str()?.extract())?;
            Ok(Value::File(File { name, bytes: bytes.extract()? }))
        }
        (Some(path), None) => read(path.extract()?),
        (None, None) => Err(input(
            "expected a dict of a file (bytes, path) or of a clip (array, sampling_rate); found neither",
        )),
    }
}

/// The bytes of a file.
fn read(path: PathBuf) -> PyResult<Value> {
    let name = path.display().to_string();
    let bytes = std::fs::read(&path).map_err(|e| file(format!("{name}: {e}")))?;
    Ok(Value::File(File { name, bytes }))
}

fn unexpected(object: &Bound<'_, PyAny>, expected: &str) -> PyErr {
    match object.get_type().name() {
        Ok(name) => input(format!("expected {expected}; found {name}")),
        Err(error) => error,
    }
}
