//! Copies to the GPU, and back, that nobody waits for: page-locked memory it reads and writes by itself.

use super::launch::{address, empty};
use candle_core::cuda_backend::WrapErr;
use candle_core::cuda_backend::cudarc::driver::{CudaContext, CudaEvent, CudaStream, result};
use candle_core::{DType, Device, Result, Tensor, WithDType, bail};
use rayon::prelude::*;
use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex};

/// Page-locked memory.
struct Pinned {
    start: *mut u8,
    bytes: usize,
}

// SAFETY: the memory is the process's, and this is its only owner.
unsafe impl Send for Pinned {}

impl Pinned {
    fn new(context: &Arc<CudaContext>, bytes: usize) -> Result<Self> {
        context.bind_to_thread().w()?;
        // SAFETY: `Drop` frees what this allocates.
        let start = unsafe { result::malloc_host(bytes, 0) }.w()?;
        Ok(Self { start: start.cast(), bytes })
    }

    fn all(&mut self) -> &mut [u8] {
        // SAFETY: so many bytes start there, and nothing else refers to them.
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

/// Page-locked memory in two halves: while the GPU has yet to read one, the other is filled.
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
        // SAFETY: the caller's address has room, and the place is not written again before the stream has passed this.
        unsafe { result::memcpy_htod_async(to, place, stream.cu_stream()) }.w()?;
        self.used = (self.used + from.len()).next_multiple_of(ALIGNMENT);
        Ok(())
    }
}

/// One ring for each GPU.
static RINGS: LazyLock<Mutex<HashMap<usize, Ring>>> = LazyLock::new(Mutex::default);

/// Numbers on the GPU of `like`; returns before they are there, and what the stream does next finds them.
pub(super) fn upload<D: WithDType>(like: &Tensor, numbers: &[D]) -> Result<Tensor> {
    if numbers.is_empty() {
        return Tensor::from_slice(numbers, 0, like.device());
    }
    let there = empty(like, numbers.len(), D::DTYPE)?;
    // SAFETY: numbers have no padding, and any of their bytes may be read.
    let bytes = unsafe { std::slice::from_raw_parts(numbers.as_ptr().cast::<u8>(), size_of_val(numbers)) };
    let stream = like.device().as_cuda_device()?.cuda_stream();
    let context = stream.context();
    context.bind_to_thread().w()?;
    let Ok(mut rings) = RINGS.lock() else { bail!("another thread panicked while it copied to a GPU") };
    let ring = match rings.entry(context.ordinal()) {
        std::collections::hash_map::Entry::Occupied(ring) => ring.into_mut(),
        std::collections::hash_map::Entry::Vacant(place) => place.insert(Ring::new(context)?),
    };
    let mut to = address(&there)?;
    for part in bytes.chunks(HALF) {
        ring.copy(&stream, to, part)?;
        to += part.len() as u64;
    }
    Ok(there)
}

/// Sends a batch's features while the step before it is computed, on a stream of their own.
///
/// There is room for two batches: the one that is computed with and the next.
pub(crate) struct Ahead {
    device: Device,
    copies: Arc<CudaStream>,
    rooms: [Option<Room>; 2],
    turn: usize,
    /// When the stream had been given all that reads the room that is to be filled next.
    launched: Option<CudaEvent>,
}

struct Room {
    here: Pinned,
    there: Tensor,
    copied: Option<CudaEvent>,
}

/// Features start at multiples of so many.
const STEP: usize = 64;

impl Ahead {
    pub(crate) fn new(device: &Device) -> Result<Self> {
        let copies = device.as_cuda_device()?.cuda_stream().context().new_stream().w()?;
        Ok(Self { device: device.clone(), copies, rooms: [None, None], turn: 0, launched: None })
    }

