//! Asynchronous copies between host and GPU through page-locked memory.

use super::launch::{address, empty};
use candle_core::cuda_backend::WrapErr;
use candle_core::cuda_backend::cudarc::driver::{CudaContext, CudaEvent, CudaStream, result};
use candle_core::{DType, Device, Result, Tensor, WithDType, bail};
use rayon::prelude::*;
use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex};

/// A buffer of page-locked memory.
struct Pinned {
    start: *mut u8,
    bytes: usize,
}

// SAFETY: this is the only owner of the memory, which belongs to the process.
unsafe impl Send for Pinned {}

impl Pinned {
    fn new(context: &Arc<CudaContext>, bytes: usize) -> Result<Self> {
        context.bind_to_thread().w()?;
        // SAFETY: `Drop` frees the memory.
        let start = unsafe { result::malloc_host(bytes, 0) }.w()?;
        Ok(Self { start: start.cast(), bytes })
    }

    fn all(&mut self) -> &mut [u8] {
        // SAFETY: `bytes` bytes start there, and nothing else refers to them.
        unsafe { std::slice::from_raw_parts_mut(self.start, self.bytes) }
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        // SAFETY: allocated by `new`; its owner has waited for the copies that read or write it.
        let _ = unsafe { result::free_host(self.start.cast()) };
    }
}

/// Bytes of each half of a ring.
const HALF: usize = 16 << 20;

/// Page-locked memory in two halves: while the GPU reads one, the other is filled.
struct Ring {
    halves: [(Pinned, Option<CudaEvent>); 2],
    turn: usize,
    used: usize,
}

impl Ring {
    fn new(context: &Arc<CudaContext>) -> Result<Self> {
        let half = || -> Result<_> { Ok((Pinned::new(context, HALF)?, None)) };
        Ok(Self { halves: [half()?, half()?], turn: 0, used: 0 })
    }

    /// Copies at most [`HALF`] bytes to an address on the GPU, in the order of the stream.
    fn copy(&mut self, stream: &CudaStream, to: u64, from: &[u8]) -> Result<()> {
        const ALIGNMENT: usize = 64;
        if self.used + from.len() > HALF {
            self.halves[self.turn].1 = Some(stream.record_event(None).w()?);
            (self.turn, self.used) = (1 - self.turn, 0);
            if let Some(read) = self.halves[self.turn].1.take() {
                read.synchronize().w()?;
            }
        }
        let place = &mut self.halves[self.turn].0.all()[self.used..self.used + from.len()];
        place.copy_from_slice(from);
        // SAFETY: the destination is large enough, and the half is not written again before the stream has read it.
        unsafe { result::memcpy_htod_async(to, place, stream.cu_stream()) }.w()?;
        self.used = (self.used + from.len()).next_multiple_of(ALIGNMENT);
        Ok(())
    }
}

/// One ring for each GPU.
static RINGS: LazyLock<Mutex<HashMap<usize, Ring>>> = LazyLock::new(Mutex::default);

/// Copies numbers to the GPU of `like`, asynchronously: later operations of the stream see them.
pub(crate) fn upload<D: WithDType>(like: &Tensor, numbers: &[D]) -> Result<Tensor> {
    if numbers.is_empty() {
        return Tensor::from_slice(numbers, 0, like.device());
    }
    let tensor = empty(like, numbers.len(), D::DTYPE)?;
    // SAFETY: numbers have no padding, so all of their bytes are initialized.
    let bytes = unsafe { std::slice::from_raw_parts(numbers.as_ptr().cast::<u8>(), size_of_val(numbers)) };
    let stream = like.device().as_cuda_device()?.cuda_stream();
    let context = stream.context();
    context.bind_to_thread().w()?;
    let Ok(mut rings) = RINGS.lock() else { bail!("another thread panicked while it copied to a GPU") };
    let ring = match rings.entry(context.ordinal()) {
        std::collections::hash_map::Entry::Occupied(ring) => ring.into_mut(),
        std::collections::hash_map::Entry::Vacant(place) => place.insert(Ring::new(context)?),
    };
    let mut to = address(&tensor)?;
    for part in bytes.chunks(HALF) {
        ring.copy(&stream, to, part)?;
        to += part.len() as u64;
    }
    Ok(tensor)
}

/// Copies the features of the next batch on a stream of its own while the current step runs.
///
/// It has buffers for two batches: the current one and the next.
pub(crate) struct FeaturePrefetch {
    device: Device,
    copies: Arc<CudaStream>,
    buffers: [Option<Buffer>; 2],
    turn: usize,
    /// After the last operation that reads the buffer to be filled next.
    launched: Option<CudaEvent>,
}

struct Buffer {
    host: Pinned,
    device: Tensor,
    copied: Option<CudaEvent>,
}

/// Features start at multiples of this number of elements.
const STEP: usize = 64;

impl FeaturePrefetch {
    pub(crate) fn new(device: &Device) -> Result<Self> {
        let copies = device.as_cuda_device()?.cuda_stream().context().new_stream().w()?;
        Ok(Self { device: device.clone(), copies, buffers: [None, None], turn: 0, launched: None })
    }

