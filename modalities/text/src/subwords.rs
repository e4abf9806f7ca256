//! Encoding and decoding with subwords, through the `tokenizers` crate.

use crate::border::{Borders, Cuts, flat};
use crate::watch::Watch;
use crate::{bounds, checks};
use serde::Deserialize;
use serde_json::Value;
use smalti_contract::caught;
use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use tokenizers::models::{bpe::BPE, unigram::Unigram, wordlevel::WordLevel, wordpiece::WordPiece};
use tokenizers::{
    DecoderWrapper, Model, ModelWrapper, NormalizedString, Normalizer, NormalizerWrapper,
    PostProcessorWrapper, PreTokenizerWrapper, Tokenizer, TokenizerImpl,
};

/// A prepared `tokenizer.json`.
pub(crate) struct Subwords {
    tokenizer: Tokenizer,
    /// The largest id plus 1.
    len: usize,
    borders: Option<Borders>,
    /// The special tokens around a whole input; `None` if a whole input differs in another way.
    frame: Option<Frame>,
    /// The bytes without a token; a text with one of them is an error.
    lost: Vec<u8>,
    /// The most bytes that normalizers make of one.
    growth: usize,
    /// The patterns whose time is not known; `None` if there are none.
    watch: Option<Watch>,
    /// Whether each byte of a text is a character of exactly one token, so that ids have a length in bytes.
    lossless: bool,
}

/// The special tokens before and after the ids of a whole input.
struct Frame {
    before: Vec<u32>,
    after: Vec<u32>,
}

impl Subwords {
    /// Check and prepare a `tokenizer.json`.
    pub fn new(json: &Value) -> Result<Self, String> {
        let file = json.as_object().ok_or("expected a JSON object of a tokenizer.json")?;
        let growth = bounds::check(file)?;
        let watch = guarded(|| Ok(Watch::of(file)?))?;
        let build = || {
            guarded(|| {
                let mut tokenizer = deserialize(json)?;
                // A text is never truncated or padded silently.
                tokenizer.with_truncation(None)?.with_padding(None);
                Ok(tokenizer)
            })
        };
        // A vocabulary of 50,000 tokens takes some hundredths of a second to check, and twice that to build.
        let (checked, tokenizer) = rayon::join(|| checks::check(file), build);
        checked?;
        let tokenizer = tokenizer?;
        let mut ids: Vec<u64> = checks::model_ids(file).collect();
        let mut of_added = BTreeMap::new();
        for added in file.get("added_tokens").and_then(Value::as_array).into_iter().flatten() {
            let (content, id) = (added["content"].as_str().unwrap_or_default(), &added["id"]);
            let found = tokenizer.token_to_id(content);
            if found.map(u64::from) != id.as_u64() {
                let found = found.map_or("none".into(), |id| id.to_string());
                return Err(format!(
                    "added token {content:?} has id {id}; its position in the vocab gives {found}"
                ));
            }
            if tokenizer.get_model().token_to_id(content).is_none() {
                of_added.extend(found.map(|id| (content, u64::from(id))));
            }
        }
        ids.extend(of_added.into_values());
        let len = checks::rows(&ids)?;
        let plain = file.get("normalizer").is_none_or(Value::is_null);
        let splits = flat(file.get("pre_tokenizer").unwrap_or(&Value::Null), "pretokenizers");
        let byte_level = |part: Option<&Value>| part.is_some_and(|part| part["type"] == "ByteLevel");
        let bytes = byte_level(file.get("decoder")) && splits.iter().any(|&part| byte_level(Some(part)));
        let lossless = plain && bytes && splits.iter().all(|part| part["add_prefix_space"] != true);
        let mut subwords = Self {
            tokenizer,
            len,
            borders: Borders::of(file),
            frame: None,
            lost: checks::lost_bytes(file),
            growth,
            watch,
            lossless,
        };
        subwords.frame = subwords.find_frame()?;
        Ok(subwords)
    }

    /// The number of ids.
    pub fn len(&self) -> usize {
        self.len
    }

    /// The positions where a text may be cut.
    pub fn cuts(&self) -> Cuts {
        self.borders.map_or(Cuts::Nowhere, Cuts::At)
    }

    /// The ids of a text. Words between two borders that occurred before are looked up.
    pub fn ids(&self, text: &str) -> Result<Vec<u32>, String> {
        self.check(text)?;
        let Some(borders) = self.borders else { return self.encode(text, false) };
        let mut known: HashMap<&str, Range<usize>> = HashMap::new();
        let mut ids = Vec::with_capacity(text.len() / 3);
        guarded(|| {
            for word in borders.words(text) {
                if let Some(before) = known.get(word) {
                    ids.extend_from_within(before.clone());
                    continue;
                }
                bounds::fits(word, self.growth)?;
                let start = ids.len();
                ids.extend_from_slice(self.tokenizer.encode_fast(word, false)?.get_ids());
                known.insert(word, start..ids.len());
            }
            Ok(())
        })?;
        Ok(ids)
    }

    /// The ids of a whole input: BERT's begin with `[CLS]` and end with `[SEP]`.
    pub fn document(&self, text: &str) -> Result<Vec<u32>, String> {
        match &self.frame {
            Some(Frame { before, after }) => Ok([before, &self.ids(text)?[..], after].concat()),
            None => {
                self.check(text)?;
                self.encode(text, true)
            }
        }
    }

