//! Damaged files and lines: each is read or an error, without a panic and within a bound of memory.

use smalti_mutation::Counting;

mod bridge;
#[cfg(all(feature = "text", feature = "image", feature = "audio", feature = "trajectory"))]
mod checkpoints;
mod conversions;
mod files;
mod layouts;
mod place;
#[cfg(feature = "trajectory")]
#[path = "../support/rlds.rs"]
mod rlds;
#[cfg(all(feature = "text", feature = "image", feature = "audio", feature = "trajectory"))]
mod runs;
mod speech;
mod weights;

#[global_allocator]
static ALLOCATOR: Counting = Counting;
