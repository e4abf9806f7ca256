//! Text as tokens: one id for each character, for each byte, or for each subword.
//!
//! Characters come from a vocabulary that is [fitted](fit::characters) to the training text and sorted by
//! code point, as nanoGPT's character models have it; bytes need no fitting and take any text. Subwords are
//! [fitted](fit::bpe) too, or [published](published) ones: a `tokenizer.json`, GPT-2's files, BERT's. The
//! special tokens of a model (`<bos>`, `<mask>`, `<unk>`) have the ids after them.
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
//! The parts: [`TextTokenizer`] and its [`TextConfig`]; [`fit`], which finds characters or subwords; [`published`],
//! which reads the vocabularies of others; [`Ids`] of a text that is larger than memory; [`mask`], which hides tokens
//! for masked-token training.

mod alphabet;
mod blocks;
mod border;
mod checks;
mod config;
mod error;
pub mod fit;
mod ids;
pub mod mask;
pub mod published;
mod subwords;
mod tokenizer;

pub use config::{TextConfig, UNKNOWN, Vocabulary};
pub use error::TextError;
pub use ids::Ids;
pub use tokenizer::TextTokenizer;
