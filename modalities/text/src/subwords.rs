//! Words and parts of words to ids and back, through the `tokenizers` crate.

use crate::border::{Borders, Cuts, flat};
use crate::checks;
use serde_json::Value;
use std::collections::HashMap;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use tokenizers::Tokenizer;

/// A `tokenizer.json` made ready.
pub(crate) struct Subwords {
    tokenizer: Tokenizer,
    /// One more than the greatest id.
    len: usize,
    borders: Option<Borders>,
    /// None where a whole input is more than its ids between others.
    frame: Option<Frame>,
    /// Each byte of a text is a character of one token, so that ids have a length in bytes.
    lossless: bool,
}

/// What a whole input has around its ids.
struct Frame {
    before: Vec<u32>,
    behind: Vec<u32>,
}

impl Subwords {
    /// `Err` says what is wrong with the file.
    pub fn new(file: &Value) -> Result<Self, String> {
        let file = file.as_object().ok_or("is not an object, as a tokenizer.json is")?;
        checks::check(file)?;
        let mut parts = file.clone();
        // A text is never cut short or padded on the quiet.
        parts.retain(|part, _| part != "truncation" && part != "padding");
        let bytes = serde_json::to_vec(&parts).map_err(|e| e.to_string())?;
        let tokenizer = guarded(|| Tokenizer::from_bytes(&bytes))?;
        for added in file.get("added_tokens").and_then(Value::as_array).into_iter().flatten() {
            let (content, id) = (added["content"].as_str().unwrap_or_default(), &added["id"]);
            let found = tokenizer.token_to_id(content);
            if found.map(u64::from) != id.as_u64() {
                let found = found.map_or("none".into(), |id| id.to_string());
                return Err(format!(
                    "added token {content:?} says id {id}; its place in the vocab gives {found}"
                ));
            }
        }
        let len = checks::rows(tokenizer.get_vocab(true).into_values())?;
        let plain = file.get("normalizer").is_none_or(Value::is_null);
        let splits = flat(file.get("pre_tokenizer").unwrap_or(&Value::Null), "pretokenizers");
        let byte_level = |part: Option<&Value>| part.is_some_and(|part| part["type"] == "ByteLevel");
        let bytes = byte_level(file.get("decoder")) && splits.iter().any(|&part| byte_level(Some(part)));
        let lossless = plain && bytes && splits.iter().all(|part| part["add_prefix_space"] != true);
        let mut subwords = Self { tokenizer, len, borders: Borders::of(file), frame: None, lossless };
        subwords.frame = subwords.find_frame()?;
        Ok(subwords)
    }

    /// How many ids there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Where a text may be cut.
    pub fn cuts(&self) -> Cuts {
        self.borders.map_or(Cuts::Nowhere, Cuts::At)
    }

    /// The ids of a text. What lies between two borders is looked up where the same text has come before.
    pub fn ids(&self, text: &str) -> Result<Vec<u32>, String> {
        let Some(borders) = self.borders else { return self.encode(text, false) };
        let mut known: HashMap<&str, Range<usize>> = HashMap::new();
        let mut ids = Vec::with_capacity(text.len() / 3);
        guarded(|| {
            for word in borders.words(text) {
                if let Some(before) = known.get(word) {
                    ids.extend_from_within(before.clone());
                    continue;
                }
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
            Some(Frame { before, behind }) => Ok([before, &self.ids(text)?[..], behind].concat()),
            None => self.encode(text, true),
        }
    }

    /// The text of ids; special tokens, and ids that are none, are left out.
    pub fn text(&self, ids: &[u32]) -> String {
        // Only a decoder of a sort that is never published refuses; the tokens themselves still say something.
        let tokens = || ids.iter().filter_map(|&id| self.tokenizer.id_to_token(id)).collect();
        guarded(|| self.tokenizer.decode(ids, true)).unwrap_or_else(|_| tokens())
    }

    /// The id of a token that is special by the file, or by its name as `<…>` or `[…]`.
    pub fn special(&self, name: &str) -> Option<u32> {
        let id = self.tokenizer.token_to_id(name)?;
        let bracketed = |open, close| name.len() > 2 && name.starts_with(open) && name.ends_with(close);
        let said = self.tokenizer.get_added_vocabulary().is_special_token(name);
        (said || bracketed('<', '>') || bracketed('[', ']')).then_some(id)
    }

    /// The bytes of text that ids stand for; none where the tokens leave out some of the text.
    pub fn utf8_len(&self, ids: &[u32]) -> Option<usize> {
        let added = self.tokenizer.get_added_vocabulary().get_added_tokens_decoder();
        let len = |&id: &u32| match added.get(&id) {
            Some(token) => token.content.len(),
            None => self.tokenizer.id_to_token(id).map_or(0, |token| token.chars().count()),
        };
        self.lossless.then(|| ids.iter().map(len).sum())
    }

    fn encode(&self, text: &str, whole: bool) -> Result<Vec<u32>, String> {
        guarded(|| Ok(self.tokenizer.encode_fast(text, whole)?.get_ids().to_vec()))
    }

    /// What stands around the ids of a word when it is a whole input.
    fn find_frame(&self) -> Result<Option<Frame>, String> {
        let (bare, whole) = (self.encode("a", false)?, self.encode("a", true)?);
        let mut places = (0..whole.len()).filter(|&at| !bare.is_empty() && whole[at..].starts_with(&bare));
        let Some(at) = places.next().filter(|_| places.next().is_none()) else { return Ok(None) };
        Ok(Some(Frame { before: whole[..at].to_vec(), behind: whole[at + bare.len()..].to_vec() }))
    }
}

/// Runs what `tokenizers` does, a panic taken as an error. [`checks`] finds all that a hundred thousand damaged files
/// have brought up; but the crate has fifty sorts of parts that are built by the file and that index and unwrap by
/// what it says, too many to be checked from outside.
fn guarded<T>(work: impl FnOnce() -> tokenizers::Result<T>) -> Result<T, String> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(done) => done.map_err(|e| e.to_string()),
        Err(_) => Err("the tokenizers crate panicked; its message is above".into()),
    }
}
