//! Text as tokens: one id for each character, for each byte, or for each subword.
//!
//! A vocabulary of characters is [fitted](fit::characters) to the training text and sorted by code point, as in
//! nanoGPT's character models; bytes need no fitting and encode any text. [Words](fit::words) and [subwords](fit::bpe)
//! are fitted too, or come from a [`published`] vocabulary: a `tokenizer.json`, GPT-2's or BERT's files. The
//! ids of special tokens (`<bos>`, `<mask>`, `<unk>`) follow those of the vocabulary.
//!
//! ```
//! use smalti_contract::Tokenizer;
//! use smalti_text::{TextTokenizer, fit};
//!
//! # fn main() -> Result<(), smalti_contract::TokenizeError> {
//! let config = fit::characters(["the cat", "the hat"], vec!["<bos>".into()], 16)?;
//! let tokenizer = TextTokenizer::new(config)?;
//!
//! let tokens = tokenizer.encode(&"that".to_string())?;
//! assert_eq!(tokens.groups[0].content.ids(), Some(&[5, 4, 1, 5][..])); // of " aceht"
//! assert_eq!(tokenizer.decode(&tokens)?, "that");
//! assert_eq!(tokenizer.special("<bos>"), Some(6));
//! # Ok(())
//! # }
//! ```
//!
//! The parts: [`TextTokenizer`] and its [`TextConfig`], which is fitted from [`TextSettings`]; [`fit`], the fit of
//! characters, words and subwords; [`published`], published vocabularies; [`Ids`], the ids of a text that is larger
//! than memory.

mod alphabet;
mod blocks;
mod border;
mod bounds;
mod checks;
mod config;
mod error;
pub mod fit;
mod ids;
pub mod published;
mod settings;
mod subwords;
mod tokenizer;
mod watch;

pub use config::{END_TOKENS, MASK_TOKENS, TextConfig, UNKNOWN, Vocabulary};
pub use error::TextError;
pub use ids::Ids;
pub use settings::{TextSettings, TextUnit};
pub use tokenizer::TextTokenizer;
