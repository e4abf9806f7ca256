//! What a checkpoint of texts says about generation: `generation_config.json`, and the same settings in `config.json`.

use super::settings::Settings;
use super::{Checkpoint, PretrainedError};

/// The file of settings of generation.
pub(super) const FILE: &str = "generation_config.json";

/// The ids around a generated text.
pub(super) struct TextIds {
    /// The id that begins the text of a decoder.
    pub start: Option<u32>,
    /// The ids that end a text, those of `config.json` first.
    pub ends: Vec<u32>,
}

/// Settings that choose among the likely tokens, or bound lengths and costs: `smalti generate` has options for them.
const CHOSEN: &[&str] = &[
    "_from_model_config",
    "assistant_confidence_threshold",
    "assistant_lookbehind",
    "cache_config",
    "cache_implementation",
    "chat_format",
    "compile_config",
    "disable_compile",
    "epsilon_cutoff",
    "eta_cutoff",
    "is_assistant",
    "low_memory",
    "max_matching_ngram_size",
    "max_new_tokens",
    "max_time",
    "max_window_size",
    "min_p",
    "num_assistant_tokens",
    "num_assistant_tokens_schedule",
    "output_logits",
    "prefill_chunk_size",
    "prompt_lookup_num_tokens",
    "renormalize_logits",
    "target_lookbehind",
    "top_h",
    "trust_remote_code",
];

/// Settings that change the probability of a token, with the value that changes nothing.
const NEUTRAL: &[(&str, f64)] = &[
    ("repetition_penalty", 1.0),
    ("encoder_repetition_penalty", 1.0),
    ("no_repeat_ngram_size", 0.0),
    ("encoder_no_repeat_ngram_size", 0.0),
    ("min_length", 0.0),
    ("min_new_tokens", 0.0),
    ("guidance_scale", 1.0),
];

/// Lists and tables that force, forbid or favour tokens.
const RULES: &[&str] = &[
    "bad_words_ids",
    "begin_suppress_tokens",
    "exponential_decay_length_penalty",
    "force_words_ids",
    "forced_bos_token_id",
    "forced_decoder_ids",
    "forced_eos_token_id",
    "penalty_alpha",
    "sequence_bias",
    "stop_strings",
    "suppress_tokens",
    "watermarking_config",
];

/// Read the settings of generation of a text model with ids below `vocabulary`.
///
/// # Errors
/// [`PretrainedError::Setting`] if one changes the probability of tokens: generation here has no such rule.
pub(super) fn read(checkpoint: &Checkpoint, vocabulary: usize) -> Result<TextIds, PretrainedError> {
    let file = checkpoint.settings_of(FILE)?;
    let mut ids = TextIds { start: None, ends: vec![] };
    for settings in std::iter::once(&checkpoint.settings).chain(&file) {
        changes_nothing(settings)?;
        // The `eos_token_id` of some checkpoints is outside their vocabulary.
        let ends = settings.ids("eos_token_id")?.into_iter().filter(|&id| (id as usize) < vocabulary);
        ends.for_each(|id| {
            if !ids.ends.contains(&id) {
                ids.ends.push(id)
            }
        });
        ids.start = settings.id("decoder_start_token_id")?.or(ids.start);
    }
    if let Some(file) = &file {
        file.ignore(CHOSEN);
        file.finish()?;
    }
    Ok(ids)
}

fn changes_nothing(settings: &Settings) -> Result<(), PretrainedError> {
    let refuse = |key: &str, expected: &str| {
        let found = settings.values().get(key).map(ToString::to_string).unwrap_or_default();
        let problem = format!(
            "expected {expected}; found {found}, and smalti generate has no such rule; to generate without it, import with \
             --ignore-setting {key}"
        );
        Err(settings.refuse(key, problem))
    };
    for (key, neutral) in NEUTRAL {
        if settings.number(key, *neutral)? != *neutral {
            return refuse(key, &neutral.to_string());
        }
    }
    let is_empty = |value: &serde_json::Value| value.as_array().is_some_and(Vec::is_empty);
    match RULES.iter().find(|key| settings.get(key).is_some_and(|value| !is_empty(value))) {
        Some(key) => refuse(key, "none"),
        None => Ok(()),
    }
}
