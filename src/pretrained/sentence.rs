//! The files of a sentence encoder (Reimers and Gurevych 2019): the modules after its transformer.

use super::names::{NameMap, Tensors};
use super::settings::Settings;
use super::{Checkpoint, PretrainedError, files};
use crate::head::Dense;
use crate::ops::Activation;
use crate::sample::Pool;
use serde_json::{Value, json};
use std::path::Path;

/// The kinds of model that sentence encoders have as their transformer.
pub(super) const KINDS: [&str; 7] =
    ["bert", "roberta", "xlm-roberta", "distilbert", "modernbert", "t5", "mt5"];
/// The list of the modules.
const MODULES: &str = "modules.json";
/// The pooling of a checkpoint without that list.
const POOLING: &str = "1_Pooling";
/// The settings of all modules together.
const WHOLE: &str = "config_sentence_transformers.json";
/// The settings of the transformer, by the first name that there is; the names are those of older versions too.
const TRANSFORMER: [&str; 4] = [
    "sentence_bert_config.json",
    "sentence_roberta_config.json",
    "sentence_distilbert_config.json",
    "sentence_xlm-roberta_config.json",
];

/// The settings of a sentence encoder.
pub(super) struct SentenceEncoder {
    pub pool: Pool,
    pub normalize: bool,
    pub dense: Option<DenseModule>,
    /// The most tokens of a text; `None` for one token per position.
    pub most_tokens: Option<usize>,
    /// Whether texts are converted to lower case before they are tokenized.
    pub lowercase: bool,
}

/// A linear layer after the pooling.
pub(super) struct DenseModule {
    /// Its folder beside the weights of the transformer.
    pub folder: String,
    pub layer: Dense,
    pub bias: bool,
}

impl Default for SentenceEncoder {
    fn default() -> Self {
        Self { pool: Pool::Mean, normalize: false, dense: None, most_tokens: None, lowercase: false }
    }
}

impl SentenceEncoder {
    /// Read the files beside the weights; `None` if there are none.
    ///
    /// # Errors
    /// [`PretrainedError`] for a module, or a setting of one, that this build does not have.
    pub fn read(checkpoint: &Checkpoint) -> Result<Option<Self>, PretrainedError> {
        let Some(modules) = modules(checkpoint)? else { return Ok(None) };
        let mut encoder = Self::default();
        let mut has_pooling = false;
        for (class, folder) in &modules {
            let settings = checkpoint.settings_of(&format!("{folder}/{}", files::CONFIG))?;
            match class.as_str() {
                "Pooling" if !has_pooling => {
                    has_pooling = true;
                    encoder.pool = settings.as_ref().map_or(Ok(Pool::Mean), pooling)?;
                }
                "Dense" if has_pooling && encoder.dense.is_none() && !encoder.normalize => {
                    encoder.dense = Some(dense(checkpoint, settings.as_ref(), folder)?);
                }
                "Normalize" if has_pooling => {
                    settings.as_ref().map_or(Ok(()), of_the_sentence)?;
                    encoder.normalize = true;
                }
                // It does nothing but in training.
                "Dropout" => {}
                other => {
                    let problem = format!(
                        "expected Transformer, Pooling, at most one Dense, and Normalize, in this order; found the module \
                         {other} in {folder:?}"
                    );
                    return Err(failed(checkpoint, MODULES, problem));
                }
            }
        }
        if !has_pooling {
            return Err(failed(checkpoint, MODULES, "expected a module Pooling; found none".into()));
        }
        encoder.read_transformer(checkpoint)?;
        Ok(Some(encoder))
    }

