//! The modality `codes`: values as the ids of a learned codebook.
//!
//! A codebook is a run of its own, trained to reconstruct its input (`head = "reconstruct"`). Its encoder turns a value into
//! codes and its decoder turns codes back into a value, so any run can read and generate the values as tokens:
//!
//! ```toml
//! [outputs.image]
//! head = "generate"
//! modality = "codes"
//! codebook = "runs/codebook"
//! ```
//!
//! The codebook's settings and weights become part of the run's fitted state: its folder alone is enough.

use crate::data::collate;
use crate::inference;
use crate::model::Model;
use crate::model::ModelConfig;
use crate::model::Params;
use crate::registry::Modalities;
use crate::run::{Run, Weights};
use crate::sample::{Composition, Site, TaskSettings};
use crate::task::{SavedTask, Task};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use candle_core::Device;
use serde::{Deserialize, Serialize};
use smalti_contract::{Content, Group, KindSpec, TokenSpec, TokenizeError, Tokenizer, Tokens, Value, Values};
use std::path::Path;

/// Turns values into the codes of a codebook, and codes into values. Values are those that the codebook's own input reads.
///
/// The codebook's input is of a built-in modality, and each value has as many tokens there as the modality allows: images of
/// one size.
pub struct CodesTokenizer {
    config: CodesConfig,
    model: Model,
    task: Composition,
    /// The index of the `reconstruct` output.
    output: usize,
    /// The index of its input.
    input: usize,
    /// The index of its kind of code.
    kind: usize,
    spec: TokenSpec,
    /// Where the codebook computes: loader threads may call it while the thread that trains holds a pool of one thread.
    threads: rayon::ThreadPool,
}

/// Settings of [`CodesTokenizer`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CodesSettings {
    /// The run folder of the codebook; left out, that of the run that this one starts from.
    pub codebook: Option<String>,
}

/// A codebook: its task, its model and its weights.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CodesConfig {
    /// The codebook's inputs and outputs.
    pub task: TaskSettings,
    /// The fitted tokenizers and heads.
    pub saved: SavedTask,
    /// The codebook's transformer.
    pub model: ModelConfig,
    /// The weights, a safetensors file in base64.
    pub weights: String,
}

impl CodesConfig {
    /// The codebook in a run folder.
    fn of_run(folder: &Path) -> Result<Self, String> {
        let run = Run::open(folder).map_err(|e| e.to_string())?;
        let (model, tasks) = run.load(Weights::Best, &Device::Cpu).map_err(|e| e.to_string())?;
        let ([entry], [named]) = (&run.config().tasks()[..], &tasks[..]) else {
            return Err(format!("{}: expected a run of one task; found {}", folder.display(), tasks.len()));
        };
        if !entry.name.is_empty() {
            return Err(format!("{}: expected a run of one task; found a mix", folder.display()));
        }
        let weights = safetensors::serialize(model.params().tensors(), None).map_err(|e| e.to_string())?;
        Ok(Self {
            task: entry.settings.clone(),
            saved: named.task.saved().clone(),
            model: run.config().model.clone(),
            weights: BASE64.encode(weights),
        })
    }

    fn open(&self) -> Result<(Model, Composition), String> {
        let task = Composition::restore(("", 1.0), &self.task, &Modalities::builtin(), &self.saved);
        let task = task.map_err(|e| e.to_string())?;
        let params = Params::new(0, &Device::Cpu);
        let model = Model::with_params(&self.model, std::slice::from_ref(task.spec()), params);
        let model = model.map_err(|e| e.to_string())?;
        let bytes = BASE64.decode(&self.weights).map_err(|e| format!("weights: {e}"))?;
        let weights = candle_core::safetensors::load_buffer(&bytes, &Device::Cpu);
        let weights = weights.map_err(|e| format!("weights: {e}"))?;
        model.params().load(&weights).map_err(|e| format!("weights: {e}"))?;
        Ok((model, task))
    }
}

fn refuse(problem: String) -> TokenizeError {
    TokenizeError::Config { tokenizer: CodesTokenizer::NAME, problem }
}

fn failed(problem: impl ToString) -> TokenizeError {
    TokenizeError::Input(problem.to_string())
}

impl Tokenizer for CodesTokenizer {
    const NAME: &'static str = "codes";
    type Settings = CodesSettings;
    type Config = CodesConfig;
    type Raw = Value;

