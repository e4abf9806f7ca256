//! Sums over the GPUs of several processes, by NVIDIA's library for that (NCCL).

use super::launch::address;
use candle_core::cuda_backend::WrapErr;
use candle_core::cuda_backend::cudarc::driver::CudaStream;
use candle_core::cuda_backend::cudarc::nccl::result::{self, NcclError};
use candle_core::cuda_backend::cudarc::nccl::sys;
use candle_core::{DType, Device, Result, Tensor, bail};
use std::ffi::{CStr, c_char};
use std::mem::MaybeUninit;
use std::sync::Arc;

/// What the processes of one job know one another by: one draws it, all join with it.
pub struct NcclId([u8; 128]);

impl NcclId {
    /// A new one.
    ///
    /// # Errors
    /// Where NCCL finds no network.
    pub fn new() -> Result<Self> {
        let id = said("an id is drawn", result::get_uniqueid())?;
        Ok(Self(id.internal.map(|byte| byte as u8)))
    }

    /// In hexadecimal.
    pub fn to_text(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// From hexadecimal.
    ///
    /// # Errors
    /// Where it is no id.
    pub fn from_text(text: &str) -> Result<Self> {
        let pairs = (0..text.len()).step_by(2);
        let bytes = pairs.map(|at| text.get(at..at + 2).and_then(|pair| u8::from_str_radix(pair, 16).ok()));
        let bytes = bytes.collect::<Option<Vec<u8>>>().and_then(|bytes| bytes.try_into().ok());
        let expected = || candle_core::Error::Msg(format!("expected 256 hexadecimal digits; found {text:?}"));
        bytes.map(Self).ok_or_else(expected)
    }
}

impl Default for NcclId {
    /// One that nobody has drawn.
    fn default() -> Self {
        Self([0; 128])
    }
}

/// This process's GPU among those of a job.
pub struct Nccl {
    communicator: sys::ncclComm_t,
    stream: Arc<CudaStream>,
}

// SAFETY: NCCL lets any thread use a communicator, one at a time; `sum` is called by one after another, and enqueues
// on a stream that is itself such.
unsafe impl Send for Nccl {}
// SAFETY: as above.
unsafe impl Sync for Nccl {}

impl Nccl {
    /// Joins with a GPU as number `rank` of `size`; waits until all are there.
    ///
    /// # Errors
    /// What NCCL refuses: a GPU that has joined already, say.
    pub fn join(device: &Device, id: NcclId, rank: usize, size: usize) -> Result<Self> {
        let stream = device.as_cuda_device()?.cuda_stream();
        stream.context().bind_to_thread().w()?;
        let id = sys::ncclUniqueId { internal: id.0.map(|byte| byte as c_char) };
        let mut communicator = MaybeUninit::uninit();
        // SAFETY: NCCL writes a communicator where it succeeds; the GPU is this thread's.
        let communicator = unsafe {
            let joined = result::comm_init_rank(communicator.as_mut_ptr(), size as i32, id, rank as i32);
            said(&format!("rank {rank} of {size} joins"), joined)?;
            communicator.assume_init()
        };
        Ok(Self { communicator, stream })
    }

    /// Adds up each tensor over all GPUs, in place. Nothing is waited for: it is enqueued behind what makes the tensors.
    ///
    /// # Errors
    /// For tensors that are no contiguous f32 on this GPU, and what NCCL refuses.
    pub fn sum(&self, tensors: &[Tensor]) -> Result<()> {
        self.stream.context().bind_to_thread().w()?;
        let mut buffers = Vec::with_capacity(tensors.len());
        for tensor in tensors {
            if tensor.dtype() != DType::F32 {
                bail!("expected f32 to add up over GPUs; found {:?}", tensor.dtype())
            }
            buffers.push((address(tensor)?, tensor.elem_count()));
        }
        // In a group, so that many small sums are as few launches as NCCL can make of them.
        said("a group begins", result::group_start())?;
        let summed = buffers.into_iter().try_for_each(|(start, n)| {
            // SAFETY: so many floats lie there, on the stream's GPU, until they are freed behind this on that stream.
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
            said("tensors are added up", summed).map(drop)
        });
        said("a group ends", result::group_end())?;
        summed
    }
}

impl Drop for Nccl {
    /// Without waiting for the others, one of whom may be gone.
    fn drop(&mut self) {
        // SAFETY: nothing uses the communicator any more.
        let _ = unsafe { result::comm_abort(self.communicator) };
    }
}

/// An error in NCCL's words, as `what` happens.
fn said<T>(what: &str, outcome: std::result::Result<T, NcclError>) -> Result<T> {
    outcome.or_else(|NcclError(code)| {
        // SAFETY: NCCL gives texts that live as long as it does; the last error's needs no communicator.
        let [kind, last] = unsafe {
            [sys::ncclGetErrorString(code), sys::ncclGetLastError(std::ptr::null_mut())].map(|text| {
                if text.is_null() { "".into() } else { CStr::from_ptr(text).to_string_lossy().into_owned() }
            })
        };
        bail!("NCCL, as {what}: {kind}; {last}")
    })
}