    fn read_transformer(&mut self, checkpoint: &Checkpoint) -> Result<(), PretrainedError> {
        if let Some(settings) = checkpoint.settings_of(WHOLE)? {
            settings.ignore(&["__version__", "prompts", "similarity_fn_name"]);
            settings.only(&[("model_type", json!("SentenceTransformer"))])?;
            if let Some(name) = settings.get("default_prompt_name") {
                let problem = format!("expected none; found {name}, a text that would precede every other");
                return Err(settings.refuse("default_prompt_name", problem));
            }
            settings.finish()?;
        }
        let file = TRANSFORMER.iter().find(|name| checkpoint.folder.join(name).is_file());
        if let Some(settings) = file.map(|name| checkpoint.settings_of(name)).transpose()?.flatten() {
            let text = json!({ "text": { "method": "forward", "method_output_name": "last_hidden_state" } });
            settings.only(&[
                ("transformer_task", json!("feature-extraction")),
                ("module_output_name", json!("token_embeddings")),
                ("modality_config", text),
                ("processing_kwargs", json!({})),
            ])?;
            settings.ignore(&["unpad_inputs"]);
            self.most_tokens = settings.count("max_seq_length")?.filter(|&most| most > 0);
            self.lowercase = settings.flag("do_lower_case", false)?;
            settings.finish()?;
        }
        if self.most_tokens.is_none() {
            // Newer files state the length with the tokenizer; "no limit" is a number of 30 digits.
            let tokenizer = checkpoint.settings_of(super::tokenizer::CONFIG)?;
            let most = tokenizer.and_then(|settings| settings.values().get("model_max_length")?.as_u64());
            self.most_tokens = most.filter(|most| (1..1 << 31).contains(most)).map(|most| most as usize);
        }
        Ok(())
    }

    /// Map the linear layer's weights to the head of the vector.
    pub fn names(&self, names: &mut NameMap, output: &str) {
        if let Some(DenseModule { folder, bias, .. }) = &self.dense {
            names.map(&format!("head.{output}"), &format!("{folder}/linear"), *bias);
        }
    }
}

/// The tensors of the linear layer after the transformer, each named `FOLDER/NAME`. A second layer is refused by name when the
/// modules are read, so its file is not.
pub(super) fn tensors(checkpoint: &Checkpoint) -> Result<Tensors, PretrainedError> {
    let mut modules = modules(checkpoint)?.unwrap_or_default().into_iter();
    let Some((_, folder)) = modules.find(|(class, _)| class == "Dense") else { return Ok(Tensors::new()) };
    let path = checkpoint.folder.join(&folder);
    let files = [files::WEIGHTS, "pytorch_model.bin"].map(|name| path.join(name));
    let file = files.iter().find(|file| file.is_file()).unwrap_or(&files[0]);
    let named = files::load(file)?.into_iter();
    Ok(named.map(|(name, tensor)| (format!("{folder}/{name}"), tensor)).collect())
}

/// The files of settings of a sentence encoder.
pub(super) fn settings_files(checkpoint: &Checkpoint) -> Result<Vec<String>, PretrainedError> {
    let folders = modules(checkpoint)?.unwrap_or_default().into_iter();
    let of_modules = folders.map(|(_, folder)| format!("{folder}/{}", files::CONFIG));
    let others = [MODULES, WHOLE].into_iter().chain(TRANSFORMER).map(String::from);
    Ok(of_modules.chain(others).collect())
}

/// Fails if there are modules after the transformer, of a kind of model for which this build reads none.
pub(super) fn refuse(checkpoint: &Checkpoint) -> Result<(), PretrainedError> {
    match modules(checkpoint)? {
        Some(modules) if !modules.is_empty() => {
            let problem = format!(
                "expected a model of type {} (without a decoder) for a sentence encoder; found {} with {}",
                KINDS.join(", "),
                checkpoint.kind(),
                smalti_contract::listed(modules.iter().map(|(class, _)| class), ", ")
            );
            Err(failed(checkpoint, MODULES, problem))
        }
        _ => Ok(()),
    }
}

fn failed(checkpoint: &Checkpoint, name: &str, problem: String) -> PretrainedError {
    PretrainedError::Format { file: checkpoint.folder.join(name).display().to_string(), problem }
}

