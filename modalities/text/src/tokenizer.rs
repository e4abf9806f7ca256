//! The text tokenizer.

use crate::alphabet::Alphabet;
use crate::border::Cuts;
use crate::config::{END_TOKENS, MASK_TOKENS, TextConfig, UNKNOWN};
use crate::ids::Ids;
use crate::settings::TextSettings;
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;
use smalti_contract::{
    Axis, Content, ContentSpec, File, Group, KindSpec, OpenDocument, RawInputs, Sequence, TokenSpec,
    TokenizeError, Tokenizer, Tokens, Value, Values,
};

/// The longest context to which inputs are padded.
const MOST_PADDED: usize = 1 << 16;

/// The text tokenizer: tokens of kind `character`, `byte` or `subword`, with their position on the axis `index`.
///
/// [`decode`](Tokenizer::decode) returns the exact text if every character is in the vocabulary. Special tokens,
/// including [`UNKNOWN`], are dropped, and bytes that are not valid UTF-8, which a model can generate, become U+FFFD.
/// Subwords are decoded by their `tokenizer.json`: byte-level BPE gives the exact text, BERT's WordPiece a text in
/// lower case with single spaces.
pub struct TextTokenizer {
    config: TextConfig,
    alphabet: Alphabet,
    unknown: Option<u32>,
    spec: TokenSpec,
}

impl TextTokenizer {
    /// The ids of a text of any length, without the limit of the context and without the special tokens of
    /// [`document`](Self::document).
    ///
    /// # Errors
    /// [`TokenizeError::Input`] with a character outside the vocabulary and its index, unless the configuration has
    /// [`UNKNOWN`]. Vocabularies of subwords contain every character or have an unknown token.
    pub fn ids(&self, text: &str) -> Result<Vec<u32>, TokenizeError> {
        self.in_rows(self.alphabet.ids(text, self.unknown, 0)?)
    }

    /// [`ids`](Self::ids) with all threads, for a text of megabytes.
    ///
    /// # Errors
    /// As [`ids`](Self::ids).
    pub fn ids_in_parallel(&self, text: &str) -> Result<Vec<u32>, TokenizeError> {
        self.in_rows(self.alphabet.ids_of_many(text, self.unknown, 0)?)
    }

    /// The ids of a text as a whole input, with the special tokens of its `tokenizer.json` around them, such as BERT's
    /// `[CLS]` and `[SEP]`. Without such tokens, the result is that of [`ids`](Self::ids).
    ///
    /// # Errors
    /// As [`ids`](Self::ids).
    pub fn document(&self, text: &str) -> Result<Vec<u32>, TokenizeError> {
        self.in_rows(self.alphabet.document(text, self.unknown)?)
    }

    /// The ids that [`document`](Self::document) puts before those of a text: Llama's `<s>`.
    pub fn begin(&self) -> &[u32] {
        match &self.alphabet {
            Alphabet::Subwords(subwords) => subwords.before(),
            _ => &[],
        }
    }

    /// Check that the model has all ids.
    fn in_rows(&self, ids: Vec<u32>) -> Result<Vec<u32>, TokenizeError> {
        let Some(rows) = self.config.rows else { return Ok(ids) };
        match ids.iter().find(|&&id| id as usize >= rows) {
            None => Ok(ids),
            Some(&id) => {
                let name = match &self.alphabet {
                    Alphabet::Subwords(subwords) => subwords.name(id).unwrap_or_default(),
                    _ => String::new(),
                };
                Err(TokenizeError::Input(format!(
                    "text has the token {name:?} with the id {id}; the model has the ids below {rows}"
                )))
            }
        }
    }

    /// The number of UTF-8 bytes of the text of ids; special tokens of the configuration count as 0. `None` if tokens
    /// do not keep the whole text: WordPiece drops white space, a normaliser case.
    pub fn utf8_len(&self, ids: &[u32]) -> Option<usize> {
        self.alphabet.utf8_len(ids)
    }

    /// The ids of a part of a longer text, which begins with `before` other characters.
    pub(crate) fn part_ids(&self, part: &str, before: usize) -> Result<Vec<u32>, TokenizeError> {
        self.in_rows(self.alphabet.ids_of_many(part, self.unknown, before)?)
    }

    /// The positions where a text may be cut into such parts.
    pub(crate) fn cuts(&self) -> Cuts {
        self.alphabet.cuts()
    }

    /// The text of ids, without special tokens and ids beyond the vocabulary.
    pub fn text(&self, ids: &[u32]) -> String {
        self.alphabet.text(ids)
    }

