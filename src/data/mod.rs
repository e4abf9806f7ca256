//! Data before it becomes tokens.

pub mod made;
pub mod shipped;