    /// The special tokens before a whole input.
    pub fn before(&self) -> &[u32] {
        self.frame.as_ref().map_or(&[], |frame| &frame.before)
    }

    /// The name of an id.
    pub fn name(&self, id: u32) -> Option<String> {
        self.tokenizer.id_to_token(id)
    }

    /// Check that each byte of a text has a token, and that its patterns take no long time.
    fn check(&self, text: &str) -> Result<(), String> {
        if let Some(watch) = &self.watch {
            bounds::fits(text, self.growth)?;
            guarded(|| Ok(watch.check(text)?))?;
        }
        if self.lost.is_empty() {
            return Ok(());
        }
        let mut normalized = NormalizedString::from(text);
        if let Some(normalizer) = self.tokenizer.get_normalizer() {
            guarded(|| normalizer.normalize(&mut normalized))?;
        }
        let lost = |character: char| {
            let mut bytes = [0; 4];
            character.encode_utf8(&mut bytes).bytes().find(|byte| self.lost.contains(byte))
        };
        match normalized.get().chars().find_map(|character| Some((character, lost(character)?))) {
            None => Ok(()),
            Some((character, byte)) => Err(format!(
                "character {character:?} (U+{:04X}) has the byte {byte:#04x}; expected a byte with a token: the vocabulary \
                 lacks {} of the 256",
                u32::from(character),
                self.lost.len()
            )),
        }
    }

    /// The text of ids, without special tokens and unknown ids.
    pub fn text(&self, ids: &[u32]) -> String {
        // Only unusual decoders fail; then the tokens themselves are joined.
        let tokens = || ids.iter().filter_map(|&id| self.tokenizer.id_to_token(id)).collect();
        guarded(|| self.tokenizer.decode(ids, true)).unwrap_or_else(|_| tokens())
    }

    /// The id of a token that is special in the file, or by its name `<…>` or `[…]`.
    pub fn special(&self, name: &str) -> Option<u32> {
        let id = self.tokenizer.token_to_id(name)?;
        let bracketed = |open, close| name.len() > 2 && name.starts_with(open) && name.ends_with(close);
        let marked_special = self.tokenizer.get_added_vocabulary().is_special_token(name);
        (marked_special || bracketed('<', '>') || bracketed('[', ']')).then_some(id)
    }

    /// The number of bytes of the text of ids; `None` if tokens do not keep the whole text.
    pub fn utf8_len(&self, ids: &[u32]) -> Option<usize> {
        let added = self.tokenizer.get_added_vocabulary().get_added_tokens_decoder();
        let len = |&id: &u32| match added.get(&id) {
            Some(token) => token.content.len(),
            None => self.tokenizer.id_to_token(id).map_or(0, |token| token.chars().count()),
        };
        self.lossless.then(|| ids.iter().map(len).sum())
    }

    fn encode(&self, text: &str, whole: bool) -> Result<Vec<u32>, String> {
        bounds::fits(text, self.growth)?;
        guarded(|| Ok(self.tokenizer.encode_fast(text, whole)?.get_ids().to_vec()))
    }

    /// Find the special tokens around a whole input, by encoding a word.
    fn find_frame(&self) -> Result<Option<Frame>, String> {
        let (bare, whole) = (self.encode("a", false)?, self.encode("a", true)?);
        let mut places = (0..whole.len()).filter(|&at| !bare.is_empty() && whole[at..].starts_with(&bare));
        let Some(at) = places.next().filter(|_| places.next().is_none()) else { return Ok(None) };
        Ok(Some(Frame { before: whole[..at].to_vec(), after: whole[at + bare.len()..].to_vec() }))
    }
}

/// A tokenizer, read as one of its model's type. The type for any model copies the file three times first, and takes
/// twice as long: 80 ms instead of 40 for 49,152 tokens.
fn deserialize(json: &Value) -> serde_json::Result<Tokenizer> {
    match json["model"]["type"].as_str() {
        Some("BPE") => with_model::<BPE>(json),
        Some("WordPiece") => with_model::<WordPiece>(json),
        Some("WordLevel") => with_model::<WordLevel>(json),
        Some("Unigram") => with_model::<Unigram>(json),
        _ => Tokenizer::deserialize(json),
    }
}

fn with_model<'a, M>(json: &'a Value) -> serde_json::Result<Tokenizer>
where
    M: Model + Deserialize<'a> + Into<ModelWrapper>,
{
    type Any<M> =
        TokenizerImpl<M, NormalizerWrapper, PreTokenizerWrapper, PostProcessorWrapper, DecoderWrapper>;
    Any::<M>::deserialize(json).map(Tokenizer::from)
}

/// Run a function of `tokenizers`, and return a panic as an error. [`checks`] detects all the causes that a hundred
/// thousand damaged files showed; but the crate has fifty types of components that index and unwrap by values of the
/// file, too many to check from outside.
fn guarded<T>(work: impl FnOnce() -> tokenizers::Result<T>) -> Result<T, String> {
    match caught(work) {
        Ok(done) => done.map_err(|e| e.to_string()),
        Err(panic) => Err(format!("the tokenizers crate panicked: {panic}")),
    }
}
