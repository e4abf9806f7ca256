//! The task of a text checkpoint: its vocabulary and its output.

use super::names::NameMap;
use super::task::{ImportedTask, TaskBuilder};
use super::{Checkpoint, PretrainedError};
use crate::head::{Generate, Masked, MaskedSettings, Represent};
use crate::modalities::text::{MASK_TOKENS, TextConfig, TextTokenizer, TextUnit, Vocabulary, published};
use crate::sample::Pool;
use serde_json::{Value, json};
use smalti_contract::Tokenizer;

/// The context of a model without a maximum length.
const DEFAULT_CONTEXT: usize = 2048;
/// The vocabulary files that [`published::open`] reads.
const VOCABULARIES: [&str; 4] = ["tokenizer.json", "vocab.json", "encoder.json", "vocab.txt"];
/// The source of texts, unless a user sets another.
const SOURCE: &str = "builtin:text/smalti.txt";

/// Whether the head is tied to the embedding: as set, except in T5, where a head with its own matrix is untied.
pub(super) fn tied(checkpoint: &Checkpoint, default: bool) -> Result<bool, PretrainedError> {
    let is_set = checkpoint.settings.flag("tie_word_embeddings", default)?;
    // T5 1.1 sets `tie_word_embeddings`, but has an untied head.
    Ok(if checkpoint.kind() == "t5" { !checkpoint.has(HEAD) } else { is_set })
}

const HEAD: &str = "lm_head.weight";

/// The names of the head for next tokens.
pub(super) fn head(names: &mut NameMap, output: &str, tied: bool, table: &str) {
    match tied {
        true => names.repeats(HEAD, table),
        false => names.one(&format!("head.{output}.weight"), HEAD),
    }
}

/// Language modelling: each token is predicted from the tokens before it.
pub(super) fn next_token(
    checkpoint: &Checkpoint,
    vocabulary: usize,
    context: usize,
) -> Result<ImportedTask, PretrainedError> {
    let text = Text::read(checkpoint, vocabulary, context, 0)?;
    // The `eos_token_id` of some checkpoints is outside their vocabulary.
    let end = checkpoint.settings.id("eos_token_id")?.filter(|&id| (id as usize) < vocabulary);
    let output = json!({
        "modality": "text",
        "windows": true,
        "vocabulary": text.unit,
        "context": context,
        "end": end,
    });
    TaskBuilder::new(SOURCE)
        .output("text", output, &Generate::new(vocabulary), Some(&text.tokenizer))?
        .finish()
}

/// Masked language modelling: masked tokens are predicted from all others.
pub(super) fn masked(
    checkpoint: &Checkpoint,
    vocabulary: usize,
    context: usize,
    segments: usize,
) -> Result<ImportedTask, PretrainedError> {
    let text = Text::read(checkpoint, vocabulary, context, segments)?;
    // Without a vocabulary, the mask id is unknown.
    let mask_id = MASK_TOKENS.iter().find_map(|name| text.tokenizer.special(name)).unwrap_or_default();
    let output = json!({
        "modality": "text",
        "windows": true,
        "vocabulary": text.unit,
        "context": context,
        "segments": segments,
        "mask_id": mask_id,
    });
    let head = Masked::new(vocabulary, MaskedSettings::default().mask);
    TaskBuilder::new(SOURCE).output("text", output, &head, Some(&text.tokenizer))?.finish()
}

/// Text embeddings: one vector for each text.
pub(super) fn represented(
    checkpoint: &Checkpoint,
    vocabulary: usize,
    context: usize,
    segments: usize,
) -> Result<ImportedTask, PretrainedError> {
    let text = Text::read(checkpoint, vocabulary, context, segments)?;
    let input = json!({
        "modality": "text",
        "vocabulary": text.unit,
        "context": context,
        "segments": segments,
    });
    let SentenceEncoder { pool, normalize, .. } = SentenceEncoder::read(checkpoint)?.unwrap_or_default();
    TaskBuilder::new(SOURCE)
        .input("text", input, &text.tokenizer)?
        .output(
            "embedding",
            json!({ "pool": pool, "normalize": normalize }),
            &Represent::new(normalize),
            None,
        )?
        .finish()
}