    /// The tokens of a window of ids, with positions from 0.
    ///
    /// # Errors
    /// [`TokenizeError::Input`] for more ids than the context, [`TokenizeError::Spec`] for an id beyond the
    /// vocabulary.
    pub fn tokens(&self, ids: &[u32]) -> Result<Tokens, TokenizeError> {
        if ids.len() > self.config.context {
            let (n, context) = (ids.len(), self.config.context);
            return Err(TokenizeError::Input(format!(
                "text has {n} tokens; the context holds {context}: try context={n}"
            )));
        }
        self.tokens_in(ids, &vec![0; if self.config.segments > 0 { ids.len() } else { 0 }])
    }

    /// The tokens of ids, each with the index of its segment; `segments` is empty if the configuration has none.
    ///
    /// # Errors
    /// As [`tokens`](Self::tokens), and if the numbers of ids and segments differ, or a segment is unknown.
    pub fn tokens_in(&self, ids: &[u32], segments: &[u32]) -> Result<Tokens, TokenizeError> {
        let mut group = Group::sequence(Content::Ids(ids.to_vec()));
        if self.config.segments > 0 {
            if segments.len() != ids.len() {
                let (n, found) = (ids.len(), segments.len());
                return Err(TokenizeError::Input(format!("text has {n} tokens; {found} have a segment")));
            }
            group.positions = (0..).zip(segments).flat_map(|(index, &segment)| [index, segment]).collect();
        }
        let tokens = Tokens::new(vec![group]);
        self.spec.check(&tokens)?;
        Ok(tokens)
    }

    /// Ids with the padding up to `length`, if the configuration has one.
    fn padded(&self, mut ids: Vec<u32>, length: usize) -> Vec<u32> {
        if let Some(id) = self.config.pad_token_id {
            ids.resize(ids.len().max(length), id);
        }
        ids
    }

    /// Ids without the padding after them.
    fn without_padding<'a>(&self, ids: &'a [u32]) -> &'a [u32] {
        let is_text = |id: &u32| self.config.pad_token_id != Some(*id);
        &ids[..ids.iter().rposition(is_text).map_or(0, |last| last + 1)]
    }

    /// The id of a special token by its name: one of the configuration, or of a `tokenizer.json`, in which names such
    /// as `<…>` and `[…]` also count as special.
    pub fn special(&self, name: &str) -> Option<u32> {
        let own = self.config.specials.iter().position(|special| special == name);
        match (own, &self.alphabet) {
            (Some(place), _) => Some((self.ordinary_size() + place) as u32),
            (None, Alphabet::Subwords(subwords)) => {
                subwords.special(name).filter(|&id| (id as usize) < self.ordinary_size())
            }
            (None, _) => None,
        }
    }

    /// Add special tokens after the existing ones, unless the vocabulary has them; `[MASK]` counts as `<mask>`, and
    /// `</s>` and other [`END_TOKENS`] as `<|endoftext|>`.
    ///
    /// # Errors
    /// [`TokenizeError::Config`] for a name that is empty or occurs twice.
    pub fn with_specials<'a>(self, names: impl IntoIterator<Item = &'a str>) -> Result<Self, TokenizeError> {
        let has = |name: &str| match name {
            mask if MASK_TOKENS.contains(&mask) => {
                MASK_TOKENS.iter().any(|mask| self.special(mask).is_some())
            }
            end if end == END_TOKENS[0] => self.end_of_text().is_some(),
            name => self.special(name).is_some(),
        };
        let missing: Vec<String> = names.into_iter().filter(|name| !has(name)).map(String::from).collect();
        if missing.is_empty() {
            return Ok(self);
        }
        let mut config = self.config;
        config.specials.extend(missing);
        Self::new(config)
    }

    pub(crate) fn into_config(self) -> TextConfig {
        self.config
    }

    /// The bytes of a text, in lower case if configured.
    pub(crate) fn cased_bytes<'a>(
        &self,
        bytes: Box<dyn std::io::Read + Send + 'a>,
    ) -> Result<Box<dyn std::io::Read + Send + 'a>, TokenizeError> {
        // Conversion to lower case may depend on neighbouring letters, so such a text is read as a whole.
        match self.config.lowercase {
            true => Ok(Box::new(std::io::Cursor::new(self.read(whole_file(bytes)?)?.into_bytes()))),
            false => Ok(bytes),
        }
    }

    pub(crate) fn cased(&self, text: String) -> String {
        if self.config.lowercase { text.to_lowercase() } else { text }
    }

    /// The number of ids, including special tokens.
    pub fn vocabulary_size(&self) -> usize {
        self.ordinary_size() + self.config.specials.len()
    }

    /// The number of ids of characters, bytes or subwords: those below the first special token of the configuration.
    pub fn ordinary_size(&self) -> usize {
        self.config.rows.unwrap_or(usize::MAX).min(self.alphabet.len())
    }

    /// The maximal number of tokens of one input.
    pub fn context(&self) -> usize {
        self.config.context
    }
}

