//! The next batch's features, on their way while the step before is computed.

use crate::data::Batch;
use candle_core::{Device, Result};

/// Sends batches ahead where the device computes by itself; a processor has them already.
pub(super) struct Ahead {
    #[cfg(feature = "cuda")]
    gpu: Option<crate::ops::cuda::Ahead>,
}

impl Ahead {
    #[cfg(not(feature = "cuda"))]
    pub(super) fn new(_: &Device) -> Result<Self> {
        Ok(Self {})
    }

    #[cfg(not(feature = "cuda"))]
    pub(super) fn send(&mut self, _: &[Batch]) -> Result<()> {
        Ok(())
    }

    #[cfg(feature = "cuda")]
    pub(super) fn new(device: &Device) -> Result<Self> {
        Ok(Self { gpu: device.is_cuda().then(|| crate::ops::cuda::Ahead::new(device)).transpose()? })
    }

    /// Starts to send what these batches hold of features; each is used once.
    #[cfg(feature = "cuda")]
    pub(super) fn send(&mut self, batches: &[Batch]) -> Result<()> {
        use smalti_contract::Content;
        let Some(gpu) = &mut self.gpu else { return Ok(()) };
        let streams = batches.iter().flat_map(|batch| std::iter::once(&batch.main).chain(&batch.encoder));
        let groups = streams.flat_map(|stream| &stream.groups);
        let (places, features): (Vec<_>, Vec<_>) = groups
            .filter_map(|group| match &group.content {
                Content::Features { values, dim } => Some((&group.sent, (&values[..], *dim))),
                Content::Ids(_) => None,
            })
            .unzip();
        for (place, there) in places.into_iter().zip(gpu.send(&features)?) {
            place.put(std::sync::Arc::new(there));
        }
        Ok(())
    }
}
