//! Copies of the next step's features to the GPU while the current step is computed.

use crate::data::Batch;
use candle_core::{Device, Result};

/// Prefetches batches to a GPU; on a CPU they need no copy.
pub(super) struct Prefetcher {
    #[cfg(feature = "cuda")]
    gpu: Option<crate::cuda::FeaturePrefetch>,
}

impl Prefetcher {
    #[cfg(not(feature = "cuda"))]
    pub(super) fn new(_: &Device) -> Result<Self> {
        Ok(Self {})
    }

    #[cfg(not(feature = "cuda"))]
    pub(super) fn prefetch(&mut self, _: &[Batch]) -> Result<()> {
        Ok(())
    }

    #[cfg(feature = "cuda")]
    pub(super) fn new(device: &Device) -> Result<Self> {
        Ok(Self { gpu: device.is_cuda().then(|| crate::cuda::FeaturePrefetch::new(device)).transpose()? })
    }

    /// Starts to copy the features of these batches, each of which is used once.
    #[cfg(feature = "cuda")]
    pub(super) fn prefetch(&mut self, batches: &[Batch]) -> Result<()> {
        use smalti_contract::Content;
        let Some(gpu) = &mut self.gpu else { return Ok(()) };
        let streams = batches.iter().flat_map(|batch| std::iter::once(&batch.main).chain(&batch.encoder));
        let groups = streams.flat_map(|stream| &stream.groups);
        let (slots, features): (Vec<_>, Vec<_>) = groups
            .filter_map(|group| match &group.content {
                Content::Features { values, dim } => Some((&group.on_device, (&values[..], *dim))),
                Content::Ids(_) => None,
            })
            .unzip();
        for (slot, tensor) in slots.into_iter().zip(gpu.send(&features)?) {
            slot.put(std::sync::Arc::new(tensor));
        }
        Ok(())
    }
}
