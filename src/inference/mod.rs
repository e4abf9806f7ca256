//! Predictions of a trained model as rows of a table.

pub mod write;
