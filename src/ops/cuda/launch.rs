//! Launching a kernel on tensors.

use super::compile::{Constant, Source};
use candle_core::backend::BackendDevice;
use candle_core::cuda_backend::cudarc::driver::{CudaFunction, DevicePtr, result, sys};
use candle_core::cuda_backend::{CudaDevice, CudaStorageSlice, WrapErr};
use candle_core::op::BackpropOp;
use candle_core::{DType, Result, Shape, Storage, Tensor, bail};

/// A kernel about to be launched, and its arguments in their order.
pub(super) struct Launch {
    device: CudaDevice,
    function: CudaFunction,
    grid: (u32, u32, u32),
    threads: u32,
    shared: u32,
    /// Each in the low bytes of a word: a kernel reads as many as the argument's type has.
    arguments: Vec<u64>,
    /// What the arguments point to: memory that was freed before the launch would be another's by then.
    tensors: Vec<Tensor>,
}

impl Launch {
    /// The kernel of this name, for the GPU that holds `like`; one block of one warp until told otherwise.
    pub(super) fn of(like: &Tensor, source: &Source, kernel: &str, constants: &[Constant]) -> Result<Self> {
        let device = like.device().as_cuda_device()?.clone();
        let function = source.load(&device, kernel, constants)?;
        Ok(Self {
            device,
            function,
            grid: (1, 1, 1),
            threads: 32,
            shared: 0,
            arguments: Vec::new(),
            tensors: Vec::new(),
        })
    }

    /// So many blocks of so many threads.
    pub(super) fn blocks(self, blocks: usize, threads: usize) -> Self {
        self.grid((blocks, 1, 1), threads)
    }

    /// A grid of blocks.
    pub(super) fn grid(mut self, (x, y, z): (usize, usize, usize), threads: usize) -> Self {
        (self.grid, self.threads) = ((x as u32, y as u32, z as u32), threads as u32);
        self
    }

    /// As many threads as there are items, in blocks of 256.
    pub(super) fn each(self, items: usize) -> Self {
        self.blocks(items.div_ceil(256), 256)
    }

    /// Bytes of shared memory that a block gets beside what the kernel declares.
    pub(super) fn shared(mut self, bytes: usize) -> Result<Self> {
        self.shared = bytes as u32;
        let attribute = sys::CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
        self.function.set_attribute(attribute, bytes as i32).w()?;
        Ok(self)
    }

    /// A tensor, for reading or writing: the address of its first element.
    pub(super) fn tensor(mut self, tensor: &Tensor) -> Result<Self> {
        self.arguments.push(address(tensor)?);
        self.tensors.push(tensor.clone());
        Ok(self)
    }

    /// A tensor or a null pointer.
    pub(super) fn optional(self, tensor: Option<&Tensor>) -> Result<Self> {
        match tensor {
            Some(tensor) => self.tensor(tensor),
            None => Ok(self.word(0)),
        }
    }

    /// A count or an index: `int`.
    pub(super) fn int(self, n: usize) -> Result<Self> {
        match i32::try_from(n) {
            Ok(n) => Ok(self.word(n as u32 as u64)),
            Err(_) => bail!("a kernel counts to {}; found {n}", i32::MAX),
        }
    }

    /// A `float`.
    pub(super) fn float(self, x: f32) -> Self {
        self.word(u64::from(x.to_bits()))
    }

    /// A 64-bit word.
    pub(super) fn word(mut self, word: u64) -> Self {
        self.arguments.push(word);
        self
    }

    /// Launches; an empty grid is nothing to do.
    pub(super) fn run(mut self) -> Result<()> {
        if self.grid.0 == 0 || self.grid.1 == 0 || self.grid.2 == 0 {
            return Ok(());
        }
        let stream = self.device.cuda_stream();
        stream.context().bind_to_thread().w()?;
        let mut pointers: Vec<_> =
            self.arguments.iter_mut().map(|word| std::ptr::from_mut(word).cast()).collect();
        // SAFETY: the arguments are those of the kernel, as its only caller here gives them; the tensors are held until
        // here, and freed on the same stream behind this launch.
        unsafe {
            result::launch_kernel(
                self.function.cu_function(),
                self.grid,
                (self.threads, 1, 1),
                self.shared,
                stream.cu_stream(),
                &mut pointers,
            )
        }
        .w()
    }
}

/// Where the elements of a contiguous tensor on a GPU lie.
pub(super) fn address(tensor: &Tensor) -> Result<u64> {
    if !tensor.is_contiguous() {
        bail!("expected a contiguous tensor, found {:?}", tensor.layout())
    }
    let (storage, layout) = tensor.storage_and_layout();
    let Storage::Cuda(storage) = &*storage else { bail!("expected a tensor on a GPU") };
    let stream = storage.device.cuda_stream();
    let start = match &storage.slice {
        CudaStorageSlice::F32(slice) => slice.device_ptr(&stream).0,
        CudaStorageSlice::BF16(slice) => slice.device_ptr(&stream).0,
        CudaStorageSlice::U32(slice) => slice.device_ptr(&stream).0,
        CudaStorageSlice::U8(slice) => slice.device_ptr(&stream).0,
        CudaStorageSlice::I64(slice) => slice.device_ptr(&stream).0,
        CudaStorageSlice::F64(slice) => slice.device_ptr(&stream).0,
        _ => bail!("expected a type that kernels know, found {:?}", tensor.dtype()),
    };
    Ok(start + (layout.start_offset() * tensor.dtype().size_in_bytes()) as u64)
}

/// The tensor, row-major and from an address that kernels may read 16 bytes at: a copy where it is not.
pub(super) fn whole(tensor: &Tensor) -> Result<Tensor> {
    let tensor = tensor.contiguous()?;
    let start = tensor.layout().start_offset() * tensor.dtype().size_in_bytes();
    if start.is_multiple_of(16) { Ok(tensor) } else { tensor.copy() }
}

/// A tensor on the GPU of `like` that holds nothing yet; a kernel writes each of its elements.
pub(super) fn empty(like: &Tensor, shape: impl Into<Shape>, dtype: DType) -> Result<Tensor> {
    let (device, shape) = (like.device().as_cuda_device()?, shape.into());
    // SAFETY: every caller launches a kernel that writes all of it before anything reads it.
    let storage = unsafe { device.alloc_uninit(&shape, dtype)? };
    Ok(Tensor::from_storage(Storage::Cuda(storage), shape, BackpropOp::none(), false))
}