/// The class and the folder of each module after the transformer; `None` if the checkpoint is no sentence encoder.
fn modules(checkpoint: &Checkpoint) -> Result<Option<Vec<(String, String)>>, PretrainedError> {
    let Some(json) = checkpoint.file(MODULES)? else {
        let pooling = checkpoint.folder.join(POOLING).join(files::CONFIG).is_file();
        return Ok(pooling.then(|| vec![("Pooling".into(), POOLING.into())]));
    };
    let list: Vec<Value> =
        serde_json::from_slice(&json).map_err(|e| failed(checkpoint, MODULES, e.to_string()))?;
    let module = |module: &Value| {
        let class = module.get("type")?.as_str()?.rsplit('.').next()?;
        let path = module.get("path").and_then(Value::as_str).unwrap_or_default();
        let is_inside = path.is_empty() || Path::new(path).file_name().is_some_and(|name| name == path);
        is_inside.then(|| (class.to_string(), path.to_string()))
    };
    let problem = || "expected a list of modules, each with its type and its folder here as path".to_string();
    let mut modules = list
        .iter()
        .map(|found| module(found).ok_or_else(|| failed(checkpoint, MODULES, problem())))
        .collect::<Result<Vec<_>, _>>()?;
    if modules.first().is_none_or(|(class, path)| class != "Transformer" || !path.is_empty()) {
        let problem = "expected the module Transformer first, with the weights in this folder".to_string();
        return Err(failed(checkpoint, MODULES, problem));
    }
    modules.remove(0);
    Ok(Some(modules))
}

/// The pooling, in the words of sentence-transformers 5.4 or as a flag for each mode.
fn pooling(settings: &Settings) -> Result<Pool, PretrainedError> {
    const FLAGS: [(&str, &str); 6] = [
        ("pooling_mode_cls_token", "cls"),
        ("pooling_mode_max_tokens", "max"),
        ("pooling_mode_mean_tokens", "mean"),
        ("pooling_mode_mean_sqrt_len_tokens", "mean_sqrt_len_tokens"),
        ("pooling_mode_weightedmean_tokens", "weightedmean"),
        ("pooling_mode_lasttoken", "lasttoken"),
    ];
    // Prompts, which may be left out of the pooling, are refused or not there.
    settings.ignore(&["word_embedding_dimension", "embedding_dimension", "include_prompt"]);
    let mut modes = vec![];
    for (key, mode) in FLAGS {
        modes.extend(settings.flag(key, false)?.then(|| mode.to_string()));
    }
    match settings.get("pooling_mode") {
        Some(Value::Array(named)) => {
            modes = named.iter().map(|mode| mode.as_str().unwrap_or("?").into()).collect()
        }
        Some(_) => modes = vec![settings.text("pooling_mode", "")?],
        None => {}
    }
    settings.finish()?;
    match modes.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] | ["mean"] => Ok(Pool::Mean),
        ["cls"] => Ok(Pool::First),
        ref found => {
            Err(settings
                .refuse("pooling_mode", format!("expected mean or cls; found {}", found.join(" and "))))
        }
    }
}

/// Check that a module reads and writes the vector of the sentence.
fn of_the_sentence(settings: &Settings) -> Result<(), PretrainedError> {
    let sentence = || json!("sentence_embedding");
    settings.only(&[("module_input_name", sentence()), ("module_output_name", sentence())])?;
    settings.finish()
}

fn dense(
    checkpoint: &Checkpoint,
    settings: Option<&Settings>,
    folder: &str,
) -> Result<DenseModule, PretrainedError> {
    let missing = || failed(checkpoint, &format!("{folder}/{}", files::CONFIG), "no such file".into());
    let settings = settings.ok_or_else(missing)?;
    settings.only(&[("use_residual", json!(false))])?;
    let (width, bias) = (settings.size("out_features")?, settings.flag("bias", true)?);
    // The weights have this width, which is checked when they are read.
    settings.ignore(&["in_features"]);
    const ACTIVATION: &str = "activation_function";
    let name = settings.text(ACTIVATION, "torch.nn.modules.activation.Tanh")?;
    let activation = match name.rsplit('.').next().unwrap_or_default() {
        "Identity" => None,
        "Tanh" => Some(Activation::Tanh),
        "ReLU" => Some(Activation::Relu),
        "GELU" => Some(Activation::Gelu),
        "SiLU" => Some(Activation::Silu),
        _ => {
            let problem = format!("expected Identity, Tanh, ReLU, GELU or SiLU of torch.nn; found {name:?}");
            return Err(settings.refuse(ACTIVATION, problem));
        }
    };
    of_the_sentence(settings)?;
    Ok(DenseModule { folder: folder.into(), layer: Dense { width, activation }, bias })
}
