//! The decoding settings of a checkpoint: `generation_config.json`, or `config.json` in older checkpoints.

use super::generation::FILE;
use super::settings::Settings;
use super::{Checkpoint, PretrainedError};
use crate::sample::Decoding;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// How a checkpoint generates text.
pub(super) struct TextGeneration {
    /// The id that begins a text.
    pub start: u32,
    /// The id that ends a text.
    pub end: u32,
    /// The other decoding settings; `None` if there are none.
    pub decoding: Option<Decoding>,
}

/// Read the decoding settings of a checkpoint.
pub(super) fn read(checkpoint: &Checkpoint) -> Result<TextGeneration, PretrainedError> {
    let generation_config = checkpoint.settings_of(FILE)?;
    let settings = generation_config.as_ref().unwrap_or(&checkpoint.settings);
    let id = |key: &str| -> Result<u32, PretrainedError> {
        Ok(settings.id(key)?.or(checkpoint.settings.id(key)?).unwrap_or_default())
    };
    let (start, end) = (id("decoder_start_token_id")?, id("eos_token_id")?);
    let decoding = table(checkpoint, settings)?;
    if let Some(settings) = &generation_config {
        // `alignment_heads` are for the timestamps of words, which no transcript has.
        settings.ignore(&["alignment_heads", "_from_model_config"]);
        settings.only(&[
            ("length_penalty", json!(1.0)),
            ("early_stopping", json!(false)),
            ("do_sample", json!(false)),
        ])?;
        settings.finish()?;
    }
    let decoding = Some(decoding).filter(|decoding| *decoding != Decoding::default());
    Ok(TextGeneration { start, end, decoding })
}

fn table(checkpoint: &Checkpoint, settings: &Settings) -> Result<Decoding, PretrainedError> {
    let suppress = ids(settings, "suppress_tokens")?;
    // In older checkpoints, `prev_sot_token_id` is the last but one of the suppressed ids.
    let last_but_one = suppress.len().checked_sub(2).map(|place| suppress[place]);
    let mut forced = forced(settings)?;
    if forced.is_empty() {
        forced = self::forced(&checkpoint.settings)?;
    }
    let first = forced.first().copied().flatten();
    let then: Vec<u32> = forced.into_iter().skip(1).flatten().collect();
    let no_timestamps = settings.id("no_timestamps_token_id")?;
    Ok(Decoding {
        first,
        then,
        language: text(settings, "language")?.map(|code| bare(&code)),
        task: text(settings, "task")?,
        timestamps: settings.flag("return_timestamps", false)?,
        one_language: !settings.flag("is_multilingual", true)?,
        no_timestamps,
        max_initial_timestamp: settings.id("max_initial_timestamp_index")?,
        previous: settings.id("prev_sot_token_id")?.or(last_but_one.filter(|_| no_timestamps.is_some())),
        begin_suppress: ids(settings, "begin_suppress_tokens")?,
        suppress,
        max_length: settings.count("max_length")?,
        beams: settings.count("num_beams")?.filter(|beams| *beams > 1),
        languages: by_name(settings, "lang_to_id")?,
        tasks: by_name(settings, "task_to_id")?,
    })
}

fn bare(code: &str) -> String {
    code.trim_start_matches("<|").trim_end_matches("|>").into()
}

fn id(value: &Value) -> Option<u32> {
    value.as_u64().and_then(|id| u32::try_from(id).ok())
}

fn text(settings: &Settings, key: &str) -> Result<Option<String>, PretrainedError> {
    Ok(Some(settings.text(key, "")?).filter(|text| !text.is_empty()))
}

fn ids(settings: &Settings, key: &str) -> Result<Vec<u32>, PretrainedError> {
    let Some(value) = settings.get(key) else { return Ok(vec![]) };
    let ids = value.as_array().and_then(|ids| ids.iter().map(id).collect());
    ids.ok_or_else(|| settings.refuse(key, format!("expected ids; found {value}")))
}

/// The forced ids after the start, in order; `None` for null, an id that is not forced.
fn forced(settings: &Settings) -> Result<Vec<Option<u32>>, PretrainedError> {
    const KEY: &str = "forced_decoder_ids";
    let Some(value) = settings.get(KEY) else { return Ok(vec![]) };
    let pair = |(place, pair): (u64, &Value)| match pair.as_array()?.as_slice() {
        [at, Value::Null] if at.as_u64() == Some(place) => Some(None),
        [at, forced] if at.as_u64() == Some(place) => Some(Some(id(forced)?)),
        _ => None,
    };
    let pairs = value.as_array().and_then(|pairs| (1..).zip(pairs).map(pair).collect());
    pairs
        .ok_or_else(|| settings.refuse(KEY, format!("expected [[1, id or null], [2, id], …]; found {value}")))
}

fn by_name(settings: &Settings, key: &str) -> Result<BTreeMap<String, u32>, PretrainedError> {
    let Some(value) = settings.get(key) else { return Ok(BTreeMap::new()) };
    let pair = |(name, value): (&String, &Value)| Some((bare(name), id(value)?));
    let table = value.as_object().and_then(|table| table.iter().map(pair).collect());
    table.ok_or_else(|| settings.refuse(key, format!("expected ids by name; found {value}")))
}
