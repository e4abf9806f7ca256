//! The tokenizer of a checkpoint and the settings beside it.

use super::{Checkpoint, PretrainedError};
use crate::modalities::text::{TextTokenizer, published};
use serde_json::{Value, json};
use smalti_contract::TokenizeError;
use smalti_contract::value::read_local;

/// The settings of the tokenizer.
pub(super) const CONFIG: &str = "tokenizer_config.json";
/// The names of special tokens.
const SPECIALS: &str = "special_tokens_map.json";

/// Settings that [`published`] applies.
const APPLIED: &[&str] = &[
    "add_bos_token",
    "add_eos_token",
    "add_prefix_space",
    "added_tokens_decoder",
    "additional_special_tokens",
    "bos_token",
    "cls_token",
    "do_lower_case",
    "eos_token",
    "mask_token",
    "pad_token",
    "sep_token",
    "strip_accents",
    "tokenize_chinese_chars",
    "tokenizer_class",
    "unk_token",
];

/// Settings that do not change the ids of a single text: of batches, chats, prompts of tasks, printing and bookkeeping, and of
/// the tokenizers that transformers converts to a `tokenizer.json`.
const INERT: &[&str] = &[
    "backend",
    "chat_template",
    "clean_up_tokenization_spaces",
    "device_map",
    "do_basic_tokenize",
    "errors",
    "extra_ids",
    "extra_special_tokens",
    "full_tokenizer_file",
    "init_inputs",
    "is_local",
    "language",
    "legacy",
    "legacy_behaviour",
    "local_files_only",
    "max_len",
    "max_length",
    "model_input_names",
    "model_max_length",
    "name_or_path",
    "never_split",
    "normalization",
    "normalizer_file",
    "pad_to_multiple_of",
    "pad_token_type_id",
    "padding",
    "padding_side",
    "predict_timestamps",
    "processor_class",
    "response_schema",
    "return_attention_mask",
    "return_timestamps",
    "return_token_type_ids",
    "spaces_between_special_tokens",
    "special_tokens_map_file",
    "stride",
    "task",
    "tokenizer_file",
    "trim_offsets",
    "truncation",
    "truncation_side",
    "truncation_strategy",
    "use_default_system_prompt",
    "use_fast",
    "vocab_file",
    "vocab_size",
    "wordpieces_prefix",
];

/// Open the tokenizer beside the weights, for texts of at most `context` tokens.
///
/// # Errors
/// [`PretrainedError`] if it cannot be read, or a setting beside it may change ids and is unknown.
pub(super) fn open(checkpoint: &Checkpoint, context: usize) -> Result<TextTokenizer, PretrainedError> {
    if let Some(settings) = checkpoint.settings_of(CONFIG)? {
        settings.only(&[("split_special_tokens", json!(false)), ("sp_model_kwargs", json!({}))])?;
        settings.ignore(APPLIED);
        settings.ignore(INERT);
        settings.finish()?;
    }
    let read = |location: &str| -> Result<Option<Vec<u8>>, TokenizeError> {
        let Some(file) = read_local(location)? else { return Ok(None) };
        Ok(Some(if location.ends_with(CONFIG) { checkpoint.without_ignored_keys(file) } else { file }))
    };
    Ok(published::open_with(&checkpoint.folder.display().to_string(), context, &read)?)
}

/// The name of the padding token in the files beside the weights; `None` if they do not name it.
///
/// # Errors
/// [`PretrainedError`] if a file cannot be read.
pub(super) fn padding(checkpoint: &Checkpoint) -> Result<Option<String>, PretrainedError> {
    for file in [CONFIG, SPECIALS] {
        let Some(settings) = checkpoint.settings_of(file)? else { continue };
        let token = settings.values().get("pad_token");
        let name = token.and_then(|token| token.as_str().or_else(|| token.get("content")?.as_str()));
        if let Some(name) = name {
            return Ok(Some(name.into()));
        }
    }
    Ok(None)
}

impl Checkpoint {
    /// A JSON object without the ignored keys; anything else as it is.
    fn without_ignored_keys(&self, json: Vec<u8>) -> Vec<u8> {
        match serde_json::from_slice(&json) {
            Ok(Value::Object(mut settings)) if !self.ignored.is_empty() => {
                settings.retain(|key, _| !self.ignored.contains(key));
                Value::Object(settings).to_string().into_bytes()
            }
            _ => json,
        }
    }
}
