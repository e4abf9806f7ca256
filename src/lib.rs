//! smalti

pub mod data;
pub mod env;
