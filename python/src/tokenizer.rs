//! Tokenizers of every modality.

use crate::error::{input, raise};
use crate::json;
use crate::tokens::{Tokens, whole};
use crate::value::{items, to_clip, to_python, to_value, vector, wav};
use pyo3::prelude::*;
use pyo3::types::PyDict;
use rayon::prelude::*;
use serde_json::{Map, Value as Json};
use smalti::contract::tokens as contract;
use smalti::contract::{AnyTokenizer, TokenizeError, Value};
use smalti::modalities::audio::Waveform;
use smalti::registry::Modalities;
use smalti::run::Run;
use std::path::PathBuf;
use std::sync::Arc;

/// Values that are tokenized between two checks for Ctrl-C.
const CHUNK: usize = 64;

/// A tokenizer of one modality: "text", "image", "audio", "numbers", "codes".
///
/// The settings are those of `[inputs.NAME]` in a task (`smalti settings inputs`). Settings that are left out are fitted to
/// `values`: a vocabulary to texts, a mean and deviation to images, clips or numbers.
///
/// A value is a str, the bytes of a file or its `pathlib.Path`, a number, a NumPy array (an image: uint8 `[height, width]` or
/// `[height, width, channels]`), a list of numbers, a clip `{"array": samples, "sampling_rate": Hz}`, or a file
/// `{"bytes": …, "path": …}`.
#[pyclass(frozen, module = "smalti")]
pub struct Tokenizer {
    tokenizer: Arc<dyn AnyTokenizer>,
}

/// A value to tokenize.
enum Input {
    Value(Value),
    Clip(Waveform),
}

/// How a value is tokenized.
#[derive(Clone, Copy)]
struct Options {
    sampling_rate: Option<u32>,
    max_length: Option<usize>,
    seed: Option<u64>,
}

impl Tokenizer {
    fn input(&self, value: &Bound<'_, PyAny>, options: Options) -> PyResult<Input> {
        if options.seed.is_some() && options.max_length.is_some() {
            return Err(input("expected either seed or max_length; found both"));
        }
        if options.sampling_rate.is_some() && self.tokenizer.name() != "audio" {
            let found = self.tokenizer.name();
            return Err(input(format!("sampling_rate: expected a tokenizer of audio; found one of {found}")));
        }
        match to_clip(value, options.sampling_rate)? {
            Some(clip) if self.tokenizer.name() == "audio" => {
                match options.seed.or(options.max_length.map(|_| 0)) {
                    None => Ok(Input::Clip(clip)),
                    Some(_) => Ok(Input::Value(wav(&clip)?)),
                }
            }
            _ => match vector(to_value(value)?) {
                Value::Array(_) if self.tokenizer.name() == "audio" => Err(input(
                    "sampling_rate: expected the rate (Hz) of a clip that is given as its samples, such as sampling_rate=16000; \
                     found none",
                )),
                value => Ok(Input::Value(value)),
            },
        }
    }

    fn tokens(&self, input: Input, options: Options) -> Result<contract::Tokens, TokenizeError> {
        match (input, options.max_length) {
            (Input::Clip(clip), _) => self.tokenizer.encode_any(&clip),
            (Input::Value(value), Some(most)) => {
                self.tokenizer.encode_value_truncated(value, most).map(|(tokens, _)| tokens)
            }
            (Input::Value(value), None) => self.tokenizer.encode_value(value, options.seed),
        }
    }

    fn encode_with(&self, py: Python<'_>, value: &Bound<'_, PyAny>, options: Options) -> PyResult<Tokens> {
        let input = self.input(value, options)?;
        let tokens = py.detach(|| self.tokens(input, options)).map_err(raise)?;
        Tokens::new(py, &self.tokenizer.spec().kinds, tokens)
    }
}

/// A function, and its arguments.
type Reduced<'py> = (Bound<'py, PyAny>, (&'static str, Bound<'py, PyAny>));

