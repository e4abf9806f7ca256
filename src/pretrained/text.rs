//! The text side of a checkpoint: its vocabulary, and what it predicts.

use super::names::NameMap;
use super::{Checkpoint, ImportedTask, PretrainedError};
use crate::tasks::modalities::text::{TextConfig, TextTokenizer, Vocabulary};
use crate::tasks::text::{Objective, TextTask, TextTaskConfig, TextUnit, published};
use crate::tasks::{Builtin, Embedding, Pooling, TaskConfig};
use serde_json::Value;
use smalti_contract::Tokenizer;
use std::sync::Arc;

/// The context of a model that has no bound of its own.
const UNBOUNDED: usize = 2048;
/// The files of a vocabulary, any of which [`published`] knows to read.
const VOCABULARIES: [&str; 4] = ["tokenizer.json", "vocab.json", "encoder.json", "vocab.txt"];

/// Whether the head shares the embedding's matrix: as the settings say, unless the head has one of its own.
pub(super) fn tied(checkpoint: &Checkpoint, default: bool) -> Result<bool, PretrainedError> {
    let said = checkpoint.settings.flag("tie_word_embeddings", default)?;
    // T5 1.1 says that it shares one, and comes with its own.
    Ok(if checkpoint.kind() == "t5" { !checkpoint.has(HEAD) } else { said })
}

const HEAD: &str = "lm_head.weight";

/// The head of next tokens.
pub(super) fn head(names: &mut NameMap, tied: bool, table: &str) {
    match tied {
        true => names.repeats(HEAD, table),
        false => names.one("head.text.weight", HEAD),
    }
}

/// A task of next tokens.
pub(super) fn next_token(
    checkpoint: &Checkpoint,
    vocabulary: usize,
    context: usize,
) -> Result<ImportedTask, PretrainedError> {
    let config =
        TextTaskConfig { context, end: checkpoint.settings.id("eos_token_id")?, ..TextTaskConfig::default() };
    task(checkpoint, config, vocabulary)
}

/// A task of masked tokens, or of none.
pub(super) fn bidirectional(
    checkpoint: &Checkpoint,
    vocabulary: usize,
    context: usize,
    segments: usize,
    masked: bool,
) -> Result<ImportedTask, PretrainedError> {
    let objective = if masked { Objective::Masked } else { Objective::Represent };
    task(checkpoint, TextTaskConfig { context, segments, objective, ..TextTaskConfig::default() }, vocabulary)
}

/// A task of answers.
pub(super) fn answer(checkpoint: &Checkpoint, vocabulary: usize) -> Result<ImportedTask, PretrainedError> {
    let settings = &checkpoint.settings;
    let config = TextTaskConfig {
        context: UNBOUNDED,
        objective: Objective::Answer,
        start: Some(settings.id("decoder_start_token_id")?.unwrap_or_default()),
        end: Some(settings.id("eos_token_id")?.unwrap_or(1)),
        ..TextTaskConfig::default()
    };
    task(checkpoint, config, vocabulary)
}

fn task(
    checkpoint: &Checkpoint,
    mut config: TextTaskConfig,
    vocabulary: usize,
) -> Result<ImportedTask, PretrainedError> {
    config.embedding = embedding(checkpoint)?;
    config.vocabulary = match has_vocabulary(checkpoint) {
        true => TextUnit::File(checkpoint.folder.display().to_string()),
        false => TextUnit::Numbers(vocabulary),
    };
    let tokenizer = tokenizer(checkpoint, vocabulary, config.context, config.segments)?;
    let task = TextTask::with("text", 1.0, &config, tokenizer);
    Ok(ImportedTask { config: TaskConfig::Text(config), task: Builtin::Text(Arc::new(task)) })
}

fn has_vocabulary(checkpoint: &Checkpoint) -> bool {
    VOCABULARIES.iter().any(|name| checkpoint.folder.join(name).is_file())
}

/// How a model of sentences makes one vector of a text's tokens; `None` where that is not published beside it.
fn embedding(checkpoint: &Checkpoint) -> Result<Option<Embedding>, PretrainedError> {
    const POOLING: &str = "1_Pooling/config.json";
    let json = |name: &str| -> Result<Option<Value>, PretrainedError> {
        let parse = |bytes: Vec<u8>| serde_json::from_slice(&bytes);
        checkpoint.file(name)?.map(parse).transpose().map_err(|e| PretrainedError::Format {
            file: checkpoint.folder.join(name).display().to_string(),
            problem: e.to_string(),
        })
    };
    let Some(pooling) = json(POOLING)? else { return Ok(None) };
    let on = |key: &str| pooling.get(key).and_then(Value::as_bool) == Some(true);
    let pooling = match (on("pooling_mode_mean_tokens"), on("pooling_mode_cls_token")) {
        (true, false) => Pooling::Mean,
        (false, true) => Pooling::First,
        _ => {
            return Err(PretrainedError::Format {
                file: checkpoint.folder.join(POOLING).display().to_string(),
                problem: format!("expected the mean or the first token; found {pooling}"),
            });
        }
    };
    let modules = json("modules.json")?.map_or(String::new(), |modules| modules.to_string());
    let most = json("sentence_bert_config.json")?.and_then(|bert| bert.get("max_seq_length")?.as_u64());
    Ok(Some(Embedding {
        pooling,
        normalize: modules.contains("Normalize"),
        most_tokens: most.unwrap_or(0) as usize,
    }))
}

/// The checkpoint's own tokenizer, with as many ids as the model has; without one, ids are written out.
pub(super) fn tokenizer(
    checkpoint: &Checkpoint,
    vocabulary: usize,
    context: usize,
    segments: usize,
) -> Result<TextTokenizer, PretrainedError> {
    let build = |config| TextTokenizer::new(config).map_err(|e| checkpoint.refuse("vocab_size", e));
    if !has_vocabulary(checkpoint) {
        let vocabulary = Vocabulary::Numbers { count: vocabulary };
        return build(TextConfig { segments, ..TextConfig::new(vocabulary, context) });
    }
    let found = published(&checkpoint.folder.display().to_string(), context)?;
    let known = found.vocabulary_size();
    if known > vocabulary {
        let problem = format!("is {vocabulary}; the tokenizer beside it has {known} ids");
        return Err(checkpoint.refuse("vocab_size", problem));
    }
    // Published tables are often rounded up: their last rows stand for nothing.
    let specials = (known..vocabulary).map(|id| format!("<unused {id}>")).collect();
    build(TextConfig { specials, segments, ..found.config().clone() })
}