impl Tokenizer for TextTokenizer {
    const NAME: &'static str = "text";
    type Settings = TextSettings;
    type Config = TextConfig;
    type Raw = String;

    /// Fits a vocabulary to all texts. With a configuration `before`, its vocabulary, special tokens, segments and
    /// lower-casing stay; the context comes from the settings, and new special tokens are appended.
    ///
    /// # Errors
    /// [`TokenizeError::Config`] for conflicting settings; [`TokenizeError::Input`] for a value that is not text, for
    /// empty texts, and for a vocabulary file that cannot be read.
    fn fit(
        settings: TextSettings,
        before: Option<TextConfig>,
        values: &dyn Values,
    ) -> Result<TextConfig, TokenizeError> {
        settings.fit(before, values)
    }

    fn settings_schema() -> serde_json::Value {
        schemars::schema_for!(TextSettings).into()
    }

    fn new(config: TextConfig) -> Result<Self, TokenizeError> {
        let config_error = |problem| TokenizeError::Config { tokenizer: Self::NAME, problem };
        let alphabet = Alphabet::new(&config.vocabulary).map_err(config_error)?;
        check_specials(&config.specials).map_err(config_error)?;
        let size = alphabet.len();
        if let Some(rows) = config.rows.filter(|&rows| rows == 0 || rows > size) {
            return Err(config_error(format!(
                "rows is {rows}; it must be within 1..={size}, the vocabulary's ids"
            )));
        }
        if config.rows.is_some_and(|rows| rows < size) && !config.specials.is_empty() {
            let name = &config.specials[0];
            return Err(config_error(format!(
                "special token {name:?} would get the id of another: the vocabulary has {size} ids, and the model fewer"
            )));
        }
        if config.context == 0 {
            return Err(config_error("context is 0; it must be at least 1".into()));
        }
        let vocabulary = config.rows.unwrap_or(size) + config.specials.len();
        if let Some(id) = config.pad_token_id.filter(|&id| id as usize >= vocabulary) {
            return Err(config_error(format!(
                "pad_token_id is {id}; it must be below {vocabulary}, the number of ids"
            )));
        }
        if config.pad_token_id.is_some() && config.context > MOST_PADDED {
            let context = config.context;
            return Err(config_error(format!(
                "context is {context}; with a pad_token_id it must be at most {MOST_PADDED}"
            )));
        }
        let mut axes = vec![Axis::new("index", config.context)];
        if config.segments > 0 {
            axes.push(Axis::new("segment", config.segments));
        }
        let spec = TokenSpec::single(KindSpec {
            name: alphabet.kind().into(),
            content: ContentSpec::Ids { vocabulary },
            axes,
            time_steps: None,
        });
        let mut tokenizer = Self { config, alphabet, unknown: None, spec };
        tokenizer.unknown = tokenizer.special(UNKNOWN);
        Ok(tokenizer)
    }

    fn config(&self) -> &TextConfig {
        &self.config
    }

    fn spec(&self) -> &TokenSpec {
        &self.spec
    }

    /// A text, or a file in UTF-8, converted to lower case if configured.
    fn read(&self, value: Value) -> Result<String, TokenizeError> {
        Ok(self.cased(value.into_text()?))
    }

    fn write(&self, raw: String) -> Result<Value, TokenizeError> {
        Ok(Value::Text(raw))
    }

    fn varies(&self) -> bool {
        self.config.token_dropout > 0.0
    }

    /// Concatenate texts with the separator between them.
    fn concat(&self, raws: Vec<String>, _seed: u64) -> Result<String, TokenizeError> {
        Ok(raws.join(&self.config.separator))
    }

    /// Memory is bounded for a text of any size: see [`Ids`].
    fn sequence(
        &self,
        bytes: Box<dyn std::io::Read + Send + '_>,
    ) -> Result<Box<dyn Sequence>, TokenizeError> {
        Ok(Box::new(Ids::read(self.cased_bytes(bytes)?, self)?))
    }