#[pymethods]
impl Tokenizer {
    #[new]
    #[pyo3(signature = (modality, values = None, **settings))]
    fn new(
        py: Python<'_>,
        modality: &str,
        values: Option<&Bound<'_, PyAny>>,
        settings: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Self> {
        let settings = match settings {
            Some(settings) => json::from_python(settings)?,
            None => Json::Object(Map::new()),
        };
        let values = values.map(|values| items("values", values)).transpose()?.unwrap_or_default();
        let values = values.iter().map(|value| to_value(value).map(vector));
        let values: Vec<Value> = values.collect::<PyResult<_>>()?;
        let fit = || Modalities::builtin().tokenizers().fit(modality, &settings, None, &values);
        Ok(Self { tokenizer: py.detach(fit).map_err(raise)?.into() })
    }

    /// The tokenizer of a fitted configuration, which `config` returns.
    #[staticmethod]
    fn from_config(modality: &str, config: &Bound<'_, PyAny>) -> PyResult<Self> {
        let config = json::from_python(config)?;
        let tokenizer = Modalities::builtin().tokenizers().build(modality, &config).map_err(raise)?;
        Ok(Self { tokenizer: tokenizer.into() })
    }

    /// The fitted tokenizer of an input or output of a run; in a run of several tasks, `part` is TASK.PART.
    ///
    /// The ids that the run adds to a vocabulary (begin, end, mask) are not among those of the tokenizer.
    #[staticmethod]
    fn from_run(py: Python<'_>, run: PathBuf, part: &str) -> PyResult<Self> {
        let tasks = py.detach(|| Run::open(&run)?.tasks()).map_err(raise)?;
        let all = tasks.iter().flat_map(|named| {
            let full = |name: &str| {
                if named.name.is_empty() { name.into() } else { format!("{}.{name}", named.name) }
            };
            let parts = named.task.parts().iter().map(|part| (part.name.as_str(), part.tokenizer.clone()));
            let outputs = named.task.outputs().iter();
            let labels = outputs.filter_map(|output| Some((output.name.as_str(), output.labels.clone()?)));
            parts.chain(labels).map(move |(name, tokenizer)| (full(name), tokenizer)).collect::<Vec<_>>()
        });
        let all: Vec<(String, Arc<dyn AnyTokenizer>)> = all.collect();
        match all.iter().find(|(name, _)| name == part) {
            Some((_, tokenizer)) => Ok(Self { tokenizer: tokenizer.clone() }),
            None => {
                let known = all.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", ");
                let problem = format!("{}: part: expected one of {known}; found {part:?}", run.display());
                Err(input(problem))
            }
        }
    }

    /// The modality.
    #[getter]
    fn modality(&self) -> &'static str {
        self.tokenizer.name()
    }

    /// The fitted configuration, as a dict.
    #[getter]
    fn config<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        json::to_python(py, &self.tokenizer.config_json().map_err(raise)?)
    }

    /// The kinds of token: a list of dicts with `name`, `vocabulary` (of ids) or `dim` (of features), `axes` (the size of each
    /// axis of positions) and `time_steps`.
    #[getter]
    fn kinds<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        json::to_python(py, &json::of_kinds(&self.tokenizer.spec().kinds))
    }

    /// The tokens of a value.
    ///
    /// `sampling_rate` (Hz) is that of a clip given as its samples `[n]`. A text is truncated to `max_length` tokens, or is an
    /// error if it is longer than the context. With a `seed`, the value is augmented as in training.
    #[pyo3(signature = (value, *, sampling_rate = None, max_length = None, seed = None))]
    fn encode(
        &self,
        py: Python<'_>,
        value: &Bound<'_, PyAny>,
        sampling_rate: Option<u32>,
        max_length: Option<usize>,
        seed: Option<u64>,
    ) -> PyResult<Tokens> {
        self.encode_with(py, value, Options { sampling_rate, max_length, seed })
    }

    /// The tokens of each of several values, computed on all cores; the options are those of `encode`.
    #[pyo3(signature = (values, *, sampling_rate = None, max_length = None, seed = None))]
    fn encode_batch(
        &self,
        py: Python<'_>,
        values: &Bound<'_, PyAny>,
        sampling_rate: Option<u32>,
        max_length: Option<usize>,
        seed: Option<u64>,
    ) -> PyResult<Vec<Tokens>> {
        let values: Vec<_> = items("values", values)?.into_iter().map(Bound::unbind).collect();
        let mut all = Vec::with_capacity(values.len());
        for (first, values) in values.chunks(CHUNK).enumerate() {
            py.check_signals()?;
            // Each thread copies its own input and output, so that the others compute in the meantime.
            let encode = |(place, value): (usize, &Py<PyAny>)| {
                let seed = seed.map(|seed| seed.wrapping_add((first * CHUNK + place) as u64));
                let options = Options { sampling_rate, max_length, seed };
                Python::attach(|py| self.encode_with(py, value.bind(py), options))
            };
            let encoded = || values.par_iter().enumerate().map(encode).collect::<PyResult<Vec<_>>>();
            all.extend(py.detach(encoded)?);
        }
        Ok(all)
    }

    /// The value of tokens, or of ids `[n]`: a str, a number, an array, or a file `{"path": …, "bytes": …}`, such as a PNG.
    ///
    /// Fails if the modality cannot be decoded (log-mel slices of audio).
    fn decode<'py>(&self, py: Python<'py>, tokens: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let tokens = match tokens.cast::<Tokens>() {
            Ok(tokens) => tokens.get().to_tokens(py)?,
            Err(_) => {
                contract::Tokens::new(vec![contract::Group::sequence(contract::Content::Ids(whole(tokens)?))])
            }
        };
        let value = py.detach(|| self.tokenizer.decode_value(&tokens)).map_err(raise)?;
        to_python(py, value)
    }

    fn __repr__(&self) -> String {
        let kinds: Vec<&str> = self.tokenizer.spec().kinds.iter().map(|kind| kind.name.as_str()).collect();
        format!("<smalti.Tokenizer: {} to {}>", self.tokenizer.name(), kinds.join(", "))
    }

    /// Pickled as its configuration.
    fn __reduce__<'py>(&self, py: Python<'py>) -> PyResult<Reduced<'py>> {
        let build = py.get_type::<Self>().getattr("from_config")?;
        Ok((build, (self.tokenizer.name(), self.config(py)?)))
    }
}
