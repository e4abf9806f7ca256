//! Data: files, folders and archives; samples, and batches of them.
//!
//! Nothing here decodes an image or an audio clip; the modality crates do.

mod cache;
mod collate;
mod corrupt;
pub mod error;
pub mod files;
mod head_batch;
mod loader;
mod on_device;
pub mod recipes;
mod sample;
mod sampler;
pub mod shipped;
#[cfg(test)]
pub(crate) mod testing;

pub use crate::notice::{Notice, on_notice};
pub use cache::Cached;
pub use collate::{Batch, HeadLayout, KindBatch, Layout, ReadRows, TokenBatch, collate};
pub use corrupt::{CorruptSamples, OnCorruptSample, first};
pub use error::DataError;
pub(crate) use error::of_task;
pub use files::{Files, glob, open_text, read, read_if_found, read_text};
pub use head_batch::{HeadBatch, Pooling, Targets};
pub use loader::{Loader, Plan, Prepared};
pub use on_device::OnDevice;
pub use sample::{Dataset, Output, Sample, Stream, Target};
pub use sampler::{Draw, Lane, Sampler, shares};
