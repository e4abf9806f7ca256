//! Numbers as tokens: scalars, vectors and columns of a row.
//!
//! One token holds a whole vector, or each number is a token of its own. Numbers are normalised by a mean and a deviation
//! fitted to the training rows, divided by one scale, discretised by μ-law ([`MuLaw`]), or are ids themselves. A number that
//! is missing is NaN.
//!
//! ```
//! use smalti_contract::{Content, Tokenizer, Value, Values};
//! use smalti_numbers::{NumbersSettings, NumbersTokenizer};
//!
//! let rows = vec![Value::vector([1.0, 10.0]), Value::vector([3.0, 30.0])];
//! let config = NumbersTokenizer::fit(NumbersSettings::default(), None, &rows)?;
//! let tokenizer = NumbersTokenizer::new(config)?;
//! let tokens = tokenizer.encode(&vec![3.0, 10.0])?;
//! assert_eq!(tokens.groups[0].content, Content::Features { values: vec![1.0, -1.0], dim: 2 });
//! # Ok::<(), smalti_contract::TokenizeError>(())
//! ```

mod config;
mod fit;
mod mu_law;
mod tokenizer;

pub use config::{NumbersConfig, NumbersSettings, OneOrAll, TokensPer};
pub use mu_law::MuLaw;
pub use tokenizer::NumbersTokenizer;
