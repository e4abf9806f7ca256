//! Ranks on GPUs, which sum gradients through NCCL.

use super::{Ranks, RanksError};
use candle_core::Device;
use std::sync::Arc;

/// The same ranks, each computing on its `device`: all on CPUs, or each on a GPU of its own, which then sum tensors through
/// NCCL.
///
/// # Errors
/// On all ranks: [`RanksError::DifferentStart`] if only some have a GPU, [`RanksError::SameGpu`], [`RanksError::NoNccl`]
/// without the feature `nccl`, [`RanksError::Nccl`], [`RanksError::PeerFailed`].
pub fn on_device(ranks: Arc<dyn Ranks>, device: &Device) -> Result<Arc<dyn Ranks>, RanksError> {
    let devices = ranks.all_gather(&identity(device)?)?;
    check_devices(&devices)?;
    if device.is_cpu() {
        return Ok(ranks);
    }
    over_nccl(ranks, device)
}

/// Fails if ranks cannot train together on these devices.
fn check_devices(devices: &[String]) -> Result<(), RanksError> {
    for (rank, device) in devices.iter().enumerate() {
        if (device == CPU) != (devices[0] == CPU) {
            let (expected, found) = (devices[0].clone(), device.clone());
            return Err(RanksError::DifferentStart { rank, expected, found });
        }
        let same = devices[..rank].iter().position(|other| other == device && device != CPU);
        if let Some(first) = same {
            return Err(RanksError::SameGpu { first, second: rank, gpu: device.clone() });
        }
    }
    Ok(())
}

const CPU: &str = "a CPU";

/// A name of the device that no other GPU has.
fn identity(device: &Device) -> Result<String, RanksError> {
    match device {
        Device::Cpu => Ok(CPU.into()),
        #[cfg(feature = "cuda")]
        device => crate::cuda::identity(device).map_err(|e| RanksError::Nccl(e.to_string())),
        #[cfg(not(feature = "cuda"))]
        _ => Ok("a GPU".into()),
    }
}

#[cfg(not(feature = "nccl"))]
fn over_nccl(ranks: Arc<dyn Ranks>, _: &Device) -> Result<Arc<dyn Ranks>, RanksError> {
    Err(RanksError::NoNccl(ranks.world_size()))
}

#[cfg(feature = "nccl")]
fn over_nccl(ranks: Arc<dyn Ranks>, device: &Device) -> Result<Arc<dyn Ranks>, RanksError> {
    Ok(Arc::new(nccl::Gpus::join(ranks, device)?))
}

#[cfg(feature = "nccl")]
mod nccl {
    use super::{Arc, Device, Ranks, RanksError};
    use crate::cuda::{Nccl, NcclId};
    use candle_core::Tensor;

    /// Ranks with a GPU each: NCCL sums tensors, and `ranks` does all else.
    pub(super) struct Gpus {
        ranks: Arc<dyn Ranks>,
        nccl: Nccl,
    }

    impl Gpus {
        pub(super) fn join(ranks: Arc<dyn Ranks>, device: &Device) -> Result<Self, RanksError> {
            // Rank 0 draws the job's id; the texts of the other ranks are not read.
            let own = if ranks.rank() == 0 { NcclId::new() } else { Ok(NcclId::default()) };
            let text = own.map_or_else(|e| format!("{FAILED}{e}"), |id| id.to_text());
            let text = ranks.all_gather(&text)?.swap_remove(0);
            if let Some(problem) = text.strip_prefix(FAILED) {
                return Err(RanksError::Nccl(problem.into()));
            }
            let id = NcclId::from_text(&text).map_err(failed)?;
            let nccl = Nccl::join(device, id, ranks.rank(), ranks.world_size()).map_err(failed)?;
            Ok(Self { ranks, nccl })
        }
    }

    const FAILED: &str = "failed: ";

    fn failed(error: candle_core::Error) -> RanksError {
        RanksError::Nccl(error.to_string())
    }

    impl Ranks for Gpus {
        fn rank(&self) -> usize {
            self.ranks.rank()
        }
        fn world_size(&self) -> usize {
            self.ranks.world_size()
        }
        fn all_reduce(&self, numbers: &mut [f32]) -> Result<(), RanksError> {
            self.ranks.all_reduce(numbers)
        }
        fn all_reduce_f64(&self, numbers: &mut [f64]) -> Result<(), RanksError> {
            self.ranks.all_reduce_f64(numbers)
        }
        fn all_gather(&self, text: &str) -> Result<Vec<String>, RanksError> {
            self.ranks.all_gather(text)
        }
        fn all_reduce_tensors(&self, tensors: Vec<Tensor>) -> Result<Vec<Tensor>, RanksError> {
            self.nccl.all_reduce(&tensors).map_err(failed)?;
            Ok(tensors)
        }
        fn barrier(&self) -> Result<(), RanksError> {
            self.ranks.barrier()
        }
        fn abort(&self, problem: &str) {
            self.ranks.abort(problem);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_rank_has_its_own_gpu_or_all_have_cpus() {
        let message = |devices: &[&str]| {
            let devices: Vec<String> = devices.iter().map(ToString::to_string).collect();
            check_devices(&devices).err().map_or_else(String::new, |error| error.to_string())
        };
        assert_eq!(message(&["GPU-a", "GPU-b"]) + &message(&[CPU, CPU]), "");
        let same = message(&["GPU-a", "GPU-b", "GPU-b"]);
        assert!(same.starts_with("ranks 1 and 2 compute on the same GPU, GPU-b;"), "{same}");
        let mixed = message(&["GPU-a", CPU]);
        assert!(mixed.contains("rank 1 differs from rank 0: expected GPU-a; found a CPU"), "{mixed}");
        assert!(message(&[CPU, "GPU-a"]).contains("expected a CPU; found GPU-a"));
    }
}
