//! The task of a text checkpoint: its vocabulary and its output.

use super::classifier::Classifier;
use super::names::NameMap;
use super::sentence::SentenceEncoder;
use super::task::{ImportedTask, TaskBuilder};
use super::{Checkpoint, PretrainedError, generation, tokenizer};
use crate::head::{Dense, Generate, Masked, Masking, Represent};
use crate::modalities::text::{MASK_TOKENS, TextConfig, TextTokenizer, TextUnit, Vocabulary};
use crate::sample::Pool;
use serde_json::{Value, json};
use smalti_contract::Tokenizer;

/// The context of a model without a maximum length.
pub(super) const DEFAULT_CONTEXT: usize = 2048;
/// The vocabulary files that [`published::open`] reads.
const VOCABULARIES: [&str; 4] = ["tokenizer.json", "vocab.json", "encoder.json", "vocab.txt"];
/// Most rows of an embedding table without a token of the tokenizer.
const MOST_UNUSED: usize = 1 << 16;
/// The source of texts, unless a user sets another.
const SOURCE: &str = "builtin:text/smalti.txt";

/// Whether the head is tied to the embedding.
pub(super) fn tied(checkpoint: &Checkpoint, default: bool) -> Result<bool, PretrainedError> {
    checkpoint.settings.flag("tie_word_embeddings", default)
}

/// The matrix of the head for next tokens.
pub(super) const HEAD: &str = "lm_head.weight";

/// The names of the head for next tokens.
pub(super) fn head(names: &mut NameMap, output: &str, tied: bool, table: &str) {
    match tied {
        true => names.repeats(HEAD, table),
        false => names.one(&format!("head.{output}.weight"), HEAD),
    }
}

/// A model that continues texts: its task, the names of its embedding and its head, and the prefix of its transformer's tensors.
pub(super) struct Decoder {
    pub task: ImportedTask,
    pub names: NameMap,
    pub prefix: String,
}

/// Describe a model of `vocab_size` ids and `max_position_embeddings` positions, whose head is `tied` to the embedding or not.
/// `head` is the name of the head's matrix; that of the embedding, `table`, is below `prefix`, which a checkpoint without a head
/// does not have.
///
/// # Errors
/// [`PretrainedError`] if the tokenizer cannot be read or does not fit.
pub(super) fn decoder(
    checkpoint: &Checkpoint,
    prefix: &str,
    [table, head]: [&str; 2],
    tied: bool,
) -> Result<Decoder, PretrainedError> {
    let settings = &checkpoint.settings;
    let (vocabulary, context) = (settings.size("vocab_size")?, settings.size("max_position_embeddings")?);
    let task = next_token(checkpoint, vocabulary, context)?;
    let (mut names, prefix) = (NameMap::default(), checkpoint.prefix(prefix));
    let table = format!("{prefix}{table}.weight");
    names.one(&task.embedding("text", "table"), &table);
    match tied {
        true => names.repeats(head, &table),
        false => names.one("head.text.weight", head),
    }
    Ok(Decoder { task, names, prefix })
}

/// Language modelling: each token is predicted from the tokens before it.
pub(super) fn next_token(
    checkpoint: &Checkpoint,
    vocabulary: usize,
    context: usize,
) -> Result<ImportedTask, PretrainedError> {
    let text = Text::read(checkpoint, vocabulary, context, 0)?;
    let mut output = json!({
        "modality": "text",
        "windows": true,
        "vocabulary": text.unit,
        "context": context,
    });
    // The ids that the tokenizer puts before a text. Those after it would end the text before it is continued.
    for (key, ids) in
        [("begin", text.tokenizer.begin()), ("end", &generation::read(checkpoint, vocabulary)?.ends)]
    {
        if !ids.is_empty() {
            output[key] = one_or_many(ids);
        }
    }
    TaskBuilder::new(SOURCE)
        .output("text", output, &Generate::new(vocabulary), Some(&text.tokenizer))?
        .finish()
}

/// An id, or a list of several.
fn one_or_many(ids: &[u32]) -> Value {
    if let [id] = ids { json!(id) } else { json!(ids) }
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
    let head = Masked::new(vocabulary, Masking::default());
    TaskBuilder::new(SOURCE).output("text", output, &head, Some(&text.tokenizer))?.finish()
}

/// Text embeddings: one vector for each text.
pub(super) fn represented(
    checkpoint: &Checkpoint,
    vocabulary: usize,
    context: usize,
    segments: usize,
    encoder: &SentenceEncoder,
) -> Result<ImportedTask, PretrainedError> {
    let mut text = Text::read(checkpoint, vocabulary, context, segments)?;
    if encoder.lowercase {
        let config = TextConfig { lowercase: true, ..text.tokenizer.config().clone() };
        text.tokenizer = TextTokenizer::new(config)?;
    }
    let mut input = json!({
        "modality": "text",
        "vocabulary": text.unit,
        "context": context,
        "segments": segments,
    });
    if encoder.lowercase {
        input["lowercase"] = true.into();
    }
    let SentenceEncoder { pool, normalize, .. } = *encoder;
    let mut output = json!({ "pool": pool, "normalize": normalize });
    let dense = encoder.dense.as_ref().map(|dense| dense.layer);
    if let Some(dense) = dense {
        output["dense"] = json!(dense);
    }
    TaskBuilder::new(SOURCE)
        .input("text", input, &text.tokenizer)?
        .output("embedding", output, &Represent::new(normalize, dense), None)?
        .finish()
}