    /// The codebook of the settings' run; left out, that of `before`.
    ///
    /// # Errors
    /// [`TokenizeError::Config`] if the run is no codebook, or another than that of `before`, whose ids mean nothing under it.
    fn fit(
        settings: CodesSettings,
        before: Option<CodesConfig>,
        _: &dyn Values,
    ) -> Result<CodesConfig, TokenizeError> {
        let named = |problem| refuse(format!("codebook: {problem}"));
        let given = settings.codebook.as_deref().map(|run| CodesConfig::of_run(Path::new(run)));
        match (given.transpose().map_err(named)?, before) {
            (Some(given), Some(before)) if given.weights != before.weights => Err(named(
                "expected the codebook of the run that this one starts from; found another: leave it out"
                    .into(),
            )),
            (Some(codebook), _) | (None, Some(codebook)) => Ok(codebook),
            (None, None) => {
                Err(named("expected the folder of a run with head = \"reconstruct\"; found none".into()))
            }
        }
    }

    fn new(config: CodesConfig) -> Result<Self, TokenizeError> {
        let (model, task) = config.open().map_err(refuse)?;
        let found = task.outputs().iter().enumerate().find_map(|(output, of)| match of.site {
            Site::Codes { part, kind } => Some((output, part, kind)),
            _ => None,
        });
        let Some((output, input, kind)) = found else {
            return Err(refuse(format!(
                "expected a codebook, whose output has head = \"reconstruct\"; the run has {}",
                task.listed()
            )));
        };
        let of = &task.kinds(crate::data::Stream::Main)[kind];
        let spec = TokenSpec::single(KindSpec { name: "code".into(), time_steps: None, ..of.clone() });
        let threads = rayon::ThreadPoolBuilder::new().num_threads(rayon::current_num_threads()).build();
        let threads = threads.map_err(|e| refuse(e.to_string()))?;
        Ok(Self { config, model, task, output, input, kind, spec, threads })
    }

    fn config(&self) -> &CodesConfig {
        &self.config
    }

    fn spec(&self) -> &TokenSpec {
        &self.spec
    }

    fn read(&self, value: Value) -> Result<Value, TokenizeError> {
        Ok(value)
    }

    fn write(&self, raw: Value) -> Result<Value, TokenizeError> {
        Ok(raw)
    }

    fn varies(&self) -> bool {
        false
    }

    fn fixed_length(&self) -> Option<usize> {
        Some(self.spec.kinds[0].axes.iter().map(|axis| axis.size).product())
    }

    /// # Errors
    /// If the value cannot be read by the codebook's input, or has fewer tokens than that allows.
    fn encode(&self, raw: &Value) -> Result<Tokens, TokenizeError> {
        let tokens = self.task.parts()[self.input].tokenizer.encode_value(raw.clone(), None)?;
        let sample = self.task.sample_of_tokens(self.input, tokens, 0)?;
        let codes = sample.inputs.iter().find(|(stream, _)| *stream == crate::data::Stream::Main);
        let Some(codes) = codes.map(|(_, tokens)| tokens.groups[self.kind].clone()) else {
            return Err(failed("the codebook's input has no tokens"));
        };
        let (expected, found) = (self.fixed_length().unwrap_or(0), codes.len());
        if found != expected {
            return Err(TokenizeError::Input(format!(
                "expected a value of {expected} tokens, as the codebook's largest; found {found}"
            )));
        }
        let batch = collate(self.model.layouts(), &[(0, sample)]).map_err(failed)?;
        let ids = self.threads.install(|| self.model.codes(&batch)).map_err(failed)?;
        Ok(Tokens::new(vec![Group { content: Content::Ids(ids), ..codes }]))
    }

    /// The value that the codebook's decoder gives for the codes. Decoding is lossy.
    ///
    /// # Errors
    /// [`TokenizeError::Spec`] for tokens of another kind; [`TokenizeError::Input`] for another number of codes than a value
    /// has.
    fn decode(&self, tokens: &Tokens) -> Result<Value, TokenizeError> {
        self.spec.check(tokens)?;
        let ids = tokens.groups.first().and_then(|group| group.content.ids()).unwrap_or_default();
        let sample = self.task.sample_of_codes(self.output, ids.to_vec())?;
        let predict = || inference::predict_samples(&self.model, &self.task, &[(0, sample)]);
        let predicted = self.threads.install(predict).map_err(failed)?;
        let name = &self.task.outputs()[self.output].name;
        let value = predicted.into_iter().next().and_then(|mut outputs| outputs.remove(name));
        value
            .map(|prediction| prediction.value)
            .ok_or_else(|| failed("the codebook has reconstructed nothing"))
    }
}
