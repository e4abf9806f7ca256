//! Launching a kernel on tensors.

use super::compile::{Constant, Source};
use candle_core::backend::BackendDevice;
use candle_core::cuda_backend::cudarc::driver::{CudaFunction, DevicePtr, result, sys};
use candle_core::cuda_backend::{CudaDevice, CudaStorageSlice, WrapErr};
use candle_core::op::BackpropOp;
use candle_core::{DType, Result, Shape, Storage, Tensor, bail};

/// The launch of a kernel, with its arguments in order.
pub(crate) struct Launch {
    device: CudaDevice,
    function: CudaFunction,
    grid: (u32, u32, u32),
    threads: u32,
    shared: u32,
    /// Each argument in the low bytes of a word; a kernel reads as many bytes as its type has.
    arguments: Vec<u64>,
    /// Owns the memory of the arguments until the launch.
    tensors: Vec<Tensor>,
}

impl Launch {
    /// A kernel by its name, on the GPU of `like`; by default one block of one warp.
    pub(crate) fn of(like: &Tensor, source: &Source, kernel: &str, constants: &[Constant]) -> Result<Self> {
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

    /// Sets the number of blocks, and of threads in a block.
    pub(crate) fn blocks(self, blocks: usize, threads: usize) -> Self {
        self.grid((blocks, 1, 1), threads)
    }

    /// Sets the grid of blocks, and the number of threads in a block.
    pub(crate) fn grid(mut self, (x, y, z): (usize, usize, usize), threads: usize) -> Self {
        (self.grid, self.threads) = ((x as u32, y as u32, z as u32), threads as u32);
        self
    }

    /// Sets one thread for each item, in blocks of 256.
    pub(crate) fn each(self, items: usize) -> Self {
        self.blocks(items.div_ceil(256), 256)
    }

    /// Sets the bytes of dynamic shared memory of a block.
    pub(crate) fn shared(mut self, bytes: usize) -> Result<Self> {
        self.shared = bytes as u32;
        let attribute = sys::CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
        self.function.set_attribute(attribute, bytes as i32).w()?;
        Ok(self)
    }

    /// Appends a tensor, for reading or writing: the address of its first element.
    pub(crate) fn tensor(mut self, tensor: &Tensor) -> Result<Self> {
        self.arguments.push(address(tensor)?);
        self.tensors.push(tensor.clone());
        Ok(self)
    }

    /// Appends a tensor or a null pointer.
    pub(crate) fn optional(self, tensor: Option<&Tensor>) -> Result<Self> {
        match tensor {
            Some(tensor) => self.tensor(tensor),
            None => Ok(self.word(0)),
        }
    }

    /// Appends an `int`, for a count or an index.
    pub(crate) fn int(self, n: usize) -> Result<Self> {
        match i32::try_from(n) {
            Ok(n) => Ok(self.word(n as u32 as u64)),
            Err(_) => bail!("kernel argument: expected at most {}; found {n}", i32::MAX),
        }
    }

    /// Appends a `float`.
    pub(crate) fn float(self, x: f32) -> Self {
        self.word(u64::from(x.to_bits()))
    }

    /// Appends a 64-bit word.
    pub(crate) fn word(mut self, word: u64) -> Self {
        self.arguments.push(word);
        self
    }

    /// Launches the kernel, unless the grid is empty.
    pub(crate) fn run(mut self) -> Result<()> {
        if self.grid.0 == 0 || self.grid.1 == 0 || self.grid.2 == 0 {
            return Ok(());
        }
        let stream = self.device.cuda_stream();
        stream.context().bind_to_thread().w()?;
        let mut pointers: Vec<_> =
            self.arguments.iter_mut().map(|word| std::ptr::from_mut(word).cast()).collect();
        // SAFETY: the only caller of the kernel passes its arguments; the tensors are held until here, and freed on the
        // same stream after this launch.
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

/// The address of the elements of a contiguous tensor on a GPU.
pub(crate) fn address(tensor: &Tensor) -> Result<u64> {
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
        _ => bail!("expected a tensor of a type that kernels accept; found {:?}", tensor.dtype()),
    };
    Ok(start + (layout.start_offset() * tensor.dtype().size_in_bytes()) as u64)
}

/// The tensor, row-major and aligned to 16 bytes; a copy if it is not.
pub(crate) fn whole(tensor: &Tensor) -> Result<Tensor> {
    let tensor = tensor.contiguous()?;
    let start = tensor.layout().start_offset() * tensor.dtype().size_in_bytes();
    if start.is_multiple_of(16) { Ok(tensor) } else { tensor.copy() }
}

/// An uninitialized tensor on the GPU of `like`; a kernel must write each of its elements.
pub(crate) fn empty(like: &Tensor, shape: impl Into<Shape>, dtype: DType) -> Result<Tensor> {
    let (device, shape) = (like.device().as_cuda_device()?, shape.into());
    // SAFETY: every caller launches a kernel that writes all of it before anything reads it.
    let storage = unsafe { device.alloc_uninit(&shape, dtype)? };
    Ok(Tensor::from_storage(Storage::Cuda(storage), shape, BackpropOp::none(), false))
}
