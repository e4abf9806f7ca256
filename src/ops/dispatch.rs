//! The one place where an operation's kernel is chosen.

use super::cpu::storage::has_kernel;
use candle_core::Tensor;

/// The kernels that accept a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kernels {
    #[cfg(feature = "cuda")]
    Cuda,
    Cpu,
    /// No kernels: only the reference runs for this device and type.
    None,
}

impl Kernels {
    pub(crate) fn of(tensor: &Tensor) -> Self {
        match tensor {
            #[cfg(feature = "cuda")]
            x if crate::cuda::has_kernel(x) => Self::Cuda,
            x if has_kernel(x) => Self::Cpu,
            _ => Self::None,
        }
    }
}

/// The value of the line for the kernels that accept a tensor; of the last, if there is none or its condition does not hold.
macro_rules! dispatch {
    ($tensor:expr;
        $(cuda $(if $cuda_fits:expr)? => $cuda:expr,)?
        $(cpu $(if $cpu_fits:expr)? => $cpu:expr,)?
        reference => $reference:expr $(,)?) => {
        match $crate::ops::dispatch::Kernels::of($tensor) {
            $(
                #[cfg(feature = "cuda")]
                $crate::ops::dispatch::Kernels::Cuda $(if $cuda_fits)? => $cuda,
            )?
            $($crate::ops::dispatch::Kernels::Cpu $(if $cpu_fits)? => $cpu,)?
            _ => $reference,
        }
    };
}

pub(super) use dispatch;
