//! Numbers as tokens: a scalar, a vector, or several columns of a row; as features, in bins, or as ids.
//!
//! Settings are fitted to the values of the training rows; values are encoded as tokens and decoded:
//!
//! ```
//! use smalti_contract::{Tokenizer, Value};
//! use smalti_numbers::{NumbersSettings, NumbersTokenizer};
//!
//! // Range in metres and speed in metres a second; the second row has no speed.
//! let rows = vec![Value::vector([10.0, 3.0]), Value::vector([30.0, f32::NAN]), Value::vector([20.0, 5.0])];
//! let tokenizer = NumbersTokenizer::new(NumbersTokenizer::fit(NumbersSettings::default(), None, &rows)?)?;
//!
//! let tokens = tokenizer.encode(&tokenizer.read(Value::vector([20.0, 3.0]))?)?;
//! // Each number normalised, then an indicator for each, 1 if it is missing.
//! assert_eq!(tokens.groups[0].content.features(), Some(&[0.0, -1.0, 0.0, 0.0][..]));
//! assert_eq!(tokenizer.write(tokenizer.decode(&tokens)?)?, Value::vector([20.0, 3.0]));
//!
//! // A discrete action: the numbers are ids.
//! let actions: Vec<Value> = [0.0, 3.0, 1.0].map(Value::Number).into();
//! let settings = NumbersSettings { ids: true, ..NumbersSettings::default() };
//! let tokenizer = NumbersTokenizer::new(NumbersTokenizer::fit(settings, None, &actions)?)?;
//! assert_eq!(tokenizer.encode(&vec![3.0])?.groups[0].content.ids(), Some(&[3][..]));
//! # Ok::<(), smalti_contract::TokenizeError>(())
//! ```
//!
//! The parts: [`NumbersSettings`] (what a user writes), [`NumbersConfig`] (what is fitted), [`NumbersTokenizer`],
//! [`MuLaw`] (discretisation).

mod columns;
mod config;
mod fit;
mod mu_law;
mod settings;
mod tokenizer;

pub use config::{NumberContent, NumbersConfig};
pub use fit::MAX_FITTED_IDS;
pub use mu_law::MuLaw;
pub use settings::{NumbersSettings, OneOrAll, TokensPer};
pub use tokenizer::NumbersTokenizer;
