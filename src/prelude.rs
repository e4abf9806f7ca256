//! The names that most programs with smalti use: `use smalti::prelude::*;`.

pub use crate::config::RunConfig;
pub use crate::inference::{Generation, Predicted, predict_rows};
pub use crate::model::Model;
pub use crate::registry::Modalities;
pub use crate::run::{Run, Weights};
pub use crate::table::{MemoryTable, Table};
pub use crate::train::{Observer, Outcome, StepReport, Trainer};
pub use candle_core::{Device, Tensor};
pub use smalti_contract::{Row, TokenSpec, TokenizeError, Tokenizer, Tokens, Value};