    /// Starts to send features `[n, dim]`. Whatever is launched after this finds them there; what was launched before
    /// is not waited for. The tensors hold until the next but one call.
    pub(crate) fn send(&mut self, features: &[(&[f32], usize)]) -> Result<Vec<Tensor>> {
        let stream = self.device.as_cuda_device()?.cuda_stream();
        stream.context().bind_to_thread().w()?;
        let n: usize = features.iter().map(|(values, _)| values.len().next_multiple_of(STEP)).sum();
        if n == 0 {
            return Ok(vec![]);
        }
        self.turn = 1 - self.turn;
        let place = &mut self.rooms[self.turn];
        if let Some(Room { copied: Some(copied), .. }) = place {
            copied.synchronize().w()?;
        }
        if place.as_ref().is_none_or(|room| room.there.elem_count() < n) {
            // Twice as large each time: to give page-locked memory back waits for the GPU.
            let size = n.next_power_of_two();
            let like = Tensor::zeros(1, DType::F32, &self.device)?;
            let there = empty(&like, size, DType::F32)?;
            *place = Some(Room {
                here: Pinned::new(stream.context(), size * size_of::<f32>())?,
                there,
                copied: None,
            });
            self.copies.join(&stream).w()?; // the memory is there for streams behind this one
        }
        let Some(room) = place else { bail!("no room for features") };
        if let Some(launched) = &self.launched {
            self.copies.wait(launched).w()?;
        }
        let (mut start, mut tensors) = (0, Vec::new());
        for (values, dim) in features {
            // SAFETY: as in `upload`.
            let bytes =
                unsafe { std::slice::from_raw_parts(values.as_ptr().cast::<u8>(), size_of_val(*values)) };
            let here = &mut room.here.all()[start * size_of::<f32>()..][..bytes.len()];
            here.par_chunks_mut(1 << 20).zip(bytes.par_chunks(1 << 20)).for_each(|(to, from)| {
                to.copy_from_slice(from);
            });
            let to = address(&room.there)? + (start * size_of::<f32>()) as u64;
            // SAFETY: the room has place for all, and is not written before `copied`.
            unsafe { result::memcpy_htod_async(to, here, self.copies.cu_stream()) }.w()?;
            let tensor = room.there.narrow(0, start, values.len())?;
            tensors.push(tensor.reshape((values.len() / dim.max(&1), *dim))?);
            start += values.len().next_multiple_of(STEP);
        }
        let copied = self.copies.record_event(None).w()?;
        stream.wait(&copied).w()?;
        room.copied = Some(copied);
        self.launched = Some(stream.record_event(None).w()?);
        Ok(tensors)
    }
}

impl Drop for Ahead {
    fn drop(&mut self) {
        let _ = self.copies.synchronize(); // before the memory that it reads is freed
    }
}

/// Scalars that the GPU writes to page-locked memory when it has come so far.
pub(crate) struct Copied {
    n: usize,
    /// Given back when this is dropped.
    place: Option<Pinned>,
    written: CudaEvent,
}

/// Bytes that a place has at least.
const PLACE: usize = 4096;

/// Places that nobody uses: to lock memory takes longer than all else that is done here.
static PLACES: Mutex<Vec<Pinned>> = Mutex::new(Vec::new());

impl Copied {
    /// Asks for `f32` scalars of one GPU, of which there is one at least.
    pub(crate) fn of(scalars: &[Tensor]) -> Result<Self> {
        let addresses = scalars.iter().map(address).collect::<Result<Vec<_>>>()?;
        let stream = scalars[0].device().as_cuda_device()?.cuda_stream();
        stream.context().bind_to_thread().w()?;
        let bytes = scalars.len() * size_of::<f32>();
        let used = PLACES.lock().ok().and_then(|mut places| places.pop_if(|place| place.bytes >= bytes));
        let mut place = match used {
            Some(place) => place,
            None => Pinned::new(stream.context(), bytes.max(PLACE))?,
        };
        let mut places = place.all().chunks_exact_mut(size_of::<f32>());
        let ask = || {
            for (address, here) in addresses.into_iter().zip(&mut places) {
                // SAFETY: nothing else refers to the place before `written` has passed.
                unsafe { result::memcpy_dtoh_async(here, address, stream.cu_stream()) }?;
            }
            stream.record_event(None)
        };
        match ask() {
            Ok(written) => Ok(Self { n: scalars.len(), place: Some(place), written }),
            Err(error) => {
                std::mem::forget(place); // nobody knows whether the GPU will write there yet
                Err(error).w()
            }
        }
    }

    /// Waits for what computes them, and reads them.
    pub(crate) fn values(mut self) -> Result<Vec<f32>> {
        self.written.synchronize().w()?;
        let Some(place) = &mut self.place else { bail!("these scalars have been read") };
        let (scalars, _) = place.all().as_chunks::<{ size_of::<f32>() }>();
        Ok(scalars[..self.n].iter().map(|bytes| f32::from_ne_bytes(*bytes)).collect())
    }
}

impl Drop for Copied {
    fn drop(&mut self) {
        let Some(place) = self.place.take() else { return };
        match (self.written.synchronize(), PLACES.lock()) {
            (Ok(()), Ok(mut places)) => places.push(place),
            (Ok(()), Err(_)) => drop(place),
            (Err(_), _) => std::mem::forget(place), // nobody knows whether the GPU will write there yet
        }
    }
}
