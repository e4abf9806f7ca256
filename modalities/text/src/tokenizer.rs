//! The text tokenizer.

use crate::alphabet::Alphabet;
use crate::config::{TextConfig, UNKNOWN};
use smalti_contract::{
    Axis, Content, ContentSpec, Group, KindSpec, Records, TokenSpec, TokenizeError, Tokenizer, Tokens,
};

/// Turns text into ids: one token of kind `character` or `byte` for each, with its place on the axis `index`.
///
/// [`decode`](Tokenizer::decode) gives back the very text where every character was known. Lost are special
/// tokens, which are left out (so also what [`UNKNOWN`] stood for), and bytes that are not valid UTF-8, which
/// become U+FFFD; a model can generate such bytes, text cannot hold them.
pub struct TextTokenizer {
    config: TextConfig,
    alphabet: Alphabet,
    unknown: Option<u32>,
    spec: TokenSpec,
}

impl TextTokenizer {
    /// The ids of a text of any length, without regard to the context.
    ///
    /// # Errors
    /// [`TokenizeError::Input`] names a character outside the vocabulary and its place, unless the
    /// configuration has [`UNKNOWN`].
    pub fn ids(&self, text: &str) -> Result<Vec<u32>, TokenizeError> {
        self.alphabet.ids(text, self.unknown).map_err(|offset| {
            let (before, rest) = text.split_at(offset);
            let character = rest.chars().next().unwrap_or_default();
            TokenizeError::Input(format!(
                "character {character:?} (U+{:04X}) at index {} of the text is not in the vocabulary of {}; \
                 fit the vocabulary to this text or add the special {UNKNOWN:?}",
                u32::from(character),
                before.chars().count(),
                self.alphabet.len(),
            ))
        })
    }

    /// The text of ids; special tokens, and ids beyond the vocabulary, are left out.
    pub fn text(&self, ids: &[u32]) -> String {
        self.alphabet.text(ids)
    }

    /// The tokens of a window of ids, placed from index 0.
    ///
    /// # Errors
    /// [`TokenizeError::Input`] for more ids than the context, [`TokenizeError::Spec`] for an id beyond the
    /// vocabulary.
    pub fn tokens(&self, ids: &[u32]) -> Result<Tokens, TokenizeError> {
        if ids.len() > self.config.context {
            let (n, context) = (ids.len(), self.config.context);
            return Err(TokenizeError::Input(format!("text has {n} tokens; the context holds {context}")));
        }
        let tokens = Tokens::new(vec![Group::sequence(Content::Ids(ids.to_vec()))]);
        self.spec.check(&tokens)?;
        Ok(tokens)
    }

    /// The id of a special token, by its name.
    pub fn special(&self, name: &str) -> Option<u32> {
        let place = self.config.specials.iter().position(|special| special == name)?;
        Some((self.alphabet.len() + place) as u32)
    }

    /// How many ids there are, special tokens among them.
    pub fn vocabulary_size(&self) -> usize {
        self.ordinary_size() + self.config.specials.len()
    }

    /// How many ids are characters or bytes: those below the first special token.
    pub fn ordinary_size(&self) -> usize {
        self.alphabet.len()
    }

    /// The most tokens that one input may have.
    pub fn context(&self) -> usize {
        self.config.context
    }
}

impl Tokenizer for TextTokenizer {
    const NAME: &'static str = "text";
    type Config = TextConfig;
    type Raw = String;

    fn new(config: TextConfig) -> Result<Self, TokenizeError> {
        let refused = |problem| TokenizeError::Config { tokenizer: Self::NAME, problem };
        let alphabet = Alphabet::new(&config.vocabulary).map_err(refused)?;
        check_specials(&config.specials).map_err(refused)?;
        if config.context == 0 {
            return Err(refused("context is 0; it must be at least 1".into()));
        }
        let spec = TokenSpec::single(KindSpec {
            name: alphabet.kind().into(),
            content: ContentSpec::Ids { vocabulary: alphabet.len() + config.specials.len() },
            axes: vec![Axis::new("index", config.context)],
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

    /// The whole file as one text, which must be UTF-8: with a vocabulary of bytes too, for a `String` holds
    /// no other. Nothing is changed: line ends and a byte-order mark stay.
    fn records<'a>(&'a self, bytes: &'a [u8]) -> Records<'a, String> {
        Box::new(std::iter::once(whole(bytes)))
    }

    fn encode(&self, raw: &String) -> Result<Tokens, TokenizeError> {
        self.tokens(&self.ids(raw)?)
    }

    fn decode(&self, tokens: &Tokens) -> Result<String, TokenizeError> {
        self.spec.check(tokens)?;
        Ok(tokens.groups.iter().filter_map(|g| g.content.ids()).map(|ids| self.text(ids)).collect())
    }
}

fn check_specials(specials: &[String]) -> Result<(), String> {
    for (place, name) in specials.iter().enumerate() {
        if name.is_empty() {
            return Err(format!("special {place} has no name"));
        }
        if specials[..place].contains(name) {
            return Err(format!("special {name:?} is named twice"));
        }
    }
    Ok(())
}

fn whole(bytes: &[u8]) -> Result<String, TokenizeError> {
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