/// Text classification: classes, labels or numbers of each text.
pub(super) fn classified(
    checkpoint: &Checkpoint,
    vocabulary: usize,
    context: usize,
    segments: usize,
    classifier: &Classifier,
) -> Result<ImportedTask, PretrainedError> {
    let text = Text::read(checkpoint, vocabulary, context, segments)?;
    let input = json!({
        "modality": "text",
        "vocabulary": text.unit,
        "context": context,
        "segments": segments,
    });
    classifier.add(TaskBuilder::new(SOURCE).input("text", input, &text.tokenizer)?, json!({}))
}

/// Text embeddings: the state of the first token with the id `end`, mapped by `dense` if there is one.
pub(super) fn represented_at_end(
    checkpoint: &Checkpoint,
    vocabulary: usize,
    context: usize,
    end: u32,
    dense: Option<Dense>,
) -> Result<ImportedTask, PretrainedError> {
    let is_there = |name: &str| checkpoint.folder.join(name).is_file();
    if !is_there(VOCABULARIES[0]) && VOCABULARIES.into_iter().any(is_there) {
        let problem = "no such file; expected it beside this kind of model: save the tokenizer with transformers, which \
                       writes it";
        let path = checkpoint.folder.join(VOCABULARIES[0]);
        return Err(PretrainedError::Read { path, problem: problem.into() });
    }
    let text = Text::read(checkpoint, vocabulary, context, 0)?;
    // Files from before transformers 4.32 state a wrong id, 2, for which transformers reads the token of the highest id.
    let highest = || text.tokenizer.document("a").ok()?.last().copied();
    let end = if end == 2 { highest().unwrap_or(vocabulary as u32 - 1) } else { end };
    if end as usize >= vocabulary {
        let problem = format!("expected an id below {vocabulary}; found {end}");
        return Err(checkpoint.refuse("eos_token_id", problem));
    }
    let input = json!({ "modality": "text", "vocabulary": text.unit, "context": context });
    let mut output = json!({ "pool": Pool::Last, "end": end });
    if let Some(dense) = dense {
        output["dense"] = json!(dense);
    }
    TaskBuilder::new(SOURCE)
        .input("text", input, &text.tokenizer)?
        .output("embedding", output, &Represent::new(false, dense), None)?
        .finish()
}

/// Text embeddings: the state of the last token of texts that are padded to `context` tokens, mapped by `dense`.
pub(super) fn represented_with_padding(
    checkpoint: &Checkpoint,
    vocabulary: usize,
    context: usize,
    pad: u32,
    dense: Dense,
) -> Result<ImportedTask, PretrainedError> {
    let text = Text::read(checkpoint, vocabulary, context, 0)?;
    let named = tokenizer::padding(checkpoint)?;
    let pad = named.and_then(|name| text.tokenizer.special(&name)).unwrap_or(pad);
    let config = TextConfig { pad_token_id: Some(pad), ..text.tokenizer.config().clone() };
    let tokenizer = TextTokenizer::new(config).map_err(|e| checkpoint.refuse("pad_token_id", e))?;
    let input =
        json!({ "modality": "text", "vocabulary": text.unit, "context": context, "pad_token_id": pad });
    let output = json!({ "pool": Pool::Last, "dense": dense });
    TaskBuilder::new(SOURCE)
        .input("text", input, &tokenizer)?
        .output("embedding", output, &Represent::new(false, Some(dense)), None)?
        .finish()
}

/// Text-to-text: a text is generated from another one.
pub(super) fn text_to_text(
    checkpoint: &Checkpoint,
    vocabulary: usize,
) -> Result<ImportedTask, PretrainedError> {
    let text = Text::read(checkpoint, vocabulary, DEFAULT_CONTEXT, 0)?;
    let source = json!({ "modality": "text", "vocabulary": text.unit, "context": DEFAULT_CONTEXT });
    let generation::TextIds { start, mut ends } = generation::read(checkpoint, vocabulary)?;
    if ends.is_empty() {
        ends.push(1);
    }
    let target = json!({
        "share": "source",
        "cross_attention": true,
        "begin": start.unwrap_or_default(),
        "end": one_or_many(&ends),
    });
    TaskBuilder::new(SOURCE)
        .input("source", source, &text.tokenizer)?
        .output("target", target, &Generate::new(vocabulary), Some(&text.tokenizer))?
        .finish()
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
        let found = tokenizer::open(checkpoint, context)?;
        let known = found.vocabulary_size();
        if known > vocabulary {
            // A padding token that was added after training is often beyond the model's rows.
            let tokenizer = build(TextConfig { rows: Some(vocabulary), segments, ..found.config().clone() })?;
            return Ok(Self { unit: TextUnit::File(checkpoint.folder.display().to_string()), tokenizer });
        }
        // Published embedding tables are often rounded up: their last rows have no token.
        if vocabulary - known > MOST_UNUSED {
            let problem = format!(
                "expected at most {MOST_UNUSED} more than the {known} tokens of the tokenizer; found {vocabulary}"
            );
            return Err(checkpoint.refuse("vocab_size", problem));
        }
        let specials = (known..vocabulary).map(|id| format!("<unused {id}>")).collect();
        let tokenizer = build(TextConfig { specials, segments, ..found.config().clone() })?;
        Ok(Self { unit: TextUnit::File(checkpoint.folder.display().to_string()), tokenizer })
    }
}
