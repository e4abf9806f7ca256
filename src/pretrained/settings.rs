//! The settings of a published `config.json`. An unknown setting is an error.

use super::PretrainedError;
use crate::model::MOST_LAYERS;
use crate::ops::Activation;
use serde_json::{Map, Value};
use std::{cell::RefCell, collections::BTreeSet};

/// The settings of a published model. It records which settings were read; [`finish`](Self::finish) fails if one was not.
#[derive(Clone)]
pub struct Settings {
    file: String,
    values: Map<String, Value>,
    known: RefCell<BTreeSet<String>>,
}

/// Settings of any kind of model that do not change its output for given tokens: of training, of sampling, which the user
/// chooses, and of bookkeeping, some of versions of transformers before 3.
const IGNORED: &[&str] = &[
    "_attn_implementation",
    "_attn_implementation_autoset",
    "_commit_hash",
    "_name_or_path",
    "_num_labels",
    "architectures",
    "attn_implementation",
    "begin_suppress_tokens",
    "bos_token_id",
    "chunk_size_feed_forward",
    "cls_token_id",
    "decoder_start_token_id",
    "diversity_penalty",
    "do_sample",
    "dtype",
    "early_stopping",
    "eos_token_id",
    "finetuning_task",
    "forced_bos_token_id",
    "forced_decoder_ids",
    "forced_eos_token_id",
    "gradient_checkpointing",
    "id2label",
    "init_std",
    "initializer_factor",
    "initializer_range",
    "is_encoder_decoder",
    "keys_to_ignore_at_inference",
    "label2id",
    "length_penalty",
    "mask_token_id",
    "max_length",
    "min_length",
    "model_max_length",
    "model_type",
    "name_or_path",
    "num_beam_groups",
    "num_beams",
    "num_labels",
    "num_return_sequences",
    "output_attentions",
    "output_hidden_states",
    "output_past",
    "output_scores",
    "pad_token_id",
    "prefix",
    "pretraining_tp",
    "problem_type",
    "remove_invalid_values",
    "return_dict",
    "return_dict_in_generate",
    "sep_token_id",
    "suppress_tokens",
    "task_specific_params",
    "temperature",
    "tf_legacy_loss",
    "tokenizer_class",
    "tokenizer_file",
    "top_k",
    "top_p",
    "torch_dtype",
    "torchscript",
    "transformers.js_config",
    "transformers_version",
    "typical_p",
    "unk_token_id",
    "unsloth_fixed",
    "unsloth_version",
    "use_bfloat16",
    "use_cache",
    "use_return_dict",
    "xla_device",
];

/// The largest width, vocabulary or number of positions; published ones are far below it.
pub const MOST_SIZE: usize = 1 << 24;
/// The largest height or width of an image, in pixels.
pub const MOST_SIDE: usize = (1 << 20) - 1;

impl Settings {
    /// Parse a JSON object; `file` is its name in errors.
    ///
    /// # Errors
    /// [`PretrainedError::Format`] if it is not a JSON object.
    pub fn parse(file: &str, json: &[u8]) -> Result<Self, PretrainedError> {
        let failed = |problem: String| PretrainedError::Format { file: file.into(), problem };
        let values = match serde_json::from_slice(json) {
            Ok(Value::Object(values)) => values,
            Ok(_) => return Err(failed("expected a JSON object".into())),
            Err(error) => return Err(failed(error.to_string())),
        };
        Ok(Self { file: file.into(), values, known: RefCell::default() })
    }

    /// Remove these settings; returns those that there were.
    pub fn remove(&mut self, keys: &BTreeSet<String>) -> Vec<String> {
        keys.iter().filter(|key| self.values.remove(*key).is_some()).cloned().collect()
    }

    /// All settings.
    pub fn values(&self) -> &Map<String, Value> {
        &self.values
    }

