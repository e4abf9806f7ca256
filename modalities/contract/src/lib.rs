//! The contract between a modality and a smalti model: tokens, their spec, and the tokenizer trait.
//!
//! A [`Tokenizer`] turns raw input into [`Tokens`]: plain data, with no tensors and no parameters. Its [`TokenSpec`]
//! tells a model how many ids, features and positions to expect; the model owns all parameters. A [`Registry`] builds a
//! tokenizer from its saved name and configuration, and [`testing::check`] is the conformance test that every tokenizer
//! calls.
//!
//! ```
//! use smalti_contract::{Content, Group, Tokens};
//!
//! // Three characters: ids 7, 4 and 11, in this order.
//! let tokens = Tokens::new(vec![Group::sequence(Content::Ids(vec![7, 4, 11]))]);
//! assert_eq!(tokens.len(), 3);
//! assert_eq!(tokens.groups[0].order, [0, 1, 2]);
//! ```
//!
//! The parts: [`value`] (a table's rows, which tokenizers read), [`tokens`] (the data), [`spec`] (its bounds),
//! [`tokenizer`] (the trait; [`AnyTokenizer`] is its object-safe counterpart), [`registry`], [`memory`] (limits for readers),
//! [`listed`] (lists in messages), [`panics`] (of libraries, as errors), [`testing`].

mod any_tokenizer;
mod listing;
pub mod memory;
pub mod panics;
pub mod registry;
pub mod spec;
pub mod testing;
pub mod tokenizer;
pub mod tokens;
pub mod value;

pub use any_tokenizer::AnyTokenizer;
pub use listing::listed;
pub use panics::caught;
pub use registry::{Registry, RegistryError};
pub use spec::{Axis, ContentSpec, KindSpec, SpecError, TokenSpec};
pub use tokenizer::{OpenDocument, RawInputs, Sequence, TokenizeError, Tokenizer};
pub use tokens::{Content, Group, Tokens};
pub use value::{Array, File, Numbers, Row, Value, Values};
