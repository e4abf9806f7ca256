//! Ranks that compute on GPUs, which add up gradients among themselves.

use super::{Ranks, RanksError};
use candle_core::Device;
use std::sync::Arc;

/// The same ranks, each of which computes on `device`, all on processors or each on a GPU of its own. GPUs add up tensors
/// through NCCL from here on; all else goes its way as before.
///
/// # Errors
/// [`RanksError::Differ`] where some have a GPU and others not, [`RanksError::SameGpu`], [`RanksError::Gpu`] without the
/// feature `nccl`, [`RanksError::Nccl`]; on all ranks.
pub fn on(ranks: Arc<dyn Ranks>, device: &Device) -> Result<Arc<dyn Ranks>, RanksError> {
    let places = ranks.gather(&place(device)?);
    fit(&places)?;
    if device.is_cpu() {
        return Ok(ranks);
    }
    over_nccl(ranks, device)
}

/// Whether ranks can compute at these places together.
fn fit(places: &[String]) -> Result<(), RanksError> {
    for (rank, place) in places.iter().enumerate() {
        if (place == PROCESSOR) != (places[0] == PROCESSOR) {
            return Err(RanksError::Differ { rank, expected: places[0].clone(), found: place.clone() });
        }
        let same = places[..rank].iter().position(|other| other == place && place != PROCESSOR);
        if let Some(first) = same {
            return Err(RanksError::SameGpu { first, second: rank, gpu: place.clone() });
        }
    }
    Ok(())
}

const PROCESSOR: &str = "a processor";

/// What a rank computes on, as no other GPU is called.
fn place(device: &Device) -> Result<String, RanksError> {
    match device {
        Device::Cpu => Ok(PROCESSOR.into()),
        #[cfg(feature = "cuda")]
        device => crate::ops::cuda::identity(device).map_err(|e| RanksError::Nccl(e.to_string())),
        #[cfg(not(feature = "cuda"))]
        _ => Ok("a GPU".into()),
    }
}

#[cfg(not(feature = "nccl"))]
fn over_nccl(ranks: Arc<dyn Ranks>, _: &Device) -> Result<Arc<dyn Ranks>, RanksError> {
    Err(RanksError::Gpu(ranks.size()))
}

#[cfg(feature = "nccl")]
fn over_nccl(ranks: Arc<dyn Ranks>, device: &Device) -> Result<Arc<dyn Ranks>, RanksError> {
    Ok(Arc::new(nccl::Gpus::join(ranks, device)?))
}

#[cfg(feature = "nccl")]
mod nccl {
    use super::{Arc, Device, Ranks, RanksError};
    use crate::ops::cuda::{Nccl, NcclId};
    use candle_core::{Result, Tensor};

    /// Ranks with a GPU each: tensors go from GPU to GPU, all else as it did.
    pub(super) struct Gpus {
        ranks: Arc<dyn Ranks>,
        nccl: Nccl,
    }

    impl Gpus {
        pub(super) fn join(ranks: Arc<dyn Ranks>, device: &Device) -> std::result::Result<Self, RanksError> {
            let refused = |e: candle_core::Error| RanksError::Nccl(e.to_string());
            // Rank 0 draws the job's id; what the others say is not read.
            let own = if ranks.rank() == 0 { NcclId::new() } else { Ok(NcclId::default()) };
            let said = own.map_or_else(|e| format!("{FAILED}{e}"), |id| id.to_text());
            let said = ranks.gather(&said).swap_remove(0);
            if let Some(problem) = said.strip_prefix(FAILED) {
                return Err(RanksError::Nccl(problem.into()));
            }
            let id = NcclId::from_text(&said).map_err(refused)?;
            let nccl = Nccl::join(device, id, ranks.rank(), ranks.size()).map_err(refused)?;
            Ok(Self { ranks, nccl })
        }
    }

    const FAILED: &str = "failed: ";

    impl Ranks for Gpus {
        fn rank(&self) -> usize {
            self.ranks.rank()
        }
        fn size(&self) -> usize {
            self.ranks.size()
        }
        fn sum(&self, numbers: &mut [f32]) {
            self.ranks.sum(numbers);
        }
        fn sum_f64(&self, numbers: &mut [f64]) {
            self.ranks.sum_f64(numbers);
        }
        fn gather(&self, text: &str) -> Vec<String> {
            self.ranks.gather(text)
        }
        fn sum_tensors(&self, tensors: Vec<Tensor>) -> Result<Vec<Tensor>> {
            self.nccl.sum(&tensors)?;
            Ok(tensors)
        }
        fn wait(&self) {
            self.ranks.wait();
        }
        fn abort(&self) -> ! {
            self.ranks.abort()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_rank_has_a_gpu_of_its_own_or_none_has() {
        let said = |places: &[&str]| {
            let places: Vec<String> = places.iter().map(ToString::to_string).collect();
            fit(&places).err().map_or_else(String::new, |error| error.to_string())
        };
        assert_eq!(said(&["GPU-a", "GPU-b"]) + &said(&[PROCESSOR, PROCESSOR]), "");
        let same = said(&["GPU-a", "GPU-b", "GPU-b"]);
        assert!(same.starts_with("ranks 1 and 2 compute on the same GPU, GPU-b;"), "{same}");
        let mixed = said(&["GPU-a", PROCESSOR]);
        assert!(
            mixed.contains("rank 1 does not start as rank 0 does: expected GPU-a; found a processor"),
            "{mixed}"
        );
        assert!(said(&[PROCESSOR, "GPU-a"]).contains("expected a processor; found GPU-a"));
    }
}
