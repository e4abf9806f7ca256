//! The text side of a checkpoint: its vocabulary, and what it predicts.

use super::names::NameMap;
use super::task::{Draft, ImportedTask};
use super::{Checkpoint, PretrainedError};
use crate::head::{Generate, Masked, MaskedSettings, Represent};
use crate::modalities::text::{MASKS, TextConfig, TextTokenizer, TextUnit, Vocabulary, published};
use crate::sample::Pool;
use serde_json::{Value, json};
use smalti_contract::Tokenizer;

/// The context of a model that has no bound of its own.
const UNBOUNDED: usize = 2048;
/// The files of a vocabulary, any of which [`published::open`] knows to read.
const VOCABULARIES: [&str; 4] = ["tokenizer.json", "vocab.json", "encoder.json", "vocab.txt"];
/// Where texts come from unless a user sets another source.
const SOURCE: &str = "builtin:text/smalti.txt";

/// Whether the head shares the embedding's matrix: as the settings say, unless the head has one of its own.
pub(super) fn tied(checkpoint: &Checkpoint, default: bool) -> Result<bool, PretrainedError> {
    let said = checkpoint.settings.flag("tie_word_embeddings", default)?;
    // T5 1.1 says that it shares one, and comes with its own.
    Ok(if checkpoint.kind() == "t5" { !checkpoint.has(HEAD) } else { said })
}

const HEAD: &str = "lm_head.weight";

/// The head of an output's next tokens.
pub(super) fn head(names: &mut NameMap, output: &str, tied: bool, table: &str) {
    match tied {
        true => names.repeats(HEAD, table),
        false => names.one(&format!("head.{output}.weight"), HEAD),
    }
}

/// Texts of which each token is predicted from those before it.
pub(super) fn next_token(
    checkpoint: &Checkpoint,
    vocabulary: usize,
    context: usize,
) -> Result<ImportedTask, PretrainedError> {
    let text = Text::read(checkpoint, vocabulary, context, 0)?;
    // Some name an end that their own vocabulary does not have.
    let end = checkpoint.settings.id("eos_token_id")?.filter(|&id| (id as usize) < vocabulary);
    let output = json!({
        "modality": "text",
        "windows": true,
        "vocabulary": text.unit,
        "context": context,
        "end": end,
    });
    Draft::new(SOURCE).output("text", output, &Generate::new(vocabulary), Some(&text.tokenizer))?.finish()
}

/// Texts of which masked tokens are predicted from all others.
pub(super) fn masked(
    checkpoint: &Checkpoint,
    vocabulary: usize,
    context: usize,
    segments: usize,
) -> Result<ImportedTask, PretrainedError> {
    let text = Text::read(checkpoint, vocabulary, context, segments)?;
    // Without a vocabulary nothing says which id it is.
    let mask_id = MASKS.iter().find_map(|name| text.tokenizer.special(name)).unwrap_or_default();
    let output = json!({
        "modality": "text",
        "windows": true,
        "vocabulary": text.unit,
        "context": context,
        "segments": segments,
        "mask_id": mask_id,
    });
    let head = Masked::new(vocabulary, MaskedSettings::default().mask);
    Draft::new(SOURCE).output("text", output, &head, Some(&text.tokenizer))?.finish()
}

/// Texts of which nothing is predicted: each becomes a vector.
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
    let Sentence { pool, normalize, .. } = Sentence::read(checkpoint)?.unwrap_or_default();
    Draft::new(SOURCE)
        .input("text", input, &text.tokenizer)?
        .output(
            "embedding",
            json!({ "pool": pool, "normalize": normalize }),
            &Represent::new(normalize),
            None,
        )?
        .finish()
}

/// A text that is generated from another one.
pub(super) fn answer(checkpoint: &Checkpoint, vocabulary: usize) -> Result<ImportedTask, PretrainedError> {
    let settings = &checkpoint.settings;
    let text = Text::read(checkpoint, vocabulary, UNBOUNDED, 0)?;
    let source = json!({ "modality": "text", "vocabulary": text.unit, "context": UNBOUNDED });
    let target = json!({
        "share": "source",
        "cross_attention": true,
        "begin": settings.id("decoder_start_token_id")?.unwrap_or_default(),
        "end": settings.id("eos_token_id")?.unwrap_or(1),
    });
    Draft::new(SOURCE)
        .input("source", source, &text.tokenizer)?
        .output("target", target, &Generate::new(vocabulary), Some(&text.tokenizer))?
        .finish()
}

/// How a model of sentences makes one vector of a text's tokens.
pub(super) struct Sentence {
    pool: Pool,
    normalize: bool,
    /// The most tokens of a text; `None` for as many as there are positions.
    pub most_tokens: Option<usize>,
}

impl Default for Sentence {
    fn default() -> Self {
        Self { pool: Pool::Mean, normalize: false, most_tokens: None }
    }
}

impl Sentence {
    /// What the files beside the weights say; `None` where there are none.
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
                let problem = format!("expected the mean or the first token; found {pooling}");
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
    /// As the settings of a part have it.
    pub unit: TextUnit,
    pub tokenizer: TextTokenizer,
}

impl Text {
    /// The checkpoint's own tokenizer, with as many ids as the model has; without one, ids are written out.
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
            let problem = format!("is {vocabulary}; the tokenizer beside it has {known} ids");
            return Err(checkpoint.refuse("vocab_size", problem));
        }
        // Published tables are often rounded up: their last rows stand for nothing.
        let specials = (known..vocabulary).map(|id| format!("<unused {id}>")).collect();
        let tokenizer = build(TextConfig { specials, segments, ..found.config().clone() })?;
        Ok(Self { unit: TextUnit::File(checkpoint.folder.display().to_string()), tokenizer })
    }
}