    /// Starts to copy features `[n, dim]`, without waiting for earlier operations; operations that are launched later see
    /// them. The tensors are valid until the second call after this one.
    pub(crate) fn send(&mut self, features: &[(&[f32], usize)]) -> Result<Vec<Tensor>> {
        let stream = self.device.as_cuda_device()?.cuda_stream();
        stream.context().bind_to_thread().w()?;
        let n: usize = features.iter().map(|(values, _)| values.len().next_multiple_of(STEP)).sum();
        if n == 0 {
            return Ok(vec![]);
        }
        self.turn = 1 - self.turn;
        let slot = &mut self.buffers[self.turn];
        if let Some(Buffer { copied: Some(copied), .. }) = slot {
            copied.synchronize().w()?;
        }
        if slot.as_ref().is_none_or(|buffer| buffer.device.elem_count() < n) {
            // At least twice as large each time, because freeing page-locked memory waits for the GPU.
            let size = n.next_power_of_two();
            let like = Tensor::zeros(1, DType::F32, &self.device)?;
            let device = empty(&like, size, DType::F32)?;
            *slot = Some(Buffer {
                host: Pinned::new(stream.context(), size * size_of::<f32>())?,
                device,
                copied: None,
            });
            self.copies.join(&stream).w()?; // after the allocation, which is on the other stream
        }
        let Some(buffer) = slot else { bail!("expected a buffer for features") };
        if let Some(launched) = &self.launched {
            self.copies.wait(launched).w()?;
        }
        let (mut start, mut tensors) = (0, Vec::new());
        for (values, dim) in features {
            // SAFETY: as in `upload`.
            let bytes =
                unsafe { std::slice::from_raw_parts(values.as_ptr().cast::<u8>(), size_of_val(*values)) };
            let host = &mut buffer.host.all()[start * size_of::<f32>()..][..bytes.len()];
            host.par_chunks_mut(1 << 20).zip(bytes.par_chunks(1 << 20)).for_each(|(to, from)| {
                to.copy_from_slice(from);
            });
            let to = address(&buffer.device)? + (start * size_of::<f32>()) as u64;
            // SAFETY: the buffers hold all features, and are not written again before `copied`.
            unsafe { result::memcpy_htod_async(to, host, self.copies.cu_stream()) }.w()?;
            let tensor = buffer.device.narrow(0, start, values.len())?;
            tensors.push(tensor.reshape((values.len() / dim.max(&1), *dim))?);
            start += values.len().next_multiple_of(STEP);
        }
        let copied = self.copies.record_event(None).w()?;
        stream.wait(&copied).w()?;
        buffer.copied = Some(copied);
        self.launched = Some(stream.record_event(None).w()?);
        Ok(tensors)
    }
}

impl Drop for FeaturePrefetch {
    fn drop(&mut self) {
        let _ = self.copies.synchronize(); // before the memory that the stream reads is freed
    }
}

/// Asynchronous copies of scalars to page-locked memory.
pub(crate) struct ScalarCopies {
    n: usize,
    /// Returned to the free buffers when this is dropped.
    buffer: Option<Pinned>,
    written: CudaEvent,
}

/// The smallest buffer, in bytes.
const SMALLEST: usize = 4096;

/// Unused buffers. They are reused, because locking memory takes longer than the copy.
static FREE_BUFFERS: Mutex<Vec<Pinned>> = Mutex::new(Vec::new());

impl ScalarCopies {
    /// Starts to copy one or more `f32` scalars of one GPU.
    pub(crate) fn of(scalars: &[Tensor]) -> Result<Self> {
        let addresses = scalars.iter().map(address).collect::<Result<Vec<_>>>()?;
        let stream = scalars[0].device().as_cuda_device()?.cuda_stream();
        stream.context().bind_to_thread().w()?;
        let bytes = scalars.len() * size_of::<f32>();
        let free = FREE_BUFFERS.lock().ok().and_then(|mut free| free.pop_if(|buffer| buffer.bytes >= bytes));
        let mut buffer = match free {
            Some(buffer) => buffer,
            None => Pinned::new(stream.context(), bytes.max(SMALLEST))?,
        };
        let mut targets = buffer.all().chunks_exact_mut(size_of::<f32>());
        let copy = || {
            for (address, target) in addresses.into_iter().zip(&mut targets) {
                // SAFETY: nothing else refers to the buffer before the event `written`.
                unsafe { result::memcpy_dtoh_async(target, address, stream.cu_stream()) }?;
            }
            stream.record_event(None)
        };
        match copy() {
            Ok(written) => Ok(Self { n: scalars.len(), buffer: Some(buffer), written }),
            Err(error) => {
                std::mem::forget(buffer); // the GPU may still write to it
                Err(error).w()
            }
        }
    }

    /// Waits for the copies; returns the values.
    pub(crate) fn values(mut self) -> Result<Vec<f32>> {
        self.written.synchronize().w()?;
        let Some(buffer) = &mut self.buffer else { bail!("these scalars have been read") };
        let (scalars, _) = buffer.all().as_chunks::<{ size_of::<f32>() }>();
        Ok(scalars[..self.n].iter().map(|bytes| f32::from_ne_bytes(*bytes)).collect())
    }
}

impl Drop for ScalarCopies {
    fn drop(&mut self) {
        let Some(buffer) = self.buffer.take() else { return };
        match (self.written.synchronize(), FREE_BUFFERS.lock()) {
            (Ok(()), Ok(mut free)) => free.push(buffer),
            (Ok(()), Err(_)) => drop(buffer),
            (Err(_), _) => std::mem::forget(buffer), // the GPU may still write to it
        }
    }
}