/// Text-to-text: a text is generated from another one.
pub(super) fn text_to_text(
    checkpoint: &Checkpoint,
    vocabulary: usize,
) -> Result<ImportedTask, PretrainedError> {
    let settings = &checkpoint.settings;
    let text = Text::read(checkpoint, vocabulary, DEFAULT_CONTEXT, 0)?;
    let source = json!({ "modality": "text", "vocabulary": text.unit, "context": DEFAULT_CONTEXT });
    let target = json!({
        "share": "source",
        "cross_attention": true,
        "begin": settings.id("decoder_start_token_id")?.unwrap_or_default(),
        "end": settings.id("eos_token_id")?.unwrap_or(1),
    });
    TaskBuilder::new(SOURCE)
        .input("source", source, &text.tokenizer)?
        .output("target", target, &Generate::new(vocabulary), Some(&text.tokenizer))?
        .finish()
}

/// The settings of a sentence encoder (Reimers and Gurevych 2019).
pub(super) struct SentenceEncoder {
    pool: Pool,
    normalize: bool,
    /// The most tokens of a text; `None` for one token per position.
    pub most_tokens: Option<usize>,
}

impl Default for SentenceEncoder {
    fn default() -> Self {
        Self { pool: Pool::Mean, normalize: false, most_tokens: None }
    }
}

impl SentenceEncoder {
    /// Read the settings beside the weights; `None` if there are none.
    pub fn read(checkpoint: &Checkpoint) -> Result<Option<Self>, PretrainedError> {
        const POOLING: &str = "1_Pooling/config.json";
        let failed = |name: &str, problem: String| PretrainedError::Format {
            file: checkpoint.folder.join(name).display().to_string(),
            problem,
        };
        let json = |name: &str| -> Result<Option<Value>, PretrainedError> {
            let parse = |bytes: Vec<u8>| serde_json::from_slice(&bytes);
            checkpoint.file(name)?.map(parse).transpose().map_err(|e| failed(name, e.to_string()))
        };
        let Some(pooling) = json(POOLING)? else { return Ok(None) };
        let on = |key: &str| pooling.get(key).and_then(Value::as_bool) == Some(true);
        let pool = match (on("pooling_mode_mean_tokens"), on("pooling_mode_cls_token")) {
            (true, false) => Pool::Mean,
            (false, true) => Pool::First,
            _ => {
                let problem = format!("expected pooling by the mean or the first token; found {pooling}");
                return Err(failed(POOLING, problem));
            }
        };
        let modules = json("modules.json")?.map_or(String::new(), |modules| modules.to_string());
        let most = json("sentence_bert_config.json")?.and_then(|bert| bert.get("max_seq_length")?.as_u64());
        Ok(Some(Self {
            pool,
            normalize: modules.contains("Normalize"),
            most_tokens: most.filter(|&most| most > 0).map(|most| most as usize),
        }))
    }
}

/// The vocabulary of a checkpoint.
pub(super) struct Text {
    /// The vocabulary in the settings of a part.
    pub unit: TextUnit,
    pub tokenizer: TextTokenizer,
}

impl Text {
    /// Read the checkpoint's tokenizer, extended to the ids of the model. Without one, texts are ids in decimal digits.
    pub fn read(
        checkpoint: &Checkpoint,
        vocabulary: usize,
        context: usize,
        segments: usize,
    ) -> Result<Self, PretrainedError> {
        let build = |config| TextTokenizer::new(config).map_err(|e| checkpoint.refuse("vocab_size", e));
        if !VOCABULARIES.iter().any(|name| checkpoint.folder.join(name).is_file()) {
            let ids = Vocabulary::Numbers { count: vocabulary };
            let tokenizer = build(TextConfig { segments, ..TextConfig::new(ids, context) })?;
            return Ok(Self { unit: TextUnit::Numbers(vocabulary), tokenizer });
        }
        let found = published::open(&checkpoint.folder, context)?;
        let known = found.vocabulary_size();
        if known > vocabulary {
            let problem = format!("expected at least the {known} ids of the tokenizer; found {vocabulary}");
            return Err(checkpoint.refuse("vocab_size", problem));
        }
        // Published embedding tables are often rounded up: their last rows have no token.
        let specials = (known..vocabulary).map(|id| format!("<unused {id}>")).collect();
        let tokenizer = build(TextConfig { specials, segments, ..found.config().clone() })?;
        Ok(Self { unit: TextUnit::File(checkpoint.folder.display().to_string()), tokenizer })
    }
}
