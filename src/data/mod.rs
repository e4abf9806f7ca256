//! Data: bytes, folders, archives, manifests; samples, and batches of them.
//!
//! Nothing here knows what is inside a picture or a recording; that is the modality crates' part.

mod collate;
pub mod error;
pub mod files;
pub mod labelled;
mod loader;
pub mod made;
pub mod manifest;
pub mod recipes;
mod sample;
pub mod shipped;
#[cfg(test)]
mod testing;

pub use collate::{Batch, HeadBatch, KindBatch, Layout, ReadRows, Targets, TokenBatch, collate};
pub use error::DataError;
pub use files::{Files, open_text, read, read_text};
pub use loader::{Draw, Loader, Sampler, shares};
pub use sample::{Dataset, Sample, Stream, Target};
