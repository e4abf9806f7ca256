//! The modality `codes`: values as ids of a learned codebook (van den Oord et al. 2017).
//!
//! A codebook is a separate run, trained to reconstruct its input (`head = "reconstruct"`). Its encoder maps a value to codes
//! and its decoder maps codes to a value, so any other run can read and generate such values as tokens:
//!
//! ```toml
//! [outputs.image]
//! head = "generate"
//! modality = "codes"
//! codebook = "runs/codebook"
//! ```
//!
//! The other run saves the codebook's settings and weights in its own folder.

use crate::data::collate;
use crate::inference;
use crate::model::Model;
use crate::model::ModelConfig;
use crate::model::Params;
use crate::registry::Modalities;
use crate::run::{Run, Weights};
use crate::sample::{Composition, ReadSite, TaskSettings};
use crate::task::{SavedTask, Task};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use candle_core::Device;
use serde::{Deserialize, Serialize};
use smalti_contract::{Content, Group, KindSpec, TokenSpec, TokenizeError, Tokenizer, Tokens, Value, Values};
use std::path::Path;

/// A tokenizer of values, such as images, to the codes of a codebook.
///
/// The input of the codebook has a built-in modality. Each value must have the maximum number of tokens of that modality, such
/// as images of one size.
pub struct CodesTokenizer {
    config: CodesConfig,
    model: Model,
    task: Composition,
    /// The index of the `reconstruct` output.
    output: usize,
    /// The index of the input that it reconstructs.
    input: usize,
    /// The index of the token kind of its codes.
    kind: usize,
    spec: TokenSpec,
    /// The threads of the codebook's model: loader threads may call it while training occupies a pool of one thread.
    threads: rayon::ThreadPool,
}

/// Settings of [`CodesTokenizer`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CodesSettings {
    /// The run folder of the codebook; by default the codebook of the run from which this run starts.
    pub codebook: Option<String>,
}

/// A codebook: its task, model and weights.
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
        let bytes = BASE64.decode(&self.weights).map_err(|e| format!("weights: {e}"))?;
        let weights = candle_core::safetensors::load_buffer(&bytes, &Device::Cpu);
        let weights = weights.map_err(|e| format!("weights: {e}"))?;
        let specs = std::slice::from_ref(task.spec());
        let outline = Model::outline(&self.model, specs).map_err(|e| e.to_string())?;
        outline.check(&weights).map_err(|e| format!("weights: {e}"))?;
        let model = Model::with_params(&self.model, specs, Params::blank(&Device::Cpu));
        let model = model.map_err(|e| e.to_string())?;
        model.params().load(&weights).map_err(|e| format!("weights: {e}"))?;
        Ok((model, task))
    }
}

fn config_error(problem: String) -> TokenizeError {
    TokenizeError::Config { tokenizer: CodesTokenizer::NAME, problem }
}

fn input_error(problem: impl ToString) -> TokenizeError {
    TokenizeError::Input(problem.to_string())
}

impl Tokenizer for CodesTokenizer {
    const NAME: &'static str = "codes";
    type Settings = CodesSettings;
    type Config = CodesConfig;
    type Raw = Value;

    /// The codebook of the run in the settings; without one, that of `before`.
    ///
    /// # Errors
    /// [`TokenizeError::Config`] if the run is no codebook, or differs from `before`, whose ids would change their meaning.
    fn fit(
        settings: CodesSettings,
        before: Option<CodesConfig>,
        _: &dyn Values,
    ) -> Result<CodesConfig, TokenizeError> {
        let named = |problem| config_error(format!("codebook: {problem}"));
        let given = settings.codebook.as_deref().map(|run| CodesConfig::of_run(Path::new(run)));
        match (given.transpose().map_err(named)?, before) {
            (Some(given), Some(before)) if given.weights != before.weights => Err(named(
                "expected the codebook of the run that this one starts from; found another: leave the setting out"
                    .into(),
            )),
            (Some(codebook), _) | (None, Some(codebook)) => Ok(codebook),
            (None, None) => {
                Err(named("expected the folder of a run with head = \"reconstruct\"; found none".into()))
            }
        }
    }

    fn settings_schema() -> serde_json::Value {
        schemars::schema_for!(CodesSettings).into()
    }

    fn new(config: CodesConfig) -> Result<Self, TokenizeError> {
        let (model, task) = config.open().map_err(config_error)?;
        let found = task.outputs().iter().enumerate().find_map(|(output, of)| match of.site {
            ReadSite::Codes { part, kind } => Some((output, part, kind)),
            _ => None,
        });
        let Some((output, input, kind)) = found else {
            return Err(config_error(format!(
                "expected a run with an output of head = \"reconstruct\"; found {}",
                task.listed()
            )));
        };
        let of = &task.kinds(crate::data::Stream::Main)[kind];
        let spec = TokenSpec::single(KindSpec { name: "code".into(), time_steps: None, ..of.clone() });
        let threads = rayon::ThreadPoolBuilder::new().num_threads(rayon::current_num_threads()).build();
        let threads = threads.map_err(|e| config_error(e.to_string()))?;
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
    /// If the codebook's input cannot read the value, or the value has another number of tokens than the codebook's.
    fn encode(&self, raw: &Value) -> Result<Tokens, TokenizeError> {
        let tokens = self.task.parts()[self.input].tokenizer.encode_value(raw.clone(), None)?;
        let sample = self.task.sample_of_tokens(self.input, tokens, 0)?;
        let codes = sample.inputs.iter().find(|(stream, _)| *stream == crate::data::Stream::Main);
        let Some(codes) = codes.map(|(_, tokens)| tokens.groups[self.kind].clone()) else {
            return Err(input_error("expected tokens of the codebook's input; found none"));
        };
        let (expected, found) = (self.fixed_length().unwrap_or(0), codes.len());
        if found != expected {
            return Err(TokenizeError::Input(format!(
                "expected a value of {expected} tokens, the number of the codebook; found {found}"
            )));
        }
        let batch = collate(self.model.layouts(), &[(0, sample)]).map_err(input_error)?;
        let ids = self.threads.install(|| self.model.codes(&batch)).map_err(input_error)?;
        Ok(Tokens::new(vec![Group { content: Content::Ids(ids), ..codes }]))
    }

    /// Reconstructs a value from its codes, with loss.
    ///
    /// # Errors
    /// [`TokenizeError::Spec`] for tokens of another kind; [`TokenizeError::Input`] for a wrong number of codes.
    fn decode(&self, tokens: &Tokens) -> Result<Value, TokenizeError> {
        self.spec.check(tokens)?;
        let ids = tokens.groups.first().and_then(|group| group.content.ids()).unwrap_or_default();
        let sample = self.task.sample_of_codes(self.output, ids.to_vec())?;
        let predict = || inference::predict_samples(&self.model, &self.task, &[(0, sample)]);
        let predicted = self.threads.install(predict).map_err(input_error)?;
        let name = &self.task.outputs()[self.output].name;
        let value = predicted.into_iter().next().and_then(|mut outputs| outputs.remove(name));
        value
            .map(|prediction| prediction.value)
            .ok_or_else(|| input_error("expected a reconstruction of the codebook; found none"))
    }
}