    /// Read a setting; `None` if it is missing or null.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.known.borrow_mut().insert(key.into());
        self.values.get(key).filter(|value| !value.is_null())
    }

    /// An error that names the file and the setting. A long problem is shortened in the middle, where the value is.
    pub fn refuse(&self, key: &str, problem: impl Into<String>) -> PretrainedError {
        let (setting, problem) = (shortened(key), shortened(&problem.into()));
        PretrainedError::Setting { file: self.file.clone(), setting, problem }
    }

    fn read<T>(
        &self,
        key: &str,
        expected: &str,
        read: impl Fn(&Value) -> Option<T>,
    ) -> Result<Option<T>, PretrainedError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        match read(value) {
            Some(read) => Ok(Some(read)),
            None => Err(self.refuse(key, format!("expected {expected}; found {value}"))),
        }
    }

    fn required<T>(&self, key: &str, found: Option<T>) -> Result<T, PretrainedError> {
        found.ok_or_else(|| self.refuse(key, "expected a value; found none"))
    }

    /// Read a count, if it is set.
    ///
    /// # Errors
    /// [`PretrainedError::Setting`] if it is not a count below 2³¹.
    pub fn count(&self, key: &str) -> Result<Option<usize>, PretrainedError> {
        let read = |value: &Value| value.as_u64().and_then(|n| usize::try_from(n).ok());
        match self.read(key, "a count below 2^31", read)? {
            Some(found) if found > i32::MAX as usize => {
                Err(self.refuse(key, format!("expected a count below 2^31; found {found}")))
            }
            found => Ok(found),
        }
    }

    /// Read a required count of at least 1, which sizes tensors.
    ///
    /// # Errors
    /// [`PretrainedError::Setting`] if it is missing or is not a count from 1 to 2²⁴.
    pub fn size(&self, key: &str) -> Result<usize, PretrainedError> {
        self.size_up_to(key, MOST_SIZE)
    }

    /// Read a required number of blocks.
    ///
    /// # Errors
    /// [`PretrainedError::Setting`] if it is missing or is not a count from 1 to [`MOST_LAYERS`].
    pub fn layers(&self, key: &str) -> Result<usize, PretrainedError> {
        self.size_up_to(key, MOST_LAYERS)
    }

    /// Read a required count of at least 1 and at most `most`.
    ///
    /// # Errors
    /// [`PretrainedError::Setting`] if it is missing or is not such a count.
    pub fn size_up_to(&self, key: &str, most: usize) -> Result<usize, PretrainedError> {
        match self.count(key).and_then(|found| self.required(key, found))? {
            0 => Err(self.refuse(key, "expected at least 1; found 0")),
            size if size > most => Err(self.refuse(key, format!("expected at most {most}; found {size}"))),
            size => Ok(size),
        }
    }

    /// Read a number, or take the default.
    ///
    /// # Errors
    /// [`PretrainedError::Setting`] if it is not a number.
    pub fn number(&self, key: &str, default: f64) -> Result<f64, PretrainedError> {
        Ok(self.read(key, "a number", Value::as_f64)?.unwrap_or(default))
    }

    /// Read a boolean, or take the default.
    ///
    /// # Errors
    /// [`PretrainedError::Setting`] if it is not a boolean.
    pub fn flag(&self, key: &str, default: bool) -> Result<bool, PretrainedError> {
        Ok(self.read(key, "true or false", Value::as_bool)?.unwrap_or(default))
    }

    /// Read a text, or take the default.
    ///
    /// # Errors
    /// [`PretrainedError::Setting`] if it is not a text.
    pub fn text(&self, key: &str, default: &str) -> Result<String, PretrainedError> {
        Ok(self.read(key, "a text", |value| value.as_str().map(String::from))?.unwrap_or(default.into()))
    }

    /// Read a number; `None` if it is null, and the default if it is missing.
    ///
    /// # Errors
    /// [`PretrainedError::Setting`] if it is neither.
    pub fn number_or_null(&self, key: &str, default: f64) -> Result<Option<f64>, PretrainedError> {
        match self.values.get(key) {
            Some(Value::Null) => Ok(None),
            _ => self.number(key, default).map(Some),
        }
    }

    /// Read an activation by its published name, or take the default.
    ///
    /// # Errors
    /// [`PretrainedError::Setting`] if this build has no activation with this name.
    pub fn activation(&self, key: &str, default: &str) -> Result<Activation, PretrainedError> {
        match self.text(key, default)?.as_str() {
            "gelu" | "gelu_python" => Ok(Activation::Gelu),
            "gelu_new" | "gelu_pytorch_tanh" | "gelu_fast" | "gelu_accurate" => Ok(Activation::GeluTanh),
            "relu" => Ok(Activation::Relu),
            "silu" | "swish" => Ok(Activation::Silu),
            "quick_gelu" => Ok(Activation::QuickGelu),
            "tanh" => Ok(Activation::Tanh),
            found => Err(self.refuse(
                key,
                format!("expected gelu, gelu_new, relu, silu, quick_gelu or tanh; found {found:?}"),
            )),
        }
    }

    /// Read a token's id, the first if there are several.
    ///
    /// # Errors
    /// [`PretrainedError::Setting`] if it is not an id.
    pub fn id(&self, key: &str) -> Result<Option<u32>, PretrainedError> {
        Ok(self.ids(key)?.first().copied())
    }

    /// Read the ids of tokens, one or a list; empty if it is not set.
    ///
    /// # Errors
    /// [`PretrainedError::Setting`] if they are not ids.
    pub fn ids(&self, key: &str) -> Result<Vec<u32>, PretrainedError> {
        let id = |value: &Value| value.as_u64().and_then(|id| u32::try_from(id).ok());
        let ids = |value: &Value| match value.as_array() {
            Some(ids) => ids.iter().map(id).collect(),
            None => id(value).map(|id| vec![id]),
        };
        Ok(self.read(key, "an id or a list of ids", ids)?.unwrap_or_default())
    }

    /// Read a height and width: `224` or `[224, 224]`.
    ///
    /// # Errors
    /// [`PretrainedError::Setting`] if it is neither.
    pub fn sides(&self, key: &str, default: usize) -> Result<[usize; 2], PretrainedError> {
        let side = |value: &Value| {
            value.as_u64().and_then(|n| usize::try_from(n).ok()).filter(|n| (1..=MOST_SIDE).contains(n))
        };
        let both = |value: &Value| match value.as_array() {
            None => side(value).map(|side| [side; 2]),
            Some(sides) => Some([side(sides.first()?)?, side(sides.get(1)?)?]),
        };
        let expected = format!("a size of 1 to {MOST_SIDE} pixels, or [height, width] of such sizes");
        Ok(self.read(key, &expected, both)?.unwrap_or([default; 2]))
    }

    /// Check settings of which this build supports only the default.
    ///
    /// # Errors
    /// [`PretrainedError::Setting`] if one has another value.
    pub fn only(&self, known: &[(&str, Value)]) -> Result<(), PretrainedError> {
        for (key, expected) in known {
            if let Some(found) = self.get(key).filter(|found| *found != expected) {
                let problem = format!("expected {expected}; found {found}, which is not supported");
                return Err(self.refuse(key, problem));
            }
        }
        Ok(())
    }

    /// Ignore settings that do not change the output of this kind of model.
    pub fn ignore(&self, keys: &[&str]) {
        self.known.borrow_mut().extend(keys.iter().map(|key| key.to_string()));
    }

    /// Check that every setting was read or ignored.
    ///
    /// # Errors
    /// [`PretrainedError::Setting`] for the first that was not.
    pub fn finish(&self) -> Result<(), PretrainedError> {
        let known = self.known.borrow();
        let is_known = |key: &str| known.contains(key) || IGNORED.contains(&key);
        match self.values.iter().find(|(key, value)| !is_known(key) && !value.is_null()) {
            None => Ok(()),
            Some((key, value)) => {
                let problem = format!(
                    "expected a setting that this build supports; found {value}; if it changes no output, import with \
                     --ignore-setting {key}"
                );
                Err(self.refuse(key, problem))
            }
        }
    }
}

