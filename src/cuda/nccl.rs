//! All-reduce over the GPUs of several processes, by NVIDIA's NCCL.

use super::launch::address;
use candle_core::cuda_backend::WrapErr;
use candle_core::cuda_backend::cudarc::driver::CudaStream;
use candle_core::cuda_backend::cudarc::nccl::result::{self, NcclError};
use candle_core::cuda_backend::cudarc::nccl::sys;
use candle_core::{DType, Device, Result, Tensor, bail};
use std::ffi::{CStr, c_char};
use std::mem::MaybeUninit;
use std::sync::Arc;

/// The id of one job's communicator: one process creates it, all processes join with it.
pub struct NcclId([u8; 128]);

impl NcclId {
    /// Creates an id.
    ///
    /// # Errors
    /// If NCCL finds no network.
    pub fn new() -> Result<Self> {
        let id = check("create an id", result::get_uniqueid())?;
        Ok(Self(id.internal.map(|byte| byte as u8)))
    }

    /// The id in hexadecimal.
    pub fn to_text(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Parses hexadecimal.
    ///
    /// # Errors
    /// If the text is no id.
    pub fn from_text(text: &str) -> Result<Self> {
        let pairs = (0..text.len()).step_by(2);
        let bytes = pairs.map(|at| text.get(at..at + 2).and_then(|pair| u8::from_str_radix(pair, 16).ok()));
        let bytes = bytes.collect::<Option<Vec<u8>>>().and_then(|bytes| bytes.try_into().ok());
        let expected =
            || candle_core::Error::Msg(format!("NCCL id: expected 256 hexadecimal digits; found {text:?}"));
        bytes.map(Self).ok_or_else(expected)
    }
}

impl Default for NcclId {
    /// A placeholder of zeros.
    fn default() -> Self {
        Self([0; 128])
    }
}

/// The communicator of this process's GPU.
pub struct Nccl {
    communicator: sys::ncclComm_t,
    stream: Arc<CudaStream>,
}

// SAFETY: any thread may use a communicator, one at a time; calls of `all_reduce` do not overlap, and the stream may be
// sent too.
unsafe impl Send for Nccl {}
// SAFETY: as above.
unsafe impl Sync for Nccl {}

impl Nccl {
    /// Joins as rank `rank` of `size`; waits for all ranks.
    ///
    /// # Errors
    /// If NCCL fails, for example because the GPU has joined already.
    pub fn join(device: &Device, id: NcclId, rank: usize, size: usize) -> Result<Self> {
        let stream = device.as_cuda_device()?.cuda_stream();
        stream.context().bind_to_thread().w()?;
        let id = sys::ncclUniqueId { internal: id.0.map(|byte| byte as c_char) };
        let mut communicator = MaybeUninit::uninit();
        // SAFETY: NCCL writes a communicator if it succeeds; the context of the GPU is bound to this thread.
        let communicator = unsafe {
            let joined = result::comm_init_rank(communicator.as_mut_ptr(), size as i32, id, rank as i32);
            check(&format!("join as rank {rank} of {size}"), joined)?;
            communicator.assume_init()
        };
        Ok(Self { communicator, stream })
    }

    /// Sums each tensor over all GPUs, in place. Asynchronous: the sum is launched after the operations that compute the
    /// tensors.
    ///
    /// # Errors
    /// If a tensor is not contiguous, not `f32` or not on this GPU, or NCCL fails.
    pub fn all_reduce(&self, tensors: &[Tensor]) -> Result<()> {
        self.stream.context().bind_to_thread().w()?;
        let mut buffers = Vec::with_capacity(tensors.len());
        for tensor in tensors {
            if tensor.dtype() != DType::F32 {
                bail!("all-reduce: expected f32; found {:?}", tensor.dtype())
            }
            buffers.push((address(tensor)?, tensor.elem_count()));
        }
        // In a group, so that NCCL can merge small sums into few launches.
        check("begin a group", result::group_start())?;
        let summed = buffers.into_iter().try_for_each(|(start, n)| {
            // SAFETY: the address holds `n` floats on the stream's GPU, which are freed on that stream after this call.
            let summed = unsafe {
                result::all_reduce(
                    start as *const _,
                    start as *mut _,
                    n,
                    sys::ncclDataType_t::ncclFloat32,
                    sys::ncclRedOp_t::ncclSum,
                    self.communicator,
                    self.stream.cu_stream().cast(),
                )
            };
            check("all-reduce a tensor", summed).map(drop)
        });
        check("end a group", result::group_end())?;
        summed
    }
}

impl Drop for Nccl {
    /// Aborts without waiting for other ranks, which may have ended.
    fn drop(&mut self) {
        // SAFETY: nothing uses the communicator any more.
        let _ = unsafe { result::comm_abort(self.communicator) };
    }
}

/// Converts an error of NCCL, with its message; `action` names the call.
fn check<T>(action: &str, outcome: std::result::Result<T, NcclError>) -> Result<T> {
    outcome.or_else(|NcclError(code)| {
        // SAFETY: NCCL returns texts of static lifetime; the last error needs no communicator.
        let [kind, last] = unsafe {
            [sys::ncclGetErrorString(code), sys::ncclGetLastError(std::ptr::null_mut())].map(|text| {
                if text.is_null() { "".into() } else { CStr::from_ptr(text).to_string_lossy().into_owned() }
            })
        };
        bail!("NCCL failed to {action}: {kind}; {last}")
    })
}