    /// Memory is bounded for any number of documents of any size; short ones are encoded by all threads.
    fn documents(
        &self,
        n: usize,
        open: &OpenDocument,
        end: u32,
    ) -> Result<Box<dyn Sequence>, (usize, TokenizeError)> {
        Ok(Box::new(Ids::of_documents(n, open, end, self)?))
    }

    fn end_of_text(&self) -> Option<u32> {
        END_TOKENS.iter().find_map(|name| self.special(name))
    }

    /// The ids of `<extra_id_0>`, `<extra_id_1>` and so on, up to the first that the vocabulary lacks.
    fn sentinels(&self) -> Vec<u32> {
        (0..).map_while(|number| self.special(&format!("<extra_id_{number}>"))).collect()
    }

    fn utf8_len(&self, ids: &[u32]) -> Option<usize> {
        self.alphabet.utf8_len(ids)
    }

    /// The whole file as one text, which must be UTF-8, also with a vocabulary of bytes. Only case is changed: line
    /// ends and a byte-order mark stay.
    fn raw_inputs<'a>(&'a self, bytes: &'a [u8]) -> RawInputs<'a, String> {
        Box::new(std::iter::once_with(|| Ok(self.cased(whole(bytes)?))))
    }

    /// Replace a share of the tokens by [`UNKNOWN`] (word dropout), but no special tokens and no padding.
    fn augment_tokens(&self, mut tokens: Tokens, seed: u64) -> Tokens {
        let (rate, ordinary) = (f64::from(self.config.token_dropout), self.ordinary_size() as u32);
        let Some(unknown) = self.unknown.filter(|_| rate > 0.0) else { return tokens };
        let is_text = |id: u32| id < ordinary && self.config.pad_token_id != Some(id);
        let mut generator = Pcg64Mcg::seed_from_u64(seed);
        for group in &mut tokens.groups {
            if let Content::Ids(ids) = &mut group.content {
                for id in ids.iter_mut().filter(|id| is_text(**id)) {
                    if generator.random::<f64>() < rate {
                        *id = unknown;
                    }
                }
            }
        }
        tokens
    }

    fn encode(&self, raw: &String) -> Result<Tokens, TokenizeError> {
        self.tokens(&self.padded(self.document(raw)?, self.config.context))
    }

    /// Keeps the beginning of the text and the special tokens around it, such as BERT's `[CLS]` and `[SEP]`. The
    /// context limits the length too.
    fn encode_truncated(&self, raw: &String, max_length: usize) -> Result<(Tokens, bool), TokenizeError> {
        let most = max_length.min(self.config.context);
        let ids = self.document(raw)?;
        if ids.len() <= most {
            return Ok((self.tokens(&self.padded(ids, most))?, false));
        }
        let bare = self.ids(raw)?;
        let start = ids.windows(bare.len().max(1)).position(|window| window == bare).unwrap_or(0);
        let after = &ids[(start + bare.len()).min(ids.len())..];
        let kept = most.saturating_sub(after.len());
        Ok((self.tokens(&[&ids[..kept], &after[..most - kept]].concat())?, true))
    }

    fn decode(&self, tokens: &Tokens) -> Result<String, TokenizeError> {
        self.spec.check(tokens)?;
        let ids = tokens.groups.iter().filter_map(|group| group.content.ids());
        Ok(ids.map(|ids| self.text(self.without_padding(ids))).collect())
    }
}

fn check_specials(specials: &[String]) -> Result<(), String> {
    for (place, name) in specials.iter().enumerate() {
        if name.is_empty() {
            return Err(format!("special token {place} has an empty name"));
        }
        if specials[..place].contains(name) {
            return Err(format!("special token {name:?} occurs twice"));
        }
    }
    Ok(())
}

/// Read everything as one file.
fn whole_file(mut bytes: Box<dyn std::io::Read + Send + '_>) -> Result<Value, TokenizeError> {
    let mut all = vec![];
    bytes.read_to_end(&mut all).map_err(|e| TokenizeError::Input(e.to_string()))?;
    Ok(Value::File(File { name: "the text".into(), bytes: all }))
}

pub(crate) fn whole(bytes: &[u8]) -> Result<String, TokenizeError> {
    let failed = |problem| TokenizeError::Format { format: "UTF-8 text", problem };
    if bytes.is_empty() {
        return Err(failed("the file is empty".into()));
    }
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok(text.into()),
        Err(error) => {
            let offset = error.valid_up_to();
            Err(failed(format!("invalid byte {:#04x} at offset {offset}", bytes[offset])))
        }
    }
}