/// A text for a message: of more than 600 characters, the first 400 and the last 200. A file may have a value of megabytes.
fn shortened(text: &str) -> String {
    let (first, last) = (text.char_indices().nth(400), text.char_indices().nth_back(199));
    match (first, last) {
        (Some((first, _)), Some((last, _))) if first < last => {
            format!("{} … {}", &text[..first], &text[last..])
        }
        _ => text.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(json: &str) -> Settings {
        Settings::parse("config.json", json.as_bytes()).unwrap()
    }

    #[test]
    fn an_unknown_setting_is_an_error() {
        let settings = settings(r#"{"n_embd": 4, "use_cache": true, "alien": 1, "nothing": null}"#);
        assert_eq!(settings.size("n_embd").unwrap(), 4);
        let error = settings.finish().unwrap_err().to_string();
        assert!(error.contains("config.json") && error.contains("alien"), "{error}");
        settings.ignore(&["alien"]);
        settings.finish().unwrap();
    }

    #[test]
    fn a_long_value_is_shortened_in_messages_which_keep_their_advice() {
        let long = serde_json::json!({ "alien": vec!["ä"; 1_000_000] }).to_string();
        let error = settings(&long).finish().unwrap_err().to_string();
        assert!(error.contains("found [\"ä\",") && error.ends_with("--ignore-setting alien"), "{error}");
        let named = settings(&format!(r#"{{"{}": 1}}"#, "ä".repeat(1_000_000)));
        for error in [error, named.finish().unwrap_err().to_string()] {
            assert!(error.chars().count() < 1_300, "{error}");
        }
        assert_eq!(shortened(&"a".repeat(600)), "a".repeat(600));
        assert_eq!(shortened(&"a".repeat(601)).chars().count(), 603);
    }

    #[test]
    fn an_invalid_value_is_an_error_with_the_file() {
        let settings = settings(r#"{"a": -1, "b": "x", "c": 0, "d": 1e30, "act": "mish", "side": [8]}"#);
        for error in [
            settings.size("a").map(|_| ()),
            settings.size("b").map(|_| ()),
            settings.size("c").map(|_| ()),
            settings.count("d").map(|_| ()),
            settings.size("missing").map(|_| ()),
            settings.flag("b", true).map(|_| ()),
            settings.number("b", 1.0).map(|_| ()),
            settings.activation("act", "gelu").map(|_| ()),
            settings.sides("side", 8).map(|_| ()),
            settings.only(&[("b", "y".into())]),
        ] {
            assert!(error.unwrap_err().to_string().starts_with("config.json: "));
        }
        for json in ["", "[]", "{"] {
            assert!(Settings::parse("config.json", json.as_bytes()).is_err());
        }
    }
}
