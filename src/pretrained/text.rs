//! The text side of a checkpoint: its vocabulary, and what it predicts.

use super::names::NameMap;
use super::{Checkpoint, ImportedTask, PretrainedError};
use crate::tasks::modalities::text::{TextConfig, TextTokenizer, Vocabulary};
use crate::tasks::text::{Objective, TextTask, TextTaskConfig, TextUnit, published};
use crate::tasks::{Builtin, TaskConfig};
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
        return build(TextConfig { vocabulary, specials: vec![], context, segments });
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
