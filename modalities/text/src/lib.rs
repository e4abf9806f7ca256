//! Text as tokens: one id for each character, or for each byte.
//!
//! Characters come from a vocabulary that is [fitted](fit::characters) to the training text and sorted by
//! code point, as nanoGPT's character models have it; bytes need no fitting and take any text. The
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
//! The parts: [`TextTokenizer`] and its [`TextConfig`]; [`fit`], which finds the characters; [`mask`], which
//! hides tokens for masked-token training.

mod alphabet;
mod config;
pub mod fit;
pub mod mask;
mod tokenizer;

pub use config::{TextConfig, UNKNOWN, Vocabulary};
pub use tokenizer::TextTokenizer;
