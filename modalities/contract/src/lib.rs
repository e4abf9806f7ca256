//! What a modality must give to be mixed into a smalti model.
//!
//! A [`Tokenizer`] turns raw input into [`Tokens`]: plain data, with no tensors and no parameters. Its
//! [`TokenSpec`] tells a model how many ids, features and positions to expect; the model owns everything
//! that is learned. A [`Registry`] builds a tokenizer from its saved name and configuration, and
//! [`testing::check`] is the conformance test that every tokenizer calls.
//!
//! ```
//! use smalti_contract::{Content, Group, Tokens};
//!
//! // Three characters: ids 7, 4 and 11 at places 0, 1 and 2 of the sequence.
//! let tokens = Tokens::new(vec![Group::sequence(Content::Ids(vec![7, 4, 11]))]);
//! assert_eq!(tokens.len(), 3);
//! assert_eq!(tokens.groups[0].order, [0, 1, 2]);
//! ```
//!
//! The parts: [`value`] (a table's rows, which tokenizers read), [`tokens`] (the data), [`spec`] (its bounds),
//! [`tokenizer`] (the trait and its dyn-safe twin), [`registry`], [`testing`].

pub mod registry;
pub mod spec;
pub mod testing;
pub mod tokenizer;
pub mod tokens;
pub mod value;

pub use registry::{Registry, RegistryError};
pub use spec::{Axis, ContentSpec, KindSpec, SpecError, TokenSpec};
pub use tokenizer::{AnyTokenizer, Records, Sequence, TokenizeError, Tokenizer};
pub use tokens::{Content, Group, Tokens};
pub use value::{Array, File, Numbers, Row, Value, Values};
