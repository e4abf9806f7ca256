//! Data: bytes, folders, archives, manifests; samples, and batches of them.
//!
//! Nothing here knows what is inside an image or a recording; that is the modality crates' part.

mod bad;
mod cache;
mod collate;
pub mod error;
pub mod files;
mod head_batch;
mod loader;
pub mod made;
pub mod recipes;
mod sample;
mod sampler;
mod sent;
pub mod shipped;
#[cfg(test)]
pub(crate) mod testing;

pub use bad::{Bad, BadSamples, first};
pub use cache::Cached;
pub use collate::{Batch, HeadLayout, KindBatch, Layout, ReadRows, TokenBatch, collate};
pub use error::DataError;
pub use files::{Files, glob, open_text, read, read_if_found, read_text};
pub use head_batch::{HeadBatch, Targets};
pub use loader::{Loader, Plan, Prepared};
pub use sample::{Dataset, Output, Sample, Stream, Target};
pub use sampler::{Draw, Lane, Sampler, shares};
pub use sent::Sent;
